"""One pure decision per kind of stream: (folded state, what was observed, policy, now) → actions in order.

The engine reads everything first, calls one of these once, then performs what comes back.
Only `decide_source` decides what Git is told. The table is docs/git-states.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TypeAlias

from msgspec import Struct

from trueup.core.candidate import (
    ApplicationState,
    Attempt,
    CandidateState,
    HeldChanges,
    Phase,
    SourceState,
    Undo,
    Verdict,
    Write,
    WriteState,
    newest_green,
    undo_of,
    wanted,
)
from trueup.core.model import Fault, Health, Judgement


class Policy(Struct, frozen=True):
    """What an environment allows. The defaults are those of a repository without `trueup.yaml`."""

    undo: Undo | None = None  # None: as the commit's own trueup.yaml says
    max_sick_share: float = 0.5  # of all applications; above it nothing is undone
    min_sick: int = 3  # below this many sick ones the share does not count
    write_back: bool = True


# --- sources -------------------------------------------------------------------------------------


class Move(Struct, frozen=True):
    """The branch's head is another commit than the one last recorded."""

    after: str
    forced: bool
    commits: int
    ours: bool  # every new commit is one of ours, proven by id or by trailer and recomputed diff
    deploys: str = ""  # ours, in a configuration repository: the code Candidate that it deploys
    differs: bool = False  # ours, an undo that left later commits standing: its tree never ran


class UndoFacts(Struct, frozen=True):
    """What Git says about undoing `bad` down to `good`, read before the decision."""

    bad: str
    good: str
    bad_in_history: bool
    good_in_history: bool
    files: tuple[str, ...]  # differ between good and bad
    later: tuple[str, ...] = ()  # of these, touched after `bad` by commits that are not ours


class WriteFacts(Struct, frozen=True):
    """What a write-back of a Candidate's digests to the head would change, read before the decision."""

    candidate: str
    files: tuple[str, ...]  # empty: all is stated already
    blocked: str = ""  # why it must not be written: history rewritten, a newer digest stated, image gone
    deploy: bool = False  # in a configuration repository: this push is what deploys


class SourceSeen(Struct, frozen=True):
    """Everything read for one decision about a source."""

    candidates: Mapping[str, CandidateState]
    applications: tuple[ApplicationState, ...] = ()
    down: str = ""  # the remote could not be read
    gone: bool = False  # the branch is not there
    move: Move | None = None
    undo: UndoFacts | None = None
    rollback: UndoFacts | None = None
    writes: tuple[WriteFacts, ...] = ()
    open_write_found: bool = False  # the open intention's commit is in the branch's history
    sick_share: float = 0.0
    sick: int = 0


class RecordDown(Struct, frozen=True):
    reason: str


class RecordUp(Struct, frozen=True):
    pass


class RecordGone(Struct, frozen=True):
    pass


class RecordMove(Struct, frozen=True):
    move: Move
    makes_candidate: bool


class Resume(Struct, frozen=True):
    why: str


class Supersede(Struct, frozen=True):
    candidate: str
    by: str


class CloseWrite(Struct, frozen=True):
    """The open intention was found in the world, or its ground moved away."""

    write: Write
    state: WriteState


class PushWrite(Struct, frozen=True):
    """Push the open intention's commit again: it was never seen in the world."""

    write: Write


class MakeWrite(Struct, frozen=True):
    """Compute the commit on the head, record the intention, push it."""

    purpose: str  # "write-back" | "deploy" | "undo" | "rollback"
    candidate: str
    condemned: str = ""
    files: tuple[str, ...] = ()
    to_branch: str = ""  # why it waits on a branch of its own rather than going to the watched one


class PinOut(Struct, frozen=True):
    candidate: str
    reason: str


class HoldUndo(Struct, frozen=True):
    candidate: str
    reason: str


SourceAction: TypeAlias = (
    RecordDown
    | RecordUp
    | RecordGone
    | RecordMove
    | Resume
    | Supersede
    | CloseWrite
    | PushWrite
    | MakeWrite
    | PinOut
    | HoldUndo
)


