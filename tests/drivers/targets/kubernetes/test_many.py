"""Several clusters as one target: what one cannot do never slows another, and unread is never empty."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import pytest

from cluster.control import free_port
from trueup.core.kubeconfig import resolve
from trueup.core.model import Judgement, Live, Object, Place
from trueup.core.objects import make_object
from trueup.drivers.targets.kubernetes.client import Unreachable
from trueup.drivers.targets.kubernetes.many import Many
from trueup.drivers.targets.kubernetes.target import Kubernetes, Settings
from trueup.drivers.targets.memory import Memory
from trueup.ports import ObjectInvalid, TargetDown


class Cluster(Memory):
    """A memory target that may be away, at the start or later; then a call takes for ever."""

    def __init__(self, *, away: bool = False) -> None:
        super().__init__()
        self.there = asyncio.Event()
        self.asked, self.loaded = 0, False
        if not away:
            self.there.set()

    async def load(self) -> None:
        self.loaded = True

    async def start(self) -> None:
        assert self.loaded
        await self.there.wait()

    async def close(self) -> None:
        self.objects.clear()

    def holds(self, application: str) -> bool:
        return application in self.objects

    def _reachable(self) -> None:
        self.asked += 1
        if self.down:
            raise Unreachable(self.down)

    async def read(self, application: str) -> Live:
        await self.there.wait()
        return await super().read(application)

    async def judge(self, application: str) -> tuple[Judgement, ...]:
        await self.there.wait()
        return await super().judge(application)


def config(name: str, cluster: str) -> Object:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}
    return make_object(body, Place("app.yaml", 3), cluster=cluster)


@asynccontextmanager
async def many(*, away: Sequence[str] = ()) -> AsyncIterator[tuple[Many, dict[str, Cluster]]]:
    clusters = {name: Cluster(away=name in away) for name in ("eu", "us")}
    made = Many(clusters, default="eu")
    await made.start()
    await down(made, *away)
    yield made, clusters
    await made.close()


async def down(target: Many, *names: str) -> None:
    """Until exactly these are."""
    async with asyncio.timeout(5):
        while True:
            if set(target.problems()) == set(names):
                return
            await asyncio.sleep(0)


async def test_each_object_goes_to_its_cluster_and_is_read_from_there() -> None:
    async with many() as (target, clusters):
        objects = [config("here", "host"), config("there", "us"), config("also", "eu")]
        await target.apply("app", "c1", objects)
        assert [o.ref.name for o in clusters["us"].objects["app"].values()] == ["there"]
        assert {o.ref.name for o in clusters["eu"].objects["app"].values()} == {"here", "also"}
        assert {o.ref.name for o in (await target.read("app")).objects} == {"here", "there", "also"}
        assert len(await target.judge("app")) == 3
        await target.delete("app", [objects[1].ref])
        assert not clusters["us"].objects["app"]


async def test_an_unknown_cluster_is_refused_by_name() -> None:
    async with many() as (target, clusters):
        with pytest.raises(ObjectInvalid, match=r"app.yaml:3: configmap/x is for cluster 'ap', .*there are eu, us"):
            await target.apply("app", "c1", [config("here", "eu"), config("x", "ap")])
        assert "app" not in clusters["eu"].objects  # refused before anything is touched


async def test_a_cluster_that_never_answers_slows_no_other() -> None:
    async with many(away=["us"]) as (target, clusters):
        clusters["us"].objects["theirs"] = {}
        await target.apply("ours", "c1", [config("a", "eu")])
        assert len((await target.read("ours")).objects) == 1
        with pytest.raises(TargetDown, match="cluster us: it was not reached yet"):
            await target.read("theirs")
        clusters["us"].there.set()
        await down(target)
        assert (await target.read("theirs")).objects == ()


async def test_one_that_is_down_is_never_read_as_empty_and_not_asked_again_at_once() -> None:
    async with many() as (target, clusters):
        await target.apply("app", "c1", [config("a", "eu"), config("b", "us")])
        clusters["us"].down = "no route to host"
        with pytest.raises(TargetDown, match="cluster us: no route to host"):
            await target.read("app")
        asked = clusters["us"].asked
        for _ in range(10):
            with pytest.raises(TargetDown, match="cluster us: no route to host"):
                await target.judge("app")
        assert clusters["us"].asked == asked
        with pytest.raises(TargetDown, match="cluster us"):
            await target.apply("app", "c2", [config("c", "eu"), config("d", "us")])
        assert {o.ref.name for o in clusters["eu"].objects["app"].values()} == {"a", "c"}  # the other goes on


async def test_what_one_refuses_is_that_applications_fault_alone() -> None:
    async with many() as (target, clusters):
        clusters["us"].invalid["bad"] = "no"
        with pytest.raises(ObjectInvalid, match=r"app.yaml:3: configmap/bad: no"):
            await target.apply("app", "c1", [config("bad", "us"), config("good", "eu")])
        assert not target.problems()
        await target.apply("app", "c2", [config("fine", "us")])


async def test_moves_of_all_are_told_in_one_order() -> None:
    async with many() as (target, clusters):
        await target.apply("app", "c1", [config("a", "eu"), config("b", "us")])
        clusters["us"].move("app", config("b", "us").ref, "b deleted by hand")
        told = []
        async for move in target.watch(0):
            told.append((move.ref.cluster, move.drift))
            if move.drift:
                break
        assert told[-1] == ("us", "b deleted by hand") and ("eu", "") in told


async def test_a_cluster_without_a_server_is_told_and_holds_up_nothing(tmp_path: Path) -> None:
    port = free_port()
    user = {"name": "u", "user": {"token": "t"}}
    given = {
        "apiVersion": "v1", "kind": "Config", "current-context": "c", "users": [user],
        "clusters": [{"name": "k", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
    }  # fmt: skip
    access = resolve([("/tmp/config", orjson.dumps(given))])
    away = Kubernetes(Settings(access=access, environ={}, records=str(tmp_path / "r.db")))
    made = Many({"away": away, "here": Cluster()}, default="here")
    async with asyncio.timeout(5):
        await made.start()
        await made.apply("app", "c1", [config("a", "here")])
        assert len((await made.read("app")).objects) == 1
        with pytest.raises(TargetDown, match="cluster away: it was not reached yet"):
            await made.apply("app", "c1", [config("b", "away")])
        assert list(made.problems()) == ["away"]
        await made.close()
