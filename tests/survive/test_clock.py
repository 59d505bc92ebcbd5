"""The clock jumps, back and far ahead, in the middle of a rollout and of an undo: nothing is lost, done twice or undone
for it, and no stream's time goes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from engine.world import FIRST, World
from trueup.core.events import Event
from trueup.core.ledger import decode
from trueup.store.keys import Signer
from trueup.store.sqlite import SqliteLedger, open_ledger


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path)
    made.ledger = made.runs.ledger = await open_ledger(
        str(tmp_path / "ledger.db"), clock=made.clock, signer=Signer(b"s" * 32)
    )
    async with made:
        yield made
    await made.ledger.close()


async def events(world: World) -> list[Event]:
    assert isinstance(world.ledger, SqliteLedger)
    return [decode(entry) async for entry in world.ledger.entries()]


@pytest.mark.parametrize("jump", [-timedelta(days=400), timedelta(days=4000)], ids=str)
async def test_a_jump_in_the_middle_of_everything_changes_nothing(world: World, jump: timedelta) -> None:
    await world.pushed(dict(FIRST))
    held = world.runs.gates.setdefault("", asyncio.Event())
    commit = world.person.push({"app/main": "v2\n"}, "second")
    world.runs.gates[commit] = held
    world.look()
    await world.until(lambda: commit in world.runs.started)
    world.clock.time += jump  # the pipeline is running
    held.set()
    await world.settle()
    assert world.running() == "v2\n"
    bad = await world.pushed({"app/main": "crash\n"}, "third")
    world.clock.time -= jump  # and back again, after the undo
    await world.settle()
    assert world.running() == "v2\n"
    assert world.person.show("app/main") == "v2"
    assert (await world.candidate(bad)).id in (await world.app()).condemned
    assert len(world.person.subjects()) == 6  # three pushes, two write-backs, one undo


async def test_no_streams_time_goes_back_and_the_chain_holds(world: World) -> None:
    jump = timedelta(days=400)
    await world.pushed(dict(FIRST))
    for number in range(4):
        world.clock.time += jump if number % 2 else -jump
        await world.pushed({"app/main": f"v{number + 2}\n"}, f"push {number}")
    assert world.running() == "v5\n"
    by_stream: dict[str, list[Event]] = {}
    for event in await events(world):
        by_stream.setdefault(event.stream, []).append(event)
    for stream, own in by_stream.items():
        times = [event.time for event in own]
        assert times == sorted(times), f"{stream} goes back in time"
    assert isinstance(world.ledger, SqliteLedger)
    assert (await world.ledger.verify({})).ok
