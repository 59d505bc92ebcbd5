"""An application that a person takes away: hooks of its end, deletions by reverse waves, what is kept; or let go of."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.hooked import HookedWorld, config
from engine.test_killed import run
from trueup.core import events as ev
from trueup.core import requests as rq
from trueup.core.model import Health, Principal, Unread
from trueup.core.requests import Reply
from trueup.drivers.sources.memory import MemoryRemote
from trueup.engine.verbs import Verbs

ANN = Principal("uid:1000", "socket")
CLAIM = "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: data}\n"
KEPT = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: kept, annotations: {helm.sh/resource-policy: keep}}\n"
NOT_PRUNED = (
    "apiVersion: v1\nkind: ConfigMap\n"
    "metadata: {name: unpruned, annotations: {argocd.argoproj.io/sync-options: Prune=false}}\n"
)
FILES = {
    "config/a.yaml": config("first", wave="-1"),
    "config/b.yaml": config("last", wave="2"),
    "config/claim.yaml": CLAIM,
    "config/kept.yaml": KEPT,
    "config/unpruned.yaml": NOT_PRUNED,
    "config/before.yaml": config("before", hook="PreDelete"),
    "config/after.yaml": config("after", hook="PostDelete"),
    "config/sync.yaml": config("sync", hook="PreSync"),
    "app/main": "v1\n",
    "app/Dockerfile": "FROM scratch\n",
}
END = [
    "apply configmap/before",
    "delete configmap/last",
    "delete configmap/unpruned",
    "delete configmap/first",
    "apply configmap/after",
]


async def ask(world: HookedWorld, request: rq.Request) -> Reply:
    assert world.loop is not None
    reply = await Verbs(world.loop, lambda: None).perform(request, ANN)
    await world.settle()
    return reply


async def test_it_goes_with_its_hooks_and_what_is_kept_is_told(tmp_path: Path) -> None:
    async with HookedWorld(tmp_path) as world:
        await world.pushed(FILES)
        before = len(world.calls())
        world.ends["before"] = Health.PROGRESSING
        assert (await ask(world, rq.Remove("web", why="moved"))).ok
        assert world.calls()[before:] == END[:1]
        world.turn({"before": Health.HEALTHY})
        await world.settle()
        done = world.calls()[before:]
        assert done[: len(END)] == END
        assert set(done[len(END) :]) == {"delete configmap/before", "delete configmap/after", "delete configmap/sync"}
        (ended,) = await world.facts(ev.ApplicationEnded)
        assert ended == ev.ApplicationEnded(
            "cascade",
            (
                "persistentvolumeclaim/data: it holds data: --data deletes it, too",
                "configmap/kept: kept by its annotation helm.sh/resource-policy: keep",
            ),
        )
        await world.pushed({"config/a.yaml": config("first", wave="-3")})
        assert len(world.calls()) == before + len(done)  # a push does not bring it back
        assert not (await ask(world, rq.Remove("web"))).ok
        assert (await ask(world, rq.Sync("web"))).ok
        assert {o.name for o in world.target.objects[world.application]} >= {"first", "last", "data", "kept"}


async def test_with_data_and_a_hook_that_fails(tmp_path: Path) -> None:
    async with HookedWorld(tmp_path) as world:
        await world.pushed(FILES)
        world.ends["before"] = Health.DEGRADED
        await ask(world, rq.Remove("web", data=True))
        assert (await world.app()).health_reason.startswith(
            "its removal waits: PreDelete hook failed: configmap/before"
        )
        assert {o.name for o in world.target.objects[world.application]} >= {"first", "data"}
        del world.ends["before"]
        await ask(world, rq.Remove("web", data=True))  # asked again, its hooks run again
        (ended,) = await world.facts(ev.ApplicationEnded)
        assert isinstance(ended, ev.ApplicationEnded) and len(ended.kept) == 1
        assert {o.name for o in world.target.objects[world.application]} == {"kept"}


async def test_nothing_is_deleted_while_something_is_unread(tmp_path: Path) -> None:
    async with HookedWorld(tmp_path) as world:
        await world.pushed({"config/a.yaml": config("first"), "app/main": "v1\n", "app/Dockerfile": "FROM a\n"})
        world.target.unread = (Unread("Secrets", "forbidden"),)
        await ask(world, rq.Remove("web"))
        assert "delete configmap/first" not in world.calls()
        assert (await world.app()).health_reason == "its removal waits: Secrets could not be read (forbidden)"
        world.target.unread = ()
        world.target.move(world.application, next(iter(world.target.objects[world.application])))
        await world.settle()
        assert "delete configmap/first" in world.calls()


async def test_let_go_of_it_stays_as_it_is(tmp_path: Path) -> None:
    async with HookedWorld(tmp_path) as world:
        await world.pushed(FILES)
        before = len(world.calls())
        assert (await ask(world, rq.Remove("web", orphan=True))).ok
        assert all(call.startswith("release") for call in world.calls()[before:])
        assert {ref.name for ref in world.target.released} >= {"first", "last", "data", "kept", "unpruned"}
        assert not world.target.objects[world.application]


class Scenario:
    def __init__(self, root: Path) -> None:
        self.remote = MemoryRemote()
        self.world = HookedWorld(root, (self.remote,))
        self.remote.push(dict(FILES), "first")
        self.asked = False

    async def play(self) -> None:
        world = self.world
        await world.start()
        try:
            await world.settle()
            if not self.asked:
                assert world.loop is not None
                await world.loop.record(world.application, ev.EndAsked("cascade"))
                self.asked = True
            await world.settle()
        finally:
            await world.stop()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_killed_at_every_await_of_its_end(tmp_path: Path) -> None:
    steps = run(Scenario(tmp_path).play, None)
    print(f"{steps} awaits")
    for kill in range(1, steps):
        scenario = Scenario(tmp_path)
        run(scenario.play, kill)
        run(scenario.play, None)
        world = scenario.world
        runs = [call for call in world.hook_runs() if call != "configmap/sync"]
        assert runs == ["configmap/before", "configmap/after"], f"killed at step {kill} of {steps}: {runs}"
        assert {o.name for o in world.target.objects[world.application]} == {"kept", "data"}, kill


async def test_a_namespace_that_was_made_for_it_is_left_for_others(tmp_path: Path) -> None:
    made = (
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: shop\n  annotations:\n    trueup.io/shared: 'true'\n"
        "    argocd.argoproj.io/hook: PreSync\n    argocd.argoproj.io/hook-delete-policy: HookFailed\n"
    )
    async with HookedWorld(tmp_path) as world:
        await world.pushed({**FILES, "config/n.yaml": made})
        await ask(world, rq.Remove("web", data=True))
        assert "delete namespace/shop" not in world.calls()
        assert "delete configmap/sync" in world.calls()
