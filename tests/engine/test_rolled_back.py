"""After a rollback that Git states, nothing waits: the branch is what runs."""

from __future__ import annotations

from pathlib import Path

from engine.world import FIRST, World
from trueup.core.views.chronicle import read
from trueup.core.views.status import Status, status


async def seen(world: World) -> Status:
    events = [e for stream in await world.ledger.heads() for e in await world.ledger.read(stream)]
    return status(read(events), world.clock.now())


async def test_the_branch_is_not_called_ahead_of_a_rollback_that_it_states(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.pushed(FIRST)
        await world.pushed({"app/main": "v2\n"})
        await world.record_rollback("v1\n")
        assert world.running() == "v1\n"
        (source,) = (await seen(world)).sources
        assert source.rollback.startswith("to ")
        assert (source.ahead, source.ahead_reason) == (0, "")
        await world.pushed({"app/main": "v3\n", "pipeline": "fail\n"})
        (source,) = (await seen(world)).sources
        assert source.ahead == 1
