"""What the agent must not forget: desired objects, rollouts, pods, and the journal of what moved. SQLite, one thread.

Never interprets what it keeps. Every row is sealed: a Deployment's Secrets are among them.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from trueup.agent.atrest import Box, open_box
from trueup.core.model import Json, Ref
from trueup.core.workload import Progress, Revision
from trueup.ports import Moved

T = TypeVar("T")
KEEP_MOVED = 20_000
SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (key TEXT PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS rollouts (key TEXT PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS templates (key TEXT, hash TEXT, data BLOB NOT NULL, PRIMARY KEY (key, hash));
CREATE TABLE IF NOT EXISTS pods (name TEXT PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS journal (seq INTEGER PRIMARY KEY AUTOINCREMENT, data BLOB NOT NULL);
"""


SEALED_TABLES = ("objects", "rollouts", "templates", "pods", "journal")


class StoreError(Exception):
    """The agent's database could not be read or written: room or rights; nothing was changed."""


class Held(Struct, frozen=True, kw_only=True):
    """A desired object. `inert`: paths without effect here."""

    application: str
    candidate: str
    ref: Ref
    body: Json
    hash: str
    uid: str
    generation: int
    inert: tuple[str, ...] = ()


class Rollout(Struct, frozen=True, kw_only=True):
    revisions: tuple[Revision, ...] = ()
    progress: Progress = Progress()
    status: Json = None


class Template(Struct, frozen=True, kw_only=True):
    """A pod template and the content of what it reads, frozen together: "ConfigMap/web" → key → base64."""

    body: Json
    config: dict[str, dict[str, str]]
    images: dict[str, str] = {}  # container → image id, once resolved


class PodRow(Struct, frozen=True, kw_only=True):
    """One replica. `ready` is the last known, so that a new agent does not take it from the proxy."""

    name: str
    workload: Ref
    uid: str
    template: str
    created: datetime
    restarts: int = 0
    ready: bool = False
    stopping: bool = False
    containers: dict[str, str] = {}  # container → id of the one that runs or ran last
    pod: str = ""  # Podman's pod, when several containers share an address


Write = tuple[str, tuple[Any, ...]]


def ref_key(ref: Ref) -> str:
    return f"{ref.group}|{ref.kind}|{ref.namespace}|{ref.name}"


def put_object(held: Held) -> Write:
    return "INSERT OR REPLACE INTO objects VALUES (?, ?)", (ref_key(held.ref), msgspec.json.encode(held))


def drop_object(ref: Ref) -> Write:
    return "DELETE FROM objects WHERE key = ?", (ref_key(ref),)


def put_rollout(ref: Ref, rollout: Rollout) -> Write:
    return "INSERT OR REPLACE INTO rollouts VALUES (?, ?)", (ref_key(ref), msgspec.json.encode(rollout))


def drop_rollout(ref: Ref) -> tuple[Write, ...]:
    key = (ref_key(ref),)
    return ("DELETE FROM rollouts WHERE key = ?", key), ("DELETE FROM templates WHERE key = ?", key)


def put_template(ref: Ref, hash: str, template: Template) -> Write:
    return "INSERT OR REPLACE INTO templates VALUES (?, ?, ?)", (ref_key(ref), hash, msgspec.json.encode(template))


def drop_template(ref: Ref, hash: str) -> Write:
    return "DELETE FROM templates WHERE key = ? AND hash = ?", (ref_key(ref), hash)


def put_pod(row: PodRow) -> Write:
    return "INSERT OR REPLACE INTO pods VALUES (?, ?)", (row.name, msgspec.json.encode(row))


def drop_pod(name: str) -> Write:
    return "DELETE FROM pods WHERE name = ?", (name,)


