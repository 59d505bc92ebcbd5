"""Renders kept over a restart, in one SQLite file of the state folder: a cache that may vanish at any time.

A render may hold the body of a Secret: what is stored is AES-256-GCM under a key made from `keys/records.key`, as for
records. A file that cannot be read is replaced by an empty one; a disk that is full keeps nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import os
import secrets
import sqlite3
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

log = logging.getLogger("trueup")
T = TypeVar("T")

SCHEMA = """
CREATE TABLE IF NOT EXISTS renders (
  id TEXT PRIMARY KEY,
  key TEXT NOT NULL,  -- what was asked, and of which renderer
  used REAL NOT NULL,  -- seconds since 1970
  lasting INTEGER NOT NULL,  -- 1: it would give something else if it were made again
  size INTEGER NOT NULL,
  data BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS renders_by_key ON renders (key, used);
CREATE INDEX IF NOT EXISTS renders_by_use ON renders (lasting, used);
"""
PUT = """INSERT INTO renders (id, key, used, lasting, size, data) VALUES (?, ?, ?, ?, ?, ?)
  ON CONFLICT (id) DO UPDATE SET used = excluded.used"""
OVER = """DELETE FROM renders WHERE key = ?1 AND id NOT IN
  (SELECT id FROM renders WHERE key = ?1 ORDER BY used DESC, id LIMIT ?2)"""

PER_KEY = 16
MAX_BYTES = 256 << 20
NONCE_BYTES = 12
TIMEOUT_S = 30.0


async def open_renders(path: str, secret: bytes) -> SqliteRenders:
    """Open the cache, empty when there is none or it cannot be read. Never raises for what the file holds."""
    renders = SqliteRenders(path, secret)
    await renders.start()
    return renders


class SqliteRenders:
    """The port `RenderStore`. One thread owns the connection; `await close()` when done."""

    def __init__(self, path: str, secret: bytes, max_bytes: int = MAX_BYTES) -> None:
        self._path, self._max_bytes = path, max_bytes
        self._box = AESGCM(hmac.digest(secret, b"trueup renders at rest", "sha256"))
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="renders")
        self._connection: sqlite3.Connection | None = None

    async def start(self) -> None:
        await self._ask(lambda _: None)

    async def find(self, key: str) -> tuple[bytes, ...]:
        """What was kept under this key, the newest first."""
        statement = "SELECT id, data FROM renders WHERE key = ? ORDER BY used DESC, id"
        rows = await self._ask(lambda connection: connection.execute(statement, (key,)).fetchall())
        return tuple(data for id, sealed in rows or () if (data := self._opened(id, bytes(sealed))) is not None)

    async def put(self, key: str, id: str, data: bytes, *, lasting: bool) -> None:
        """Keep one, or say that it was used. `lasting` ones go only when newer ones of their key come."""
        sealed = await asyncio.to_thread(self._sealed, id, data)
        row = (id, key, time.time(), int(lasting), len(sealed), sealed)

        def write(connection: sqlite3.Connection) -> None:
            with connection:
                connection.execute(PUT, row)
                connection.execute(OVER, (key, PER_KEY))
                self._trim(connection)

        await self._ask(write)

    async def close(self) -> None:
        def end() -> None:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

        await asyncio.get_running_loop().run_in_executor(self._pool, end)
        self._pool.shutdown(wait=False)

    def _trim(self, connection: sqlite3.Connection) -> None:
        (total,) = connection.execute("SELECT coalesce(sum(size), 0) FROM renders WHERE lasting = 0").fetchone()
        rows = connection.execute("SELECT id, size FROM renders WHERE lasting = 0 ORDER BY used, id")
        gone: list[tuple[str]] = []
        while total > self._max_bytes and (row := rows.fetchone()) is not None:
            gone.append((row[0],))
            total -= row[1]
        connection.executemany("DELETE FROM renders WHERE id = ?", gone)

    def _sealed(self, id: str, data: bytes) -> bytes:
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + self._box.encrypt(nonce, zlib.compress(data, 1), id.encode())

    def _opened(self, id: str, sealed: bytes) -> bytes | None:
        """None when it was sealed under another key, or the file was changed."""
        try:
            return zlib.decompress(self._box.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], id.encode()))
        except (InvalidTag, zlib.error, ValueError):
            return None

    async def _ask(self, question: Callable[[sqlite3.Connection], T]) -> T | None:
        answered = asyncio.get_running_loop().run_in_executor(self._pool, self._answer, question)
        try:
            return await asyncio.wait_for(answered, TIMEOUT_S)
        except TimeoutError:
            return None

    def _answer(self, question: Callable[[sqlite3.Connection], T]) -> T | None:
        for again in (True, False):
            try:
                if self._connection is None:
                    self._connection = self._open()
                return question(self._connection)
            except OSError as error:
                log.warning("renders are not kept", extra={"path": self._path, "reason": str(error)})
                return None
            except sqlite3.DatabaseError as error:
                if self._connection is not None:
                    self._connection.close()
                    self._connection = None
                log.warning("renders are not kept", extra={"path": self._path, "reason": str(error)})
                if isinstance(error, sqlite3.OperationalError) or not again:
                    return None  # no room, no rights: rendering goes on without
                self._remove()
        return None

    def _open(self) -> sqlite3.Connection:
        os.close(os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(self._path, check_same_thread=False, timeout=TIMEOUT_S)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = OFF")
            connection.execute("PRAGMA secure_delete = ON")
            connection.executescript(SCHEMA)
        except sqlite3.DatabaseError:
            connection.close()
            raise
        return connection

    def _remove(self) -> None:
        for name in (self._path, f"{self._path}-wal", f"{self._path}-shm"):
            with contextlib.suppress(FileNotFoundError):
                Path(name).unlink()
