"""The ledger in one SQLite file: written ahead, one writer with group commit, any number of readers.

A row holds the hash and the bytes that were hashed; the hash before is that of the row before. Nothing is ever
updated or deleted. Reading never blocks writing, and long readings go page by page so that the log can be reset.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from msgspec import Struct

from trueup.core.events import Checkpoint, Draft, Event
from trueup.core.ledger import ADMINISTRATION, Entry, Head, decode, export_line, head_of, seal_all
from trueup.core.proof import Break, Verification, verify
from trueup.ports import Clock, Output
from trueup.store.administration import checkpoint_draft, refuse_unexpected
from trueup.store.follow import Follower, Followers
from trueup.store.keys import Signer, checker, sync_folder
from trueup.store.writer import SETTINGS, Writer

T = TypeVar("T")

APPLICATION_ID = 0x54525550  # "TRUP"
SCHEMA_VERSION = 1
SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS streams (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS events (
  position INTEGER PRIMARY KEY,  -- the order of acknowledgement
  stream INTEGER NOT NULL REFERENCES streams (id),
  seq INTEGER NOT NULL,
  hash BLOB NOT NULL,
  body BLOB NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS events_by_stream ON events (stream, seq);
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
COMMIT;
"""

LAST = """SELECT hash, body, seq FROM events WHERE stream = (SELECT id FROM streams WHERE name = ?)
  ORDER BY seq DESC LIMIT 1"""
STREAM = """SELECT seq, hash, body FROM events WHERE stream = (SELECT id FROM streams WHERE name = ?) AND seq >= ?
  ORDER BY seq"""
HEADS = """SELECT name, seq, hash FROM streams JOIN events ON position =
  (SELECT position FROM events WHERE stream = id ORDER BY seq DESC LIMIT 1) WHERE name >= ? AND name < ?"""
PAGE = """SELECT e.position, coalesce(name, '?'), e.seq, before.hash, e.hash, e.body FROM events e
  LEFT JOIN streams s ON s.id = e.stream
  LEFT JOIN events before ON before.stream = e.stream AND before.seq = e.seq - 1
  WHERE e.position > ? ORDER BY e.position LIMIT ?"""
INSERT = "INSERT INTO events (stream, seq, hash, body) VALUES "

PAGE_ROWS = 1000
READ_TIMEOUT_S = 60.0
BUSY_TIMEOUT_S = 10.0
# Many rows to a statement, for each statement hands the interpreter's lock over; with the number of its values.
INSERTS = tuple((INSERT + ",".join(["(?,?,?,?)"] * rows), 4 * rows) for rows in (256, 64, 16, 4, 1))


class LedgerDamaged(Exception):
    """The file cannot be read as a ledger; the message says what is wrong and what to do."""


async def open_ledger(path: str, *, clock: Clock, signer: Signer) -> SqliteLedger:
    """Open the ledger for writing, making it when there is none. One process at a time, under the state's lock.

    Raises LedgerDamaged; sqlite3.OperationalError when the folder cannot be written."""
    connection = await asyncio.to_thread(_open_writing, path)
    return SqliteLedger(path, connection, clock, signer)


def open_readonly(path: str) -> ReadonlyLedger:
    """Open the ledger for reading, while `up` writes it or not. Raises FileNotFoundError,
    PermissionError, LedgerDamaged on reading."""
    if not Path(path).exists():
        raise FileNotFoundError(f"{path}: there is no ledger yet; run `trueup up` first, or name another --state")
    if not os.access(path, os.R_OK):
        raise PermissionError(f"{path} may not be read by this user")
    return ReadonlyLedger(path)


