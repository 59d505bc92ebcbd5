"""What the ledger says about the play: pure questions to a Chronicle, each None or "" as long as it is not so."""

from __future__ import annotations

from trueup.core import events as ev
from trueup.core.candidate import ApplicationState, CandidateState, Phase, SourceState, Verdict, WriteState
from trueup.core.views.chronicle import Chronicle

_STUCK = (Phase.HELD, Phase.CONDEMNED, Phase.TERMINATED)


def _candidate(known: Chronicle, commit: str) -> CandidateState | None:
    return next((c for c in known.candidates.values() if c.commit == commit), None)


def _application(known: Chronicle) -> ApplicationState | None:
    return next(iter(known.applications.values()), None)


def _source(known: Chronicle) -> SourceState | None:
    return next(iter(known.sources.values()), None)


def healthy(known: Chronicle, commit: str) -> str | None:
    candidate, application = _candidate(known, commit), _application(known)
    good = candidate is not None and application is not None and application.last_good == candidate.id
    return commit if good else None


def settled(known: Chronicle) -> str | None:
    application = _application(known)
    if application is None or application.current is None:
        return None
    current = application.current
    return current.candidate if current.phase is Phase.HEALTHY and current.candidate == application.last_good else None


def bad(known: Chronicle, commit: str) -> str:
    """Why this push will not become healthy; "" when it still may."""
    candidate, application = _candidate(known, commit), _application(known)
    if candidate is None:
        return ""
    if candidate.verdict is Verdict.RED:
        return f"the push is red: {candidate.reason}"
    if application is None or application.current is None or application.current.candidate != candidate.id:
        return ""
    current = application.current
    return f"the rollout is {current.phase.value}: {current.reason}" if current.phase in _STUCK else ""


def refused(known: Chronicle, commit: str) -> str:
    """Why a push that should be stopped on the machine will never get there."""
    candidate = _candidate(known, commit)
    if candidate is not None and candidate.verdict is Verdict.RED:
        return f"it is red already: {candidate.reason}"
    return "it turned healthy" if healthy(known, commit) else ""


def condemned(known: Chronicle, commit: str) -> str | None:
    candidate, application = _candidate(known, commit), _application(known)
    if candidate is None or application is None:
        return None
    return application.condemned.get(candidate.id)


def written(known: Chronicle, purpose: str) -> str | None:
    """The commit of ours that states what runs now."""
    application, source = _application(known), _source(known)
    if application is None or source is None:
        return None
    write = source.write_for(purpose, application.last_good)
    return write.commit if write is not None and write.state is WriteState.PUSHED else None


def undone(known: Chronicle, commit: str) -> str | None:
    candidate, source = _candidate(known, commit), _source(known)
    if candidate is None or source is None:
        return None
    write = source.write_for("undo", candidate.id)
    return write.commit if write is not None and write.state is WriteState.PUSHED else None


def write_trouble(known: Chronicle) -> str:
    """Why Git will not be told."""
    source = _source(known)
    if source is None:
        return ""
    held = next(iter(source.undo_held.values()), "")
    return held or next((w.reason for w in source.writes.values() if w.state is WriteState.REFUSED), "")


def drifts(known: Chronicle) -> int:
    return sum(isinstance(e.fact, ev.Drifted) for e in known.events())


def drift(known: Chronicle, before: int) -> str | None:
    found = [e.fact for e in known.events() if isinstance(e.fact, ev.Drifted)]
    return found[-1].what if len(found) > before else None