class Store:
    """One connection on one thread; a write is one transaction, durable when it returns. `key` seals the rows."""

    def __init__(self, path: Path, key: Path) -> None:
        self._thread = ThreadPoolExecutor(1, "agent-store")
        self._path, self._key = path, key
        self._box: Box | None = None
        self._db: sqlite3.Connection | None = None

    async def open(self) -> None:
        await self._run(self._open)

    async def close(self) -> None:
        if self._db is not None:
            await self._run(self._db.close)
        self._thread.shutdown()

    async def write(self, writes: Iterable[Write]) -> None:
        """All or nothing. Raises StoreError."""
        batch = tuple(writes)
        if batch:
            await self._run(self._write, batch)

    async def record(self, moves: Sequence[Moved]) -> tuple[Moved, ...]:
        """Append to the journal; the same moves with their seq. Raises StoreError."""
        return await self._run(self._record, tuple(moves)) if moves else ()

    async def moved(self, after: int, limit: int = 500) -> tuple[Moved, ...]:
        return await self._run(self._moved, after, limit)

    async def objects(self) -> tuple[Held, ...]:
        rows = await self._run(self._read, "SELECT data FROM objects", ())
        return tuple(msgspec.json.decode(r[0], type=Held) for r in rows)

    async def pods(self) -> tuple[PodRow, ...]:
        rows = await self._run(self._read, "SELECT data FROM pods", ())
        return tuple(msgspec.json.decode(r[0], type=PodRow) for r in rows)

    async def rollout(self, ref: Ref) -> tuple[Rollout, dict[str, Template]]:
        key = (ref_key(ref),)
        rows = await self._run(self._read, "SELECT data FROM rollouts WHERE key = ?", key)
        templates = await self._run(self._read, "SELECT hash, data FROM templates WHERE key = ?", key)
        return (
            msgspec.json.decode(rows[0][0], type=Rollout) if rows else Rollout(),
            {h: msgspec.json.decode(data, type=Template) for h, data in templates},
        )

    async def meta(self, key: str) -> str:
        rows = await self._run(self._select, "SELECT value FROM meta WHERE key = ?", (key,))
        return str(rows[0][0]) if rows else ""

    async def set_meta(self, key: str, value: str) -> None:
        await self.write([("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))])

    async def clear(self) -> None:
        """Forget all but the journal."""
        await self.write([(f"DELETE FROM {table}", ()) for table in ("objects", "rollouts", "templates", "pods")])

    # --- on the thread

    async def _run(self, call: Callable[..., T], *args: Any) -> T:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._thread, call, *args)
        except sqlite3.Error as error:
            raise StoreError(f"{self._path}: {error}; make room on the disk, then try again") from error

    def _open(self) -> None:
        self._db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute("PRAGMA cache_size=-512")
        self._db.execute("PRAGMA secure_delete=ON")
        self._db.executescript(SCHEMA)
        self._path.chmod(0o600)
        self._box = open_box(self._key, used=self._sealed())
        self._seal_the_rest(self._db, self._box)

    def _sealed(self) -> bool:
        """Whether there is a row that a key was used for."""
        each = " UNION ALL ".join(f"SELECT data FROM {table}" for table in SEALED_TABLES)
        return bool(self._select(f"SELECT 1 FROM ({each}) WHERE substr(data, 1, 1) = x'01' LIMIT 1", ()))

    def _seal_the_rest(self, db: sqlite3.Connection, box: Box) -> None:
        """Rows of a version that did not seal; then nothing of them stays in the file or its log."""
        plain = [
            (table, rowid, data)
            for table in SEALED_TABLES
            for rowid, data in self._select(f"SELECT rowid, data FROM {table} WHERE substr(data, 1, 1) <> x'01'", ())
        ]
        if not plain:
            return
        db.execute("BEGIN IMMEDIATE")
        for table, rowid, data in plain:
            db.execute(f"UPDATE {table} SET data = ? WHERE rowid = ?", (box.seal(data), rowid))
        db.execute("COMMIT")
        db.execute("VACUUM")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _connection(self) -> sqlite3.Connection:
        if self._db is None:
            raise sqlite3.OperationalError("the database is not open")
        return self._db

    def _opened(self) -> Box:
        if self._box is None:
            raise sqlite3.OperationalError("the database is not open")
        return self._box

    def _read(self, sql: str, args: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        """Rows whose last column is sealed, opened."""
        box = self._opened()
        return [(*row[:-1], box.open(row[-1])) for row in self._select(sql, args)]

    def _select(self, sql: str, args: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        return self._connection().execute(sql, args).fetchall()

    def _write(self, batch: Sequence[Write]) -> None:
        db, box = self._connection(), self._opened()
        db.execute("BEGIN IMMEDIATE")
        try:
            for sql, args in batch:
                db.execute(sql, [box.seal(a) if isinstance(a, bytes) else a for a in args])
        except sqlite3.Error:
            db.execute("ROLLBACK")
            raise
        db.execute("COMMIT")

    def _record(self, moves: Sequence[Moved]) -> tuple[Moved, ...]:
        db, box, out = self._connection(), self._opened(), []
        db.execute("BEGIN IMMEDIATE")
        try:
            for move in moves:
                data = box.seal(msgspec.json.encode(move))
                seq = db.execute("INSERT INTO journal (data) VALUES (?)", (data,)).lastrowid or 0
                out.append(msgspec.structs.replace(move, seq=seq))
            db.execute("DELETE FROM journal WHERE seq <= ?", (out[-1].seq - KEEP_MOVED,))
        except sqlite3.Error:
            db.execute("ROLLBACK")
            raise
        db.execute("COMMIT")
        return tuple(out)

    def _moved(self, after: int, limit: int) -> tuple[Moved, ...]:
        rows = self._read("SELECT seq, data FROM journal WHERE seq > ? ORDER BY seq LIMIT ?", (after, limit))
        return tuple(msgspec.structs.replace(msgspec.json.decode(d, type=Moved), seq=s) for s, d in rows)
