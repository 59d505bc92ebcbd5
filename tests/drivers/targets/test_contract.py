"""What every target promises, over each of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from trueup.core.model import Health, Object, Place, Ref
from trueup.core.objects import make_object
from trueup.drivers.targets.memory import Memory
from trueup.ports import Moved, Target

LIMIT_S = 20.0


def config(name: str, value: str = "1") -> Object:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"key": value}}
    return make_object(body, Place("config.yaml", 1))


@pytest.fixture(params=["memory", pytest.param("host", marks=pytest.mark.integration)])
async def target(request: pytest.FixtureRequest) -> AsyncIterator[Target]:
    if request.param == "memory":
        yield Memory()
        return
    from trueup.drivers.targets.host import Host

    host = Host(request.getfixturevalue("machine").layout)
    await host.ensure()
    yield host
    await host.close()


async def refs(target: Target, application: str) -> dict[Ref, tuple[str, int]]:
    return {o.ref: (o.hash, o.generation) for o in (await target.read(application)).objects}


async def test_what_is_applied_is_read_back(target: Target) -> None:
    one, two = config("back-one"), config("back-two")
    await target.apply("back", "c1", [one, two])
    assert await refs(target, "back") == {one.ref: (one.hash, 1), two.ref: (two.hash, 1)}
    bodies = {o.ref: o.body for o in (await target.read("back")).objects}
    assert bodies[one.ref] == one.body


async def test_the_same_again_changes_nothing(target: Target) -> None:
    one = config("same")
    await target.apply("same", "c1", [one])
    uids = [o.uid for o in (await target.read("same")).objects]
    await target.apply("same", "c2", [one])
    assert await refs(target, "same") == {one.ref: (one.hash, 1)}
    assert [o.uid for o in (await target.read("same")).objects] == uids


async def test_a_change_is_a_new_generation(target: Target) -> None:
    await target.apply("change", "c1", [config("change")])
    after = config("change", "2")
    await target.apply("change", "c2", [after])
    assert await refs(target, "change") == {after.ref: (after.hash, 2)}


async def test_applications_do_not_see_each_other(target: Target) -> None:
    await target.apply("mine", "c1", [config("mine")])
    assert await refs(target, "yours") == {}
    await target.delete("yours", [config("mine").ref])
    assert list(await refs(target, "mine")) == [config("mine").ref]


async def test_delete_is_idempotent(target: Target) -> None:
    one, two = config("gone-one"), config("gone-two")
    await target.apply("gone", "c1", [one, two])
    for _ in range(2):
        await target.delete("gone", [one.ref])
    assert list(await refs(target, "gone")) == [two.ref]


async def test_every_object_is_judged(target: Target) -> None:
    await target.apply("judged", "c1", [config("judged-one"), config("judged-two")])
    judged = await target.judge("judged")
    assert [(j.ref.name, j.health) for j in judged] == [
        ("judged-one", Health.HEALTHY),
        ("judged-two", Health.HEALTHY),
    ]
    assert await target.judge("nobody") == ()


async def until(target: Target, after: int, name: str) -> list[Moved]:
    seen: list[Moved] = []
    async with asyncio.timeout(LIMIT_S):
        async for move in target.watch(after):
            seen.append(move)
            if move.ref.name == name:
                return seen
    raise AssertionError("the watch ended")


async def test_watchers_miss_nothing(target: Target) -> None:
    for name in ("watch-one", "watch-two", "watch-three"):
        await target.apply("watch", "c1", [config(name)])
    all_moves = await until(target, 0, "watch-three")
    first = next(m for m in all_moves if m.ref.name == "watch-one")
    later = await until(target, first.seq, "watch-three")
    assert later == [m for m in all_moves if m.seq > first.seq]
    assert [m.seq for m in later] == sorted({m.seq for m in later})


async def test_a_watch_wakes_for_what_comes(target: Target) -> None:
    await target.apply("wakes", "c1", [config("wakes-before")])
    seq = (await until(target, 0, "wakes-before"))[-1].seq
    waiting: asyncio.Task[Any] = asyncio.create_task(until(target, seq, "wakes-after"))
    await asyncio.sleep(0)
    await target.apply("wakes", "c1", [config("wakes-after")])
    assert (await waiting)[-1].application == "wakes"
