"""History: every rollout of every application, with what it ran, how it ended, how long it took, and who."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from trueup.core import events as ev
from trueup.core.hooks import named
from trueup.core.views.chronicle import Chronicle


class Image(Struct, frozen=True):
    repository: str
    digest: str


class Rollout(Struct, frozen=True, kw_only=True):
    """One attempt to make an application run a Candidate."""

    application: str  # name
    environment: str
    stream: str
    attempt: int
    candidate: str
    number: int  # of the Candidate in its source
    commit: str
    subject: str
    author: str
    images: tuple[Image, ...]
    why: str  # "push" | "undo" | "rollback" | "manual" | "retry" | "resume"
    who: str
    outcome: str  # "running" | "healthy" | "condemned" | "held" | "terminated" | "superseded"
    reason: str = ""
    record: str = ""
    started: datetime
    ended: datetime | None = None
    applied: datetime | None = None
    seconds: float = 0.0
    create: int = 0
    update: int = 0
    delete: int = 0


class History(Struct, frozen=True):
    rollouts: tuple[Rollout, ...]  # newest first


def history(chronicle: Chronicle, application: str = "", limit: int = 0) -> History:
    """The rollouts of one application (by name), or of all; `limit` 0 means every one."""
    every = [r for stream in chronicle.applications for r in rollouts(chronicle, stream)]
    chosen = [r for r in every if application in ("", r.application)]
    chosen.sort(key=lambda r: (r.started, r.stream, r.attempt), reverse=True)
    return History(tuple(chosen[:limit] if limit else chosen))


def rollouts(chronicle: Chronicle, stream: str) -> list[Rollout]:
    """One application's rollouts, oldest first."""
    found: list[Rollout] = []
    for event in chronicle.streams.get(stream, ()):
        if isinstance(event.fact, ev.SyncStarted):
            if found and found[-1].outcome in ("running", "held"):
                found[-1] = _ended(found[-1], "superseded", event.time)
            found.append(_started(chronicle, stream, event, event.fact))
        elif found:
            found[-1] = _next(found[-1], event)
    return found


def _started(chronicle: Chronicle, stream: str, event: ev.Event, fact: ev.SyncStarted) -> Rollout:
    application = chronicle.applications[stream]
    candidate = chronicle.candidates.get(fact.candidate)
    return Rollout(
        application=application.name,
        environment=application.environment,
        stream=stream,
        attempt=fact.attempt,
        candidate=fact.candidate,
        number=candidate.number if candidate else 0,
        commit=candidate.commit if candidate else "",
        subject=candidate.subject if candidate else "",
        author=candidate.author if candidate else "",
        images=images_of(chronicle, fact.candidate),
        why=fact.why,
        who=_who(chronicle, application.source, event, fact),
        outcome="running",
        started=event.time,
        create=fact.create,
        update=fact.update,
        delete=fact.delete,
    )


def images_of(chronicle: Chronicle, candidate: str) -> tuple[Image, ...]:
    """What was built for a Candidate, or for the code Candidate that it deploys."""
    found = chronicle.candidates.get(candidate)
    if found is None:
        return ()
    if not found.images and found.from_candidate:
        return images_of(chronicle, found.from_candidate)
    return tuple(Image(i.repository, i.digest) for i in found.images.values())


def _who(chronicle: Chronicle, source: str, event: ev.Event, fact: ev.SyncStarted) -> str:
    if fact.why == "rollback":
        asked = [
            e
            for e in chronicle.streams.get(source, ())
            if isinstance(e.fact, ev.SourceRollback) and e.time <= event.time
        ]
        return asked[-1].by.name if asked else event.by.name
    if fact.why == "push":
        return author_of(chronicle, fact.candidate) or event.by.name
    return event.by.name


def author_of(chronicle: Chronicle, candidate: str) -> str:
    """The person whose commit this is, through a configuration repository when there is one."""
    found = chronicle.candidates.get(candidate)
    if found is None:
        return ""
    return (author_of(chronicle, found.from_candidate) if found.from_candidate else "") or found.author


def _next(rollout: Rollout, event: ev.Event) -> Rollout:
    match event.fact:
        case ev.HooksStarted(attempt=attempt, phase=phase, hooks=hooks) if attempt == rollout.attempt:
            return replace(rollout, reason=f"{phase} hooks run: {', '.join(map(named, hooks))}")
        case ev.HookEnded(attempt=attempt, outcome="succeeded") if attempt == rollout.attempt:
            return replace(rollout, reason="")
        case ev.SyncApplied(attempt=attempt) if attempt == rollout.attempt:
            return replace(rollout, applied=event.time)
        case ev.SyncHealthy(attempt=attempt) if attempt == rollout.attempt:
            return _ended(rollout, "healthy", event.time)
        case ev.SyncHeld(attempt=attempt, reason=reason, record=record) if attempt == rollout.attempt:
            return replace(rollout, outcome="held", reason=reason, record=record)
        case ev.SyncCondemned(attempt=attempt, reason=reason, record=record) if attempt == rollout.attempt:
            return replace(_ended(rollout, "condemned", event.time), reason=reason, record=record)
        case ev.SyncTerminated(attempt=attempt, why=why) if attempt == rollout.attempt:
            return replace(
                _ended(rollout, "terminated", event.time),
                reason=f"by {event.by.name}: {why}" if why else f"by {event.by.name}",
            )
        case _:
            return rollout


def _ended(rollout: Rollout, outcome: str, when: datetime) -> Rollout:
    seconds = round((when - rollout.started).total_seconds(), 3)
    reason = "" if outcome == "healthy" else rollout.reason
    return replace(rollout, outcome=outcome, ended=when, seconds=seconds, reason=reason)
