"""What housekeeping must leave alone: what runs, what a rollback needs, what is not over."""

from __future__ import annotations

from pathlib import Path

from engine.world import FIRST, World
from trueup.core.candidate import Phase
from trueup.drivers.sources.memory import MemoryRemote
from trueup.engine.tidy import ROLLBACKS, needed


async def test_what_runs_and_the_last_good_ones_are_kept_older_ones_are_not(tmp_path: Path) -> None:
    remote = MemoryRemote()
    async with World(tmp_path, remotes=[remote]) as world:
        for number in range(ROLLBACKS + 3):
            remote.push({**FIRST, "app/main": f"v{number}\n"}, f"push {number}")
            await world.settle()
        assert world.loop is not None
        keep = await needed(world.loop.book, world.records)
        kept = {world.builds.content[d] for d in keep.digests}
        assert f"v{ROLLBACKS + 2}\n" in kept and "v3\n" in kept
        assert "v0\n" not in kept and "v2\n" not in kept
        app = await world.app()
        assert app.current is not None and app.current.bundle in keep.records
        assert len(keep.records) == ROLLBACKS


async def test_a_held_rollout_and_the_one_before_are_both_kept(tmp_path: Path) -> None:
    remote = MemoryRemote()
    async with World(tmp_path, remotes=[remote]) as world:
        remote.push(FIRST, "first")
        await world.settle()
        remote.push({"app/main": "sick\n"}, "second")
        await world.settle()
        app = await world.app()
        assert app.current is not None and app.current.phase is Phase.HELD and world.loop is not None
        keep = await needed(world.loop.book, world.records)
        assert {world.builds.content[d] for d in keep.digests} == {"v1\n", "sick\n"}
        candidate = await world.loop.book.candidate(app.current.candidate)
        assert {candidate.id, *candidate.required} <= keep.runs
