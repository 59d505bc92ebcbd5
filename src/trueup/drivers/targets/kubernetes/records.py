"""What we applied to one cluster, on disk: uid, hash, fields, values. Memory holds hashes, bodies stay in the file.

Without this file nothing is deleted: what we applied is then not known, only what looks like ours.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
import orjson
from msgspec import Struct

from trueup.core.model import DriftRules, Json, Ref

Key = tuple[str, str, str, str]  # group, kind, namespace, name

SCHEMA = """
create table if not exists applied (
  "group" text, kind text, namespace text, name text, application text, cluster text, uid text, hash text,
  mark text, version integer, generation integer, owned text, times integer, proven integer,
  fields blob, body blob, held blob, primary key ("group", kind, namespace, name)) without rowid;
create table if not exists self (id text);
create table if not exists rules (application text primary key, rules blob) without rowid
"""
SMALL = (
    '"group", kind, namespace, name, application, cluster, uid, hash, mark, version, generation, owned, times, proven'
)


def key_of(ref: Ref) -> Key:
    return (ref.group, ref.kind, ref.namespace, ref.name)


class Applied(Struct, frozen=True, kw_only=True):
    """One object as our last PATCH left it."""

    ref: Ref
    application: str
    uid: str
    hash: str  # of the desired body
    mark: str  # of our managedFields entry
    version: int  # resourceVersion: versions of one cluster can be compared. Source: KEP-5504
    generation: int  # metadata.generation; 0 where the kind has none
    owned: str  # digest of the values that we own
    times: int  # how many desired bodies it has had
    proven: bool = False  # this body was healthy once


class Bodies(Struct, frozen=True):
    """What is read from disk when it is needed: the desired body, the fields (fieldsV1) that became ours, and the
    values that these had then (as `owned.values` takes them)."""

    body: Json
    fields: Json
    held: Json = None


class Records:
    """Of one cluster, in one SQLite file; `load` first."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._db: sqlite3.Connection | None = None
        self._lock = asyncio.Lock()
        self.applied: dict[Key, Applied] = {}
        self.of: dict[str, set[Key]] = {}  # application → its objects
        self.id = ""  # of this file, wherever it is opened
        self.rules: dict[str, DriftRules] = {}  # of the applications that have any

    async def load(self) -> None:
        async with self._lock:
            for each in await asyncio.to_thread(self._load):
                self._hold(each)

    async def close(self) -> None:
        async with self._lock:
            if self._db is not None:
                await asyncio.to_thread(self._db.close)
                self._db = None

    async def put(self, made: Sequence[tuple[Applied, Bodies]]) -> None:
        """Keep what was applied, all at once."""
        async with self._lock:
            await asyncio.to_thread(self._put, made)
            for each, _ in made:
                self._hold(each)

    async def mend(self, each: Applied) -> None:
        """Keep small changes of one record."""
        async with self._lock:
            await asyncio.to_thread(self._mend, each)
            self._hold(each)

    async def forget(self, keys: Iterable[Key]) -> None:
        gone = [key for key in keys if key in self.applied]
        async with self._lock:
            await asyncio.to_thread(self._forget, gone)
            for key in gone:
                self.of[self.applied.pop(key).application].discard(key)

    async def bodies(self, keys: Sequence[Key]) -> dict[Key, Bodies]:
        async with self._lock:
            return await asyncio.to_thread(self._bodies, keys)

    async def keep_rules(self, application: str, rules: DriftRules) -> None:
        async with self._lock:
            self.rules[application] = rules
            await asyncio.to_thread(self._keep_rules, application, rules)

    async def desired(self, keys: Sequence[Key]) -> dict[Key, Json]:
        """The desired bodies alone."""
        async with self._lock:
            return await asyncio.to_thread(self._desired, keys)

    def _hold(self, each: Applied) -> None:
        key = key_of(each.ref)
        before = self.applied.get(key)
        if before is not None:
            self.of[before.application].discard(key)
        self.applied[key] = each
        self.of.setdefault(each.application, set()).add(key)

    # --- in a thread

    def _load(self) -> list[Applied]:
        Path(self._path).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._db = sqlite3.connect(self._path, check_same_thread=False, isolation_level=None)
        Path(self._path).chmod(0o600)
        self._db.executescript(f"pragma journal_mode = wal; pragma synchronous = normal; {SCHEMA}")
        self._db.execute("insert into self select lower(hex(randomblob(8))) where not exists (select 1 from self)")
        (self.id,) = self._db.execute("select id from self").fetchone()
        for name, rules in self._db.execute("select application, rules from rules"):
            self.rules[name] = msgspec.json.decode(rules, type=DriftRules)
        return [
            Applied(
                ref=Ref(cluster, group, kind, namespace, name), application=application, uid=uid, hash=hash, mark=mark,
                version=version, generation=generation, owned=owned, times=times, proven=bool(proven),
            )
            for (group, kind, namespace, name, application, cluster, uid, hash, mark, version, generation, owned,
                 times, proven) in self._db.execute(f"select {SMALL} from applied")
        ]  # fmt: skip

    def _open(self) -> sqlite3.Connection:
        if self._db is None:
            raise RuntimeError("the record of what was applied is closed")
        return self._db

    def _put(self, made: Sequence[tuple[Applied, Bodies]]) -> None:
        rows = [
            (*key_of(a.ref), a.application, a.ref.cluster, a.uid, a.hash, a.mark, a.version, a.generation, a.owned,
             a.times, a.proven, orjson.dumps(b.fields), orjson.dumps(b.body), orjson.dumps(b.held))
            for a, b in made
        ]  # fmt: skip
        db = self._open()
        with db:
            db.execute("begin")
            db.executemany(f"insert or replace into applied values ({','.join('?' * 17)})", rows)

    def _keep_rules(self, application: str, rules: DriftRules) -> None:
        self._open().execute("insert or replace into rules values (?, ?)", (application, msgspec.json.encode(rules)))

    def _mend(self, a: Applied) -> None:
        db = self._open()
        with db:
            db.execute(
                'update applied set mark = ?, version = ?, generation = ?, proven = ? where "group" = ? and kind = ? '
                "and namespace = ? and name = ?",
                (a.mark, a.version, a.generation, a.proven, *key_of(a.ref)),
            )

    def _forget(self, keys: Sequence[Key]) -> None:
        db = self._open()
        with db:
            db.execute("begin")
            db.executemany('delete from applied where "group" = ? and kind = ? and namespace = ? and name = ?', keys)

    def _bodies(self, keys: Sequence[Key]) -> dict[Key, Bodies]:
        query = 'select body, fields, held from applied where "group" = ? and kind = ? and namespace = ? and name = ?'
        found = {}
        for key in keys:
            row = self._open().execute(query, key).fetchone()
            if row is not None:
                found[key] = Bodies(*(orjson.loads(each) for each in row))
        return found

    def _desired(self, keys: Sequence[Key]) -> dict[Key, Json]:
        query = 'select body from applied where "group" = ? and kind = ? and namespace = ? and name = ?'
        cursor = self._open().cursor()
        rows = {key: cursor.execute(query, key).fetchone() for key in keys}
        return {key: orjson.loads(row[0]) for key, row in rows.items() if row is not None}
