"""Status: what runs, how well, how far the branch is ahead, and everything that waits, each with its reason."""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping
from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from trueup.core import events as ev
from trueup.core.candidate import (
    ApplicationState,
    CandidateState,
    Phase,
    SourceState,
    Verdict,
    Write,
    WriteState,
    newest_green,
)
from trueup.core.model import Judgement
from trueup.core.views.chronicle import Chronicle, short
from trueup.core.views.history import Image, Rollout, images_of, rollouts
from trueup.core.views.stages import Stage, stages


class Summary(enum.Enum):
    """One word over everything, the worst first."""

    DEGRADED = "degraded"
    HELD = "held"  # waits for a person or for the world
    PROGRESSING = "progressing"
    PAUSED = "paused"
    HEALTHY = "healthy"
    EMPTY = "empty"  # nothing is watched yet


class CandidateBrief(Struct, frozen=True):
    id: str
    number: int
    commit: str
    subject: str
    author: str
    state: str  # "pending" | "green" | "red" | "superseded" | "condemned"
    reason: str = ""


class OpenWrite(Struct, frozen=True):
    """A change of ours that Git does not state."""

    purpose: str
    commit: str
    state: str  # "open" | "refused"
    reason: str = ""
    waits_on: str = ""  # branch or pull request


class PauseView(Struct, frozen=True):
    until: datetime | None
    why: str
    by: str


class SourceStatus(Struct, frozen=True, kw_only=True):
    id: str
    name: str
    url: str
    branch: str
    role: str
    head: str
    gone: bool = False
    down: str = ""
    rights: str = ""  # why we may not push; "" when we may, as far as known
    newest: CandidateBrief | None = None
    stages: tuple[Stage, ...] = ()  # of the newest Candidate
    ahead: int = 0  # commits on the branch that do not run
    ahead_reason: str = ""
    paused: PauseView | None = None
    rollback: str = ""  # to which commit, by whom, until the next push
    writes: tuple[OpenWrite, ...] = ()
    pinned_out: Mapping[str, str] = {}  # commit → reason
    undo_held: Mapping[str, str] = {}
    watched: bool = True  # False: not by the loop that runs here
    stopped: str = ""  # the newest green commit's rollout was terminated: by whom, why


class SyncView(Struct, frozen=True):
    candidate: str
    commit: str
    attempt: int
    phase: str
    why: str
    seconds: float
    reason: str = ""


class ReplicaView(Struct, frozen=True):
    """One object as the target judges it now."""

    object: str
    health: str
    reason: str = ""


class HeldView(Struct, frozen=True):
    """Changes that Git asks for and that wait for a person; `approval` is what `trueup approve` takes."""

    approval: str
    count: int
    reason: str
    objects: tuple[str, ...] = ()


class ApplicationStatus(Struct, frozen=True, kw_only=True):
    id: str
    name: str
    environment: str
    target: str
    source: str
    health: str  # "healthy" | "progressing" | "degraded" | "suspended" | "missing" | "unknown" | ""
    reason: str = ""
    running: CandidateBrief | None = None  # the last that turned healthy
    images: tuple[Image, ...] = ()
    since: datetime | None = None
    sync: SyncView | None = None  # in progress, held or stopped; None when all is done
    held: HeldView | None = None
    drift: str = ""  # the last one seen
    drift_at: datetime | None = None
    drift_repaired: bool = True
    objects: tuple[ReplicaView, ...] = ()


class Status(Struct, frozen=True, kw_only=True):
    summary: Summary
    running: bool = False  # a `trueup up` serves this state folder
    sources: tuple[SourceStatus, ...]
    applications: tuple[ApplicationStatus, ...]
    problems: Mapping[str, str] = {}  # key → why its last pass failed; only when running


def status(
    chronicle: Chronicle,
    now: datetime,
    *,
    running: bool = False,
    judgements: Mapping[str, tuple[Judgement, ...]] | None = None,
    problems: Mapping[str, str] | None = None,
    watched: Collection[str] = (),
) -> Status:
    """Everything at once. `judgements`: application id → what the target says now, when it could be asked.

    `watched`: the sources of the loop that runs; () when it is not known. The others do not count for the summary."""
    applications = tuple(_application(chronicle, a, now, (judgements or {}).get(a, ())) for a in chronicle.applications)
    every = tuple(_source(chronicle, s, now) for s in chronicle.sources.values())
    sources = tuple(replace(s, watched=not watched or s.id in watched) for s in every)
    counted = tuple(s for s in sources if s.watched)
    theirs = tuple(a for a in applications if a.source in {s.id for s in counted})
    return Status(
        summary=_summary(counted, theirs),
        running=running,
        sources=sources,
        applications=applications,
        problems=problems or {},
    )


# --- sources -------------------------------------------------------------------------------------


