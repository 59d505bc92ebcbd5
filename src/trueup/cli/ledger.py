"""`trueup ledger verify|export|timeline|retain|records|erase`."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click
from rich.console import Console

from trueup.cli import exits, reading
from trueup.cli.common import emit, layout, output_option, run, state_option
from trueup.cli.errors import Stop
from trueup.cli.records import erase, opened_for_writing
from trueup.cli.records import records as records_command
from trueup.cli.times import Duration, Size, size
from trueup.core.layout import Layout
from trueup.core.proof import Proven, Verification
from trueup.core.views.chronicle import Chronicle

if TYPE_CHECKING:
    from trueup.store.administration import Retained

EXAMPLES = """\b
Examples:
  trueup ledger verify
  trueup ledger export > ledger.ndjson
  trueup ledger timeline
  trueup ledger retain --older-than 90d
  trueup ledger erase 4b1d09e2 --why 'a name in a log'"""


@click.group(epilog=EXAMPLES)
def ledger() -> None:
    """Verify, export and trim the record of what happened."""


@ledger.command(epilog="\b\nExamples:\n  trueup ledger verify\n  trueup ledger verify --output json | jq .signed")
@state_option
@output_option
@click.pass_context
def verify(ctx: click.Context, state: str | None, output: str) -> None:
    """Prove that nothing in the ledger was changed, and say since which anchor that is proven."""
    found = run(_verify(layout(state)))
    emit(found, output, _show)
    if not found.ok:
        ctx.exit(exits.FAILED)


async def _verify(where: Layout) -> Verification:
    from trueup.store.keys import KeyUnreadable, read_public

    async with reading.ledger(where) as opened:
        try:
            return await opened.verify(read_public(where.keys), await anchors(where))
        except KeyUnreadable as error:
            raise Stop(str(error)) from error


async def anchors(where: Layout) -> Mapping[str, str]:
    """Checkpoint trailer → the commit that carries it, in the clones of this state folder."""
    from trueup.cli.anchors import read_anchors

    return await read_anchors(where)


def _show(found: Verification, console: Console) -> None:
    if found.broken:
        console.print(f"BROKEN at {found.broken.where}: {found.broken.what}")
        return
    console.print(f"whole: {found.events} events in {found.streams} streams")
    console.print(_proven("anchored in Git", found.anchored))
    console.print(_proven("signed", found.signed))
    console.print(f"chained only, since then: {found.chained} events")
    if found.strangers:
        of = "of another state folder, of a ledger that was here before, or forged"
        console.print(f"not by this ledger's key: {found.strangers} checkpoints that commits carry ({of})")


def _proven(how: str, proven: Proven | None) -> str:
    if proven is None:
        return f"{how}: nothing yet"
    commit = f" by commit {proven.anchor[:10]}" if proven.anchor and how.startswith("anchored") else ""
    return f"{how}{commit}: {proven.events} events, up to {proven.time:%Y-%m-%d %H:%M:%S}Z"


@ledger.command(
    epilog="\b\nExamples:\n  trueup ledger export > ledger.ndjson\n  trueup ledger export --to ledger.ndjson"
)
@click.option("--to", type=click.Path(dir_okay=False, path_type=Path), help="A file instead of standard output.")
@state_option
def export(to: Path | None, state: str | None) -> None:
    """Every event as one line of JSON, as stored, with its hash and the one before."""

    async def work(sink: IO[bytes]) -> None:
        async with reading.ledger(layout(state)) as opened:
            await opened.export(lambda line: _write(sink, line))

    with to.open("wb") if to else contextlib.nullcontext(sys.stdout.buffer) as sink:
        run(work(sink))
        sink.flush()


def _write(sink: IO[bytes], line: bytes) -> None:
    sink.write(line)


@ledger.command(epilog="\b\nExamples:\n  trueup ledger timeline\n  trueup ledger timeline --since 1h")
@click.option("--since", type=Duration(), help="Only the last 90s, 15m, 2h, 7d.")
@state_option
@output_option
def timeline(since: timedelta | None, state: str | None, output: str) -> None:
    """Everything that happened, one line each."""
    from trueup.cli.show.past import timeline as show
    from trueup.core.views.timeline import timeline as timeline_of

    known = run(reading.chronicle(layout(state)))
    after = datetime.now(UTC) - since if since else None
    events = [e for e in known.events() if after is None or e.time >= after]
    emit(timeline_of(known, events), output, show)


@ledger.command(
    epilog="\b\nExamples:\n  trueup ledger retain --older-than 90d\n  trueup ledger retain --larger-than 2G"
)
@click.option("--older-than", type=Duration(), default="90d", show_default=True, help="Records older than this go.")
@click.option("--larger-than", type=Size(), default="2G", show_default=True, help="Above this the oldest go.")
@state_option
@output_option
def retain(older_than: timedelta, larger_than: int, state: str | None, output: str) -> None:
    """Remove old logs, plans and bundles. Events stay, and so does what runs or a rollback needs."""
    removed = run(_retain(layout(state), older_than, larger_than))
    emit(
        removed,
        output,
        lambda r, console: console.print(
            f"{r.removed} records removed, {size(r.freed_bytes)} freed, {size(r.left_bytes)} left"
        ),
    )


async def _retain(where: Layout, older_than: timedelta, larger_than: int) -> Retained:
    keep = needed(await reading.chronicle(where))
    async with opened_for_writing(where) as records:
        return await records.retain(max_age_s=older_than.total_seconds(), max_bytes=larger_than, keep=keep)


ledger.add_command(records_command)
ledger.add_command(erase)


def needed(known: Chronicle) -> set[str]:
    """The records of what runs and of what a rollback may go back to: the bundles of every healthy rollout."""
    keep: set[str] = set()
    for state in known.applications.values():
        keep |= {state.bundles[c] for c in state.good if c in state.bundles}
        if state.current:
            keep |= {state.current.bundle, state.current.record}
    return keep - {""}
