"""What a whole pass looks at: nothing when nothing happened, and whatever something happened to, told or not."""

from __future__ import annotations

from pathlib import Path

from engine.world import FIRST, World
from trueup.core import events as ev
from trueup.engine.loop import Loop


async def _running(world: World) -> Loop:
    await world.pushed(FIRST)
    await world.settle()  # our own write-back has been seen
    assert world.loop is not None
    return world.loop


async def test_a_settled_application_is_not_looked_at_again(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        loop = await _running(world)
        assert loop.applications.stale() == ()


async def test_an_event_of_the_target_or_the_source_that_woke_nobody_is_found(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        loop = await _running(world)
        loop.applications.moved(world.application, 1000)
        assert loop.applications.stale() == (world.application,)
        loop.queue.wake(world.application)
        await world.settle()
        assert loop.applications.stale() == ()
        state = await loop.book.source(world.source)
        await loop.book.write(world.source, state.seq, [ev.SourcePaused(None, "lunch")])
        assert loop.applications.stale() == (world.application,)


async def test_what_nobody_told_is_repaired_when_all_is_read_anew(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        loop = await _running(world)
        held = world.target.objects[world.application]
        held.clear()  # by hand, and the target did not notice
        assert loop.applications.stale() == ()
        assert loop.applications.forget() == (world.application,)
        loop.queue.wake(world.application)
        await world.settle()
        assert world.running() == "v1\n"
        assert [f.repaired for f in await world.facts(ev.Drifted) if isinstance(f, ev.Drifted)] == [True]


async def test_a_target_that_does_not_answer_leaves_nothing_settled(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        loop = await _running(world)
        world.target.down = "no answer"
        loop.queue.wake(world.application)
        await world.settle()
        assert loop.applications.forget() == ()
        world.target.down = ""
        loop.queue.wake(world.application)
        await world.settle()
        assert loop.applications.forget() == (world.application,)
