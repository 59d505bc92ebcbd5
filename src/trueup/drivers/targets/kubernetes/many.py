"""Many clusters as one target: each with its own credentials, record and Lease, and none that waits for another.

An object goes to the cluster that its Ref names. One that cannot be reached fails its own applications at once, until
it answers again; what is known of it stays known (docs/decisions/0007).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Protocol, TypeVar

from msgspec import Struct

from trueup.core.model import Judgement, Live, Object, Ref
from trueup.drivers.targets.kubernetes.client import Unreachable
from trueup.drivers.targets.kubernetes.moves import Moves
from trueup.ports import Moved, ObjectInvalid, Target, TargetDown

T = TypeVar("T")
NOWHERE = "host"  # the cluster of an object that names none
CALM_S = 5.0  # a cluster found down is not asked again sooner
PAUSE_S = (1.0, 30.0)


class Member(Target, Protocol):
    """One cluster. `load` asks nobody; `start` may be called again after it failed."""

    async def load(self) -> None: ...

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    def holds(self, application: str) -> bool:
        """Whether anything of it was applied there; known without the cluster."""
        ...


class _State(Struct):
    """`problem` "": it answers. `until`: by the loop's clock, not asked before."""

    problem: str = "it was not reached yet"
    until: float = 0.0


class Many:
    """`default` takes the objects that name no cluster. Example: `Many({"eu": eu, "us": us}, default="eu")`."""

    def __init__(self, members: Mapping[str, Member], default: str) -> None:
        self._members, self._default = dict(members), default
        self._states = {name: _State() for name in members}
        self._moves = Moves()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Knows what each holds, and returns: each cluster is reached in its own time."""
        await asyncio.gather(*(member.load() for member in self._members.values()))
        self._task = asyncio.create_task(self._keep(), name="kubernetes clusters")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await asyncio.gather(*(member.close() for member in self._members.values()))

    def problems(self) -> dict[str, str]:
        """Cluster → why it is not served now."""
        return {name: state.problem for name, state in self._states.items() if state.problem}

    # --- ports.Target

    async def read(self, application: str) -> Live:
        found = await self._each(self._holding(application), lambda member, _: member.read(application))
        lives = list(found.values())
        return Live(tuple(o for live in lives for o in live.objects), tuple(u for live in lives for u in live.unread))

    async def judge(self, application: str) -> tuple[Judgement, ...]:
        found = await self._each(self._holding(application), lambda member, _: member.judge(application))
        return tuple(each for judged in found.values() for each in judged)

    async def apply(
        self, application: str, candidate: str, objects: Sequence[Object], accepted: Sequence[str] = ()
    ) -> None:
        split: dict[str, list[Object]] = {}
        for each in objects:
            split.setdefault(self._name(each.ref, str(each.place)), []).append(each)
        await self._each(split, lambda member, name: member.apply(application, candidate, split[name], accepted))

    async def delete(self, application: str, refs: Sequence[Ref]) -> None:
        split: dict[str, list[Ref]] = {}
        for ref in refs:
            split.setdefault(self._name(ref, application), []).append(ref)
        await self._each(split, lambda member, name: member.delete(application, split[name]))

    def watch(self, after: int = 0) -> AsyncIterator[Moved]:
        return self._moves.watch(after)

    # --- inside

    def _name(self, ref: Ref, where: str) -> str:
        name = self._default if ref.cluster == NOWHERE else ref.cluster
        if name not in self._members:
            known = ", ".join(sorted(self._members))
            raise ObjectInvalid(f"{where}: {ref} is for cluster {name!r}, which is not known; there are {known}")
        return name

    def _holding(self, application: str) -> list[str]:
        return [name for name, member in self._members.items() if member.holds(application)]

    async def _each(
        self, names: Sequence[str] | Mapping[str, object], work: Callable[[Member, str], Awaitable[T]]
    ) -> dict[str, T]:
        """All of them, side by side and each to its end; then the object's own fault is told before the world's."""
        results = await asyncio.gather(*(self._one(name, work) for name in names), return_exceptions=True)
        failed = [each for each in results if isinstance(each, BaseException)]
        for first in (*(each for each in failed if isinstance(each, ObjectInvalid)), *failed):
            raise first
        return {name: each for name, each in zip(names, results, strict=True) if not isinstance(each, BaseException)}

    async def _one(self, name: str, work: Callable[[Member, str], Awaitable[T]]) -> T:
        state, loop = self._states[name], asyncio.get_running_loop()
        if state.problem and loop.time() < state.until:
            raise Unreachable(f"cluster {name}: {state.problem}")
        try:
            made = await work(self._members[name], name)
        except Unreachable as error:
            state.problem, state.until = str(error), loop.time() + CALM_S
            raise Unreachable(f"cluster {name}: {error}") from error
        except TargetDown as error:  # it answers, and refuses this: quota, rights, a kind that is not there yet
            raise TargetDown(f"cluster {name}: {error}") from error
        state.problem = ""
        return made

    async def _keep(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for name in self._members:
                tasks.create_task(self._serve(name))

    async def _serve(self, name: str) -> None:
        """Start one cluster, however long that takes, and pass on what moves there."""
        member, state, pause = self._members[name], self._states[name], PAUSE_S[0]
        state.until = float("inf")
        while True:
            try:
                await member.start()
                break
            except TargetDown as error:
                state.problem = str(error)
            await asyncio.sleep(pause)
            pause = min(pause * 2, PAUSE_S[1])
        state.problem, state.until = "", 0.0
        async for moved in member.watch(0):
            self._moves.tell(moved.application, moved.ref, moved.drift, moved.repaired)
