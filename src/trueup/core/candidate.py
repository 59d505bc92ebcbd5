"""What may run: the folded state of sources, Candidates and applications, and the one Candidate that is wanted.

Pure. The table this implements is docs/git-states.md; its rows are tests.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from trueup.core import events as ev
from trueup.core.model import BuiltImage, Place


class Verdict(enum.Enum):
    PENDING = "pending"
    GREEN = "green"
    RED = "red"


class Phase(enum.Enum):
    STARTED = "started"  # changes are being made
    APPLIED = "applied"  # made; turning healthy or not
    HEALTHY = "healthy"
    HELD = "held"  # not the change's fault: waits, nothing is undone
    CONDEMNED = "condemned"
    TERMINATED = "terminated"


class Undo(enum.Enum):
    """What happens to a condemned Candidate, per environment."""

    REVERT = "revert"  # the last good one runs again and a commit says so
    PIN = "pin"  # the last good one runs again; nothing is written to Git
    NONE = "none"  # the rollout stays stopped, a person decides


class WriteState(enum.Enum):
    OPEN = "open"
    PUSHED = "pushed"
    RACED = "raced"
    REFUSED = "refused"
    DROPPED = "dropped"


class Seen(Struct, frozen=True):
    """A Candidate as its source knows it."""

    id: str
    commit: str
    number: int
    seq: int  # of the source.moved event
    before: str = ""  # the head before; "" for a first look or a rewritten history


class Write(Struct, frozen=True):
    """A commit of ours, from intention to what became of it."""

    purpose: str
    candidate: str
    commit: str
    parent: str = ""
    condemned: str = ""
    files: tuple[str, ...] = ()
    state: WriteState = WriteState.OPEN
    reason: str = ""
    waits_on: str = ""
    seq: int = 0


class Pause(Struct, frozen=True):
    until: datetime | None
    why: str
    by: str


class RollbackWish(Struct, frozen=True):
    candidate: str
    after: int  # the newest Candidate number when it was asked for; a later green one resumes
    by: str
    why: str
    seq: int


class SourceState(Struct, frozen=True):
    id: str
    seq: int = 0
    url: str = ""
    branch: str = ""
    name: str = ""
    role: str = "both"
    head: str = ""  # "" before the first look
    gone: bool = False
    down: str = ""
    rights: str = ""  # why we may not push, "" when we may
    candidates: Mapping[str, Seen] = {}  # in order of arrival
    writes: Mapping[str, Write] = {}  # by our commit id, oldest first
    pinned: Mapping[str, str] = {}
    undo_held: Mapping[str, str] = {}
    pause: Pause | None = None
    rollback: RollbackWish | None = None

    @property
    def newest(self) -> Seen | None:
        return next(reversed(list(self.candidates.values())), None)

    @property
    def open_write(self) -> Write | None:
        return next((w for w in reversed(list(self.writes.values())) if w.state is WriteState.OPEN), None)

    def write_for(self, purpose: str, candidate: str) -> Write | None:
        """The newest write of that purpose about that Candidate (for an undo: the condemned one)."""
        for w in reversed(list(self.writes.values())):
            if w.purpose == purpose and candidate == (w.condemned if purpose == "undo" else w.candidate):
                return w
        return None


class CandidateState(Struct, frozen=True):
    id: str
    seq: int = 0
    source: str = ""
    commit: str = ""
    number: int = 0
    author: str = ""
    subject: str = ""
    from_candidate: str = ""
    created: datetime | None = None
    checked: bool = False
    errors: int = 0
    warnings: int = 0
    findings: str = ""
    first_error: str = ""
    undo: Undo | None = None  # as its trueup.yaml says
    planned: bool = False
    required: tuple[str, ...] = ()
    advisory: tuple[str, ...] = ()
    anew: bool = False  # its runs repeat every job, not only those that failed before
    images: Mapping[str, BuiltImage] = {}  # by repository
    verdict: Verdict = Verdict.PENDING
    reason: str = ""
    superseded_by: str = ""


class End(enum.Enum):
    """How a hook ended."""

    RUNS = ""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    GONE = "gone"  # deleted before its end was seen
    TERMINATED = "terminated"  # a person stopped the sync


class Ran(Struct, frozen=True):
    """One hook in one phase of an attempt, as the ledger tells it."""

    created: bool = False
    end: End = End.RUNS
    reason: str = ""
    record: str = ""  # last lines of its log


class Attempt(Struct, frozen=True):
    """A sync. `hooks` is by `core.hooks.key_of`; `failing`: why it is condemned once its SyncFail hooks have run."""

    candidate: str
    number: int
    phase: Phase
    why: str = ""
    reason: str = ""
    record: str = ""
    bundle: str = ""
    started: datetime | None = None
    seq: int = 0
    applied: bool = False  # every change was made once
    with_hooks: bool = True  # False: nothing was to be changed when it started
    hooks: Mapping[str, Ran] = {}
    failing: str = ""
    failing_since: datetime | None = None

    @property
    def under_way(self) -> bool:
        """Whether one of its hooks runs."""
        return any(ran.end is End.RUNS for ran in self.hooks.values())


class HeldChanges(Struct, frozen=True):
    """Changes that wait for a person. `changes` is the hash over them that an approval takes."""

    changes: str
    count: int
    reason: str
    objects: tuple[str, ...] = ()


class Ending(Struct, frozen=True):
    """A person takes the application away. `hooks`: an attempt that only has the hooks of its end."""

    mode: str  # "cascade" | "orphan"
    data: bool
    hooks: Attempt
    done: bool = False


class ApplicationState(Struct, frozen=True):
    id: str
    seq: int = 0
    name: str = ""
    source: str = ""
    environment: str = ""
    target: str = ""
    current: Attempt | None = None
    attempts: int = 0
    good: tuple[str, ...] = ()  # Candidates that turned healthy, oldest first, the last is what ran last
    bundles: Mapping[str, str] = {}  # Candidate → record of the Bundle it was applied as
    condemned: Mapping[str, str] = {}  # Candidate → reason
    terminated: Mapping[str, str] = {}  # Candidate → why a person stopped it; a retry takes it out again
    health: str = ""
    health_reason: str = ""
    approved: frozenset[str] = frozenset()
    held: HeldChanges | None = None
    told: str = ""  # the last notification: "failure" | "recovery" | ""
    ending: Ending | None = None

    @property
    def last_good(self) -> str:
        return self.good[-1] if self.good else ""


def child_id(kind: str, *parts: str | int) -> str:
    """The id of a stream that follows from others, the same after a crash: no double Candidate, run or build."""
    digest = hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()
    return f"{kind}/{digest[:26]}"


# --- folds ---------------------------------------------------------------------------------------


def fold_source(state: SourceState, events: Iterable[ev.Event]) -> SourceState:
    """Pure; `events` are those after `state.seq`, in order."""
    changed: dict[str, object] = {}
    candidates, writes = dict(state.candidates), dict(state.writes)
    pinned, undo_held = dict(state.pinned), dict(state.undo_held)
    for event in events:
        changed["seq"] = event.seq
        match event.fact:
            case ev.SourceRegistered(url=url, branch=branch, name=name, role=role):
                changed |= {"url": url, "branch": branch, "name": name, "role": role}
            case ev.SourceMoved(before=before, after=after, forced=forced, candidate=candidate, number=number):
                changed |= {"head": after, "gone": False}
                if candidate:
                    candidates[candidate] = Seen(candidate, after, number, event.seq, "" if forced else before)
            case ev.SourceGone():
                changed |= {"gone": True, "head": ""}
            case ev.SourceDown(reason=reason):
                changed["down"] = reason
            case ev.SourceUp():
                changed["down"] = ""
            case ev.SourceRights(reason=reason):
                changed["rights"] = reason
            case ev.SourcePaused(until=until, why=why):
                changed["pause"] = Pause(until, why, event.by.name)
            case ev.SourceResumed():
                changed["pause"] = None
            case ev.SourceRollback(candidate=candidate, why=why):
                newest = max((s.number for s in candidates.values()), default=0)
                changed["rollback"] = RollbackWish(candidate, newest, event.by.name, why, event.seq)
            case ev.WriteIntended() as f:
                writes.pop(f.commit, None)  # made again: it is the newest now
                writes[f.commit] = Write(
                    f.purpose, f.candidate, f.commit, f.parent, f.condemned, f.files, seq=event.seq
                )
            case ev.WritePushed(commit=commit) if commit in writes:
                writes[commit] = replace(writes[commit], state=WriteState.PUSHED)
            case ev.WriteRaced(commit=commit) if commit in writes:
                writes[commit] = replace(writes[commit], state=WriteState.RACED)
            case ev.WriteRefused(commit=commit, reason=reason, waits_on=waits_on) if commit in writes:
                writes[commit] = replace(writes[commit], state=WriteState.REFUSED, reason=reason, waits_on=waits_on)
            case ev.WriteDropped(purpose=purpose, candidate=candidate, reason=reason):
                key = next((k for k, w in writes.items() if w.state is WriteState.OPEN), f"dropped:{event.seq}")
                known = writes.get(key) or Write(purpose, candidate, "", condemned=candidate, seq=event.seq)
                writes[key] = replace(known, state=WriteState.DROPPED, reason=reason)
            case ev.PinnedOut(candidate=candidate, reason=reason):
                pinned[candidate] = reason
            case ev.UndoHeld(candidate=candidate, reason=reason):
                undo_held[candidate] = reason
            case _:
                pass
    return replace(state, candidates=candidates, writes=writes, pinned=pinned, undo_held=undo_held, **changed)


def fold_candidate(state: CandidateState, events: Iterable[ev.Event]) -> CandidateState:
    for event in events:
        state = replace(_candidate(state, event), seq=event.seq)
    return state


def _candidate(state: CandidateState, event: ev.Event) -> CandidateState:
    match event.fact:
        case ev.CandidateCreated() as f:
            return replace(
                state,
                source=f.source,
                commit=f.commit,
                number=f.number,
                author=f.author,
                subject=f.subject,
                from_candidate=f.from_candidate,
                created=event.time,
            )
        case ev.CandidateChecked() as f:
            return replace(
                state,
                checked=True,
                errors=f.errors,
                warnings=f.warnings,
                findings=f.record,
                first_error=f.first,
                undo=Undo(f.undo) if f.undo else None,
            )
        case ev.CandidateRuns(required=required, advisory=advisory, anew=anew):
            # What turned green stays so while its runs are run again: nothing else is rolled out in its place.
            open_again = state.verdict is not Verdict.GREEN
            return replace(
                state,
                planned=True,
                required=required,
                advisory=advisory,
                anew=anew,
                verdict=Verdict.PENDING if open_again else Verdict.GREEN,
                reason="",
            )
        case ev.CandidateImage() as f:
            built = BuiltImage(f.repository, f.tag, f.digest, f.key, Place(f.place))
            return replace(state, images={**state.images, f.repository: built})
        case ev.CandidateGreen():
            return replace(state, verdict=Verdict.GREEN, reason="")
        case ev.CandidateRed(reason=reason):
            return replace(state, verdict=Verdict.RED, reason=reason)
        case ev.CandidateSuperseded(by=by):
            return replace(state, superseded_by=by)
        case _:
            return state


def fold_application(state: ApplicationState, events: Iterable[ev.Event]) -> ApplicationState:
    for event in events:
        state = replace(_application(state, event), seq=event.seq)
    return state


def _application(state: ApplicationState, event: ev.Event) -> ApplicationState:
    match event.fact:
        case ev.ApplicationRegistered() as f:
            return replace(state, name=f.name, source=f.source, environment=f.environment, target=f.target)
        case ev.SyncStarted() as f:
            attempt = Attempt(
                f.candidate,
                f.attempt,
                Phase.STARTED,
                f.why,
                bundle=f.bundle,
                started=event.time,
                seq=event.seq,
                with_hooks=f.hooks,
            )
            stopped = dict(state.terminated)
            if f.why == "retry":
                stopped.pop(f.candidate, None)
            bundles = {**state.bundles, f.candidate: f.bundle}
            return replace(state, current=attempt, attempts=f.attempt, bundles=bundles, terminated=stopped, ending=None)
        case ev.EndAsked(mode=mode, data=data):
            hooks = Attempt("", -event.seq, Phase.STARTED, started=event.time, seq=event.seq)
            return replace(state, ending=Ending(mode, data, hooks))
        case ev.ApplicationEnded():
            ended = replace(state.ending, done=True) if state.ending else None
            return replace(state, ending=ended, held=None, health="", health_reason="")
        case ev.SyncApplied():
            return _attempt(_phase(state, Phase.APPLIED), applied=True)
        case ev.HooksStarted(hooks=hooks) as f:
            return _ran(state, f.attempt, {key: Ran() for key in hooks})
        case ev.HooksCreated(hooks=hooks) as f:
            return _ran(state, f.attempt, {key: Ran(created=True) for key in hooks})
        case ev.HookEnded() as f:
            ran = Ran(created=True, end=End(f.outcome), reason=f.reason, record=f.record)
            return _ran(state, f.attempt, {f.hook: ran})
        case ev.SyncFailing(reason=reason, record=record):
            failing = _phase(state, Phase.STARTED, reason, record)
            return _attempt(failing, failing=reason, failing_since=event.time)
        case ev.SyncHealthy(candidate=candidate):
            good = (*(c for c in state.good if c != candidate), candidate)
            return replace(_phase(state, Phase.HEALTHY), good=good, health="healthy", health_reason="")
        case ev.SyncHeld(reason=reason, record=record):
            return _phase(state, Phase.HELD, reason, record)
        case ev.SyncCondemned(candidate=candidate, reason=reason, record=record):
            return replace(
                _phase(state, Phase.CONDEMNED, reason, record),
                condemned={**state.condemned, candidate: reason},
            )
        case ev.SyncTerminated(candidate=candidate, why=why):
            stopped = {**state.terminated, candidate: why}
            return replace(_phase(state, Phase.TERMINATED, why), terminated=stopped)
        case ev.HealthChanged(health=health, reason=reason):
            return replace(state, health=health, health_reason=reason)
        case ev.Approved(changes=changes):
            waits = state.held if state.held is not None and state.held.changes != changes else None
            return replace(state, approved=state.approved | {changes}, held=waits)
        case ev.ChangesHeld() as f:
            return replace(state, held=HeldChanges(f.changes, f.count, f.reason, f.objects) if f.changes else None)
        case ev.Notified(what=what):
            return replace(state, told=what)
        case _:
            return state


def _ran(state: ApplicationState, attempt: int, hooks: Mapping[str, Ran]) -> ApplicationState:
    if state.ending is not None and attempt == state.ending.hooks.number:
        ran = replace(state.ending.hooks, hooks={**state.ending.hooks.hooks, **hooks})
        return replace(state, ending=replace(state.ending, hooks=ran))
    known = state.current.hooks if state.current else {}
    return _attempt(state, hooks={**known, **hooks})


def _attempt(state: ApplicationState, **changed: object) -> ApplicationState:
    return state if state.current is None else replace(state, current=replace(state.current, **changed))


def _phase(state: ApplicationState, phase: Phase, reason: str = "", record: str = "") -> ApplicationState:
    if state.current is None:
        return state
    return replace(state, current=replace(state.current, phase=phase, reason=reason, record=record))


# --- what is wanted ------------------------------------------------------------------------------


def newest_green(source: SourceState, candidates: Mapping[str, CandidateState]) -> CandidateState | None:
    """The youngest Candidate that ever turned green: an older one never takes its place again."""
    green = (candidates[c] for c in source.candidates if c in candidates)
    return max((c for c in green if c.verdict is Verdict.GREEN), key=lambda c: c.number, default=None)


def undo_of(candidate: CandidateState, told: Undo | None) -> Undo:
    """What happens to this Candidate when it is bad: as `up` was told, else as its commit says, else reverted."""
    return told or candidate.undo or Undo.REVERT


def wanted(
    source: SourceState,
    candidates: Mapping[str, CandidateState],
    application: ApplicationState,
    undo: Undo | None = None,
) -> tuple[str, str]:
    """Which Candidate the application should run, and why ("" and "" when there is none).

    The newest green one; when that one is condemned, pinned out or terminated, the last good one; a rollback asked
    for by a person until a later Candidate is green. With undo NONE a condemned one stays as it is.
    `undo` is what `up` was told (see `undo_of`).
    """
    newest = newest_green(source, candidates)
    if newest is None:
        return "", ""
    wish = source.rollback
    if wish and newest.number <= wish.after:
        if wish.candidate not in application.condemned:
            return wish.candidate, "rollback"
        return application.last_good, "undo"
    condemned = newest.id in application.condemned and undo_of(newest, undo) is not Undo.NONE
    if condemned or newest.id in source.pinned or newest.id in application.terminated:
        return application.last_good, "undo"
    return newest.id, "push"