def _source(chronicle: Chronicle, state: SourceState, now: datetime) -> SourceStatus:
    newest = chronicle.candidates.get(state.newest.id) if state.newest else None
    ahead, reason = _ahead(chronicle, state)
    commits = {c.id: c.commit for c in state.candidates.values()}
    numbers, outlived = {c.id: c.number for c in state.candidates.values()}, _outlived(chronicle, state)
    return SourceStatus(
        id=state.id,
        name=state.name,
        url=state.url,
        branch=state.branch,
        role=state.role,
        head=state.head,
        gone=state.gone,
        down=state.down,
        rights=state.rights,
        newest=brief(chronicle, newest),
        stages=stages(chronicle, newest.id, now) if newest else (),
        ahead=ahead,
        ahead_reason=reason,
        paused=_paused(state, now),
        rollback=_rollback(chronicle, state),
        writes=_writes(state, outlived),
        pinned_out={commits.get(c, c): why for c, why in state.pinned.items() if numbers.get(c, 0) > outlived},
        undo_held={commits.get(c, c): why for c, why in state.undo_held.items() if numbers.get(c, 0) > outlived},
        stopped=_stopped(chronicle, state),
    )


def brief(chronicle: Chronicle, state: CandidateState | None) -> CandidateBrief | None:
    """Where a Candidate stands; one that is condemned anywhere is condemned, with the reason."""
    if state is None:
        return None
    name, reason = "superseded" if state.superseded_by else state.verdict.value, state.reason
    for application in chronicle.applications.values():
        if state.id in application.condemned:
            name, reason = "condemned", application.condemned[state.id]
    return CandidateBrief(state.id, state.number, state.commit, state.subject, state.author, name, reason)


def _paused(state: SourceState, now: datetime) -> PauseView | None:
    pause = state.pause
    if pause is None or (pause.until is not None and pause.until <= now):
        return None
    return PauseView(pause.until, pause.why, pause.by)


def _rollback(chronicle: Chronicle, state: SourceState) -> str:
    wish = state.rollback
    if wish is None:
        return ""
    greens = [
        c.number
        for s in state.candidates
        if (c := chronicle.candidates.get(s)) is not None and c.verdict is Verdict.GREEN
    ]
    if greens and max(greens) > wish.after:
        return ""  # a later green push has resumed
    commit = next((c.commit for c in state.candidates.values() if c.id == wish.candidate), wish.candidate)
    return f"to {short(commit)} by {wish.by}{f': {wish.why}' if wish.why else ''}; the next push resumes"


def _outlived(chronicle: Chronicle, state: SourceState) -> int:
    """The number up to which what was wrong with a Candidate is past: a younger one ran well, or a person went back."""
    good = {c for a in chronicle.applications.values() for c in a.good}
    good |= {chronicle.candidates[c].from_candidate for c in good if c in chronicle.candidates}
    ran = [c.number for c in state.candidates.values() if c.id in good]
    return max([*ran, state.rollback.after if state.rollback else 0])


def _writes(state: SourceState, outlived: int) -> tuple[OpenWrite, ...]:
    """Writes that Git has not got; one counts until Git has a later one of its purpose, or what it says is past."""
    waiting: list[OpenWrite] = []
    for write in state.writes.values():
        if write.state is WriteState.PUSHED:
            waiting = [w for w in waiting if w.purpose != write.purpose]
        elif write.state in (WriteState.OPEN, WriteState.REFUSED) and not _past(state, write, outlived):
            waiting.append(OpenWrite(write.purpose, write.commit, write.state.value, write.reason, write.waits_on))
    return tuple(waiting)


def _past(state: SourceState, write: Write, outlived: int) -> bool:
    match write.purpose:
        case "undo":
            return write.condemned in state.candidates and state.candidates[write.condemned].number <= outlived
        case "write-back":
            return write.candidate in state.candidates and state.candidates[write.candidate].number < outlived
        case "rollback":
            wish = state.rollback
            return wish is None or wish.candidate != write.candidate or wish.after < outlived
        case _:
            return False


def _stopped(chronicle: Chronicle, state: SourceState) -> str:
    """The newest green Candidate waits for `trueup retry`: a person stopped its rollout."""
    newest = newest_green(state, chronicle.candidates)
    if newest is None or (state.rollback and newest.number <= state.rollback.after):
        return ""
    for id, application in chronicle.applications.items():
        if newest.id in application.terminated:
            events = chronicle.streams.get(id, [])
            stop = next(e for e in reversed(events) if isinstance(e.fact, ev.SyncTerminated))
            why = application.terminated[newest.id]
            return (
                f"its rollout was stopped by {stop.by.name}{f': {why}' if why else ''}; `trueup retry` goes on with it"
            )
    return ""


def _ahead(chronicle: Chronicle, state: SourceState) -> tuple[int, str]:
    """How many commits of people are on the branch that do not run, and why the newest does not."""
    runs = [
        c
        for a in chronicle.applications.values()
        if a.source == state.id and a.last_good
        for c in (_running(chronicle, a.id),)
    ]
    current = {c.id for c in runs if c} | {c.from_candidate for c in runs if c}
    if state.role == "code":
        current |= {c.from_candidate for a in chronicle.applications for c in (_running(chronicle, a),) if c}
    count, undone = 0, _undone(state)
    for event in reversed(chronicle.streams.get(state.id, [])):
        if not isinstance(event.fact, ev.SourceMoved):
            continue
        if event.fact.candidate in current and event.fact.candidate:
            break
        count += 0 if event.fact.ours or 0 < event.fact.number <= undone else event.fact.commits
    newest = chronicle.candidates.get(state.newest.id) if state.newest else None
    if not count or newest is None:
        return count, ""
    return count, state.pinned.get(newest.id) or newest.reason or _why_not(chronicle, state, newest)


