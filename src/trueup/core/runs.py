"""The state of one pipeline run, folded from its stream. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct, field, structs

from trueup.core import events as ev
from trueup.core.model import BuiltImage, Outcome


class RunState(Struct, frozen=True):
    """`jobs` holds every leg that ended, by its key; `begun` those that started and have not."""

    id: str
    seq: int = 0
    created: ev.RunCreated | None = None
    jobs: Mapping[str, ev.JobFinished] = field(default_factory=dict)
    begun: frozenset[str] = frozenset()
    intents: tuple[ev.RunIntent, ...] = ()
    cancelled: str = ""  # why
    finished: ev.RunFinished | None = None

    @property
    def outcome(self) -> str:
        """ "" while it runs."""
        return self.finished.outcome if self.finished else ""


class JobRecord(Struct, frozen=True):
    """What a leg leaves besides its outcome; the record that `JobFinished.outputs` names."""

    outputs: Mapping[str, str] = field(default_factory=dict)
    images: tuple[tuple[BuiltImage, bool], ...] = ()  # image, from cache
    tolerated: bool = False
    summary: str = ""
    artifacts: tuple[str, ...] = ()


def fold_run(state: RunState, events: Iterable[ev.Event]) -> RunState:
    """`events` are those after `state.seq`, in order."""
    for event in events:
        state = structs.replace(_applied(state, event.fact), seq=event.seq)
    return state


def _applied(state: RunState, fact: ev.Fact) -> RunState:
    match fact:
        case ev.RunCreated():
            return structs.replace(state, created=fact)
        case ev.JobStarted():
            return structs.replace(state, begun=state.begun | {fact.job})
        case ev.JobFinished():
            return structs.replace(state, jobs={**state.jobs, fact.job: fact}, begun=state.begun - {fact.job})
        case ev.RunIntent():
            return structs.replace(state, intents=(*state.intents, fact))
        case ev.RunCancelRequested():
            return structs.replace(state, cancelled=fact.reason or "cancelled")
        case ev.RunFinished():
            return structs.replace(state, finished=fact)
        case _:
            return state


def kept_jobs(state: RunState) -> tuple[ev.JobFinished, ...]:
    """What a run of the failed jobs only need not repeat."""
    return tuple(job for job in state.jobs.values() if job.outcome == Outcome.SUCCESS.value)
