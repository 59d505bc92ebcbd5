"""Runs pipelines: jobs in the order of their needs, legs in parallel by slots, every transition an event.

A run is its stream. Called again after a kill it goes on from there: legs that ended are kept, one that had only begun
is done again in a fresh workspace. Knows no format; a graph's `dialect` names the language it is evaluated with.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct, field

from trueup.core import events as ev
from trueup.core.layout import Layout
from trueup.core.model import BuiltImage, Json, Outcome, Principal
from trueup.core.pipeline import (
    SUPERSEDED,
    Dialect,
    Done,
    ExpressionError,
    Facts,
    Graph,
    Job,
    JobView,
    Leg,
    Scope,
    Status,
    joined,
    runnable,
    standing,
    verdict,
)
from trueup.core.runs import JobRecord, RunState, fold_run, kept_jobs
from trueup.engine.actions import ACTIONS
from trueup.engine.broker import Broker
from trueup.engine.joblog import JobLog, follow
from trueup.engine.jobs import LegResult, leg_folder, run_leg
from trueup.engine.running import Limits, Order, Place, Stop, Tools
from trueup.ports import Clock, Conflict, Executor, Ledger, Records, Source

TRUEUP = Principal("trueup", "rule")
PROCESS_WORKSPACES = Path("/var/lib/trueup")


class RunRequest(Struct, frozen=True, kw_only=True):
    """One run of one pipeline. The same request with the same `run` goes on where a kill left it."""

    run: str  # its stream: "run/…"
    graph: Graph
    source: Source
    facts: Facts
    candidate: str = ""
    trigger: str = "push"
    previous: str = ""  # a run whose successful jobs are kept (re-run of the failed ones)
    by: Principal = TRUEUP
    cause: str = ""
    time_s: int = 0  # the commit's time, for reproducible images


class RunResult(Struct, frozen=True, kw_only=True):
    outcome: Outcome
    reason: str
    images: tuple[tuple[BuiltImage, bool], ...]
    intents: tuple[ev.RunIntent, ...]


class Parts(Struct, frozen=True, kw_only=True):
    """What pipelines are made of. `workspaces`, `sockets` and `caches` default to places below the layout."""

    layout: Layout
    ledger: Ledger
    records: Records
    clock: Clock
    executors: Mapping[str, Executor]
    broker: Broker
    dialects: Mapping[str, Dialect]
    executor: str = "container"
    slots: int = 2
    limits: Limits = Limits()
    stand_ins: bool = True
    workspaces: Path | None = None
    sockets: Path | None = None


class _Live(Struct):
    """A run in this process."""

    request: RunRequest
    state: RunState
    stop: Stop
    done: dict[str, Done] = field(default_factory=dict)
    stops: list[Stop] = field(default_factory=list)
    write: asyncio.Lock = field(default_factory=asyncio.Lock)
    begun_s: float = 0.0


class Pipelines:
    """Runs, cancels, and shows pipeline runs."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._slots = asyncio.Semaphore(parts.slots)
        self._live: dict[str, _Live] = {}
        self._logs: dict[Path, JobLog] = {}
        self._groups: dict[str, tuple[str, asyncio.Lock]] = {}

    # --- what others call

    async def run(self, request: RunRequest) -> RunResult:
        """Until run.finished is in the ledger. Cancelling the call leaves the run to be finished by the next call.

        Raises Conflict when another process writes this run, LedgerFull."""
        state = await self._state(request.run)
        if state.finished:
            return await self._result(state)
        if request.run in self._live:
            raise Conflict(f"{request.run} is running already in this process")
        live = _Live(request, state, Stop(), begun_s=self._parts.clock.monotonic_s())
        self._live[request.run] = live
        try:
            await self._begin(live)
            async with self._group(live):
                await self._jobs(live)
            await self._finish(live)
        finally:
            del self._live[request.run]
            self._parts.broker.forget(request.run)
        return await self._result(live.state)

    async def cancel(self, run: str, reason: str) -> bool:
        """Ask a run to end; False when it has. One that no process runs is recorded as cancelled when it goes on."""
        live = self._live.get(run)
        if live is None:
            state = await self._state(run)
            if state.created is None or state.finished or state.cancelled:
                return False
            fact = ev.RunCancelRequested(reason=reason)
            await self._parts.ledger.append(run, [ev.Draft(fact=fact, by=TRUEUP)], expect=state.seq)
            return True
        if not live.state.cancelled and not live.state.finished:
            await self._write(live, [ev.RunCancelRequested(reason=reason)])
        self._stop(live, reason)
        return True

    async def outcome(self, run: str) -> tuple[str, str]:
        """(outcome, reason); ("", "") while it runs or has not begun."""
        finished = (await self._state(run)).finished
        return (finished.outcome, finished.reason) if finished else ("", "")

    async def images(self, run: str) -> tuple[tuple[BuiltImage, bool], ...]:
        """What its successful jobs built, each with whether it came from the cache."""
        return (await self._result(await self._state(run))).images

    async def result(self, run: str) -> RunResult:
        return await self._result(await self._state(run))

    async def state(self, run: str) -> RunState:
        return await self._state(run)

    def log_path(self, run: str, job: str) -> Path:
        """Where the log of a leg is kept: <logs>/<run>/<job>.log."""
        return Path(self._parts.layout.logs) / run.rpartition("/")[2] / f"{leg_folder(job)}.log"

    def follow(self, run: str, job: str) -> AsyncIterator[bytes]:
        """A leg's log from its beginning, live until it ends."""
        path = self.log_path(run, job)
        return follow(path, lambda: self._logs.get(path))

    async def sweep(self) -> None:
        """After a start: end what a killed process left running, and remove its workspaces. Raises SandboxDown."""
        keep = list(self._live)
        for executor in self._parts.executors.values():
            await executor.sweep(keep)
        await asyncio.to_thread(self._remove_workspaces, {run.rpartition("/")[2] for run in keep})

    def _remove_workspaces(self, keep: set[str]) -> None:
        root = self._workspaces
        for folder in root.iterdir() if root.is_dir() else ():
            if folder.name not in keep:
                for leg in folder.iterdir():
                    if leg.name != "artifacts":
                        shutil.rmtree(leg, ignore_errors=True)

    # --- places

    @property
    def _workspaces(self) -> Path:
        if self._parts.workspaces is not None:
            return self._parts.workspaces
        if self._parts.executor == "process":  # other uids cannot reach into the closed state folder
            return PROCESS_WORKSPACES / self._parts.layout.id
        return Path(self._parts.layout.workspaces)

    def _place(self, request: RunRequest, leg: Leg) -> Place:
        layout, name = self._parts.layout, request.run.rpartition("/")[2]
        folder = self._workspaces / name
        repository = hashlib.sha256(request.facts.url.encode()).hexdigest()[:16]
        short = hashlib.sha256(f"{request.run}\0{leg.key}".encode()).hexdigest()[:16]
        shared = self._executor(request).name == "container"  # one uid for all jobs: others cannot share files
        cache = Path(layout / "cache") / repository
        return Place(
            folder=folder / leg_folder(leg.key),
            log=self.log_path(request.run, leg.key),
            socket=(self._parts.sockets or socket_folder(layout)) / f"{short}.sock",
            artifacts=folder / "artifacts",
            cache=cache / "shared" if shared else None,
            store=cache / "actions",
        )

    def _executor(self, request: RunRequest) -> Executor:
        return self._parts.executors[self._parts.executor]

    # --- the stream

    async def _state(self, run: str) -> RunState:
        if run in self._live:
            return self._live[run].state
        return fold_run(RunState(run), await self._parts.ledger.read(run))

    async def _write(self, live: _Live, facts: Sequence[ev.Fact]) -> None:
        async with live.write:
            request = live.request
            cause = request.cause if not live.state.seq else f"{request.run}@{live.state.seq}"
            drafts = [ev.Draft(fact=fact, by=request.by, cause=cause) for fact in facts]
            events = await self._parts.ledger.append(request.run, drafts, expect=live.state.seq)
            live.state = fold_run(live.state, events)

    async def _begin(self, live: _Live) -> None:
        request, facts = live.request, live.request.facts
        if live.state.created is None:
            created = ev.RunCreated(
                candidate=request.candidate,
                workflow=request.graph.name,
                place=request.graph.place.file,
                trigger=request.trigger,
                attempt=facts.attempt,
            )
            kept = kept_jobs(await self._state(request.previous)) if request.previous else ()
            await self._write(live, [created, *kept])
        if live.state.cancelled:
            live.stop.ask(live.state.cancelled)

    async def _finish(self, live: _Live) -> None:
        outcome = verdict(live.request.graph, live.done) or Outcome.ERROR
        if live.stop.asked and outcome not in (Outcome.FAILURE, Outcome.ERROR):
            outcome = Outcome.CANCELLED
        seconds = round(self._parts.clock.monotonic_s() - live.begun_s, 3)
        await self._write(live, [ev.RunFinished(outcome=outcome.value, reason=_reason(live, outcome), seconds=seconds)])

    async def _result(self, state: RunState) -> RunResult:
        images: list[tuple[BuiltImage, bool]] = []
        for job in state.jobs.values():
            if job.outcome == Outcome.SUCCESS.value:
                images.extend((await self._record(job)).images)
        return RunResult(
            outcome=Outcome(state.finished.outcome) if state.finished else Outcome.ERROR,
            reason=state.finished.reason if state.finished else "not finished",
            images=tuple(images),
            intents=state.intents,
        )

    async def _record(self, job: ev.JobFinished) -> JobRecord:
        data = await self._parts.records.get(job.outputs) if job.outputs else None
        return msgspec.json.decode(data, type=JobRecord) if data else JobRecord()

    # --- concurrency groups

    @contextlib.asynccontextmanager
    async def _group(self, live: _Live) -> AsyncIterator[None]:
        """At most one run of a group in this process; a newer one ends the older when the pipeline says so."""
        wanted = live.request.graph.concurrency
        if wanted is None:
            yield
            return
        try:
            scope = self._scope(live, None)
            dialect = self._dialect(live)
            group = f"{live.request.facts.url}\0{dialect.interpolate(wanted.group, scope)}"
            cancels = str(dialect.evaluate(wanted.cancel_in_progress, scope)).lower() == "true"
        except ExpressionError:
            group, cancels = f"{live.request.facts.url}\0{wanted.group}", False
        holder, lock = self._groups.setdefault(group, ("", asyncio.Lock()))
        if cancels and holder:
            await self.cancel(holder, f"{SUPERSEDED} the run for {live.request.facts.commit[:10]}")
        async with lock:
            self._groups[group] = (live.request.run, lock)
            try:
                yield
            finally:
                self._groups[group] = ("", lock)

    # --- jobs

    def _dialect(self, live: _Live) -> Dialect:
        return self._parts.dialects[live.request.graph.dialect]

    def _stop(self, live: _Live, reason: str) -> None:
        live.stop.ask(reason)
        for stop in live.stops:
            stop.ask(reason)

    def _scope(self, live: _Live, job: Job | None, leg: Leg | None = None) -> Scope:
        graph, request = live.request.graph, live.request
        status = standing(graph, job.id, live.done, live.stop.asked) if job else Status()
        view = JobView(
            facts=request.facts,
            job=job.id if job else "",
            needs=self._needs(live, job) if job else {},
            matrix=leg.values if leg else {},
            inputs=request.facts.inputs,
            status=status,
        )
        return Scope(contexts=self._dialect(live).contexts(view), status=status)

    def _needs(self, live: _Live, job: Job) -> dict[str, Json]:
        return {
            need: {"result": live.done[need].result.value, "outputs": dict(live.done[need].outputs)}
            for need in job.needs
            if need in live.done
        }

    async def _jobs(self, live: _Live) -> None:
        """Start every job when its needs have ended. Cancelled from outside, all of it ends and nothing is recorded."""
        running: dict[str, asyncio.Task[Done]] = {}
        try:
            while verdict(live.request.graph, live.done) is None:
                for id in runnable(live.request.graph, live.done, running):
                    running[id] = asyncio.create_task(self._job(live, live.request.graph.job(id)), name=id)
                await asyncio.wait(running.values(), return_when=asyncio.FIRST_COMPLETED)
                for id in [id for id, task in running.items() if task.done()]:
                    live.done[id] = await running.pop(id)
        finally:
            for task in running.values():
                task.cancel()
            await asyncio.gather(*running.values(), return_exceptions=True)

    async def _job(self, live: _Live, job: Job) -> Done:
        """One job with all its legs; what its condition or matrix cannot say is its failure."""
        if (ended := live.state.jobs.get(job.id)) and job.matrix is None:
            return await self._kept(ended)
        try:
            scope = self._scope(live, job)
            if not self._dialect(live).condition(job.condition, scope):
                stopped = live.stop.asked
                outcome = Outcome.CANCELLED if stopped else Outcome.SKIPPED
                return await self._ended(live, job.id, outcome, live.stop.reason if stopped else "")
            legs = self._dialect(live).legs(job, scope)
            fail_fast = _true(self._dialect(live).evaluate(job.fail_fast, scope))
            parallel = int(self._dialect(live).evaluate(job.max_parallel, scope)) if job.max_parallel else len(legs)
        except (ExpressionError, ValueError) as error:
            return await self._ended(live, job.id, Outcome.FAILURE, f"{job.place}: {error}")
        if not legs:
            return await self._ended(live, job.id, Outcome.SKIPPED, "its matrix is empty")
        return await self._legs(live, job, legs, fail_fast, max(parallel, 1))

    async def _ended(self, live: _Live, key: str, outcome: Outcome, reason: str) -> Done:
        if key not in live.state.jobs:
            await self._write(live, [ev.JobFinished(job=key, outcome=outcome.value, seconds=0.0, reason=reason)])
        return Done(outcome)

    async def _kept(self, ended: ev.JobFinished) -> Done:
        record = await self._record(ended)
        return Done(Outcome(ended.outcome), record.tolerated, record.outputs)

    async def _legs(self, live: _Live, job: Job, legs: Sequence[Leg], fail_fast: bool, parallel: int) -> Done:
        gate = asyncio.Semaphore(parallel)
        stops = [Stop() for _ in legs]
        live.stops.extend(stops)  # a job that begins after a cancel said always(): its steps run

        async def one(leg: Leg, stop: Stop) -> Done:
            if ended := live.state.jobs.get(leg.key):
                return await self._kept(ended)
            async with gate, self._slots:
                done = await self._leg(live, job, leg, stop)
            if fail_fast and done.outcome in (Outcome.FAILURE, Outcome.ERROR) and not done.tolerated:
                for other in stops:
                    if other is not stop:
                        other.ask(f"{leg.key} failed (fail-fast)")
            return done

        tasks = [asyncio.create_task(one(leg, stop)) for leg, stop in zip(legs, stops, strict=True)]
        try:
            found = await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        outputs = {name: value for done in found for name, value in done.outputs.items() if value}
        return Done(joined([done.outcome for done in found]), all(_excused(done) for done in found), outputs)

    async def _leg(self, live: _Live, job: Job, leg: Leg, stop: Stop) -> Done:
        if stop.asked and not live.stop.asked:  # a sibling failed before this one began
            return await self._ended(live, leg.key, Outcome.CANCELLED, stop.reason)
        executor = self._executor(live.request)
        await self._write(live, [ev.JobStarted(job=leg.key, executor=executor.name)])
        place = self._place(live.request, leg)
        order = Order(
            graph=live.request.graph,
            job=job,
            leg=leg,
            facts=live.request.facts,
            needs=self._needs(live, job),
            source=live.request.source,
            place=place,
            limits=self._parts.limits,
            stand_ins=self._parts.stand_ins,
            time_s=live.request.time_s,
        )
        tools = Tools(
            executor=executor,
            broker=self._parts.broker,
            dialect=self._dialect(live),
            clock=self._parts.clock,
            actions=ACTIONS,
            show=self._show,
        )
        try:
            result = await run_leg(order, tools, stop)
        finally:
            self._logs.pop(place.log, None)
        await self._record_leg(live, leg, result)
        return Done(result.outcome, result.record.tolerated, result.record.outputs)

    def _show(self, log: JobLog) -> None:
        self._logs[log.path] = log

    async def _record_leg(self, live: _Live, leg: Leg, result: LegResult) -> None:
        key = await self._parts.records.put("job", msgspec.json.encode(result.record), stream=live.request.run)
        finished = ev.JobFinished(
            job=leg.key,
            outcome=result.outcome.value,
            seconds=result.seconds,
            reason=result.reason,
            outputs=key,
            tests=result.tests,
        )
        await self._write(live, [*result.intents, finished])


def _true(value: Json) -> bool:
    return value is True or str(value).lower() == "true"


def _excused(done: Done) -> bool:
    return done.tolerated or done.outcome in (Outcome.SUCCESS, Outcome.SKIPPED)


def _reason(live: _Live, outcome: Outcome) -> str:
    """One line: the first job that ended this way, and why."""
    if outcome is Outcome.CANCELLED:
        return live.stop.reason or "a job was cancelled"
    if outcome in (Outcome.FAILURE, Outcome.ERROR):
        for job in live.state.jobs.values():
            if job.outcome == outcome.value and not _is_tolerated(live, job.job):
                return f"{job.job}: {job.reason}"
    return ""


def _is_tolerated(live: _Live, key: str) -> bool:
    owner = live.done.get(key) or live.done.get(key.partition(" (")[0])
    return bool(owner and owner.tolerated)


def socket_folder(layout: Layout) -> Path:
    """Where brokers listen: short, for a socket's path holds 107 bytes, and outside of the closed state folder."""
    return Path("/run/trueup" if os.geteuid() == 0 else f"/tmp/trueup-{os.geteuid()}") / layout.id
