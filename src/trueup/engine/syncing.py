"""Carries out a sync, one step of `core.order` after the other: reads, asks for the step, does it, records it.

Every hook is an event before it is made and one after; what a crash left open is looked up on the target. Hooks are
held apart from what stands, under an application of their own (`core.hooks.hooks_of`), so that no plan sees them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from msgspec.structs import replace

from trueup.core import events as ev
from trueup.core import order
from trueup.core.candidate import ApplicationState, Attempt, End
from trueup.core.hooks import GONE_BEFORE, When, hook_of, hooks_of, key_of, run_of
from trueup.core.model import Action, Bundle, Change, Judgement, Object
from trueup.core.references import batches
from trueup.engine.book import Book
from trueup.engine.planning import Planning
from trueup.ports import Clock, LeavesAlone, ObjectInvalid, Records, Target, TargetDown

_encode = msgspec.json.Encoder()
STEPS = 1000  # of one pass: more than any sync has, fewer than for ever
BACK = ("undo", "rollback")  # a way back that fails is held, never undone
DRIFT = "drift:"  # before the hash of what no longer is as it was applied


class Syncing:
    def __init__(
        self, book: Book, records: Records, targets: Mapping[str, Target], planning: Planning, clock: Clock
    ) -> None:
        self._book, self._records, self._targets = book, records, targets
        self._planning, self._clock = planning, clock

    async def run(self, id: str, bundle: Bundle, *, ending: bool = False) -> bool:
        """Step by step until it waits (False) or something was recorded that changes the next decision (True)."""
        for _ in range(STEPS):
            state = await self._book.application(id)
            assert state.current is not None
            seen = await self._see(state, bundle)
            step = order.step(bundle, state.current, seen, self._clock.now(), ending=ending)
            done = await self._take(state, bundle, step, ending)
            if done is not None:
                return done
        return False

    async def _take(self, state: ApplicationState, bundle: Bundle, step: order.Step, ending: bool) -> bool | None:
        """None: go on with the next step."""
        assert state.current is not None
        if await self.hooks(state, state.current, bundle, step):
            return None
        match step:
            case order.Make(changes):
                try:
                    await self.change(state, bundle, changes)
                except ObjectInvalid as error:
                    return await self._fail(state, bundle, str(error), "")
            case order.Fail(judgement, record):
                return await self.fail(state, bundle, judgement, record)
            case order.Block(reason, judgement):
                await self._hold(state, reason, await self.excerpt(state, judgement) if judgement else "")
                return False
            case order.Wait():
                return False
            case order.Finish(failed):
                if not failed and not ending:
                    await self.append(state, ev.SyncApplied(state.current.candidate, state.current.number))
                return await self._condemn(state, state.current.failing, state.current.record) if failed else True
        return None

    # --- reading ---------------------------------------------------------------------------------

    async def _see(self, state: ApplicationState, bundle: Bundle) -> order.SyncSeen:
        target, current = self._targets[state.target], state.current
        assert current is not None
        if isinstance(target, LeavesAlone):
            await target.drift_rules(state.id, bundle.drift)
        plan = self._planning.plan(bundle, await target.read(state.id), state.approved)
        hooked = bool(bundle.hooks) and (current.with_hooks or bool(current.hooks))
        judged = await target.judge(state.id) if plan.changes or hooked else ()
        if not hooked:
            return order.SyncSeen(plan, {j.ref: j for j in judged})
        return await self.with_hooks(state, order.SyncSeen(plan, {j.ref: j for j in judged}))

    async def with_hooks(self, state: ApplicationState, seen: order.SyncSeen) -> order.SyncSeen:
        """With the hook objects that stand, by the hash they were applied with, and how they are. Raises TargetDown."""
        target = self._targets[state.target]
        live = await target.read(hooks_of(state.id))
        if live.unread:  # unread is not gone
            first = live.unread[0]
            raise TargetDown(f"{first.what} could not be read ({first.reason}): hooks wait until it can")
        ends = await target.judge(hooks_of(state.id)) if live.objects else ()
        return replace(
            seen,
            hooks={o.ref: o.hash.removeprefix(DRIFT).removeprefix(GONE_BEFORE) for o in live.objects},
            hook_judgements={j.ref: j for j in ends},
            gone=frozenset(o.ref for o in live.objects if o.hash.startswith(GONE_BEFORE)),
        )

    # --- hooks -----------------------------------------------------------------------------------

    async def hooks(self, state: ApplicationState, attempt: Attempt, bundle: Bundle, step: order.Step) -> bool:
        """Do what a step asks of hooks; False when it asks for something else."""
        now = (attempt.candidate, attempt.number)
        match step:
            case order.StartHooks(when, hooks):
                await self.append(state, ev.HooksStarted(*now, when.value, tuple(key_of(h, when) for h in hooks)))
            case order.CreateHooks() as create:
                await self._create(state, attempt, bundle, create)
            case order.EndHook(when, key, end, judgement):
                record = await self.excerpt(state, judgement)
                reason = _told(judgement) if end is not End.SUCCEEDED else ""
                await self.append(state, ev.HookEnded(*now, when.value, key, end.value, reason, record))
            case order.RemoveHooks(refs):
                await self._targets[state.target].delete(hooks_of(state.id), refs)
            case _:
                return False
        return True

    async def _create(self, state: ApplicationState, attempt: Attempt, bundle: Bundle, step: order.CreateHooks) -> None:
        target, when = self._targets[state.target], step.when
        now = (attempt.candidate, attempt.number, when.value)
        if step.taken:
            await target.delete(state.id, step.taken)
        if step.replaced:
            await target.delete(hooks_of(state.id), step.replaced)
        facts: list[ev.Fact] = [ev.HooksCreated(*now, tuple(key_of(h, when) for h in step.hooks))]
        for group in batches([run_of(h, when, attempt.number, attempt.candidate) for h in step.hooks]):
            try:
                await target.apply(hooks_of(state.id), bundle.candidate, group, bundle.accepted)
            except ObjectInvalid as error:
                facts += [
                    ev.HookEnded(*now, key_of(h, when), End.FAILED.value, str(error))
                    for h in step.hooks
                    if any(h.object.ref == o.ref for o in group)
                ]
                break
        await self._book.write(state.id, state.seq, facts)

    async def stop(self, state: ApplicationState, bundle: Bundle) -> None:
        """A person stopped the sync: its hooks that still run are deleted."""
        current = state.current
        assert current is not None
        runs = {
            key_of(hook, when): (hook.object.ref, when)
            for hook in map(hook_of, bundle.hooks)
            for when in hook.when
            if (ran := current.hooks.get(key_of(hook, when))) is not None and ran.end is End.RUNS
        }
        await self._targets[state.target].delete(hooks_of(state.id), [ref for ref, _ in runs.values()])
        now = (current.candidate, current.number)
        why = current.reason or "the sync was terminated"
        left = [key for key, ran in current.hooks.items() if ran.end is End.RUNS]
        await self._book.write(
            state.id, state.seq, [ev.HookEnded(*now, key.split()[0], key, End.TERMINATED.value, why) for key in left]
        )

    # --- changes ---------------------------------------------------------------------------------

    async def change(self, state: ApplicationState, bundle: Bundle, changes: Sequence[Change]) -> None:
        """Apply and delete, what others use first. Raises ObjectInvalid, TargetDown."""
        target = self._targets[state.target]
        by_ref = {o.ref: o for o in bundle.objects}
        made: list[Object] = [by_ref[c.ref] for c in changes if c.action is not Action.DELETE]
        for group in batches(made):
            await target.apply(state.id, bundle.candidate, group, bundle.accepted)
        gone = [c.ref for c in changes if c.action is Action.DELETE]
        if gone:
            await target.delete(state.id, gone)

    # --- ends ------------------------------------------------------------------------------------

    async def fail(self, state: ApplicationState, bundle: Bundle, judgement: Judgement, record: str = "") -> bool:
        """The change itself is bad: undone once its SyncFail hooks have run."""
        reason = judgement.reason if " hook failed: " in judgement.reason else _told(judgement)
        return await self._fail(state, bundle, reason, record or await self.excerpt(state, judgement))

    async def _fail(self, state: ApplicationState, bundle: Bundle, reason: str, record: str) -> bool:
        current = state.current
        assert current is not None
        if not current.failing and current.with_hooks and any(When.SYNC_FAIL in hook_of(o).when for o in bundle.hooks):
            await self.append(state, ev.SyncFailing(current.candidate, current.number, reason, record))
            return True
        return await self._condemn(state, reason, record)

    async def _condemn(self, state: ApplicationState, reason: str, record: str) -> bool:
        current = state.current
        assert current is not None
        if current.why in BACK:
            await self._hold(state, f"the {current.why} fails too: {reason}", record)
            return False
        await self.append(state, ev.SyncCondemned(current.candidate, current.number, reason, record))
        return True

    async def _hold(self, state: ApplicationState, reason: str, record: str = "") -> None:
        """Told once for each reason."""
        current = state.current
        assert current is not None
        if not _held(current, reason):
            await self.append(state, ev.SyncHeld(current.candidate, current.number, reason, record))

    async def append(self, state: ApplicationState, fact: ev.Fact) -> None:
        await self._book.write(state.id, state.seq, [fact])

    async def excerpt(self, state: ApplicationState, judgement: Judgement) -> str:
        """The key of the record that keeps a failed container's last lines; "" when there are none."""
        if not judgement.excerpt:
            return ""
        return await self._records.put("excerpt", "\n".join(judgement.excerpt).encode(), stream=state.id)


def _held(current: Attempt, reason: str) -> bool:
    return current.phase.value == "held" and current.reason == reason


def _told(judgement: Judgement) -> str:
    return (
        f"{judgement.ref}: {judgement.reason}" if judgement.reason else f"{judgement.ref} is {judgement.health.value}"
    )
