"""Health of a Deployment on the host: from its status and its replicas.

A fault is the change's own only when the new replicas fail by themselves while old ones pass, whether or not this
template worked at some time before; or when there are no old ones and it never worked. Everything else is the world's,
and is never undone.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from trueup.core.health.telling import telling
from trueup.core.model import Fault, Health, Json, Judgement, Ref
from trueup.core.workload import WORLDLY, Replica, Waiting

EXCERPT = 15  # log lines shown


class WorkloadFacts(Struct, frozen=True, kw_only=True):
    """`proven`: this template was once completely available. `settled`: seen since the last apply."""

    generation: int
    wanted: int
    template: str
    status: Json
    replicas: tuple[Replica, ...]
    paused: bool = False
    proven: bool = False
    settled: bool = True


def deployment(ref: Ref, facts: WorkloadFacts) -> Judgement:
    """Source of the states: gitops-engine pkg/health; of the fault: DESIGN.md, "Candidates and the Git protocol"."""
    status = facts.status or {}
    if not facts.settled or status.get("observedGeneration", 0) < facts.generation:
        return Judgement(ref, Health.PROGRESSING, "not looked at yet")
    judged = _judged(ref, facts, status)
    serves = any(r.ready_since is not None and not r.stopping for r in facts.replicas)
    return replace(judged, down=judged.health is Health.DEGRADED and facts.wanted > 0 and not serves)


def _judged(ref: Ref, facts: WorkloadFacts, status: Json) -> Judgement:
    new = [r for r in facts.replicas if r.template == facts.template and not r.stopping]
    old = [r for r in facts.replicas if r.template != facts.template and not r.stopping]
    failing = next((r for r in new if r.failing), None)
    worldly = next((r for r in new if r.waiting is Waiting.PULL_BACK_OFF or _engine(r)), None)
    ready = _ready(facts, new, old)
    if failing is not None:
        return _degraded(ref, facts, old, failing, f"{ready}; {_why(failing)}")
    if worldly is not None:
        return Judgement(ref, Health.DEGRADED, f"{ready}; {_why(worldly)}", Fault.WORLD)
    if _late(status):
        return _too_late(ref, facts, new, old, ready)
    if _complete(facts, status):
        return Judgement(ref, Health.HEALTHY, ready)
    if leaving := sum(r.stopping for r in facts.replicas):
        ready = f"{ready}; {leaving} leaving"
    if facts.paused:
        return Judgement(ref, Health.SUSPENDED, f"{ready}; paused")
    unready = next((r for r in new if r.ready_since is None and (r.message or r.waiting is not Waiting.NONE)), None)
    return Judgement(ref, Health.PROGRESSING, f"{ready}; {_why(unready)}" if unready is not None else ready)


def _ready(facts: WorkloadFacts, new: Sequence[Replica], old: Sequence[Replica]) -> str:
    count = sum(r.ready_since is not None for r in new)
    text = f"{count}/{facts.wanted} ready" if not old else f"{count}/{facts.wanted} new ready"
    serving = sum(r.ready_since is not None for r in old)
    return f"{text}, {serving} old still serving" if serving else text


def _why(replica: Replica) -> str:
    """ "web-7c9-x2k4p CrashLoopBackOff: exit 1: ModuleNotFoundError: No module named 'flask'" """
    parts = [replica.message] if replica.message else []
    if replica.restarts and replica.lines:
        parts.append(telling(replica.lines))
    # One that is tried again after many crashes is called what it was called a moment ago: nothing has changed.
    state = replica.waiting.value or (Waiting.CRASH.value if replica.failing else "")
    state = state or ("not ready" if replica.ready_since is None else "")
    return ": ".join([f"{replica.name} {state}".strip(), *(p for p in parts if p)])[:400]


def _degraded(ref: Ref, facts: WorkloadFacts, old: Sequence[Replica], bad: Replica, reason: str) -> Judgement:
    return Judgement(ref, Health.DEGRADED, reason, _fault(facts, old, bad), bad.lines[-EXCERPT:])


def _fault(facts: WorkloadFacts, old: Sequence[Replica], bad: Replica) -> Fault:
    if bad.waiting in WORLDLY or not all(r.ready_since is not None for r in old):
        return Fault.WORLD
    return Fault.CHANGE if old or not facts.proven else Fault.WORLD


def _too_late(ref: Ref, facts: WorkloadFacts, new: Sequence[Replica], old: Sequence[Replica], ready: str) -> Judgement:
    late = f"{ready}; the rollout made no progress within its deadline and has stopped"
    bad = next((r for r in new if r.ready_since is None), None)
    if bad is None:
        return Judgement(ref, Health.DEGRADED, late, Fault.WORLD)
    reason = f"{late}: {_why(bad)}"
    if bad.waiting in WORLDLY or bad.waiting is Waiting.CREATING:
        return Judgement(ref, Health.DEGRADED, reason, Fault.WORLD)
    return _degraded(ref, facts, old, bad, reason)


def _engine(replica: Replica) -> bool:
    return replica.waiting is Waiting.ENGINE


def _late(status: Json) -> bool:
    return any(c["type"] == "Progressing" and c["status"] == "False" for c in status.get("conditions", ()))


def _complete(facts: WorkloadFacts, status: Json) -> bool:
    counts = (status.get("updatedReplicas"), status.get("availableReplicas"), status.get("replicas"))
    leaving = any(r.stopping and r.template != facts.template for r in facts.replicas)
    return counts == (facts.wanted, facts.wanted, facts.wanted) and not leaving
