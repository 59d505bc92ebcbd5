"""The host's Deployment controller: what is wanted and what runs, in; what to create and stop, out.

Nothing here touches a container or a clock. Numbers follow Kubernetes' Deployment controller; where Trueup is
stricter (a rollout that crash-loops or misses its deadline stops, instead of being marked only) it says so.
Source: kubernetes/kubernetes pkg/controller/deployment, v1.31.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from trueup.core.admission import percent
from trueup.core.kinds import DeploymentSpec
from trueup.core.model import Json

CRASH_LIMIT = 3  # crashes of one replica, not ready since, after which its rollout stops
START_LIMIT = 2  # the same when its command cannot be run at all


class Waiting(enum.Enum):
    """Why a replica does not run, as kubelet names it."""

    NONE = ""
    CREATING = "ContainerCreating"
    CRASH = "CrashLoopBackOff"  # it exited by itself, or a probe ended it
    START = "StartError"  # its command could not be run in its image
    CONFIG = "CreateContainerConfigError"  # a ConfigMap, Secret or key it reads is not there
    PULL = "ErrImagePull"  # first failure
    PULL_BACK_OFF = "ImagePullBackOff"
    ENGINE = "ContainerEngineError"  # Podman, disk, network


WORLDLY = frozenset({Waiting.PULL, Waiting.PULL_BACK_OFF, Waiting.ENGINE})


class Replica(Struct, frozen=True, kw_only=True):
    """One pod as observed. `ready_since` None: not ready."""

    name: str
    template: str
    created: datetime
    ready_since: datetime | None = None
    stopping: bool = False
    started: bool = False  # its containers run now
    restarts: int = 0  # crashes in a row; what people do to it does not count
    waiting: Waiting = Waiting.NONE
    message: str = ""  # one line: "exit 1", "GET /healthz:8080: 503"
    lines: tuple[str, ...] = ()  # last log lines of the container that failed

    @property
    def failing(self) -> bool:
        """It fails by itself, often enough to be sure."""
        limit = START_LIMIT if self.waiting is Waiting.START else CRASH_LIMIT
        return self.ready_since is None and self.restarts >= limit


class Revision(Struct, frozen=True, kw_only=True):
    """One template of a Deployment, as a ReplicaSet is. `proven`: it was once completely available."""

    template: str
    number: int
    wanted: int = 0
    proven: bool = False


class Progress(Struct, frozen=True, kw_only=True):
    """What a pass remembers for the next. `counts` = updated, old, ready, available."""

    template: str = ""
    replicas: int = 0
    moved_at: datetime | None = None
    counts: tuple[int, int, int, int] = (0, 0, 0, 0)
    exceeded: bool = False
    complete: bool = False


class Create(Struct, frozen=True):
    template: str


class Stop(Struct, frozen=True):
    """Drain, then end this replica within its own grace."""

    replica: str
    reason: str


class Decision(Struct, frozen=True):
    revisions: tuple[Revision, ...]
    actions: tuple[Create | Stop, ...]
    progress: Progress
    status: Json
    look_again: datetime | None = None  # when time alone changes the answer


class Bounds(Struct, frozen=True):
    """How many pods there may be at most, and how many must be available at least."""

    surge: int
    unavailable: int


def template_hash(template: Json, config: Mapping[tuple[str, str], str]) -> str:
    """Ten hex digits over a pod template and what it reads: (kind, name) → content hash, "" when absent.

    Stricter than Kubernetes: a changed ConfigMap or Secret is a new template, so it rolls."""
    read = sorted((kind, name, value) for (kind, name), value in config.items())
    data = msgspec.json.encode([template, read], order="sorted")
    return hashlib.sha256(data).hexdigest()[:10]


def bounds(spec: DeploymentSpec) -> Bounds:
    """Source: deploymentutil.ResolveFenceposts."""
    if spec.strategy.type == "Recreate":
        return Bounds(0, spec.replicas)
    rolling = spec.strategy.rolling_update
    surge = percent(rolling.max_surge, spec.replicas, up=True)
    unavailable = min(percent(rolling.max_unavailable, spec.replicas, up=False), spec.replicas)
    if surge == 0 and unavailable == 0:
        unavailable = min(1, spec.replicas)
    return Bounds(surge, unavailable)


def back_off_s(restarts: int) -> float:
    """Seconds to wait before restart number `restarts` + 1: none, 10, 20 … 300.

    Source: kubelet's container back-off (10 s doubling to 5 min; the first restart is at once)."""
    return 0.0 if restarts <= 0 else min(10.0 * 2.0 ** min(restarts - 1, 10), 300.0)


