"""Takes an application away, as a person asked: its hooks run, its objects go or are let go of.

What keeps an object (an annotation, data in it) is respected and told; a crash goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Mapping

from trueup.core import events as ev
from trueup.core import order
from trueup.core import plan as planner
from trueup.core.candidate import ApplicationState
from trueup.core.hooks import hooks_of
from trueup.core.model import Bundle, Held
from trueup.core.policy import Policy
from trueup.engine.book import Book
from trueup.engine.syncing import STEPS, Syncing
from trueup.ports import Releasing, Target


class Removing:
    def __init__(self, syncing: Syncing, book: Book, targets: Mapping[str, Target]) -> None:
        self._syncing, self._book, self._targets = syncing, book, targets

    async def run(self, id: str, bundle: Bundle) -> bool:
        """Step by step; True once it is gone. `bundle`: as it was applied last, with its hooks."""
        for _ in range(STEPS):
            state = await self._book.application(id)
            assert state.ending is not None
            if state.ending.mode == "orphan":
                return await self._release(state)
            target = self._targets[state.target]
            plan = planner.ending(await target.read(id), Policy(), data=state.ending.data)
            seen = order.SyncSeen(plan, {})
            seen = await self._syncing.with_hooks(state, seen) if bundle.hooks else seen
            step = order.end_step(bundle, state.ending.hooks, seen)
            if await self._syncing.hooks(state, state.ending.hooks, bundle, step):
                continue
            match step:
                case order.Make(changes):
                    await target.delete(id, [change.ref for change in changes])
                case order.Block(reason):
                    await self._tell(state, reason)
                    return False
                case order.Finish():
                    return await self._end(state, plan.held)
                case _:
                    return False
        return False

    async def _release(self, state: ApplicationState) -> bool:
        target = self._targets[state.target]
        assert isinstance(target, Releasing)  # asked for when the person was
        for application in (state.id, hooks_of(state.id)):
            live = await target.read(application)
            await target.release(application, [each.ref for each in live.objects])
        await self._syncing.append(state, ev.ApplicationEnded("orphan"))
        return True

    async def _end(self, state: ApplicationState, held: tuple[Held, ...]) -> bool:
        """What its hooks left goes, too."""
        target = self._targets[state.target]
        assert state.ending is not None
        left = planner.ending(await target.read(hooks_of(state.id)), Policy(), data=state.ending.data)
        shared = {c.ref for c in left.changes if c.ref.kind == "Namespace"}  # others may be in it
        await target.delete(hooks_of(state.id), [c.ref for c in left.changes if c.ref not in shared])
        kept = tuple(f"{each.change.ref}: {each.reason}" for each in held)
        await self._syncing.append(state, ev.ApplicationEnded("cascade", kept))
        return True

    async def _tell(self, state: ApplicationState, reason: str) -> None:
        words = f"its removal waits: {reason}"
        if state.health_reason != words:
            await self._syncing.append(state, ev.HealthChanged("degraded", words))
