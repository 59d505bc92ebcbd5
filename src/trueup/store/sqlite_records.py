"""Records in one SQLite file beside the ledger: compressed, sealed, under a keyed hash, erased for good.

A Bundle holds the bodies of Secrets: what is stored is AES-256-GCM under a key made from `keys/records.key`, so a copy
of the file alone tells nothing. A record is on the disk before its key is returned, so an event may refer to it. What
is erased or expired is overwritten in the file (`secure_delete`) and leaves the log at once.
"""

from __future__ import annotations

import asyncio
import hmac
import os
import secrets
import sqlite3
import zlib
from collections.abc import Callable, Set
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec import Struct

from trueup.core.events import Erased
from trueup.core.ledger import ADMINISTRATION
from trueup.core.model import Principal
from trueup.ports import Clock, Ledger
from trueup.store.administration import TRUEUP, Retained, entomb, record_key
from trueup.store.keys import sync_folder
from trueup.store.writer import SETTINGS, Writer

T = TypeVar("T")

APPLICATION_ID = 0x54525552  # "TRUR"
SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS records (
  key TEXT PRIMARY KEY,
  kind TEXT NOT NULL,
  stream TEXT NOT NULL,
  time REAL NOT NULL,  -- of the last put, seconds since 1970
  size INTEGER NOT NULL,  -- as stored
  packed INTEGER NOT NULL,  -- 2: sealed zlib; 1: zlib and 0: as it is, by versions that did not seal
  data BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS records_by_time ON records (time, key, size);
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = 1;
COMMIT;
"""
PUT = """INSERT INTO records (key, kind, stream, time, size, packed, data) VALUES (?, ?, ?, ?, ?, ?, ?)
  ON CONFLICT (key) DO UPDATE SET time = excluded.time"""

PLAIN, PACKED, SEALED = range(3)
NONCE_BYTES = 12
READ_TIMEOUT_S = 60.0
BUSY_TIMEOUT_S = 10.0
REMOVED_AT_ONCE = 100  # per transaction, so that a put between them does not wait long


class RecordsDamaged(Exception):
    """The file cannot be read; the message names it and what to do."""


class Row(Struct, frozen=True):
    """A record as it is listed."""

    key: str
    kind: str
    stream: str
    time_s: float
    size: int  # as stored


async def open_records(path: str, *, clock: Clock, secret: bytes, ledger: Ledger) -> SqliteRecords:
    """Open the records for reading and writing, making the file when there is none.

    Raises RecordsDamaged; sqlite3.OperationalError when the folder cannot be written."""
    connection = await asyncio.to_thread(_open_writing, path)
    return SqliteRecords(path, connection, clock, secret, ledger)


class ReadonlyRecords:
    """Reads records beside a running `up`, or without one. `await close()` when done."""

    def __init__(self, path: str, secret: bytes) -> None:
        self._path = path
        self._box = box_of(secret)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=f"reader of {path}")
        self._connection: sqlite3.Connection | None = None

    async def get(self, key: str) -> bytes | None:
        row = await self._ask(
            lambda connection: connection.execute("SELECT packed, data FROM records WHERE key = ?", (key,)).fetchone()
        )
        return None if row is None else _opened(self._box, key, row[0], bytes(row[1]))

    async def expired(self, before_s: float, max_bytes: int, keep: Set[str]) -> tuple[list[str], int, int]:
        """What retention removes, how many bytes that frees, and how many are left."""
        return await self._ask(partial(_expired, before_s=before_s, max_bytes=max_bytes, keep=keep))

    async def listed(self) -> tuple[Row, ...]:
        """Every record, newest first, without its content."""
        select = "SELECT key, kind, stream, time, size FROM records ORDER BY time DESC, key"
        return await self._ask(lambda connection: tuple(Row(*row) for row in connection.execute(select)))

    async def close(self) -> None:
        if self._connection is not None:
            await asyncio.get_running_loop().run_in_executor(self._pool, self._connection.close)
            self._connection = None
        self._pool.shutdown(wait=False)

    async def _ask(self, question: Callable[[sqlite3.Connection], T]) -> T:
        def answer() -> T:
            try:
                if self._connection is None:
                    uri = f"{Path(self._path).absolute().as_uri()}?mode=ro"
                    self._connection = sqlite3.connect(
                        uri, uri=True, isolation_level=None, check_same_thread=False, timeout=BUSY_TIMEOUT_S
                    )
                return question(self._connection)
            except sqlite3.DatabaseError as error:
                raise RecordsDamaged(
                    f"{self._path}: {error}; move the file away: logs and plans in it are lost"
                ) from error

        answered = asyncio.get_running_loop().run_in_executor(self._pool, answer)
        return await asyncio.wait_for(answered, READ_TIMEOUT_S)


class SqliteRecords:
    """The port `Records`, and retention. Tombstones go to the ledger."""

    def __init__(self, path: str, connection: sqlite3.Connection, clock: Clock, secret: bytes, ledger: Ledger) -> None:
        self._clock = clock
        self._secret = secret
        self._box = box_of(secret)
        self._ledger = ledger
        self._reader = ReadonlyRecords(path, secret)
        self._writer = Writer(path, connection, _NoTables())

    async def put(self, kind: str, data: bytes, *, stream: str = "") -> str:
        key = record_key(self._secret, kind, data)
        stored = await asyncio.to_thread(_seal, self._box, key, data)
        row = (key, kind, stream, self._clock.now().timestamp(), len(stored), SEALED, stored)
        await self._writer.submit(lambda connection: connection.execute(PUT, row).rowcount)
        return key

    async def get(self, key: str) -> bytes | None:
        return await self._reader.get(key)

    async def erase(self, key: str, *, why: str = "", by: Principal = TRUEUP) -> None:
        """Say so in the ledger, then remove it for good. What a crash cuts short, `retain` finishes."""
        await entomb(self._ledger, key, why, by)
        await self._remove([key])
        await self._clean()

    async def retain(self, *, max_age_s: float, max_bytes: int, keep: Set[str]) -> Retained:
        """Remove what is older than `max_age_s`, then the oldest until `max_bytes` hold all; never one in `keep`."""
        await self._finish_erasures()
        oldest_s = self._clock.now().timestamp() - max_age_s
        keys, freed, left = await self._reader.expired(oldest_s, max_bytes, frozenset(keep))
        for at in range(0, len(keys), REMOVED_AT_ONCE):
            await self._remove(keys[at : at + REMOVED_AT_ONCE])
        if keys:
            await self._clean()
        return Retained(removed=len(keys), freed_bytes=freed, left_bytes=left)

    async def close(self) -> None:
        await self._writer.close()
        await self._reader.close()

    async def _finish_erasures(self) -> None:
        """A record put again after its tombstone is a new one, and stays."""
        erased: dict[str, datetime] = {}
        for event in await self._ledger.read(ADMINISTRATION):
            if isinstance(event.fact, Erased):
                erased[event.fact.record] = event.time.astimezone(UTC)
        rows = [(key, time.timestamp()) for key, time in erased.items()]
        if rows:
            statement = "DELETE FROM records WHERE key = ? AND time <= ?"
            await self._writer.submit(lambda connection: connection.executemany(statement, rows).rowcount)

    async def _remove(self, keys: list[str]) -> None:
        rows = [(key,) for key in keys]
        statement = "DELETE FROM records WHERE key = ?"
        await self._writer.submit(lambda connection: connection.executemany(statement, rows).rowcount)

    async def _clean(self) -> None:
        """Give the room back to the disk, and leave nothing of what was removed in the log."""
        vacuum = "PRAGMA incremental_vacuum"
        await self._writer.submit(lambda connection: connection.execute(vacuum).fetchall())
        await self._writer.truncate_log()


class _NoTables:
    """Each piece of work writes by itself, and nothing is remembered."""

    def begin(self, connection: sqlite3.Connection) -> None: ...

    def flush(self, connection: sqlite3.Connection) -> None: ...

    def forget(self) -> None: ...

    def committed(self, result: Any) -> None: ...


def box_of(secret: bytes) -> AESGCM:
    """What seals records; another key than the one that names them, made from the same secret."""
    return AESGCM(hmac.digest(secret, b"trueup records at rest", "sha256"))


def _seal(box: AESGCM, key: str, data: bytes) -> bytes:
    nonce = secrets.token_bytes(NONCE_BYTES)
    return nonce + box.encrypt(nonce, zlib.compress(data), key.encode())


def _opened(box: AESGCM, key: str, packed: int, stored: bytes) -> bytes | None:
    """None when it was sealed under another `keys/records.key`: lost like one that has expired."""
    if packed == PLAIN:
        return stored
    if packed == SEALED:
        try:
            stored = box.decrypt(stored[:NONCE_BYTES], stored[NONCE_BYTES:], key.encode())
        except InvalidTag:
            return None
    return zlib.decompress(stored)


def _open_writing(path: str) -> sqlite3.Connection:
    os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=BUSY_TIMEOUT_S)
    try:
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # before the first table
        for setting in SETTINGS:
            connection.execute(setting)
        connection.execute("PRAGMA secure_delete = ON")
        connection.executescript(SCHEMA)
        sync_folder(Path(path).parent)
    except sqlite3.DatabaseError as error:
        connection.close()
        if isinstance(error, sqlite3.OperationalError):
            raise
        raise RecordsDamaged(f"{path}: {error}; move the file away: logs and plans in it are lost") from error
    return connection


def _expired(
    connection: sqlite3.Connection, before_s: float, max_bytes: int, keep: Set[str]
) -> tuple[list[str], int, int]:
    total = left = int(connection.execute("SELECT coalesce(sum(size), 0) FROM records").fetchone()[0])
    keys: list[str] = []
    for key, time, size in connection.execute("SELECT key, time, size FROM records ORDER BY time, key"):
        if time >= before_s and left <= max_bytes:
            break
        if key not in keep:
            keys.append(key)
            left -= size
    return keys, total - left, left
