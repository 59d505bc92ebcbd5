"""The loop: sources, Candidates and applications woken by key; watchers that wake them; long work beside, by id."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence

from msgspec import Struct

from trueup.core import decide as d
from trueup.core import events as ev
from trueup.core.candidate import ApplicationState, Phase, child_id
from trueup.core.hooks import owner_of
from trueup.core.model import Principal
from trueup.engine.application import ApplicationLoop, application_id
from trueup.engine.book import TRUEUP, Book
from trueup.engine.candidate import Builds, CandidateLoop, Runs, Study
from trueup.engine.planning import Planning
from trueup.engine.queue import BACK_OFF_S, Queue, Stuck
from trueup.engine.source import SourceLoop, Stating, no_anchor
from trueup.ports import (
    BuilderDown,
    Clock,
    Conflict,
    Ledger,
    LedgerFull,
    Moved,
    Records,
    RendererDown,
    Source,
    SourceError,
    Target,
)

log = logging.getLogger("trueup")

SWEEP_S = 60.0
RESYNC_SWEEPS = 10  # so many sweeps apart, every application is read anew, whatever was told of it


class Watched(Struct, frozen=True):
    """One branch of one repository, and what it is for."""

    url: str
    branch: str
    name: str
    role: str  # "both" | "code" | "config"


class Parts(Struct, frozen=True, kw_only=True):
    """Everything the loop stands on. `sources` is by `source_id`."""

    ledger: Ledger
    records: Records
    sources: Mapping[str, Source]
    watched: Mapping[str, Watched]
    target_name: str
    target: Target
    study: Study
    stating: Stating
    planning: Planning
    runs: Runs
    builds: Builds
    clock: Clock
    policy: d.Policy = d.Policy()
    environment: str = "default"
    poll_s: float = 15.0
    anchor: Callable[[str], Awaitable[str]] = no_anchor


class Links:
    """Which streams belong together; small and rebuilt from `watched`."""

    def __init__(self, parts: Parts, book: Book) -> None:
        self._watched, self._environment, self._book = parts.watched, parts.environment, book
        self.known_applications: dict[str, str] = {
            application_id(s, parts.environment): s for s, w in parts.watched.items() if w.role != "code"
        }

        self._by_source: dict[str, list[str]] = {}
        for application, source in self.known_applications.items():
            self._by_source.setdefault(source, []).append(application)

    def applications(self, source: str) -> Sequence[str]:
        return self._by_source.get(source, ())

    def code_of(self, source: str) -> Sequence[str]:
        if source not in self._watched or self._watched[source].role != "config":
            return ()
        return [s for s, w in self._watched.items() if w.role == "code"]

    def config_of(self, source: str) -> Sequence[str]:
        if source not in self._watched or self._watched[source].role != "code":
            return ()
        return [s for s, w in self._watched.items() if w.role == "config"]

    def sick(self) -> tuple[int, float]:
        states = [self._book.peek_application(a) for a in self.known_applications]
        sick = sum(_sick(s) for s in states if s is not None)
        return sick, sick / max(1, len(states))


def _sick(state: ApplicationState) -> bool:
    """Its rollout fails, or what ran well does not any more."""
    stuck = state.current is not None and state.current.phase in (Phase.CONDEMNED, Phase.HELD)
    return stuck or state.health in ("degraded", "missing")


class Loop:
    """`async with asyncio.TaskGroup()` owns everything; `run()` ends when cancelled."""

    def __init__(self, parts: Parts, *, workers: int = 4) -> None:
        self.parts = parts
        self.book = Book(parts.ledger)
        self.links = Links(parts, self.book)
        self.queue = Queue(self._reconcile, stuck=self._stuck, group=self._group, workers=workers)
        self._beside: dict[str, asyncio.Task[None]] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self.problems: dict[str, str] = {}  # key → why its last pass failed; empty when all is well
        wake = self.queue.wake
        self.sources = SourceLoop(
            self.book,
            parts.sources,
            parts.stating,
            self.links,
            parts.clock,
            parts.policy,
            wake,
            parts.anchor,
            parts.poll_s,
        )
        self.candidates = CandidateLoop(
            self.book, parts.records, parts.study, parts.runs, parts.builds, self.spawn, self.wake_around
        )
        self.applications = ApplicationLoop(
            self.book,
            parts.records,
            {parts.target_name: parts.target},
            parts.planning,
            parts.clock,
            parts.policy,
            self.wake_around,
        )

    # --- life ------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Register what is watched, wake everything unfinished, and go on until cancelled."""
        await self.register()
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            tasks.create_task(self._watch_target(), name="watch target")
            tasks.create_task(self._sweep(), name="sweep")
            tasks.create_task(self.queue.run(), name="queue")
            await self.wake_all()

    async def register(self) -> None:
        for id, watched in self.parts.watched.items():
            state = await self.book.source(id)
            if state.seq == 0:
                fact = ev.SourceRegistered(watched.url, watched.branch, watched.name, watched.role)
                await self.book.write(id, 0, [fact])
            elif state.role != watched.role:
                fact = ev.SourceRegistered(watched.url, watched.branch, watched.name, watched.role)
                await self.book.write(id, state.seq, [fact])
        for id, source in self.links.known_applications.items():
            if (await self.book.application(id)).seq == 0:
                name = self.parts.watched[source].name
                registered = ev.ApplicationRegistered(name, source, self.parts.environment, self.parts.target_name)
                await self.book.write(id, 0, [registered])

    async def wake_all(self) -> None:
        """After a start: every source, every application, and each Candidate whose verdict is open."""
        for id in self.parts.watched:
            self.queue.wake(id)
            source = await self.book.source(id)
            for seen in list(source.candidates.values())[-50:]:
                candidate = await self.book.candidate(seen.id)
                if candidate.verdict.value == "pending":
                    self.queue.wake(seen.id)  # a superseded one may have a run that a kill left open
        for id in self.links.known_applications:
            self.queue.wake(id)

    async def _reconcile(self, key: str) -> float | None:
        try:
            again = await self._dispatch(key)
        except Conflict:  # another writer was first: read again, decide anew
            again = await self._dispatch(key)
        self.problems.pop(key, None)
        return again

    async def _dispatch(self, key: str) -> float | None:
        match key.partition("/")[0]:
            case "source":
                return await self.sources.reconcile(key)
            case "candidate":
                return await self.candidates.reconcile(key)
            case "application":
                return await self.applications.reconcile(key)
            case _:
                raise ValueError(f"no such kind of key: {key}")

    def wake_around(self, key: str) -> None:
        """Wake `key`; for a source also what hangs on it."""
        self.queue.wake(key)
        for other in (*self.links.applications(key), *self.links.code_of(key), *self.links.config_of(key)):
            self.queue.wake(other)

    def _group(self, key: str) -> str:
        return self.links.known_applications.get(key, key)

    def _stuck(self, stuck: Stuck) -> None:
        if isinstance(stuck.error, Conflict):
            return  # another pass was first; it is read again
        told = f"{type(stuck.error).__name__}: {stuck.error}"
        if self.problems.get(stuck.key) == told:
            return
        self.problems[stuck.key] = told
        expected = isinstance(stuck.error, LedgerFull | SourceError | BuilderDown | OSError) or hasattr(
            stuck.error, "expected"
        )
        log.warning("pass failed, will be tried again", extra={"key": stuck.key, "reason": told}, exc_info=not expected)

    # --- beside ----------------------------------------------------------------------------------

    def spawn(self, key: str, work: Callable[[], Awaitable[None]]) -> bool:
        """Run `work` beside the queue, once a key, tried again with back-off when the world failed it."""
        if key in self._beside or self._tasks is None:
            return False
        task = self._tasks.create_task(self._again(key, work), name=key)
        self._beside[key] = task
        task.add_done_callback(lambda _: self._beside.pop(key, None))
        return True

    async def _again(self, key: str, work: Callable[[], Awaitable[None]]) -> None:
        for delay_s in (*BACK_OFF_S, *([60.0] * 10_000)):
            try:
                await work()
                self.problems.pop(key, None)
                return
            except (BuilderDown, RendererDown, SourceError, LedgerFull, Conflict, OSError) as error:
                self.problems[key] = str(error)
                await asyncio.sleep(delay_s)

    async def _watch_target(self) -> None:
        async for moved in self.parts.target.watch(await self._last_moved()):
            application = owner_of(moved.application)
            if application not in self.links.known_applications:
                continue
            self.applications.moved(application, moved.seq)
            if moved.drift and application == moved.application:  # a hook that ended may be deleted by anybody
                await self._record_drift(moved)
            self.queue.wake(application)

    async def _sweep(self) -> None:
        """Events wake what they concern. This is for a wake that was lost, and now and then for a lost event."""
        for number in itertools.count(1):
            await asyncio.sleep(SWEEP_S)
            again = self.applications.forget() if number % RESYNC_SWEEPS == 0 else self.applications.stale()
            for id in again:
                self.queue.wake(id)

    async def _last_moved(self) -> int:
        """Where the target's journal was read to: drift seen before is not told twice."""
        last = 0
        for id in self.links.known_applications:
            for event in await self.parts.ledger.read(id):
                if isinstance(event.fact, ev.Drifted):
                    last = max(last, event.fact.journal)
        return last

    async def _record_drift(self, moved: Moved) -> None:
        fact = ev.Drifted((str(moved.ref),), moved.drift, moved.repaired, moved.seq)
        for _ in range(5):
            state = await self.book.application(moved.application)
            try:
                await self.book.write(moved.application, state.seq, [fact])
                return
            except Conflict:
                continue

    # --- what a person asks ----------------------------------------------------------------------

    async def record(self, stream: str, fact: ev.Fact, by: Principal = TRUEUP) -> None:
        """Append a person's wish to a source or application and wake it."""
        for _ in range(10):
            kind = stream.partition("/")[0]
            state = await (self.book.source(stream) if kind == "source" else self.book.application(stream))
            try:
                await self.book.write(stream, state.seq, [fact], by=by)
                break
            except Conflict:
                continue
        self.wake_around(stream)


def source_id(url: str, branch: str) -> str:
    """The stream of a watched branch: the same whenever the same branch is watched from the same state folder."""
    return child_id("source", url, branch)
