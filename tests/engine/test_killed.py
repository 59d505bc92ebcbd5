"""Killed at every await from a push to its write-back, then started again: the same end state, nothing twice.

A kill is an event loop that is dropped where it stands: no task resumes, no `finally` runs. What stands outside (the
remote, the ledger, the target, the builder's cache) stays, as after kill -9.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from engine.world import DEPLOYMENT, FIRST, World
from trueup.core import events as ev
from trueup.core.candidate import Phase
from trueup.drivers.sources.memory import MemoryRemote
from trueup.store.memory import MemoryLedger

pytestmark = [
    # what was killed is never tidied up: that is the point
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


class Killed(SystemExit):
    """Ends an event loop from within a task, as no exception of the program does."""


class Counted(Coroutine[Any, Any, Any]):
    """Counts each time a task goes on after an await; kills at the one that was asked for."""

    def __init__(self, inner: Coroutine[Any, Any, Any], tick: Callable[[], None]) -> None:
        self._inner, self._tick = inner, tick

    def send(self, value: Any) -> Any:
        self._tick()
        return self._inner.send(value)

    def throw(self, *error: Any) -> Any:
        return self._inner.throw(*error)

    def close(self) -> None:
        self._inner.close()

    def __await__(self) -> Any:
        raise AssertionError("a task's coroutine is never awaited")


GRAVE: list[object] = []  # keeps what was killed from being tidied up


def run(main: Callable[[], Coroutine[Any, Any, None]], kill_at: int | None) -> int:
    """Run to the end or to the kill. Returns how many times a task went on."""
    count = 0

    def tick() -> None:
        nonlocal count
        count += 1
        if count == kill_at:
            raise Killed

    loop = asyncio.new_event_loop()

    own: list[object] = []  # the first task is this test's: what it waits for is no await of Trueup's

    def factory(loop: asyncio.AbstractEventLoop, coroutine: Any, **kw: Any) -> asyncio.Task[Any]:
        task = asyncio.Task(Counted(coroutine, tick) if own else coroutine, loop=loop, **kw)
        own.append(task)
        GRAVE.append(task)
        return task

    loop.set_task_factory(factory)
    loop.set_exception_handler(lambda *_: None)
    try:
        loop.run_until_complete(main())
    except Killed:
        pass
    finally:
        loop.close()
    return count


PUSHES = (
    (dict(FIRST.items()), "first"),
    ({"app/main": "v2\n"}, "second"),
    ({"app/main": "crash\n", "app/more": "x\n"}, "break it"),
)


class Scenario:
    """Three pushes, the last one bad; each is made when the one before has settled."""

    def __init__(self, root: Path, split: bool) -> None:
        self.remotes = [MemoryRemote() for _ in range(2 if split else 1)]
        self.world = World(root, split=split, remotes=self.remotes)
        self.split, self.pushed = split, 0
        if split:
            self.remotes[1].push({"config/web.yaml": DEPLOYMENT}, "configuration")

    async def play(self) -> None:
        world = self.world
        await world.start()
        try:
            await world.settle()
            while self.pushed < len(PUSHES):
                files, message = PUSHES[self.pushed]
                own = {k: v for k, v in files.items() if not (self.split and k.startswith("config"))}
                self.remotes[0].push(own, message)
                self.pushed += 1
                await world.settle()
        finally:
            await world.stop()

    def end(self) -> dict[str, object]:
        """What must be the same however often it was killed."""
        world = self.world
        histories = [[r.commits[o].message.split()[0] for o in r.ancestors(r.branches["main"])]
                     for r in self.remotes]  # fmt: skip
        trees = [r.trees[r.commits[r.branches["main"]].tree] for r in self.remotes]
        return {
            "runs": world.running(),
            "histories": histories,
            "trees": trees,
            "branches": [sorted(r.branches) for r in self.remotes],
            "builds": sorted(world.builds.built),
        }


async def check(scenario: Scenario) -> None:
    world = scenario.world
    heads = await world.ledger.heads()
    assert isinstance(world.ledger, MemoryLedger)
    assert (await world.ledger.verify({})).ok
    for stream in (s for s in heads if s.startswith("run/")):
        facts = [e.fact for e in await world.ledger.read(stream)]
        assert sum(isinstance(f, ev.RunFinished) for f in facts) == 1
    intents = list(await world.facts(ev.WriteIntended))
    pushed = list(await world.facts(ev.WritePushed))
    assert len({f.commit for f in pushed}) == len(pushed)  # type: ignore[attr-defined]
    assert {f.commit for f in pushed} <= {f.commit for f in intents}  # type: ignore[attr-defined]


def play(root: Path, split: bool, kills: tuple[int, ...]) -> tuple[Scenario, int]:
    scenario = Scenario(root, split)
    for kill in kills:
        run(scenario.play, kill)
    steps = run(scenario.play, None)
    run(lambda: check(scenario), None)
    return scenario, steps


@pytest.mark.parametrize("split", [False, True], ids=["one repository", "two repositories"])
def test_killed_at_every_await(tmp_path: Path, split: bool) -> None:
    clean, steps = play(tmp_path, split, ())
    print(f"{steps} awaits")
    expected = clean.end()
    assert expected["runs"] == "v2\n"
    for kill in range(1, steps):
        scenario, _ = play(tmp_path, split, (kill,))
        assert scenario.end() == expected, f"killed at step {kill} of {steps}"


def test_killed_again_and_again(tmp_path: Path) -> None:
    expected = play(tmp_path, False, ())[0].end()
    for every in (7, 23, 61, 120):
        scenario, _ = play(tmp_path, False, tuple([every] * 40))
        assert scenario.end() == expected, f"killed 40 times, each at step {every}"


def test_the_phase_after_all_is_healthy(tmp_path: Path) -> None:
    scenario, _ = play(tmp_path, False, (50, 90))

    async def phase() -> None:
        world = scenario.world
        world.loop = world.make_loop()
        app = await world.app()
        assert app.current is not None and app.current.phase is Phase.HEALTHY

    run(phase, None)
