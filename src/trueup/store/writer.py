"""One thread and one connection that write to a SQLite file: whatever waits is committed together, with one fsync.

A piece of work is acknowledged after its commit. It may refuse (Conflict) before it has written anything; when the
disk refuses, the whole batch is rolled back and each piece is tried alone, so that a small one still finds room.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias, TypeVar

from msgspec import Struct

from trueup.ports import Conflict, LedgerFull

T = TypeVar("T")
Work: TypeAlias = Callable[[sqlite3.Connection], T]  # runs in the writer's thread, inside a transaction

BATCH = 1024
TIMEOUT_S = 60.0
TRUNCATE = "PRAGMA wal_checkpoint(TRUNCATE)"

# The log is moved into the file when nobody waits for it: after a pause, when enough was committed since. Under load
# without a pause SQLite does it within a commit, so that the log keeps within 32 MiB.
PAUSE_S = 0.2
COMMITS_BEFORE_MOVING = 100
LOG_PAGES = 8000
SETTINGS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    f"PRAGMA wal_autocheckpoint = {LOG_PAGES}",
    "PRAGMA journal_size_limit = 16777216",
)


class Tables(Protocol):
    """The tables that the work writes to, and what it remembers of them."""

    def begin(self, connection: sqlite3.Connection) -> None:
        """A transaction has begun."""
        ...

    def flush(self, connection: sqlite3.Connection) -> None:
        """Write what the work of this transaction has put aside."""
        ...

    def forget(self) -> None:
        """The transaction was rolled back: nothing remembered of it holds."""
        ...

    def committed(self, result: Any) -> None:
        """In the event loop: this result has been committed, whether or not its caller still waits."""
        ...


class Job(Struct, eq=False):
    work: Work[Any]
    acknowledged: asyncio.Future[Any]
    alone: bool = False  # outside a transaction


class Done(Struct):
    job: Job
    result: Any = None
    error: Exception | None = None


class Writer:
    """Owns the connection from `start` to `close`. One event loop submits and is answered."""

    def __init__(self, path: str, connection: sqlite3.Connection, tables: Tables) -> None:
        self._path = path
        self._connection = connection
        self._tables = tables
        self._waiting: queue.SimpleQueue[list[Job] | None] = queue.SimpleQueue()
        self._gathered: list[Job] = []  # in this turn of the loop
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        self._closed = False
        self._commits = 0  # since the log was moved into the file
        self._thread = threading.Thread(target=self._run, name=f"writer of {path}", daemon=True)
        self._thread.start()

    async def submit(self, work: Work[T]) -> T:
        """Run `work` in the next transaction and return its result after the commit.

        Raises what the work raises, and LedgerFull when the disk refused or did not answer in time; in the latter
        case the work may yet be committed, which the next read shows."""
        return await self._ask(work, alone=False)

    async def truncate_log(self) -> None:
        """Move the log into the file and leave it empty; readers in the midst of a page keep what they need of it."""
        await self._ask(lambda connection: connection.execute(TRUNCATE).fetchall(), alone=True)

    async def _ask(self, work: Work[T], *, alone: bool) -> T:
        if self._closed:
            raise LedgerFull(f"{self._path} is closed: nothing was recorded")
        acknowledged: asyncio.Future[T] = self._loop.create_future()
        if not self._gathered:
            self._loop.call_soon(self._hand_over)
        self._gathered.append(Job(work, acknowledged, alone))
        late = self._loop.call_later(TIMEOUT_S, self._give_up, acknowledged)
        try:
            return await acknowledged
        finally:
            late.cancel()

    async def close(self) -> None:
        """Commit what waits, move the log into the file, end the thread."""
        if not self._closed:
            self._closed = True
            self._hand_over()
            self._waiting.put(None)
        await asyncio.wait_for(self._ended.wait(), TIMEOUT_S)

    # --- in the thread ---------------------------------------------------------------------------

    def _run(self) -> None:
        last = False
        while not last:
            jobs, last = self._take()
            self._deliver(self._transact(jobs))
        with contextlib.suppress(sqlite3.Error):
            self._connection.execute(TRUNCATE)
        self._connection.close()
        with contextlib.suppress(RuntimeError):  # the loop has gone: nobody waits
            self._loop.call_soon_threadsafe(self._ended.set)

    def _take(self) -> tuple[list[Job], bool]:
        """What waits, and whether it is the last."""
        jobs: list[Job] = []
        while (more := self._next()) is not None:
            jobs += more
            if len(jobs) >= BATCH or self._waiting.empty():
                return jobs, False
        return jobs, True

    def _next(self) -> list[Job] | None:
        try:
            return self._waiting.get(timeout=PAUSE_S if self._commits >= COMMITS_BEFORE_MOVING else None)
        except queue.Empty:
            self._commits = 0
            with contextlib.suppress(sqlite3.Error):  # the log stays, and grows: tried again after more commits
                self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            return self._waiting.get()

    def _transact(self, jobs: list[Job]) -> list[Done]:
        wanted = [job for job in jobs if not job.acknowledged.done()]
        done = self._together([job for job in wanted if not job.alone])
        return done + [self._do_alone(job) for job in wanted if job.alone]

    def _together(self, jobs: list[Job]) -> list[Done]:
        if not jobs:
            return []
        try:
            return self._commit(jobs)
        except Exception as error:  # a batch shares its transaction, not its fate: each is answered alone
            self._roll_back()
            if len(jobs) == 1:
                return [Done(jobs[0], error=self._named(error))]
        return [done for job in jobs for done in self._together([job])]

    def _commit(self, jobs: list[Job]) -> list[Done]:
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        self._tables.begin(connection)
        done: list[Done] = []
        for job in jobs:
            try:
                done.append(Done(job, result=job.work(connection)))
            except Conflict as refusal:
                done.append(Done(job, error=refusal))
        self._tables.flush(connection)
        connection.execute("COMMIT")
        self._commits += 1
        return done

    def _do_alone(self, job: Job) -> Done:
        try:
            return Done(job, result=job.work(self._connection))
        except sqlite3.Error as error:
            return Done(job, error=self._named(error))

    def _roll_back(self) -> None:
        self._tables.forget()
        if self._connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):  # a full disk has rolled back by itself
                self._connection.execute("ROLLBACK")

    def _named(self, error: Exception) -> Exception:
        if isinstance(error, sqlite3.OperationalError):
            what = f"{self._path}: {error}; nothing was recorded"
            return LedgerFull(f"{what}. Make room on that disk or mend it; Trueup goes on then")
        return error

    def _deliver(self, done: list[Done]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has gone: nobody waits
            self._loop.call_soon_threadsafe(self._answer, done)

    # --- in the loop -----------------------------------------------------------------------------

    def _hand_over(self) -> None:
        """Give the thread what this turn of the loop has gathered, as one batch: one wake-up, one fsync."""
        jobs, self._gathered = self._gathered, []
        if jobs:
            self._waiting.put(jobs)

    def _give_up(self, acknowledged: asyncio.Future[Any]) -> None:
        if not acknowledged.done():
            what = f"the disk under {self._path} has not answered for {TIMEOUT_S:.0f} s"
            acknowledged.set_exception(LedgerFull(f"{what}: look at the disk, then retry"))

    def _answer(self, done: list[Done]) -> None:
        for each in done:
            if each.error is None:
                self._tables.committed(each.result)
            future = each.job.acknowledged
            if future.done():  # cancelled, or given up
                continue
            if each.error is None:
                future.set_result(each.result)
            else:
                future.set_exception(each.error)