def decide_source(state: SourceState, seen: SourceSeen, policy: Policy, now: datetime) -> tuple[SourceAction, ...]:
    """What to record and what to tell Git, at most one write at a time."""
    if seen.down:
        return () if state.down == seen.down else (RecordDown(seen.down),)
    actions: list[SourceAction] = [RecordUp()] if state.down else []
    if seen.gone:
        return (*actions, *(() if state.gone else (RecordGone(),)))
    if state.pause and state.pause.until and state.pause.until <= now:
        actions.append(Resume("the time set is over"))
    if seen.move is not None:
        makes = not seen.move.ours or bool(seen.move.deploys) or seen.move.differs
        actions.append(RecordMove(seen.move, makes))
    actions += _superseded(state, seen)
    if seen.move is not None:
        return tuple(actions)  # everything else is decided on the new head
    return (*actions, *_decide_write(state, seen, policy))


def _superseded(state: SourceState, seen: SourceSeen) -> list[SourceAction]:
    newest = newest_green(state, seen.candidates)
    if newest is None:
        return []
    ran = {c for a in seen.applications for c in (*a.good, *a.condemned, a.current.candidate if a.current else "")}
    return [
        Supersede(c.id, newest.id)
        for c in seen.candidates.values()
        if c.number < newest.number
        and not c.superseded_by
        and c.verdict is not Verdict.RED
        and c.id not in ran
        and c.id in state.candidates
    ]


def _decide_write(state: SourceState, seen: SourceSeen, policy: Policy) -> tuple[SourceAction, ...]:
    if (write := state.open_write) is not None:
        if seen.open_write_found:
            return (CloseWrite(write, WriteState.PUSHED),)
        if write.parent == state.head:
            return (PushWrite(write),)
        return (CloseWrite(write, WriteState.RACED),)
    return _decide_undo(state, seen, policy) or _decide_rollback(state, seen) or _decide_write_back(seen, policy)


def pending_undo(
    state: SourceState,
    candidates: Mapping[str, CandidateState],
    applications: tuple[ApplicationState, ...],
    policy: Policy,
) -> str:
    """The condemned Candidate that Git has not been told about yet, or "".

    Only the newest green one: a newer green one is the better answer to an older bad one.
    """
    newest = newest_green(state, candidates)
    if newest is None or newest.id in state.undo_held or newest.id in state.pinned:
        return ""
    if not any(newest.id in a.condemned for a in applications):
        return ""
    if state.rollback and newest.number <= state.rollback.after:
        return ""
    done = state.write_for("undo", newest.id)
    return newest.id if done is None or done.state in (WriteState.RACED, WriteState.REFUSED) else ""


def _decide_undo(state: SourceState, seen: SourceSeen, policy: Policy) -> tuple[SourceAction, ...]:
    bad = pending_undo(state, seen.candidates, seen.applications, policy)
    if not bad:
        return ()
    undo = undo_of(seen.candidates[bad], policy.undo)
    if undo is Undo.NONE:
        return (HoldUndo(bad, "undo: none, a person decides: push a commit that mends it, or `trueup rollback`"),)
    done = state.write_for("undo", bad)
    if done and done.state is WriteState.REFUSED:
        return (PinOut(bad, f"not stated in Git: {done.reason}"),)
    if seen.sick >= policy.min_sick and seen.sick_share > policy.max_sick_share:
        return (HoldUndo(bad, f"{seen.sick} applications are sick at once: that is hardly this change"),)
    facts = seen.undo
    if facts is None or not facts.good:
        return (HoldUndo(bad, "there is no last good Candidate to go back to"),)
    if undo is Undo.PIN:
        return (PinOut(bad, "undo: pin"),)
    if not facts.good_in_history or not facts.bad_in_history:
        why = "history was rewritten since"
        return (PinOut(bad, f"{why}; nothing is pushed to the branch"),)
    if facts.later:
        why = f"a later commit touches {facts.later[0]}"
        write = MakeWrite("undo", facts.good, bad, facts.files, to_branch=why)
        return (PinOut(bad, f"{why}; the undo waits on a branch"), write)
    if not facts.files:
        return (PinOut(bad, "its files are those of the last good Candidate; there is nothing to undo in Git"),)
    number = state.candidates[bad].number
    tainted = [c for c in state.candidates.values() if c.number > number and c.id not in state.pinned]
    return (
        *(PinOut(c.id, "it contains the change that is being undone") for c in tainted),
        MakeWrite("undo", facts.good, bad, facts.files),
    )


