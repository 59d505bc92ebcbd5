"""The ledger, read once: every stream folded, and its events kept in order. Pure; knows no clock.

A Chronicle grows by `add`, event by event, so that a live view never reads the ledger twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from msgspec import Struct, field
from msgspec.structs import replace

from trueup.core import events as ev
from trueup.core.candidate import (
    ApplicationState,
    CandidateState,
    SourceState,
    fold_application,
    fold_candidate,
    fold_source,
)
from trueup.core.model import TestCount


class JobView(Struct, frozen=True):
    name: str
    outcome: str = ""  # "" while it runs
    seconds: float = 0.0
    reason: str = ""
    tests: TestCount | None = None
    started: datetime | None = None


class RunView(Struct, frozen=True):
    """One pipeline run, as far as it got."""

    id: str
    candidate: str = ""
    workflow: str = ""
    place: str = ""
    trigger: str = ""
    attempt: int = 1
    started: datetime | None = None
    outcome: str = ""  # "" while it runs
    reason: str = ""
    seconds: float = 0.0
    jobs: tuple[JobView, ...] = ()
    intents: tuple[str, ...] = ()  # second writers: recorded, not executed


class Chronicle(Struct, frozen=True):
    """All streams by id, oldest first. Its mappings grow in place; only `add` writes to them."""

    streams: dict[str, list[ev.Event]] = field(default_factory=dict)
    sources: dict[str, SourceState] = field(default_factory=dict)
    candidates: dict[str, CandidateState] = field(default_factory=dict)
    applications: dict[str, ApplicationState] = field(default_factory=dict)
    runs: dict[str, RunView] = field(default_factory=dict)

    def events(self) -> list[ev.Event]:
        """Every event in the order of time; within one instant in the order of its stream."""
        every = [event for stream in self.streams.values() for event in stream]
        return sorted(every, key=lambda event: (event.time, event.stream, event.seq))


def read(events: Iterable[ev.Event]) -> Chronicle:
    """Fold a whole ledger. Each stream's own events must come in their order; streams may interleave."""
    chronicle = Chronicle()
    for event in events:
        chronicle.streams.setdefault(event.stream, []).append(event)
    for stream, own in chronicle.streams.items():
        _fold(chronicle, stream, own)
    return chronicle


def add(chronicle: Chronicle, event: ev.Event) -> bool:
    """Take one more event into the Chronicle; False when it is known already."""
    own = chronicle.streams.setdefault(event.stream, [])
    if own and own[-1].seq >= event.seq:
        return False
    own.append(event)
    _fold(chronicle, event.stream, [event])
    return True


def _fold(chronicle: Chronicle, stream: str, events: list[ev.Event]) -> None:
    match stream.partition("/")[0]:
        case "source":
            chronicle.sources[stream] = fold_source(chronicle.sources.get(stream, SourceState(stream)), events)
        case "candidate":
            chronicle.candidates[stream] = fold_candidate(
                chronicle.candidates.get(stream, CandidateState(stream)), events
            )
        case "application":
            state = chronicle.applications.get(stream, ApplicationState(stream))
            chronicle.applications[stream] = fold_application(state, events)
        case "run":
            run = chronicle.runs.get(stream, RunView(stream))
            for event in events:
                run = _run(run, event)
            chronicle.runs[stream] = run
        case _:
            pass


def _run(run: RunView, event: ev.Event) -> RunView:
    match event.fact:
        case ev.RunCreated() as f:
            return replace(
                run,
                candidate=f.candidate,
                workflow=f.workflow,
                place=f.place,
                trigger=f.trigger,
                attempt=f.attempt,
                started=event.time,
                outcome="",
                reason="",
            )
        case ev.JobStarted(job=job):
            return _job(run, JobView(job, started=event.time))
        case ev.JobFinished() as f:
            started = next((j.started for j in run.jobs if j.name == f.job), None)
            return _job(run, JobView(f.job, f.outcome, f.seconds, f.reason, f.tests, started))
        case ev.RunIntent(command=command):
            return replace(run, intents=(*run.intents, command))
        case ev.RunFinished() as f:
            return replace(run, outcome=f.outcome, reason=f.reason, seconds=f.seconds)
        case _:
            return run


def _job(run: RunView, job: JobView) -> RunView:
    if any(j.name == job.name for j in run.jobs):
        return replace(run, jobs=tuple(job if j.name == job.name else j for j in run.jobs))
    return replace(run, jobs=(*run.jobs, job))


def short(oid: str) -> str:
    """A commit id as people read it."""
    return oid[:10]


def short_tag(tag: str) -> str:
    """A tag as people read it: a whole commit id is shortened as commits are."""
    whole = len(tag) in (40, 64) and all(c in "0123456789abcdef" for c in tag)
    return short(tag) if whole else tag


def short_digest(digest: str) -> str:
    return digest[:19] if digest.startswith("sha256:") else digest[:12]


def runs_of(chronicle: Chronicle, candidate: CandidateState) -> tuple[RunView, ...]:
    """The runs of a Candidate: required ones first, then advisory ones, then those started by hand."""
    named = (*candidate.required, *candidate.advisory)
    more = (r.id for r in chronicle.runs.values() if r.candidate == candidate.id and r.id not in named)
    return tuple(chronicle.runs[r] for r in (*named, *more) if r in chronicle.runs)


def made_from(chronicle: Chronicle, candidate: str) -> tuple[str, ...]:
    """This Candidate and those that a configuration repository made of it."""
    return (candidate, *(c.id for c in chronicle.candidates.values() if c.from_candidate == candidate))
