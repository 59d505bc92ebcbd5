"""The ledger on this machine's disk, each figure beside what the disk or raw sqlite3 does in the same run.

python bench/ledger.py [--streams 50] [--appends 200]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sqlite3
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from ledger_unsynced import deaf, play, read, record
from trueup.core import events as e
from trueup.core.events import Draft, Fact
from trueup.core.layout import Layout
from trueup.core.model import Principal, TestCount
from trueup.store.ids import new_stream
from trueup.store.sqlite import open_readonly
from trueup.store.state import State, open_state

Row = tuple[str, float, str, float | None]
PUSH = Principal("git:ann@example.org", "push:" + "c" * 40)
IDLE_DAYS = 30
LOOP = Principal("trueup", "rule:loop")
RAW = "CREATE TABLE events (position INTEGER PRIMARY KEY, stream INT, seq INT, hash BLOB, body BLOB)"
RAW_INDEX = "CREATE UNIQUE INDEX by_stream ON events (stream, seq)"
RAW_INSERT = "INSERT INTO events (stream, seq, hash, body) VALUES (?, ?, ?, ?)"


class Clock:
    """Real time, or moved on by hand."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def monotonic_s(self) -> float:
        return time.monotonic()


@contextlib.asynccontextmanager
async def opened(clock: Clock) -> AsyncIterator[tuple[State, Layout]]:
    with tempfile.TemporaryDirectory(dir=place()) as folder:
        layout = Layout(folder)
        async with open_state(layout, clock) as state:
            yield state, layout


def place() -> str:
    """A folder on a real disk, or TMPDIR: a memory disk would make syncing cost nothing."""
    return os.environ.get("TMPDIR", "/var/tmp")


def quantile(times_s: list[float], share: float) -> float:
    return sorted(times_s)[min(len(times_s) - 1, int(len(times_s) * share))]


def job(seq: int) -> Draft:
    fact = e.JobFinished(job="test", outcome="success", seconds=seq / 7, outputs="f" * 32, tests=TestCount(passed=41))
    return Draft(fact=fact, by=LOOP, cause="candidate/01m83q9a4f60rk4csm6mv3ee1s@3")


# --- one awaited append ------------------------------------------------------------------------------


async def latency(streams: int, appends: int) -> list[Row]:
    """Each of the streams awaits its append, then makes the next."""
    times_s: list[float] = []
    async with opened(Clock()) as (state, _):

        async def write(stream: str) -> None:
            for seq in range(appends):
                began = time.perf_counter()
                await state.ledger.append(stream, [job(seq)], expect=seq)
                times_s.append(time.perf_counter() - began)

        began = time.perf_counter()
        await asyncio.gather(*(write(new_stream("run", Clock())) for _ in range(streams)))
        whole_s = time.perf_counter() - began
    with raw() as connection:
        alone_s = [
            timed(lambda number=number: commit(connection, [(1, number, b"h" * 32, b"b" * 400)]))
            for number in range(500)
        ]
    rows = [
        (f"append p{share * 100:g}, {streams} streams busy", quantile(times_s, share) * 1000, "ms",
         quantile(times_s, share) / quantile(alone_s, share))
        for share in (0.5, 0.99)
    ]  # fmt: skip
    rows.append(("raw sqlite3 commit of one row p99", quantile(alone_s, 0.99) * 1000, "ms", None))
    each_s = sum(alone_s) / len(alone_s)
    rows.append(
        (f"single appends, {streams} streams", len(times_s) / whole_s, "events/s", len(times_s) / whole_s * each_s)
    )
    return rows


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


@contextlib.contextmanager
def raw() -> Iterator[sqlite3.Connection]:
    with tempfile.TemporaryDirectory(dir=place()) as folder:
        with contextlib.closing(sqlite3.connect(f"{folder}/raw.db", isolation_level=None)) as connection:
            for statement in ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL", RAW, RAW_INDEX):
                connection.execute(statement)
            yield connection


