"""`trueup status --watch`: the picture that `trueup up` draws, from another process through its socket."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from trueup.api.client import Client, Denied, NotRunning, connect
from trueup.cli import live, reading
from trueup.cli.common import console
from trueup.cli.errors import Away
from trueup.core.events import Event
from trueup.core.layout import Layout
from trueup.core.running import Now
from trueup.core.views.chronicle import Chronicle


class Other:
    """Another process's loop as a feed, from a position in the ledger on."""

    def __init__(self, client: Client, after: int) -> None:
        self._client, self._after = client, after

    async def events(self) -> AsyncIterator[Event]:
        with contextlib.suppress(NotRunning):  # it has ended, and so does the picture
            async for _, event in self._client.events(self._after, follow=True):
                yield event

    async def now(self) -> Now:
        try:
            return await self._client.now()
        except NotRunning:
            return Now()


async def watch(where: Layout) -> None:
    """Show until the loop ends. Raises Away when none runs."""
    known = Chronicle()
    async with reading.ledger(where) as opened:
        after = await reading.grow(known, opened, 0)
    async with connect(where.socket) as client:
        try:
            await client.now()
        except (NotRunning, Denied) as error:
            raise Away(str(error)) from error
        await live.show(Other(client, after), known, console())