def _decide_rollback(state: SourceState, seen: SourceSeen) -> tuple[SourceAction, ...]:
    wish, facts = state.rollback, seen.rollback
    if wish is None or facts is None or not facts.files:
        return ()
    newest = newest_green(state, seen.candidates)
    if newest is not None and newest.number > wish.after:
        return ()
    ours = (w for w in reversed(list(state.writes.values())) if w.purpose == "rollback" and w.seq > wish.seq)
    done = next((w for w in ours if w.candidate == wish.candidate), None)  # not one that another wish had begun
    if done and done.state is not WriteState.RACED:
        return ()
    why = f"a later commit touches {facts.later[0]}" if facts.later else ""
    if not (facts.good_in_history and facts.bad_in_history):
        why = "history was rewritten since"
    return (MakeWrite("rollback", facts.good, facts.bad, facts.files, to_branch=why),)


def _decide_write_back(seen: SourceSeen, policy: Policy) -> tuple[SourceAction, ...]:
    if not policy.write_back:
        return ()
    for facts in seen.writes:
        if facts.files and not facts.blocked:
            return (MakeWrite("deploy" if facts.deploy else "write-back", facts.candidate, files=facts.files),)
    return ()


# --- Candidates ----------------------------------------------------------------------------------


class RunSeen(Struct, frozen=True):
    id: str
    outcome: str = ""  # "" while it runs
    reason: str = ""


class CandidateSeen(Struct, frozen=True):
    runs: Mapping[str, RunSeen] = {}
    unbuilt: tuple[str, ...] = ()  # images the manifests name, a Dockerfile makes, and no run built
    superseded: bool = False


class Check(Struct, frozen=True):
    pass


class PlanRuns(Struct, frozen=True):
    pass


class StartRuns(Struct, frozen=True):
    runs: tuple[str, ...]


class CancelRuns(Struct, frozen=True):
    runs: tuple[str, ...]
    reason: str


class BuildImages(Struct, frozen=True):
    repositories: tuple[str, ...]


class TurnGreen(Struct, frozen=True):
    pass


class TurnRed(Struct, frozen=True):
    reason: str


CandidateAction: TypeAlias = Check | PlanRuns | StartRuns | CancelRuns | BuildImages | TurnGreen | TurnRed


def decide_candidate(state: CandidateState, seen: CandidateSeen) -> tuple[CandidateAction, ...]:
    """The next step from a push to a verdict."""
    unfinished = tuple(r.id for r in seen.runs.values() if not r.outcome)
    if state.superseded_by:
        return (CancelRuns(unfinished, "superseded by a newer push"),) if unfinished else ()
    if not state.checked:
        return (Check(),)
    if state.errors and state.verdict is Verdict.PENDING:
        more = f" (and {state.errors - 1} more)" if state.errors > 1 else ""
        return (TurnRed(f"{state.first_error}{more}"),)
    if state.verdict is not Verdict.PENDING:
        return (StartRuns(unfinished),) if unfinished else ()
    if not state.planned:
        return (PlanRuns(),)
    required = [seen.runs[r] for r in state.required if r in seen.runs]
    failed = next((r for r in required if r.outcome in ("failure", "cancelled")), None)
    if failed is not None:
        return (TurnRed(failed.reason or f"a required pipeline ended with {failed.outcome}"),)
    if unfinished:
        return (StartRuns(unfinished),)
    if any(r.outcome == "error" for r in required):
        return ()  # the machine's fault: `trueup retry`, or the engine's own back-off
    if seen.unbuilt:
        return (BuildImages(seen.unbuilt),)
    return (TurnGreen(),)


# --- applications --------------------------------------------------------------------------------


class ApplicationSeen(Struct, frozen=True):
    """`judgements` is None when the target could not be read: unread is not empty."""

    source: SourceState
    candidates: Mapping[str, CandidateState]
    judgements: tuple[Judgement, ...] | None = None
    unread: str = ""
    changes: int = 0  # what plan() finds between the wanted Bundle and the target, held ones left out
    approvable: str = ""  # hash over held changes, "" when none is held
    held: HeldChanges | None = None  # what waits for a person
    unread_objects: bool = False  # some were not read: whether anything waits is not known


class StartSync(Struct, frozen=True):
    candidate: str
    why: str


class FinishApply(Struct, frozen=True):
    """Make the attempt's changes, again if need be: each is idempotent."""


class EndHooks(Struct, frozen=True):
    """Another Candidate is wanted, but a hook of this attempt runs: it is brought to its end first."""


class StopHooks(Struct, frozen=True):
    """A person stopped the attempt: so are its hooks."""