def commit(connection: sqlite3.Connection, rows: list[tuple[int, int, bytes, bytes]]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany(RAW_INSERT, rows)
    connection.execute("COMMIT")


# --- batches -----------------------------------------------------------------------------------------


async def batches(streams: int, drafts: int, rounds: int, turns: int) -> list[Row]:
    """All streams append several events at once; raw sqlite3 writes the same bytes, as many to a transaction.

    They take turns, so that whatever else the machine does meets both."""
    ours_s, raw_s = [], []
    events = streams * drafts
    async with opened(Clock()) as (state, layout):
        with raw() as connection:
            names = [new_stream("run", Clock()) for _ in range(streams)]
            for turn in range(turns):
                firsts = range(turn * rounds * drafts, (turn + 1) * rounds * drafts, drafts)
                batches = [[job(first + at) for at in range(drafts)] for first in firsts]
                for first, batch in zip(firsts, batches, strict=True):
                    began = time.perf_counter()
                    await asyncio.gather(*(state.ledger.append(name, batch, expect=first) for name in names))
                    ours_s.append(time.perf_counter() - began)
                rows = await written(layout, turn * rounds * events)
                pages = [rows[at : at + events] for at in range(0, len(rows), events)]
                raw_s += [timed(lambda page=page: commit(connection, page)) for page in pages]
    ours, theirs = events / quantile(ours_s, 0.5), events / quantile(raw_s, 0.5)
    return [
        (f"batched appends, {streams} x {drafts}", ours, "events/s", ours / theirs),
        (f"raw sqlite3, the same rows, {events} a commit", theirs, "events/s", None),
    ]


async def written(layout: Layout, after: int) -> list[tuple[int, int, bytes, bytes]]:
    """The rows just appended, as raw sqlite3 is given them."""
    reader = open_readonly(layout.ledger)
    numbers: dict[str, int] = {}
    rows = [
        (numbers.setdefault(entry.stream, len(numbers)), entry.seq, bytes.fromhex(entry.hash), entry.body)
        for _, entry in await reader.page(after, 1 << 20)
    ]
    await reader.close()
    return rows


# --- bytes -------------------------------------------------------------------------------------------


async def rollout(state: State, source: str, application: str, number: int, clock: Clock) -> None:
    """Everything that one push with two pipelines leaves: checks, jobs, image, rollout, write-back."""
    commit_id, digest = f"{number:040x}", f"sha256:{number:064x}"
    candidate, test, deploy = (new_stream(kind, clock) for kind in ("candidate", "run", "run"))

    async def write(stream: str, *facts: Fact, by: Principal = LOOP, cause: str = "") -> None:
        seq = (await state.ledger.heads()).get(stream, (0, ""))[0]
        for fact in facts:  # transitions come one by one
            await state.ledger.append(stream, [Draft(fact=fact, by=by, cause=cause)], expect=seq)
            seq += 1

    findings = await state.records.put("findings", f'[{{"rule":"no-resources","number":{number}}}]'.encode())
    bundle = await state.records.put("bundle", b'{"kind":"Deployment","image":"app@%s"}' % digest.encode() * 40)
    log = "".join(f"2026-01-02T03:04:{line % 60:02}Z step {line} of {number}: ok\n" for line in range(150))
    await state.records.put("log", log.encode(), stream=test)
    await write(source, e.SourceMoved(before=f"{number - 1:040x}", after=commit_id), by=PUSH)
    await write(
        candidate,
        e.CandidateCreated(source=source, commit=commit_id, number=number, author="Ann <ann@example.org>",
                           subject="Say good evening after six", ref="refs/heads/main"),
        e.CandidateChecked(errors=0, warnings=2, record=findings),
        e.CandidateRuns(required=(test, deploy)),
        by=PUSH, cause=f"{source}@{number}",
    )  # fmt: skip
    for run, name in ((test, "test"), (deploy, "deploy")):
        await write(
            run,
            e.RunCreated(candidate=candidate, workflow=name, place=f".github/workflows/{name}.yml", trigger="push"),
            e.JobStarted(job=name, executor="container"),
            e.JobFinished(job=name, outcome="success", seconds=12.25, tests=TestCount(passed=14)),
            e.RunFinished(outcome="success", seconds=12.5),
            cause=f"{candidate}@3",
        )
    await write(
        candidate,
        e.CandidateImage(repository="ghcr.io/acme/app", tag=commit_id[:12], digest=digest, key="k" * 64,
                         place="app/Dockerfile", run=deploy),
        e.CandidateGreen(),
        cause=f"{deploy}@4",
    )  # fmt: skip
    await write(
        application,
        e.SyncStarted(candidate=candidate, attempt=1, bundle=bundle, update=2, why="push"),
        e.SyncApplied(candidate=candidate, attempt=1),
        e.SyncHealthy(candidate=candidate, attempt=1, seconds=8.75),
        cause=f"{candidate}@5",
    )
    await state.ledger.checkpoint(anchor=f"{number - 1:040x}")
    intended = e.WriteIntended(purpose="write-back", candidate=candidate, parent=commit_id, commit=f"{number + 1:040x}",
                               files=("config/kubernetes-deployment.yaml",))  # fmt: skip
    await write(source, intended, e.WritePushed(purpose="write-back", candidate=candidate, commit=intended.commit),
                cause=f"{application}@{number * 3}")  # fmt: skip


async def sizes(rollouts: int) -> list[Row]:
    clock = Clock()
    with tempfile.TemporaryDirectory(dir=place()) as folder:
        layout = Layout(folder)
        empty = await played(layout, clock, 0, 0)
        full = await played(layout, clock, 0, rollouts)
        idle = await idled(layout, clock, days=IDLE_DAYS)
        reader = open_readonly(layout.ledger)
        lines = 0
        body = 0
        async for entry in reader.entries():
            lines, body = lines + 1, body + len(entry.body) + 32
        await reader.close()
    per = [(after - before) / rollouts for before, after in zip(empty, full, strict=True)]
    return [
        ("events per rollout", lines / rollouts, "events", None),
        ("ledger per rollout", per[0], "bytes", per[0] / (body / rollouts)),
        ("records per rollout (findings, bundle, log)", per[1], "bytes", None),
        ("ledger and records per idle day", (sum(idle) - sum(full)) / IDLE_DAYS, "bytes", None),
    ]


async def played(layout: Layout, clock: Clock, first: int, rollouts: int) -> tuple[int, int]:
    """Sizes of both files, closed, after so many rollouts."""
    async with open_state(layout, clock) as state:
        source, application = new_stream("source", clock), new_stream("application", clock)
        for number in range(first + 1, first + rollouts + 1):
            await rollout(state, source, application, number, clock)
    return Path(layout.ledger).stat().st_size, Path(layout.records).stat().st_size


async def idled(layout: Layout, clock: Clock, days: int) -> tuple[int, int]:
    """What the ledger's own housekeeping writes on days without a push: a checkpoint asked for each hour, retention
    each day, a restart each week."""
    for _ in range(days):
        async with open_state(layout, clock) as state:
            for _ in range(24):
                clock.ahead += timedelta(hours=1)
                await state.ledger.checkpoint()
            await state.records.retain(max_age_s=365 * 86400, max_bytes=1 << 30, keep=set())
    return Path(layout.ledger).stat().st_size, Path(layout.records).stat().st_size


# --- reading and power cuts --------------------------------------------------------------------------


async def reading(events: int) -> list[Row]:
    async with opened(Clock()) as (state, _):
        for at in range(0, events, 1000):
            await state.ledger.append(f"run/{at}", [job(seq) for seq in range(1000)], expect=0)
        await state.ledger.checkpoint()
        began = time.perf_counter()
        assert (await state.ledger.verify({})).ok
        verified = events / (time.perf_counter() - began)
        began = time.perf_counter()
        await state.ledger.read("run/0")
        return [
            ("verify", verified, "events/s", None),
            ("read a stream of 1000", 1000 / (time.perf_counter() - began), "events/s", None),
        ]


def power_cuts(rounds: int) -> list[Row]:
    with tempfile.TemporaryDirectory(dir=place()) as folder:
        notes, scratch = record(Path(folder), rounds), Path(folder) / "scratch"
        scratch.mkdir()
        found, control = play(read(notes), scratch), play(deaf(read(notes)), scratch)
    return [
        ("power cuts played back", found.cuts, "cuts", None),
        ("events acknowledged before them", found.acknowledged, "events", None),
        ("acknowledged events lost, unsynced writes dropped", found.lost, "events", None),
        ("broken chains after a cut", found.broken, "files", None),
        ("control: lost when the log is never synced", control.lost, "events", None),
    ]


def main(streams: int = 50, appends: int = 200) -> dict[str, float]:
    rows = [
        *asyncio.run(latency(streams, appends)),
        *asyncio.run(batches(1, 1000, 10, 5)),
        *asyncio.run(batches(streams, 20, 10, 5)),
        *asyncio.run(sizes(100)),
        *asyncio.run(reading(20_000)),
        *power_cuts(130),
    ]
    for name, value, unit, ratio in rows:
        shown = f"{ratio:8.2f}x" if ratio is not None else ""
        print(f"{name:52} {value:12.{0 if value >= 100 or value == int(value) else 2}f} {unit:9} {shown}")
    figures = {name: value for name, value, _, _ in rows}
    return figures | {f"{name} (ratio)": ratio for name, _, _, ratio in rows if ratio is not None}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=50)
    parser.add_argument("--appends", type=int, default=200)
    arguments = parser.parse_args()
    found = main(arguments.streams, arguments.appends)
    lost = found["acknowledged events lost, unsynced writes dropped"] + found["broken chains after a cut"]
    sys.exit(1 if lost or not found["control: lost when the log is never synced"] else 0)
