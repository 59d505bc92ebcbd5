"""Reads the state folder, whether or not `trueup up` runs there: the ledger, the bundles, what is known only now."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from trueup.api.client import Denied, NotRunning, connect
from trueup.cli.errors import Away
from trueup.core.layout import Layout
from trueup.core.ledger import decode
from trueup.core.model import Bundle
from trueup.core.running import Now
from trueup.core.views.chronicle import Chronicle, add, read
from trueup.core.views.why import Why
from trueup.store.sqlite import ReadonlyLedger, open_readonly

if TYPE_CHECKING:
    from trueup.store.sqlite_records import ReadonlyRecords


@contextlib.asynccontextmanager
async def ledger(layout: Layout) -> AsyncIterator[ReadonlyLedger]:
    """The ledger for reading. Raises Away when there is none yet."""
    try:
        opened = open_readonly(layout.ledger)
    except FileNotFoundError as error:
        raise Away(str(error)) from error
    except PermissionError as error:
        raise Away(f"{layout.root} belongs to another user; run as that user, or name another --state") from error
    try:
        yield opened
    finally:
        await opened.close()


async def chronicle(layout: Layout) -> Chronicle:
    """The whole ledger, folded."""
    async with ledger(layout) as opened:
        return read([decode(entry) async for entry in opened.entries()])


async def grow(known: Chronicle, opened: ReadonlyLedger, after: int) -> int:
    """Add what came after a position; the new position."""
    while page := await opened.page(after):
        for position, entry in page:
            after = position
            add(known, decode(entry))
    return after


async def now(layout: Layout) -> Now | None:
    """What only the running process knows; None when none runs or it does not let us in."""
    if not os.path.exists(layout.socket):
        return None
    async with connect(layout.socket) as client:
        try:
            return await client.now()
        except (NotRunning, Denied):
            return None


@contextlib.asynccontextmanager
async def records(layout: Layout) -> AsyncIterator[ReadonlyRecords | None]:
    """The records for reading; None when there are none."""
    from trueup.store.keys import read_key, sealing_key
    from trueup.store.sqlite_records import ReadonlyRecords

    if not os.path.exists(layout.records):
        yield None
        return
    opened = ReadonlyRecords(layout.records, await asyncio.to_thread(read_key, sealing_key(layout, "records.key"), 32))
    try:
        yield opened
    finally:
        await opened.close()


async def with_lines(layout: Layout, found: Why) -> Why:
    """The same with the last log lines of containers that failed, as far as they are still kept."""
    async with records(layout) as opened:
        if opened is None:
            return found
        links = []
        for link in found.links:
            data = await opened.get(link.record) if link.record else None
            lines = tuple(data.decode(errors="replace").splitlines()) if data else ()
            links.append(replace(link, detail=(*link.detail, *lines)))
        return replace(found, links=tuple(links))


async def bundles(layout: Layout, known: Chronicle) -> Mapping[str, Bundle]:
    """Application id → the Bundle last applied there; without those whose record is gone."""
    found: dict[str, Bundle] = {}
    async with records(layout) as opened:
        for id, state in known.applications.items() if opened else ():
            data = await opened.get(state.current.bundle) if opened and state.current else None
            if data is not None:
                found[id] = msgspec.json.decode(data, type=Bundle)
    return found