def available(replica: Replica, min_ready_s: int, now: datetime) -> bool:
    if replica.ready_since is None or replica.stopping:
        return False
    return now - replica.ready_since >= timedelta(seconds=min_ready_s)


def decide(
    spec: DeploymentSpec,
    template: str,
    revisions: Sequence[Revision],
    replicas: Sequence[Replica],
    progress: Progress,
    before: Json,
    *,
    generation: int,
    now: datetime,
) -> Decision:
    """One pass. `template` is the hash wanted now; `before` the status written last.

    `replicas` are this Deployment's own; those of templates that `revisions` does not know are stopped."""
    sight = _Sight(spec, template, tuple(replicas), now)
    known = _with_current(revisions, template, spec.paused)
    counts = _counts(sight)
    progress = _progressed(sight, _remember(progress, template, spec.replicas, now), counts)
    frozen = progress.exceeded or any(r.failing for r in sight.new)
    if spec.replicas != progress.replicas:
        known = _scale(spec, known, template, progress.replicas)
        progress = replace(progress, replicas=spec.replicas)
    elif spec.paused:
        known = _settle(spec, known, template)
    elif spec.strategy.type == "Recreate":
        known = _recreate(spec, known, sight)
    elif not frozen:
        known = _roll(spec, known, sight)
    actions = _actions(known, sight)
    status = _status(known, sight, progress, counts, before, generation)
    if progress.complete:
        known = tuple(replace(r, proven=True) if r.template == template else r for r in known)
    return Decision(
        _trim(known, sight, spec.revision_history_limit), actions, progress, status, _look_again(spec, sight, progress)
    )


class _Sight(Struct, frozen=True):
    """The replicas by their role, for one pass."""

    spec: DeploymentSpec
    template: str
    replicas: tuple[Replica, ...]
    now: datetime

    @property
    def staying(self) -> tuple[Replica, ...]:
        return tuple(r for r in self.replicas if not r.stopping)

    @property
    def new(self) -> tuple[Replica, ...]:
        return tuple(r for r in self.staying if r.template == self.template)

    @property
    def old(self) -> tuple[Replica, ...]:
        return tuple(r for r in self.staying if r.template != self.template)

    def available(self, template: str = "") -> int:
        mine = (r for r in self.staying if template in ("", r.template))
        return sum(available(r, self.spec.min_ready_seconds, self.now) for r in mine)


def _with_current(revisions: Sequence[Revision], template: str, paused: bool) -> tuple[Revision, ...]:
    """The revisions, oldest first, with the wanted template as the newest."""
    ordered = sorted(revisions, key=lambda r: r.number)
    newest = ordered[-1].number if ordered else 0
    found = next((r for r in ordered if r.template == template), None)
    if found is None:
        return tuple(ordered) if paused and ordered else (*ordered, Revision(template=template, number=newest + 1))
    if found.number == newest:
        return tuple(ordered)
    return (*(r for r in ordered if r is not found), replace(found, number=newest + 1))


def _remember(progress: Progress, template: str, replicas: int, now: datetime) -> Progress:
    if progress.template == template:
        return progress
    wanted = progress.replicas if progress.template else replicas
    return Progress(template=template, replicas=wanted, moved_at=now)


# --- how many of each ------------------------------------------------------------------------------


def _set(revisions: Sequence[Revision], template: str, wanted: int) -> tuple[Revision, ...]:
    return tuple(replace(r, wanted=max(wanted, 0)) if r.template == template else r for r in revisions)


def _total(revisions: Sequence[Revision]) -> int:
    return sum(r.wanted for r in revisions)


def _wanted(revisions: Sequence[Revision], template: str) -> int:
    return sum(r.wanted for r in revisions if r.template == template)


def _roll(spec: DeploymentSpec, revisions: tuple[Revision, ...], sight: _Sight) -> tuple[Revision, ...]:
    """Source: rolloutRolling."""
    limit = bounds(spec)
    current = _wanted(revisions, sight.template)
    if current > spec.replicas:
        return _set(revisions, sight.template, spec.replicas)
    room = spec.replicas + limit.surge - _total(revisions)
    if current < spec.replicas and room > 0:
        revisions = _set(revisions, sight.template, current + min(room, spec.replicas - current))
    return _retire(spec, limit, revisions, sight)


