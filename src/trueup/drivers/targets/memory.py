"""A target without IO: objects in a dict, health as the test or the simulation says. Shipped for tests and dry runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

from trueup.core.model import DriftRules, Health, Judgement, Live, LiveObject, Object, Ref, Unread
from trueup.ports import Moved, ObjectInvalid, TargetDown


def healthy(object: Object) -> Judgement:
    return Judgement(object.ref, Health.HEALTHY)


class Memory:
    """`behave(object)` tells the health of an applied object; it may change between calls."""

    def __init__(self, behave: Callable[[Object], Judgement] = healthy) -> None:
        self.behave = behave
        self.objects: dict[str, dict[Ref, Object]] = {}
        self.released: dict[Ref, Object] = {}
        self.generations: dict[Ref, int] = {}
        self.calls: list[str] = []  # "apply app deployment/web 2f7a", in order
        self.down = ""
        self.rules: dict[str, DriftRules] = {}  # kept, and without effect: nobody else writes here
        self.unread: tuple[Unread, ...] = ()
        self.invalid: dict[str, str] = {}  # object name → why it is refused
        self._moved: list[Moved] = []
        self._waiters: list[asyncio.Event] = []

    def _reachable(self) -> None:
        if self.down:
            raise TargetDown(self.down)

    async def read(self, application: str) -> Live:
        self._reachable()
        held = self.objects.get(application, {})
        return Live(
            tuple(LiveObject(r, o.hash, o.body, f"uid-{r}", self.generations[r]) for r, o in sorted(held.items())),
            self.unread,
        )

    async def apply(
        self, application: str, candidate: str, objects: Sequence[Object], accepted: Sequence[str] = ()
    ) -> None:
        self._reachable()
        for o in objects:
            if o.ref.name in self.invalid:
                raise ObjectInvalid(f"{o.place}: {o.ref}: {self.invalid[o.ref.name]}")
        held = self.objects.setdefault(application, {})
        for o in objects:
            await asyncio.sleep(0)  # a place to be killed at
            if o.ref in held and held[o.ref].hash == o.hash:
                continue
            held[o.ref] = o
            self.generations[o.ref] = self.generations.get(o.ref, 0) + 1
            self.calls.append(f"apply {application} {o.ref} {o.hash[:8]}")
            self.move(application, o.ref)

    async def drift_rules(self, application: str, rules: DriftRules) -> None:
        self.rules[application] = rules

    async def delete(self, application: str, refs: Sequence[Ref]) -> None:
        self._reachable()
        for ref in refs:
            if self.objects.get(application, {}).pop(ref, None) is not None:
                self.calls.append(f"delete {application} {ref}")
                self.move(application, ref)

    async def release(self, application: str, refs: Sequence[Ref]) -> None:
        self._reachable()
        for ref in refs:
            held = self.objects.get(application, {}).pop(ref, None)
            if held is not None:
                self.released[ref] = held
                self.calls.append(f"release {application} {ref}")

    async def judge(self, application: str) -> tuple[Judgement, ...]:
        self._reachable()
        return tuple(self.behave(o) for _, o in sorted(self.objects.get(application, {}).items()))

    def move(self, application: str, ref: Ref, drift: str = "", repaired: bool = False) -> None:
        """Tell watchers; tests call it when `behave` changed its mind."""
        self._moved.append(Moved(len(self._moved) + 1, application, ref, drift, repaired))
        for waiter in self._waiters:
            waiter.set()

    async def watch(self, after: int = 0) -> AsyncIterator[Moved]:
        wake = asyncio.Event()
        self._waiters.append(wake)
        try:
            while True:
                for moved in self._moved[after:]:
                    yield moved
                    after = moved.seq
                wake.clear()
                if len(self._moved) == after:
                    await wake.wait()
        finally:
            self._waiters.remove(wake)