class ReadonlyLedger:
    """Reads from a thread and a connection of its own. `await close()` when done."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=f"reader of {path}")
        self._connection: sqlite3.Connection | None = None

    async def read(self, stream: str, after: int = 0) -> tuple[Event, ...]:
        def rows(connection: sqlite3.Connection) -> tuple[Event, ...]:
            return tuple(decode(entry) for entry in _stream_entries(connection, stream, max(after, 0)))

        return await self._ask(rows, ())

    async def heads(self, kind: str = "") -> Mapping[str, tuple[int, str]]:
        return await self._ask(lambda connection: _heads(connection, kind), {})

    async def page(self, after: int = 0, rows: int = PAGE_ROWS) -> tuple[tuple[int, Entry], ...]:
        """The next entries after a position, in the order of acknowledgement: what a follower in another process
        polls, and decodes with `core.ledger.decode`."""
        return await self._ask(lambda connection: tuple(map(_placed, connection.execute(PAGE, (after, rows)))), ())

    async def entries(self) -> AsyncIterator[Entry]:
        """Everything as stored, in the order of acknowledgement."""
        after = 0
        while page := await self.page(after):
            for _, entry in page:
                yield entry
            after = page[-1][0]

    async def export(self, output: Output) -> None:
        """NDJSON, in the order of acknowledgement."""
        async for entry in self.entries():
            output(export_line(entry))

    async def verify(self, public: bytes, anchors: Mapping[str, str]) -> Verification:
        """Check the file, then every event: see `core.proof.verify`. Reads as of now; writing goes on."""
        return await asyncio.to_thread(_verify_file, self._path, public, anchors)

    async def close(self) -> None:
        if self._connection is not None:
            await asyncio.get_running_loop().run_in_executor(self._pool, self._connection.close)
            self._connection = None
        self._pool.shutdown(wait=False)

    async def _ask(self, question: Callable[[sqlite3.Connection], T], empty: T) -> T:
        """`empty` is the answer of a ledger that another process is about to make: a file, and no schema yet."""

        def answer() -> T:
            try:
                if self._connection is None:
                    self._connection = _open_reading(self._path)
                return question(self._connection)
            except sqlite3.DatabaseError as error:
                if self._connection is not None and _being_made(self._connection):
                    return empty
                raise LedgerDamaged(f"{self._path}: {error}; run `trueup ledger verify`") from error

        answered = asyncio.get_running_loop().run_in_executor(self._pool, answer)
        return await asyncio.wait_for(answered, READ_TIMEOUT_S)


def _being_made(connection: sqlite3.Connection) -> bool:
    try:
        return bool(connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0)
    except sqlite3.DatabaseError:
        return False


class SqliteLedger:
    """The port `Ledger`, and verifying and exporting. `await close()` at the end; a kill does no harm."""

    def __init__(self, path: str, connection: sqlite3.Connection, clock: Clock, signer: Signer) -> None:
        self._clock = clock
        self._signer = signer
        self._reader = ReadonlyLedger(path)
        self._followers = Followers()
        self._tables = _EventTables(self._followers)
        self._writer = Writer(path, connection, self._tables)

    async def append(self, stream: str, drafts: Sequence[Draft], *, expect: int) -> tuple[Event, ...]:
        drafts, now = tuple(drafts), self._clock.now()
        work = partial(self._tables.append, stream=stream, drafts=drafts, expect=expect, now=now)
        return (await self._writer.submit(work)).events

    async def read(self, stream: str, after: int = 0) -> tuple[Event, ...]:
        return await self._reader.read(stream, after)

    async def heads(self, kind: str = "") -> Mapping[str, tuple[int, str]]:
        return await self._reader.heads(kind)

    def follow(self) -> Follower:
        return self._followers.add()

    async def checkpoint(self, anchor: str = "") -> Event:
        work = partial(self._tables.checkpoint, anchor=anchor, signer=self._signer, now=self._clock.now())
        return (await self._writer.submit(work)).events[0]

    def entries(self) -> AsyncIterator[Entry]:
        return self._reader.entries()

    async def export(self, output: Output) -> None:
        await self._reader.export(output)

    async def verify(self, anchors: Mapping[str, str]) -> Verification:
        return await self._reader.verify(self._signer.public, anchors)

    async def close(self) -> None:
        await self._writer.close()
        await self._reader.close()
        self._followers.end()


# --- in the writer's thread --------------------------------------------------------------------------


class _Sealed(Struct, frozen=True):
    """What a piece of work answers: `events` are `fresh` when it has appended them."""

    events: tuple[Event, ...]
    fresh: bool = True


class _EventTables:
    """The heads of the streams written so far, and the rows that wait for the end of the transaction."""

    def __init__(self, followers: Followers) -> None:
        self._followers = followers
        self._version = -1
        self._ids: dict[str, int] = {}
        self._heads: dict[str, Head] = {}
        self._values: list[int | bytes] = []  # of the rows that wait, four each

    def begin(self, connection: sqlite3.Connection) -> None:
        version = int(connection.execute("PRAGMA data_version").fetchone()[0])
        if version != self._version:  # someone else wrote to the file
            self.forget()
            self._version = version

    def append(
        self, connection: sqlite3.Connection, stream: str, drafts: tuple[Draft, ...], expect: int, now: datetime
    ) -> _Sealed:
        head = self._heads.get(stream) or self._read_head(connection, stream)
        refuse_unexpected(stream, head, expect)
        events, entries = seal_all(stream, head, drafts, now)
        if events:
            number = self._ids.get(stream) or self._number(connection, stream)
            for entry in entries:
                self._values += (number, entry.seq, bytes.fromhex(entry.hash), entry.body)
            self._heads[stream] = head_of(events[-1])
        return _Sealed(events)

    def checkpoint(self, connection: sqlite3.Connection, anchor: str, signer: Signer, now: datetime) -> _Sealed:
        self.flush(connection)
        last = connection.execute("SELECT stream, seq FROM events ORDER BY position DESC LIMIT 1").fetchone()
        if last and last[0] == self._number(connection, ADMINISTRATION):
            event = decode(_stream_entries(connection, ADMINISTRATION, last[1] - 1)[-1])
            if isinstance(event.fact, Checkpoint):
                return _Sealed((event,), fresh=False)
        heads = _heads(connection, "")
        draft = checkpoint_draft(heads, anchor, signer)
        return self.append(connection, ADMINISTRATION, (draft,), heads.get(ADMINISTRATION, (0, ""))[0], now)

    def flush(self, connection: sqlite3.Connection) -> None:
        values, at = self._values, 0
        for statement, size in INSERTS:
            while len(values) - at >= size:
                connection.execute(statement, values[at : at + size])
                at += size
        values.clear()

    def forget(self) -> None:
        self._ids.clear()
        self._heads.clear()
        self._values.clear()

    def committed(self, result: Any) -> None:
        if isinstance(result, _Sealed) and result.fresh:
            self._followers.publish(result.events)

    def _read_head(self, connection: sqlite3.Connection, stream: str) -> Head | None:
        row = connection.execute(LAST, (stream,)).fetchone()
        if row is None:
            return None
        entry = Entry(stream=stream, seq=row[2], prev="", hash=row[0].hex(), body=row[1])
        return self._heads.setdefault(stream, head_of(decode(entry)))

    def _number(self, connection: sqlite3.Connection, stream: str) -> int:
        connection.execute("INSERT INTO streams (name) VALUES (?) ON CONFLICT DO NOTHING", (stream,))
        number = int(connection.execute("SELECT id FROM streams WHERE name = ?", (stream,)).fetchone()[0])
        return self._ids.setdefault(stream, number)


# --- connections and rows ----------------------------------------------------------------------------


def _open_writing(path: str) -> sqlite3.Connection:
    os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=BUSY_TIMEOUT_S)
    try:
        _refuse_strange(path, connection)
        for setting in SETTINGS:
            connection.execute(setting)
        connection.executescript(SCHEMA)
        sync_folder(Path(path).parent)
    except sqlite3.DatabaseError as error:
        connection.close()
        if isinstance(error, sqlite3.OperationalError):
            raise
        raise LedgerDamaged(f"{path}: {error}; put back a saved ledger, or move the file away to begin anew") from error
    except LedgerDamaged:
        connection.close()
        raise
    return connection


def _refuse_strange(path: str, connection: sqlite3.Connection) -> None:
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if tables and application != APPLICATION_ID:
        raise LedgerDamaged(f"{path} is a database of another program; name another --state folder")
    if version > SCHEMA_VERSION:
        raise LedgerDamaged(f"{path} was written by a newer trueup (schema {version}); install that one")


def _open_reading(path: str) -> sqlite3.Connection:
    uri = f"file:{quote(str(Path(path).absolute()))}?mode=ro"
    return sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=BUSY_TIMEOUT_S)


def _stream_entries(connection: sqlite3.Connection, stream: str, after: int) -> list[Entry]:
    """The entries of a stream after a seq; the row at that seq gives the hash before."""
    entries: list[Entry] = []
    prev = ""
    for seq, digest, body in connection.execute(STREAM, (stream, after)):
        if seq > after:
            entries.append(Entry(stream=stream, seq=seq, prev=prev, hash=digest.hex(), body=body))
        prev = digest.hex()
    return entries


def _heads(connection: sqlite3.Connection, kind: str) -> dict[str, tuple[int, str]]:
    bounds = (f"{kind}/", f"{kind}0") if kind else ("", "\U0010ffff")  # "0" follows "/"
    return {name: (seq, digest.hex()) for name, seq, digest in connection.execute(HEADS, bounds)}


def _placed(row: tuple[int, Any, Any, Any, Any, Any]) -> tuple[int, Entry]:
    position, stream, seq, prev, digest, body = row
    whole = isinstance(stream, str) and isinstance(digest, bytes) and isinstance(body, bytes)
    if not whole or not isinstance(prev, bytes | None):
        raise LedgerDamaged(f"row {position} of the events holds values of a wrong type: it was changed by hand")
    return position, Entry(stream=stream, seq=seq, prev=prev.hex() if prev else "", hash=digest.hex(), body=body)


def _verify_file(path: str, public: bytes, anchors: Mapping[str, str]) -> Verification:
    try:
        connection = _open_reading(path)
    except sqlite3.DatabaseError as error:
        return Verification(events=0, streams=0, broken=Break(where=path, what=str(error)))
    try:
        found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            return Verification(events=0, streams=0, broken=Break(where=path, what=f"the file is damaged: {found}"))
        return verify(_all_entries(connection), checker(public), anchors)
    except (sqlite3.DatabaseError, LedgerDamaged) as error:
        return Verification(events=0, streams=0, broken=Break(where=path, what=f"the file is damaged: {error}"))
    finally:
        connection.close()


def _all_entries(connection: sqlite3.Connection) -> Iterator[Entry]:
    after = 0
    while page := [_placed(row) for row in connection.execute(PAGE, (after, PAGE_ROWS))]:
        yield from (entry for _, entry in page)
        after = page[-1][0]
