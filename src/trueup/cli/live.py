"""Shows a loop at work: a picture on a terminal, plain lines in a pipe. Costs nothing while nothing happens.

Driven by events; it redraws by time only while a stage is running, for its spinner and its seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Protocol

from rich.console import Console
from rich.live import Live

from trueup.cli.show.clean import Clean
from trueup.cli.show.live import screen
from trueup.cli.show.past import line
from trueup.core.events import Event
from trueup.core.running import Now
from trueup.core.views.chronicle import Chronicle, add
from trueup.core.views.timeline import moment

TICK_S = 0.25
ASK_S = 1.0  # how often the target is asked while something rolls out


class Feed(Protocol):
    """Where the picture comes from: this process's own loop, or another's through its socket."""

    def events(self) -> AsyncIterator[Event]:
        """What happens from now on; ends when the loop does."""
        ...

    async def now(self) -> Now:
        """What only the loop knows: the target's word on each object, and what it is stuck on."""
        ...


async def show(feed: Feed, known: Chronicle, console: Console) -> None:
    """Show until the feed ends or this is cancelled. `known` is the past, and grows."""
    if console.is_terminal:
        await _picture(feed, known, console)
        return
    async for event in feed.events():
        if add(known, event) and (said := moment(known, event)) is not None:
            console.print(line(said), soft_wrap=True)


async def _picture(feed: Feed, known: Chronicle, console: Console) -> None:
    changed, ended = asyncio.Event(), asyncio.Event()

    with Live(console=console, auto_refresh=False, transient=False) as live:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_take(feed, known, live, changed, ended), name="take events")
            changed.set()
            judged = _Judged(feed)
            while not ended.is_set():
                await changed.wait()
                changed.clear()
                fresh = await judged.look()
                picture, moving = screen(known, judged.latest, datetime.now(UTC))
                live.update(Clean(picture), refresh=True)
                if (again_s := redraw_after_s(moving=moving, fresh=fresh)) is not None:
                    asyncio.get_running_loop().call_later(again_s, changed.set)


def redraw_after_s(*, moving: bool, fresh: bool) -> float | None:
    """When the picture is drawn again though nothing is reported; None: only when something is."""
    if moving:
        return TICK_S
    return None if fresh else ASK_S


async def _take(feed: Feed, known: Chronicle, live: Live, changed: asyncio.Event, ended: asyncio.Event) -> None:
    async for event in feed.events():
        if add(known, event):
            if (said := moment(known, event)) is not None:
                live.console.print(line(said))
            changed.set()
    ended.set()
    changed.set()


class _Judged:
    """The target's last word, asked for at most once a second."""

    def __init__(self, feed: Feed) -> None:
        self._feed, self._asked_s = feed, float("-inf")
        self.latest = Now()

    async def look(self) -> bool:
        """False when it was too soon to ask again."""
        clock_s = asyncio.get_running_loop().time()
        if clock_s - self._asked_s < ASK_S:
            return False
        self._asked_s = clock_s
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ASK_S):
                self.latest = await self._feed.now()
        return True