class EndApplication(Struct, frozen=True):
    """A person takes it away: go on with that."""


class Repair(Struct, frozen=True):
    """Apply what drifted; waves do not matter."""


class TurnHealthy(Struct, frozen=True):
    pass


class Condemn(Struct, frozen=True):
    judgement: Judgement


class Hold(Struct, frozen=True):
    reason: str
    judgement: Judgement | None = None


class RecordHeldChanges(Struct, frozen=True):
    """What waits for a person is another set than the one last told; None: nothing waits any more."""

    held: HeldChanges | None


class RecordHealth(Struct, frozen=True):
    health: str
    reason: str


ApplicationAction: TypeAlias = (
    StartSync
    | FinishApply
    | EndHooks
    | StopHooks
    | EndApplication
    | Repair
    | TurnHealthy
    | Condemn
    | Hold
    | RecordHealth
    | RecordHeldChanges
)


def decide_application(
    state: ApplicationState, seen: ApplicationSeen, policy: Policy, now: datetime
) -> tuple[ApplicationAction, ...]:
    """Bring the wanted Candidate up, judge it, keep it so."""
    want, why = wanted(seen.source, seen.candidates, state, policy.undo)
    pause = seen.source.pause
    paused = pause is not None and (pause.until is None or pause.until > now) and why == "push"
    current = state.current
    if current is not None and current.under_way and current.phase is Phase.TERMINATED:
        return (StopHooks(),)
    if state.ending is not None and not (current is not None and current.under_way and unfinished(current)):
        return () if state.ending.done else (EndApplication(),)
    if state.ending is not None:
        return (EndHooks(),)
    if want and not paused and (current is None or current.candidate != want):
        if current is not None and current.under_way and unfinished(current):
            return (EndHooks(),)
        return (StartSync(want, why),)
    if current is None:
        return ()
    if unfinished(current):
        return (FinishApply(),)
    if current.phase in (Phase.CONDEMNED, Phase.TERMINATED):
        return ()
    if seen.judgements is None:
        return _health(state, "unknown", seen.unread)
    return (*_waiting(state, seen), *_judged(state, seen, seen.judgements))


def unfinished(attempt: Attempt) -> bool:
    """Whether changes are still to be made, or hooks to be run."""
    return attempt.phase is Phase.STARTED or (attempt.phase is Phase.HELD and not attempt.applied)


def _waiting(state: ApplicationState, seen: ApplicationSeen) -> tuple[ApplicationAction, ...]:
    told, now = state.held.changes if state.held else "", seen.held.changes if seen.held else ""
    return () if told == now or seen.unread_objects else (RecordHeldChanges(seen.held),)


def _judged(
    state: ApplicationState, seen: ApplicationSeen, judgements: tuple[Judgement, ...]
) -> tuple[ApplicationAction, ...]:
    assert state.current is not None
    phase, why = state.current.phase, state.current.why
    repair: tuple[ApplicationAction, ...] = (Repair(),) if seen.changes else ()
    sick = next((j for j in judgements if j.health is Health.DEGRADED), None)
    worst = sick or next((j for j in judgements if j.health is not Health.HEALTHY), None)
    if phase is Phase.HEALTHY:
        health = worst.health.value if worst else "healthy"
        return (*repair, *_health(state, health, _told(worst) if worst else ""))
    if worst is None:
        return (*repair, TurnHealthy())
    if sick is None:
        return repair
    # What ran well until now goes on serving, so that its health stands, unless nothing serves or this is it.
    hit = sick.down or state.current.candidate == state.last_good
    told = _health(state, sick.health.value, _told(sick)) if hit else ()
    if sick.fault is Fault.CHANGE and why not in ("undo", "rollback"):
        return (*told, Condemn(sick))
    reason = _told(sick) if why not in ("undo", "rollback") else f"the {why} fails too: {_told(sick)}"
    if phase is Phase.HELD and state.current.reason == reason:
        return (*repair, *told)
    return (*repair, *told, Hold(reason, sick))


def _health(state: ApplicationState, health: str, reason: str) -> tuple[ApplicationAction, ...]:
    if (state.health, state.health_reason) == (health, reason) or (state.health == health == "progressing"):
        return ()
    return (RecordHealth(health, reason),)


def _told(judgement: Judgement) -> str:
    return (
        f"{judgement.ref}: {judgement.reason}" if judgement.reason else f"{judgement.ref} is {judgement.health.value}"
    )
