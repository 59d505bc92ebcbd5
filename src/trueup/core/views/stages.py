"""How far a Candidate has come: check → pipelines → image → rollout → verify → write-back, with seconds."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from trueup.core import events as ev
from trueup.core.candidate import CandidateState, Verdict, WriteState
from trueup.core.views.chronicle import Chronicle, RunView, made_from, runs_of, short, short_digest
from trueup.core.views.history import Rollout, rollouts


class StageState(enum.Enum):
    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    HELD = "held"
    SKIPPED = "skipped"


class Stage(Struct, frozen=True):
    name: str  # "check" | "pipelines" | "image" | "rollout" | "verify" | "write-back"
    state: StageState
    seconds: float = 0.0
    detail: str = ""


def stages(chronicle: Chronicle, candidate: str, now: datetime) -> tuple[Stage, ...]:
    """The six stages of a Candidate. What is still running counts its seconds up to `now`."""
    state = chronicle.candidates.get(candidate)
    if state is None:
        return ()
    latest = _latest_rollout(chronicle, candidate)
    return (
        _check(chronicle, state, now),
        _pipelines(chronicle, state, now),
        _image(state),
        _rollout(latest, now, _over(state)),
        _verify(latest, now, _over(state)),
        _write(chronicle, state, now),
    )


def _over(state: CandidateState) -> bool:
    """Nothing more comes of it."""
    return state.verdict is Verdict.RED or bool(state.superseded_by)


def _rest(over: bool) -> StageState:
    return StageState.SKIPPED if over else StageState.WAITING


def _seconds(since: datetime | None, until: datetime | None) -> float:
    return max(0.0, round((until - since).total_seconds(), 3)) if since and until else 0.0


def _when(events: Sequence[ev.Event], *kinds: type[ev.Fact]) -> datetime | None:
    return next((e.time for e in events if isinstance(e.fact, kinds)), None)


def _check(chronicle: Chronicle, state: CandidateState, now: datetime) -> Stage:
    ended = _when(chronicle.streams[state.id], ev.CandidateChecked)
    seconds = _seconds(state.created, ended or now)
    if not state.checked:
        return Stage("check", StageState.RUNNING, seconds)
    if state.errors:
        return Stage("check", StageState.FAILED, seconds, state.first_error)
    warnings = f"{state.warnings} warning{'s' if state.warnings != 1 else ''}" if state.warnings else ""
    return Stage("check", StageState.DONE, seconds, warnings)


def _pipelines(chronicle: Chronicle, state: CandidateState, now: datetime) -> Stage:
    if not state.planned:
        return Stage("pipelines", _rest(_over(state)))
    events = chronicle.streams[state.id]
    verdict = _when(events, ev.CandidateGreen, ev.CandidateRed, ev.CandidateSuperseded)
    seconds = _seconds(_when(events, ev.CandidateRuns), verdict or now)
    runs = runs_of(chronicle, state)
    if not runs and not state.required:
        return Stage("pipelines", StageState.SKIPPED, 0.0, "none in this repository")
    detail = ", ".join(_told(r) for r in runs)
    if state.verdict is Verdict.RED:
        return Stage("pipelines", StageState.FAILED, seconds, state.reason)
    begun = {r.id for r in runs}
    if verdict is not None or (begun >= set(state.required) and all(r.outcome == "success" for r in runs)):
        return Stage("pipelines", StageState.DONE if not state.superseded_by else StageState.SKIPPED, seconds, detail)
    if any(r.outcome == "error" for r in runs):
        return Stage("pipelines", StageState.HELD, seconds, next(r.reason for r in runs if r.outcome == "error"))
    return Stage("pipelines", StageState.RUNNING, seconds, detail or "starting")


def _told(run: RunView) -> str:
    tests = [j.tests for j in run.jobs if j.tests]
    if run.outcome and tests:
        failed = sum(t.failed + t.errored for t in tests)
        passed = sum(t.passed for t in tests)
        return f"{run.workflow}: {passed} passed" + (f", {failed} failed" if failed else "")
    running = [j.name for j in run.jobs if not j.outcome]
    return f"{run.workflow}: {run.outcome or ', '.join(running) or 'starting'}"


def _image(state: CandidateState) -> Stage:
    if state.images:
        return Stage(
            "image",
            StageState.DONE,
            0.0,
            ", ".join(f"{i.repository.rpartition('/')[2]}@{short_digest(i.digest)}" for i in state.images.values()),
        )
    if state.verdict is Verdict.GREEN:
        return Stage("image", StageState.SKIPPED, 0.0, "none to build")
    return Stage("image", _rest(_over(state)))


def _latest_rollout(chronicle: Chronicle, candidate: str) -> Rollout | None:
    wanted = made_from(chronicle, candidate)
    every = [r for a in chronicle.applications for r in rollouts(chronicle, a) if r.candidate in wanted]
    return max(every, key=lambda r: (r.started, r.attempt), default=None)


def _rollout(rollout: Rollout | None, now: datetime, over: bool) -> Stage:
    if rollout is None:
        return Stage("rollout", _rest(over))
    if rollout.applied is None and rollout.outcome == "running":
        return Stage("rollout", StageState.RUNNING, _seconds(rollout.started, now))
    if rollout.applied is None and rollout.outcome == "held":
        return Stage("rollout", StageState.HELD, _seconds(rollout.started, now), rollout.reason)
    if rollout.applied is None and rollout.outcome != "healthy":
        return Stage("rollout", StageState.FAILED, rollout.seconds, rollout.reason or rollout.outcome)
    counts = [f"{n} {word}" for n, word in ((rollout.create, "created"), (rollout.update, "updated")) if n]
    counts += [f"{rollout.delete} deleted"] if rollout.delete else []
    return Stage(
        "rollout", StageState.DONE, _seconds(rollout.started, rollout.applied or rollout.ended), ", ".join(counts)
    )


VERIFIED = {
    "running": StageState.RUNNING,
    "healthy": StageState.DONE,
    "held": StageState.HELD,
    "condemned": StageState.FAILED,
    "terminated": StageState.FAILED,
    "superseded": StageState.SKIPPED,
}


def _verify(rollout: Rollout | None, now: datetime, over: bool) -> Stage:
    if rollout is None or (rollout.applied is None and rollout.outcome in ("running", "held")):
        return Stage("verify", _rest(over))
    seconds = _seconds(rollout.applied or rollout.started, rollout.ended or now)
    return Stage("verify", VERIFIED[rollout.outcome], seconds, rollout.reason)


def _stated(chronicle: Chronicle, state: CandidateState) -> bool:
    """Whether commits of ours that were pushed have stated every digest of this Candidate before."""
    told = {w.candidate for s in chronicle.sources.values() for w in s.writes.values() if w.state is WriteState.PUSHED}
    digests = {i.digest for c in told if c in chronicle.candidates for i in chronicle.candidates[c].images.values()}
    return {i.digest for i in state.images.values()} <= digests


def _undo(chronicle: Chronicle, state: CandidateState) -> Stage | None:
    """What Git was told of a condemned Candidate, when it was told anything."""
    for source in chronicle.sources.values():
        write = source.write_for("undo", state.id)
        if write is not None and write.state is WriteState.PUSHED:
            return Stage("write-back", StageState.DONE, 0.0, f"undone by {short(write.commit)}")
        if write is not None and write.state is WriteState.REFUSED:
            waits = f"; waits on {write.waits_on}" if write.waits_on else ""
            return Stage("write-back", StageState.HELD, 0.0, f"undo refused: {write.reason}{waits}")
        if state.id in source.pinned:
            return Stage("write-back", StageState.SKIPPED, 0.0, f"pinned out: {source.pinned[state.id]}")
        if state.id in source.undo_held:
            return Stage("write-back", StageState.HELD, 0.0, f"undo held: {source.undo_held[state.id]}")
    return None


def _write(chronicle: Chronicle, state: CandidateState, now: datetime) -> Stage:
    writes = [
        (source, w)
        for source in chronicle.sources.values()
        for w in source.writes.values()
        if w.candidate == state.id and w.purpose in ("write-back", "deploy")
    ]
    if not writes:
        if (undo := _undo(chronicle, state)) is not None:
            return undo
        if state.verdict is Verdict.GREEN and _stated(chronicle, state):
            return Stage("write-back", StageState.SKIPPED, 0.0, "nothing new to state")
        return Stage("write-back", _rest(_over(state)))
    source, write = writes[-1]
    events = [e for e in chronicle.streams[source.id] if getattr(e.fact, "commit", "") == write.commit]
    began = _when(events, ev.WriteIntended)
    ended = _when(events, ev.WritePushed, ev.WriteRefused)
    match write.state:
        case WriteState.PUSHED:
            return Stage("write-back", StageState.DONE, _seconds(began, ended), short(write.commit))
        case WriteState.REFUSED:
            waits = f"; waits on {write.waits_on}" if write.waits_on else ""
            return Stage("write-back", StageState.HELD, _seconds(began, ended), f"refused: {write.reason}{waits}")
        case WriteState.DROPPED:
            return Stage("write-back", StageState.SKIPPED, 0.0, write.reason)
        case _:
            return Stage("write-back", StageState.RUNNING, _seconds(began, now))