def _retire(
    spec: DeploymentSpec, limit: Bounds, revisions: tuple[Revision, ...], sight: _Sight
) -> tuple[Revision, ...]:
    """Source: reconcileOldReplicaSets: first the old ones that do not serve, then as many as may leave."""
    least = spec.replicas - limit.unavailable
    pending = max(_wanted(revisions, sight.template) - sight.available(sight.template), 0)
    spare = _total(revisions) - least - pending
    if spare <= 0:
        return revisions
    out = {r.template: r for r in revisions}
    for revision in revisions:
        if revision.template != sight.template and spare > 0:
            useless = min(max(revision.wanted - sight.available(revision.template), 0), spare)
            out[revision.template] = replace(revision, wanted=revision.wanted - useless)
            spare -= useless
    leave = sight.available() - least
    for revision in tuple(out.values()):
        if revision.template != sight.template and leave > 0:
            fewer = min(revision.wanted, leave)
            out[revision.template] = replace(revision, wanted=revision.wanted - fewer)
            leave -= fewer
    return tuple(out.values())


def _recreate(spec: DeploymentSpec, revisions: tuple[Revision, ...], sight: _Sight) -> tuple[Revision, ...]:
    """Every old replica is gone before the first new one is made. Source: rolloutRecreate."""
    emptied = tuple(r if r.template == sight.template else replace(r, wanted=0) for r in revisions)
    if any(r.template != sight.template for r in sight.replicas):
        return emptied
    return _set(emptied, sight.template, spec.replicas)


def _settle(spec: DeploymentSpec, revisions: tuple[Revision, ...], template: str) -> tuple[Revision, ...]:
    """Paused: nothing rolls, but one lone revision holds its count."""
    if _total(revisions) == 0 and _wanted(revisions, template) < spec.replicas:
        return _set(revisions, revisions[-1].template, spec.replicas)
    return revisions


def _scale(spec: DeploymentSpec, revisions: tuple[Revision, ...], template: str, was: int) -> tuple[Revision, ...]:
    """Spread a new count over the revisions by their share. Source: DeploymentController.scale."""
    active = [r for r in revisions if r.wanted > 0]
    if len(active) <= 1:
        only = active[0].template if active else template
        return _set(revisions, only, spec.replicas)
    if spec.replicas == 0:
        return tuple(replace(r, wanted=0) for r in revisions)
    allowed = spec.replicas + bounds(spec).surge
    left = allowed - _total(revisions)
    out = {r.template: r.wanted for r in revisions}
    for revision in sorted(active, key=lambda r: (-r.wanted, -r.number if left > 0 else r.number)):
        share = round(revision.wanted * allowed / max(was, 1)) - revision.wanted
        step = max(min(share, left), 0) if left > 0 else min(max(share, left), 0)
        out[revision.template] = max(revision.wanted + step, 0)
        left -= out[revision.template] - revision.wanted
    biggest = max(active, key=lambda r: (r.wanted, r.number)).template
    out[biggest] = max(out[biggest] + left, 0)
    return tuple(replace(r, wanted=out[r.template]) for r in revisions)


def _trim(revisions: tuple[Revision, ...], sight: _Sight, limit: int) -> tuple[Revision, ...]:
    """Forget the oldest templates beyond the history limit, never one that has or wants a replica."""
    used = {r.template for r in sight.replicas} | {sight.template}
    idle = [r for r in revisions if r.wanted == 0 and r.template not in used]
    gone = {r.template for r in idle[: max(len(idle) - limit, 0)]}
    return tuple(r for r in revisions if r.template not in gone)


# --- which ones ------------------------------------------------------------------------------------


def _actions(revisions: Sequence[Revision], sight: _Sight) -> tuple[Create | Stop, ...]:
    out: list[Create | Stop] = []
    known = {r.template for r in revisions}
    out += [Stop(r.name, "its template is not wanted") for r in sight.staying if r.template not in known]
    for revision in revisions:
        mine = [r for r in sight.staying if r.template == revision.template]
        out += [Create(revision.template)] * max(revision.wanted - len(mine), 0)
        reason = "scaled down" if revision.template == sight.template else "replaced by a new template"
        out += [Stop(r.name, reason) for r in _victims(mine, len(mine) - revision.wanted)]
    return tuple(out)