def _undone(state: SourceState) -> int:
    """The newest Candidate's number that a pushed commit of ours undid or rolled back, all before it included; or 0."""
    pushed = [w for w in state.writes.values() if w.state is WriteState.PUSHED]
    bad = [w.condemned for w in pushed if w.purpose in ("undo", "rollback")]
    return max((state.candidates[c].number for c in bad if c in state.candidates), default=0)


def _why_not(chronicle: Chronicle, state: SourceState, newest: CandidateState) -> str:
    for application in chronicle.applications.values():
        if newest.id in application.condemned:
            return application.condemned[newest.id]
        current = application.current
        if current is not None and current.candidate == newest.id and current.phase is Phase.HELD:
            return f"held: {current.reason}"
    if newest.verdict is Verdict.PENDING:
        return "being checked"
    if stopped := _stopped(chronicle, state):
        return stopped
    return "paused" if state.pause else "rolling out"


# --- applications --------------------------------------------------------------------------------


def _running(chronicle: Chronicle, application: str) -> CandidateState | None:
    """What runs: the Candidate of the newest rollout that turned healthy."""
    good = chronicle.applications[application].last_good
    return chronicle.candidates.get(good) if good else None


def _application(
    chronicle: Chronicle, stream: str, now: datetime, judgements: tuple[Judgement, ...]
) -> ApplicationStatus:
    state = chronicle.applications[stream]
    own = rollouts(chronicle, stream)
    healthy = next((r for r in reversed(own) if r.outcome == "healthy"), None)
    drifts = [e for e in chronicle.streams[stream] if isinstance(e.fact, ev.Drifted)]
    drift = drifts[-1].fact if drifts else None
    before = drifts[-2].fact if len(drifts) > 1 else None
    return ApplicationStatus(
        id=stream,
        name=state.name,
        environment=state.environment,
        target=state.target,
        source=state.source,
        health=_health(state),
        reason=state.health_reason,
        running=brief(chronicle, _running(chronicle, stream)),
        images=images_of(chronicle, state.last_good),
        since=healthy.ended if healthy else None,
        sync=_sync(own[-1], now) if own and own[-1].outcome != "healthy" else None,
        held=HeldView(state.held.changes, state.held.count, state.held.reason, state.held.objects)
        if state.held
        else None,
        drift=_drift(drift, before),
        drift_at=drifts[-1].time if drifts else None,
        drift_repaired=drift.repaired if isinstance(drift, ev.Drifted) else True,
        objects=tuple(ReplicaView(str(j.ref), j.health.value, j.reason) for j in judgements),
    )


def _drift(last: ev.Fact | None, before: ev.Fact | None) -> str:
    """The last one, in the words of who saw it first: a repair knows only that something was changed."""
    if not isinstance(last, ev.Drifted):
        return ""
    if last.repaired and isinstance(before, ev.Drifted) and not before.repaired:
        return before.what if set(before.objects) <= set(last.objects) else last.what
    return last.what


def _health(state: ApplicationState) -> str:
    """As last recorded; before anything was ever healthy, by how the first rollout fares."""
    if state.health or state.current is None:
        return state.health
    return "degraded" if state.current.phase in (Phase.CONDEMNED, Phase.HELD) else "progressing"


def _sync(rollout: Rollout, now: datetime) -> SyncView:
    phase = "verifying" if rollout.outcome == "running" and rollout.applied else rollout.outcome
    until = rollout.ended or now
    return SyncView(
        rollout.candidate,
        rollout.commit,
        rollout.attempt,
        "applying" if phase == "running" else phase,
        rollout.why,
        max(0.0, round((until - rollout.started).total_seconds(), 3)),
        rollout.reason,
    )


def _summary(sources: tuple[SourceStatus, ...], applications: tuple[ApplicationStatus, ...]) -> Summary:
    if not sources:
        return Summary.EMPTY
    if any(a.health in ("degraded", "missing") for a in applications):
        return Summary.DEGRADED
    if any(
        s.undo_held or s.stopped or s.down or s.gone or any(w.state == "refused" for w in s.writes) for s in sources
    ) or any(a.held or (a.sync and a.sync.phase in (Phase.HELD.value, Phase.CONDEMNED.value)) for a in applications):
        return Summary.HELD
    if any(s.newest and s.newest.state == "pending" for s in sources) or any(
        a.sync and a.sync.phase in ("applying", "verifying") for a in applications
    ):
        return Summary.PROGRESSING
    if any(s.paused for s in sources):
        return Summary.PAUSED
    # A red push is not ill health: what runs is what is good. `status` says how far the branch is ahead.
    return Summary.HEALTHY if applications else Summary.PROGRESSING
