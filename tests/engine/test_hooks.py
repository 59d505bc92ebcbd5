"""Hooks and waves in the loop: in their order, once, over kills at every await; a failed one undoes the push."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.hooked import FIRST, HookedWorld, config
from engine.test_killed import run
from trueup.core import events as ev
from trueup.core import requests as rq
from trueup.core.candidate import Phase
from trueup.core.model import Fault, Health, Principal
from trueup.core.views.chronicle import read
from trueup.core.views.status import status
from trueup.core.views.timeline import timeline
from trueup.drivers.sources.memory import MemoryRemote
from trueup.engine.verbs import Verbs

ANN = Principal("uid:1000", "socket")
ORDER = [
    "apply configmap/before",
    "apply configmap/settings",
    "apply deployment/web",
    "apply configmap/between",
    "delete configmap/between",
    "apply configmap/last",
    "apply configmap/after",
    "delete configmap/after",
]


async def test_waves_and_hooks_come_in_their_order(tmp_path: Path) -> None:
    async with HookedWorld(tmp_path) as world:
        await world.pushed(FIRST)
        assert world.calls() == ORDER
        app = await world.app()
        assert app.current is not None and app.current.phase is Phase.HEALTHY
        world.target.objects[world.application].popitem()  # drift: repaired without a hook
        world.target.move(world.application, next(iter(world.target.objects[world.application])))
        await world.settle()
        assert len(world.calls()) == len(ORDER) + 1
        assert len(world.hook_runs()) == 3


async def test_a_push_that_changes_no_object_runs_no_hook_and_one_that_changes_a_hook_does(tmp_path: Path) -> None:
    async with HookedWorld(tmp_path) as world:
        await world.pushed(FIRST)
        await world.pushed({"README.md": "hello\n"})
        assert len(world.hook_runs()) == 3
        await world.pushed({"config/before.yaml": config("before", hook="PreSync", wave="1")})
        assert world.hook_runs()[3:] == ["configmap/before", "configmap/between", "configmap/after"]


async def test_each_wave_and_hook_waits(tmp_path: Path) -> None:
    async with HookedWorld(tmp_path) as world:
        world.ends = dict.fromkeys(("before", "settings", "web", "between", "last", "after"), Health.PROGRESSING)
        await world.pushed(FIRST)
        made = [name for name in ORDER if name.startswith("apply")]
        events = [e for stream in await world.ledger.heads() for e in await world.ledger.read(stream)]
        sync = status(read(events), world.clock.now()).applications[0].sync
        assert sync is not None and sync.reason == "PreSync hooks run: configmap/before"
        steps = (("before", 1), ("settings", 2), ("between", 4), ("web", 4), ("last", 5), ("after", 6))
        for name, before in steps:
            assert [call for call in world.calls() if call.startswith("apply")] == made[:before], name
            world.turn({name: Health.HEALTHY})
            await world.settle()
        app = await world.app()
        assert app.current is not None and app.current.phase is Phase.HEALTHY
        events = [e for stream in await world.ledger.heads() for e in await world.ledger.read(stream)]
        assert status(read(events), world.clock.now()).applications[0].sync is None


async def test_a_failed_hook_undoes_the_push_with_its_words(tmp_path: Path) -> None:
    async with HookedWorld(tmp_path) as world:
        await world.pushed(FIRST)
        world.ends["before"] = Health.PROGRESSING
        bad = await world.pushed({"config/a.yaml": config("settings", wave="-2")})
        assert "apply configmap/settings" not in world.calls()[len(ORDER) :]
        world.fails("before", "exit 1: relation orders does not exist")
        hooks = f"{world.application}/hooks"
        world.target.move(hooks, next(r for r in world.target.objects[hooks] if r.name == "before"))
        await world.until(lambda: "configmap/failed" in world.hook_runs())
        world.ends.pop("before")
        await world.settle()
        (condemned,) = await world.facts(ev.SyncCondemned)
        assert isinstance(condemned, ev.SyncCondemned)
        words = "configmap/before: exit 1: relation orders does not exist"
        assert condemned.reason == f"PreSync hook failed: {words}"
        assert await world.records.get(condemned.record) == b"Traceback\nexit 1: relation orders does not exist"
        assert world.person.subjects()[0].startswith(f"Undo {bad[:10]}")
        events = [e for stream in await world.ledger.heads() for e in await world.ledger.read(stream)]
        told = [m.text for m in timeline(read(events)).moments]
        assert f"PreSync hook configmap/before failed: {words}" in told
        assert "SyncFail hooks run: configmap/failed" in told


async def test_a_hook_that_the_world_fails_is_held_and_goes_on_when_it_mends(tmp_path: Path) -> None:
    async with HookedWorld(tmp_path) as world:
        world.ends["before"] = Health.PROGRESSING
        await world.pushed(FIRST)
        world.fails("before", "registry does not answer", Fault.WORLD)
        world.look()
        world.target.move(world.application, next(iter(world.target.objects[f"{world.application}/hooks"])))
        await world.settle()
        app = await world.app()
        assert app.current is not None and app.current.phase is Phase.HELD
        assert "registry does not answer" in app.current.reason
        assert len(await world.facts(ev.SyncHeld)) == 1
        assert "apply deployment/web" not in world.calls()
        world.turn({"before": Health.HEALTHY})
        await world.settle()
        assert world.calls() == ORDER
        assert not await world.facts(ev.SyncCondemned)


async def test_another_push_waits_for_the_hook_that_runs(tmp_path: Path) -> None:
    async with HookedWorld(tmp_path) as world:
        world.ends["before"] = Health.PROGRESSING
        await world.pushed(FIRST)
        await world.pushed({"app/main": "v2\n"})
        assert world.hook_runs() == ["configmap/before"]
        world.turn({"before": Health.HEALTHY})
        await world.settle()
        assert world.running() == "v2\n"
        assert world.hook_runs() == ["configmap/before", "configmap/before", "configmap/between", "configmap/after"]
        assert len(await world.facts(ev.SyncHealthy)) == 1


async def test_terminate_deletes_the_hook_that_runs(tmp_path: Path) -> None:
    async with HookedWorld(tmp_path) as world:
        world.ends["before"] = Health.PROGRESSING
        await world.pushed(FIRST)
        assert world.loop is not None
        reply = await Verbs(world.loop, lambda: None).perform(rq.Terminate(why="wrong day"), ANN)
        assert reply.ok, reply
        await world.settle()
        assert world.calls() == ["apply configmap/before", "delete configmap/before"]
        ended = await world.facts(ev.HookEnded)
        assert [e.outcome for e in ended if isinstance(e, ev.HookEnded)] == ["terminated"]


# --- killed ------------------------------------------------------------------------------------------


class Scenario:
    """A push with three waves and hooks, then one whose change is applied over it."""

    def __init__(self, root: Path) -> None:
        self.remote = MemoryRemote()
        self.world = HookedWorld(root, (self.remote,))
        self.pushed = 0

    async def play(self) -> None:
        world = self.world
        await world.start()
        try:
            await world.settle()
            for at, files in enumerate((FIRST, {"app/main": "v2\n"})):
                if self.pushed == at:
                    self.remote.push(dict(files), f"push {at}")
                    self.pushed += 1
                await world.settle()
        finally:
            await world.stop()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_killed_at_every_await_no_hook_runs_twice(tmp_path: Path) -> None:
    clean = Scenario(tmp_path)
    steps = run(clean.play, None)
    print(f"{steps} awaits")
    hooks = ["configmap/before", "configmap/between", "configmap/after"]
    assert clean.world.hook_runs() == [*hooks, *hooks]
    for kill in range(1, steps):
        scenario = Scenario(tmp_path)
        run(scenario.play, kill)
        run(scenario.play, None)
        world = scenario.world
        assert world.running() == "v2\n", kill
        found = world.hook_runs()
        # killed between two pushes' syncs the first may be overtaken before it began, never run twice
        assert found in ([*hooks, *hooks], hooks), f"killed at step {kill} of {steps}: {found}"
        assert {o.name for o in world.target.objects[world.application]} == {"web", "settings", "last"}
