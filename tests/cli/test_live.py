"""The view of a loop at work: lines in a pipe, a picture on a terminal, and rest while nothing happens."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from rich.console import Console

from stories import START, tell
from trueup.cli import live
from trueup.cli.show.live import screen
from trueup.core.events import Event
from trueup.core.model import Health, Judgement, Ref
from trueup.core.running import Now
from trueup.core.views.chronicle import Chronicle, read

WEB = Ref("host", "apps", "Deployment", "default", "web")


class Feed:
    """Gives the events it was given, then ends."""

    def __init__(self, events: list[Event]) -> None:
        self._events = events

    async def events(self) -> AsyncIterator[Event]:
        for event in self._events:
            yield event

    async def now(self) -> Now:
        return Now({"application/a": (Judgement(WEB, Health.PROGRESSING, "2/3 ready"),)}, {"source/s": "no disk"})


async def test_a_pipe_gets_one_line_a_transition_without_colour() -> None:
    out = io.StringIO()
    await live.show(Feed(tell("undone")), Chronicle(), Console(file=out, width=1000, highlight=False))
    lines = out.getvalue().splitlines()
    assert lines[0] == "09:00:00 shop: watching /srv/shop.git branch main"
    assert "09:01:10 shop: stopped: cccccccccc is bad: deployment/web: 0/1 ready: exit 1" in lines
    assert "\x1b[" not in out.getvalue()


async def test_what_is_known_already_is_not_said_again() -> None:
    out = io.StringIO()
    await live.show(Feed(tell("undone")), read(tell("undone")), Console(file=out, width=1000))
    assert out.getvalue() == ""


async def test_a_terminal_gets_a_picture_that_ends_with_the_feed() -> None:
    out = io.StringIO()
    async with asyncio.timeout(20):
        await live.show(Feed(tell("undone")), Chronicle(), Console(file=out, force_terminal=True, width=120))
    text = out.getvalue()
    assert "deployment/web" in text and "2/3 ready" in text and "no disk" in text


async def test_the_picture_shows_stages_moving() -> None:
    begun = read(e for e in tell("undone") if e.time <= START + timedelta(seconds=5))
    picture, moving = screen(begun, Now(), START + timedelta(seconds=6))
    out = io.StringIO()
    Console(file=out, width=120).print(picture)
    assert moving
    assert "✔  check" in out.getvalue() and "pipelines" in out.getvalue() and "4.0 s" in out.getvalue()
    assert not screen(read(tell("undone")), Now(), START)[1], "the picture moves though all is done"


def test_nothing_is_drawn_by_time_while_nothing_happens() -> None:
    assert live.redraw_after_s(moving=False, fresh=True) is None
    assert live.redraw_after_s(moving=True, fresh=True) == live.TICK_S
    assert live.redraw_after_s(moving=False, fresh=False) == live.ASK_S, "the last word of the target would be missed"


async def test_watching_another_process_needs_one_that_runs(tmp_path: Path) -> None:
    from trueup.cli.errors import Away
    from trueup.cli.watch import watch
    from trueup.core.layout import Layout
    from trueup.store.keys import open_keys
    from trueup.store.sqlite import open_ledger

    class Clock:
        def now(self) -> datetime:
            return START

        def monotonic_s(self) -> float:
            return 0.0

    where = Layout(str(tmp_path))
    ledger = await open_ledger(where.ledger, clock=Clock(), signer=open_keys(where.keys).signer)
    await ledger.close()
    with pytest.raises(Away, match="no `trueup up` answers"):
        await watch(where)