def _victims(replicas: Sequence[Replica], count: int) -> Sequence[Replica]:
    """Those that lose least: not ready, then ready for the shortest time, most restarts, newest.

    Source: controller.ActivePodsWithRanks."""
    if count <= 0:
        return ()

    def rank(r: Replica) -> tuple[bool, float, int, float, str]:
        since = -r.ready_since.timestamp() if r.ready_since else 0.0
        return (r.ready_since is not None, since, -r.restarts, -r.created.timestamp(), r.name)

    return sorted(replicas, key=rank)[:count]


# --- status ----------------------------------------------------------------------------------------


class _Counts(Struct, frozen=True):
    """How many there are, and how far the rollout is."""

    total: int
    updated: int
    old: int
    ready: int
    available: int
    complete: bool


def _counts(sight: _Sight) -> _Counts:
    total, updated, up = len(sight.staying), len(sight.new), sight.available()
    return _Counts(
        total=total,
        updated=updated,
        old=len(sight.old),
        ready=sum(r.ready_since is not None for r in sight.staying),
        available=up,
        complete=len(sight.replicas) == total == updated == up == sight.spec.replicas,
    )


def _status(
    revisions: Sequence[Revision], sight: _Sight, progress: Progress, counts: _Counts, before: Json, generation: int
) -> Json:
    return {
        "observedGeneration": generation,
        "replicas": counts.total,
        "updatedReplicas": counts.updated,
        "readyReplicas": counts.ready,
        "availableReplicas": counts.available,
        "unavailableReplicas": max(_total(revisions) - counts.available, 0),
        "conditions": _conditions(sight.spec, progress, counts.available, before, sight.now),
    }


def _progressed(sight: _Sight, progress: Progress, counts: _Counts) -> Progress:
    """Source: deploymentutil.DeploymentProgressing and DeploymentTimedOut."""
    was, now = progress.counts, (counts.updated, counts.old, counts.ready, counts.available)
    forward = now[0] > was[0] or now[1] < was[1] or now[2] > was[2] or now[3] > was[3]
    progress = replace(progress, counts=now)
    if counts.complete or forward or progress.moved_at is None:
        complete = counts.complete or progress.complete
        return replace(progress, moved_at=sight.now, exceeded=False, complete=complete)
    if progress.complete or sight.spec.paused:
        return progress
    late = sight.now - progress.moved_at > timedelta(seconds=sight.spec.progress_deadline_seconds)
    return replace(progress, exceeded=progress.exceeded or late)


def _conditions(spec: DeploymentSpec, progress: Progress, up: int, before: Json, now: datetime) -> list[dict[str, str]]:
    enough = up >= spec.replicas - bounds(spec).unavailable
    least = ("True", "MinimumReplicasAvailable") if enough else ("False", "MinimumReplicasUnavailable")
    if progress.exceeded:
        moving = ("False", "ProgressDeadlineExceeded")
    elif spec.paused and not progress.complete:
        moving = ("Unknown", "DeploymentPaused")
    elif progress.complete:
        moving = ("True", "NewReplicaSetAvailable")
    else:
        moving = ("True", "ReplicaSetUpdated")
    old = {c["type"]: c for c in (before or {}).get("conditions", ())}
    return [
        _condition("Available", least, old.get("Available"), now),
        _condition("Progressing", moving, old.get("Progressing"), now),
    ]


def _condition(kind: str, value: tuple[str, str], old: Mapping[str, str] | None, now: datetime) -> dict[str, str]:
    stamp = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    status, reason = value
    if old is not None and (old["status"], old["reason"]) == value:
        return dict(old)
    since = old["lastTransitionTime"] if old is not None and old["status"] == status else stamp
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "lastTransitionTime": since,
        "lastUpdateTime": stamp,
    }


def _look_again(spec: DeploymentSpec, sight: _Sight, progress: Progress) -> datetime | None:
    """The next moment at which a replica turns available, or the deadline passes."""
    wait = timedelta(seconds=spec.min_ready_seconds)
    turns = [r.ready_since + wait for r in sight.staying if r.ready_since and r.ready_since + wait > sight.now]
    if not (progress.complete or progress.exceeded or spec.paused) and progress.moved_at is not None:
        turns.append(progress.moved_at + timedelta(seconds=spec.progress_deadline_seconds, milliseconds=1))
    return min(turns, default=None)
