"""The timeline: one plain sentence per transition. The same words serve a pipe, the live view and the demo."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from datetime import datetime

from msgspec import Struct

from trueup.core import events as ev
from trueup.core.hooks import named
from trueup.core.views.chronicle import Chronicle, short, short_digest, short_tag


class Tone(enum.Enum):
    GOOD = "good"
    BAD = "bad"
    WAITS = "waits"
    PLAIN = "plain"


class Moment(Struct, frozen=True):
    """One thing that happened. `subject` is the source's or application's name."""

    time: datetime
    subject: str
    text: str
    tone: Tone = Tone.PLAIN
    kind: str = ""  # the event's kind
    stream: str = ""
    by: str = ""


class Timeline(Struct, frozen=True):
    moments: tuple[Moment, ...]  # oldest first


def timeline(chronicle: Chronicle, events: Iterable[ev.Event] | None = None) -> Timeline:
    """Every moment worth a line. Events that only serve the loop (a first look, a checkpoint) have none."""
    chosen = chronicle.events() if events is None else events
    return Timeline(tuple(m for e in chosen if (m := moment(chronicle, e)) is not None))


def moment(chronicle: Chronicle, event: ev.Event) -> Moment | None:
    """The line for one event that the Chronicle already holds; None when it needs none."""
    said = (
        _source(chronicle, event.fact, event.by.name)
        or _write(chronicle, event.fact)
        or _candidate(event.fact)
        or _run(chronicle, event)
        or _application(chronicle, event.fact, event.by.name)
        or _other(event.fact, event.by.name)
    )
    if said is None:
        return None
    text, tone = said
    kind = str(type(event.fact).__struct_config__.tag)
    return Moment(event.time, _subject(chronicle, event), text, tone, kind, event.stream, event.by.name)


Said = tuple[str, Tone] | None


def _subject(chronicle: Chronicle, event: ev.Event) -> str:
    match event.stream.partition("/")[0]:
        case "source":
            return _source_name(chronicle, event.stream)
        case "application":
            return chronicle.applications[event.stream].name
        case "candidate":
            return _source_name(chronicle, chronicle.candidates[event.stream].source)
        case "run":
            found = chronicle.candidates.get(chronicle.runs[event.stream].candidate)
            return _source_name(chronicle, found.source) if found else ""
        case other:
            return other


def _source_name(chronicle: Chronicle, id: str) -> str:
    found = chronicle.sources.get(id)
    return found.name if found else ""


def _commit_of(chronicle: Chronicle, candidate: str) -> str:
    found = chronicle.candidates.get(candidate)
    return short(found.commit) if found and found.commit else short(candidate.rpartition("/")[2])


def _because(reason: str) -> str:
    return f": {reason}" if reason else ""


# --- sources -------------------------------------------------------------------------------------


def _source(chronicle: Chronicle, fact: ev.Fact, by: str) -> Said:
    match fact:
        case ev.SourceRegistered():
            return f"watching {fact.url} branch {fact.branch}", Tone.PLAIN
        case ev.SourceMoved():
            return _moved(fact)
        case ev.SourceGone(branch=branch):
            return f"there is no branch {branch} at the remote; what runs stays", Tone.WAITS
        case ev.SourceDown(reason=reason):
            return f"the remote cannot be read{_because(reason)}", Tone.WAITS
        case ev.SourceUp():
            return "the remote can be read again", Tone.GOOD
        case ev.SourceRights(reason=reason) if reason:
            return f"no right to push{_because(reason)}", Tone.WAITS
        case ev.SourcePaused(until=until, why=why):
            limit = f" until {until:%Y-%m-%d %H:%M} UTC" if until else ""
            return f"paused by {by}{limit}{_because(why)}", Tone.WAITS
        case ev.SourceResumed(why=why):
            return f"resumed{_because(why)}", Tone.GOOD
        case ev.SourceRollback(candidate=candidate, why=why):
            commit = _commit_of(chronicle, candidate)
            return f"rollback to {commit} asked for by {by}{_because(why)}; the next push resumes", Tone.WAITS
        case ev.PinnedOut(candidate=candidate, reason=reason):
            return f"{_commit_of(chronicle, candidate)} will not run again{_because(reason)}", Tone.BAD
        case ev.UndoHeld(candidate=candidate, reason=reason):
            return f"undo of {_commit_of(chronicle, candidate)} is held{_because(reason)}", Tone.WAITS
        case _:
            return None


def _moved(fact: ev.SourceMoved) -> Said:
    if fact.ours:
        return f"our commit {short(fact.after)} is on the branch", Tone.PLAIN
    if fact.forced:
        return f"history was rewritten; the head is {short(fact.after)}", Tone.WAITS
    more = f" ({fact.commits} commits)" if fact.commits > 1 else ""
    return f"push {short(fact.after)}{more}", Tone.PLAIN


PURPOSE = {
    "write-back": "stating the digest in Git",
    "deploy": "deploying through the configuration repository",
    "undo": "undoing in Git",
    "rollback": "stating the rollback in Git",
}
PUSHED = {
    "write-back": "the digest is stated in Git by",
    "deploy": "the configuration repository says so by",
    "undo": "undone in Git by",
    "rollback": "the rollback is stated in Git by",
}


def _write(chronicle: Chronicle, fact: ev.Fact) -> Said:
    match fact:
        case ev.WritePushed(purpose=purpose, commit=commit):
            return f"{PUSHED.get(purpose, purpose)} {short(commit)}", Tone.GOOD
        case ev.WriteRaced(purpose=purpose):
            return f"{PURPOSE.get(purpose, purpose)}: the branch moved meanwhile; again on the new head", Tone.PLAIN
        case ev.WriteRefused(purpose=purpose, reason=reason, waits_on=waits_on):
            waits = f"; waits on {waits_on}" if waits_on else ""
            return f"not stated in Git, {purpose} was refused{_because(reason)}{waits}", Tone.WAITS
        case ev.WriteDropped(purpose=purpose, reason=reason):
            return f"{purpose} is no longer wanted{_because(reason)}", Tone.PLAIN
        case _:
            return None


# --- Candidates and runs -------------------------------------------------------------------------


def _candidate(fact: ev.Fact) -> Said:
    match fact:
        case ev.CandidateCreated():
            return f"candidate {fact.number}: {short(fact.commit)} “{fact.subject}” by {fact.author}", Tone.PLAIN
        case ev.CandidateChecked(errors=errors, warnings=warnings, first=first):
            if errors:
                return f"check: {errors} error{'s' if errors > 1 else ''}{_because(first)}", Tone.BAD
            return f"check: no errors{f', {warnings} warnings' if warnings else ''}", Tone.GOOD
        case ev.CandidateImage():
            how = "known already" if fact.cached else "built"
            return f"image {fact.repository}:{short_tag(fact.tag)} {how}: {short_digest(fact.digest)}", Tone.GOOD
        case ev.CandidateGreen():
            return "green: may run", Tone.GOOD
        case ev.CandidateRed(reason=reason):
            return f"red, will not run{_because(reason)}", Tone.BAD
        case ev.CandidateSuperseded():
            return "superseded by a newer push", Tone.PLAIN
        case _:
            return None


def _run(chronicle: Chronicle, event: ev.Event) -> Said:
    workflow = chronicle.runs[event.stream].workflow if event.stream in chronicle.runs else ""
    match event.fact:
        case ev.RunCreated() as fact:
            again = f", attempt {fact.attempt}" if fact.attempt > 1 else ""
            return f"pipeline {fact.workflow} started{again}", Tone.PLAIN
        case ev.JobFinished() as fact:
            return _job(workflow, fact)
        case ev.RunIntent(command=command):
            return f"pipeline {workflow} wants to deploy by itself (`{command}`): Trueup does it when green", Tone.PLAIN
        case ev.RunCancelRequested(reason=reason):
            return f"pipeline {workflow} is being cancelled{_because(reason)}", Tone.PLAIN
        case ev.RunFinished() as fact:
            return f"pipeline {workflow}: {fact.outcome} in {took(fact.seconds)}{_because(fact.reason)}", TONE.get(
                fact.outcome, Tone.PLAIN
            )
        case _:
            return None


TONE = {"success": Tone.GOOD, "failure": Tone.BAD, "error": Tone.WAITS}


def _job(workflow: str, fact: ev.JobFinished) -> Said:
    tests = ""
    if fact.tests:
        counts = ((fact.tests.passed, "passed"), (fact.tests.failed + fact.tests.errored, "failed"))
        tests = ", tests: " + ", ".join(f"{n} {word}" for n, word in counts if n)
    text = f"job {workflow}/{fact.job}: {fact.outcome} in {took(fact.seconds)}{tests}{_because(fact.reason)}"
    return text, TONE.get(fact.outcome, Tone.PLAIN)


# --- applications --------------------------------------------------------------------------------


def _application(chronicle: Chronicle, fact: ev.Fact, by: str) -> Said:
    match fact:
        case ev.SyncStarted():
            counts = [f"{n} to {w}" for n, w in ((fact.create, "create"), (fact.update, "update")) if n]
            counts += [f"{fact.delete} to delete"] if fact.delete else []
            what = f" ({', '.join(counts)})" if counts else ""
            word = {"undo": "going back to", "rollback": "rolling back to"}.get(fact.why, "rolling out")
            return f"{word} {_commit_of(chronicle, fact.candidate)}{what}", Tone.PLAIN
        case ev.HooksStarted(phase=phase, hooks=hooks):
            return f"{phase} hooks run: {', '.join(map(named, hooks))}", Tone.PLAIN
        case ev.HookEnded(phase=phase, hook=hook, outcome=outcome, reason=reason):
            tone = Tone.PLAIN if outcome == "succeeded" else Tone.WAITS if outcome == "gone" else Tone.BAD
            return f"{phase} hook {named(hook)} {outcome}{_because(reason)}", tone
        case ev.SyncFailing(reason=reason):
            return f"failing, its SyncFail hooks run{_because(reason)}", Tone.BAD
        case ev.SyncApplied():
            return "applied; waiting for health", Tone.PLAIN
        case ev.SyncHealthy() as done:
            return f"healthy: {_commit_of(chronicle, done.candidate)} runs, after {took(done.seconds)}", Tone.GOOD
        case ev.SyncHeld(reason=reason):
            return f"held, nothing is undone{_because(reason)}", Tone.WAITS
        case ev.SyncCondemned(candidate=candidate, reason=reason):
            return f"stopped: {_commit_of(chronicle, candidate)} is bad{_because(reason)}", Tone.BAD
        case ev.SyncTerminated(why=why):
            return f"rollout terminated by {by}{_because(why)}", Tone.WAITS
        case ev.Approved():
            return f"held changes were approved by {by}", Tone.GOOD
        case ev.ChangesHeld() as held:
            return _held_changes(held)
        case ev.Pruned(objects=objects):
            return f"deleted, as Git no longer states them: {', '.join(objects)}", Tone.PLAIN
        case ev.Drifted(what=what, repaired=repaired):
            end = ("; repaired", Tone.GOOD) if repaired else ("; not repaired", Tone.BAD)
            return f"drift: {what}{end[0]}", end[1]
        case ev.EndAsked(mode=mode, why=why):
            what = "its objects are deleted" if mode == "cascade" else "its objects stay as they are"
            return f"removed, {what}{_because(why)}", Tone.WAITS
        case ev.ApplicationEnded(kept=kept):
            left = f"; left: {', '.join(kept)}" if kept else ""
            return f"gone{left}", Tone.PLAIN
        case ev.Contested(by=by, objects=objects, place=place):
            return (
                f"{by} states {', '.join(objects)} too ({place}) and was refused: keep it in one of the two",
                Tone.WAITS,
            )
        case ev.HealthChanged(health=health, reason=reason):
            return f"{health}{_because(reason)}", HEALTH_TONE.get(health, Tone.PLAIN)
        case _:
            return None


def _held_changes(held: ev.ChangesHeld) -> Said:
    if not held.changes:
        return "nothing is held any more", Tone.PLAIN
    what = f"{held.count} deletion{'s' if held.count > 1 else ''} held ({', '.join(held.objects)}): {held.reason}"
    return f"{what}; trueup approve {held.changes[:12]} allows this", Tone.WAITS


HEALTH_TONE = {"healthy": Tone.GOOD, "degraded": Tone.BAD, "missing": Tone.BAD, "unknown": Tone.WAITS}


def _other(fact: ev.Fact, by: str) -> Said:
    match fact:
        case ev.Erased(why=why, record=record):
            return f"record {record[:8]} was erased by {by}{_because(why)}", Tone.PLAIN
        case _:
            return None


def took(seconds: float) -> str:
    """A duration as people read it: 0.4 s, 12 s, 3 min 5 s, 2 h 4 min."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"
