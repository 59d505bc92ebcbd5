"""`trueup ledger records|erase`: what is kept beside the ledger, and forgetting one of them for good."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click
from msgspec import Struct
from rich.console import Console

from trueup.cli import exits, reading
from trueup.cli.common import Wall, emit, layout, output_option, person, run, state_option
from trueup.cli.errors import Away, Stop
from trueup.cli.times import size
from trueup.core.layout import Layout
from trueup.core.views.chronicle import Chronicle, short

if TYPE_CHECKING:
    from trueup.store.sqlite_records import SqliteRecords

WHAT = {
    "bundle": "the objects of a rollout, Secrets among them",
    "findings": "what a check found",
    "excerpt": "last log lines of a container that failed",
    "job": "a job's steps, outputs and reports",
}


class Record(Struct, frozen=True):
    key: str
    kind: str
    of: str  # "shop 3f2c9d1aab": application or source, and commit
    time: datetime
    size_bytes: int  # as stored
    needed: bool = False  # by what runs


@click.command(epilog="\b\nExamples:\n  trueup ledger records\n  trueup ledger records -o json | jq -r '.[].key'")
@state_option
@output_option
def records(state: str | None, output: str) -> None:
    """List what is kept beside the events, newest first: logs' ends, findings, bundles. Contents are never shown."""
    emit(run(_listed(layout(state))), output, _show)


@click.command(
    epilog="\b\nExamples:\n  trueup ledger erase 4b1d09e2 --why 'a name in a log'\n  trueup ledger erase 4b1d09e2 --yes"
)
@click.argument("record")
@click.option("--why", default="", help="Kept in the ledger, with who did it.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@state_option
def erase(record: str, why: str, yes: bool, state: str | None) -> None:
    """Erase a record for good and leave a tombstone that says who did it, and why. The ledger's chain stays whole.

    RECORD is its key, or the first digits of it, as `trueup ledger records` lists it.
    """
    where = layout(state)
    found = _one(run(_listed(where)), record)
    if found.needed:
        raise Stop(f"{found.key} is what runs: push a commit without what should be forgotten, then erase it")
    told = f"{found.key}: {WHAT.get(found.kind, found.kind)}, of {found.of}"
    if not yes:
        _agree(told)
    run(_erase(where, found.key, why))
    click.echo(f"erased for good: {told}")


def _agree(told: str) -> None:
    if not sys.stdin.isatty():
        raise Stop(f"nothing was erased: say --yes when you mean {told}", exits.WAITS)
    if not click.confirm(f"Erase {told}, for good?"):
        raise Stop("nothing was erased", exits.WAITS)


def _one(listed: tuple[Record, ...], key: str) -> Record:
    found = [r for r in listed if r.key.startswith(key)]
    if not found:
        raise Stop(f"no record {key!r} is kept; see: trueup ledger records", exits.UNKNOWN)
    if len(found) > 1:
        raise Stop(f"{key!r} is more than one record: {', '.join(r.key for r in found[:5])}", exits.USAGE)
    return found[0]


async def _listed(where: Layout) -> tuple[Record, ...]:
    from trueup.store.keys import read_key, sealing_key
    from trueup.store.sqlite_records import ReadonlyRecords

    known = await reading.chronicle(where)
    if not os.path.exists(where.records):
        return ()
    key = await asyncio.to_thread(read_key, sealing_key(where, "records.key"), 32)
    opened = ReadonlyRecords(where.records, key)
    try:
        rows = await opened.listed()
    finally:
        await opened.close()
    runs = {a.current.bundle for a in known.applications.values() if a.current}
    return tuple(
        Record(
            row.key,
            row.kind,
            _of(known, row.stream),
            datetime.fromtimestamp(row.time_s, UTC),
            row.size,
            row.key in runs,
        )
        for row in rows
    )


def _of(known: Chronicle, stream: str) -> str:
    """A stream as people call it."""
    if stream in known.applications:
        return f"{known.applications[stream].name}, rolled out in {known.applications[stream].environment}"
    run = known.runs.get(stream)
    candidate = known.candidates.get(run.candidate if run else stream)
    if candidate is None:
        return stream or "nothing that is known"
    source = known.sources.get(candidate.source)
    return f"{source.name if source else candidate.source} {short(candidate.commit)}"


def _show(found: tuple[Record, ...], screen: Console) -> None:
    from trueup.cli.show.style import grid, when

    if not found:
        screen.print("no record is kept")
        return
    table = grid("", "dim", "", "", "")
    for each in found:
        what = f"{WHAT.get(each.kind, each.kind)}, of {each.of}{' (what runs)' if each.needed else ''}"
        table.add_row(each.key, when(each.time), size(each.size_bytes), what)
    screen.print(table)


async def _erase(where: Layout, key: str, why: str) -> None:
    async with opened_for_writing(where) as records:
        await records.erase(key, why=why, by=person())


@contextlib.asynccontextmanager
async def opened_for_writing(where: Layout) -> AsyncIterator[SqliteRecords]:
    """The records with their ledger, beside a running `trueup up` or without one. Raises Away."""
    from trueup.store.sqlite import open_ledger
    from trueup.store.sqlite_records import open_records
    from trueup.store.state import keys_of

    if not os.access(where.ledger, os.W_OK):
        raise Away(f"{where.ledger} cannot be written by this user; run as the one who started trueup up")
    keys = keys_of(where)
    opened = await open_ledger(where.ledger, clock=Wall(), signer=keys.signer)
    try:
        records = await open_records(where.records, clock=Wall(), secret=keys.records, ledger=opened)
        try:
            yield records
        finally:
            await records.close()
    finally:
        await opened.close()
