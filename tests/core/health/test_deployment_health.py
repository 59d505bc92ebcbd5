"""Whose fault a failing Deployment is, and what a person is told."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from trueup.core.health import Plain, ServiceFacts, WorkloadFacts, assess
from trueup.core.model import Fault, Health, Ref
from trueup.core.workload import Replica, Waiting

NOW = datetime(2026, 3, 1, tzinfo=UTC)
REF = Ref("host", "apps", "Deployment", "default", "web")
LATE = [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}]
LINES = ("Traceback (most recent call last):", "ModuleNotFoundError: No module named 'flask'", "")


def replica(name: str, template: str, *, ready: bool = False, **more: Any) -> Replica:
    return Replica(name=name, template=template, created=NOW, ready_since=NOW if ready else None, **more)


def facts(*replicas: Replica, status: dict[str, Any] | None = None, **more: Any) -> WorkloadFacts:
    stated = {"observedGeneration": 2, **(status or {})}
    return WorkloadFacts(generation=2, wanted=3, template="new", status=stated, replicas=replicas, **more)


CRASHED = replica("web-new-a", "new", restarts=3, waiting=Waiting.CRASH, message="exit 1", lines=LINES)
UNREADY = replica("web-new-a", "new", started=True, message="readiness probe: GET /healthz on port 80: 503")
PULL = replica("web-new-a", "new", waiting=Waiting.PULL_BACK_OFF, message="ghcr.io/x: manifest unknown")
OLD = tuple(replica(f"web-old-{i}", "old", ready=True) for i in range(3))
SICK = (*OLD[:2], replica("web-old-2", "old", message="exit 1"))
FULL = {"updatedReplicas": 3, "availableReplicas": 3, "replicas": 3}
NEW = tuple(replica(f"web-new-{i}", "new", ready=True) for i in range(3))

CASES = {
    "crash while old ones serve": (facts(CRASHED, *OLD), Health.DEGRADED, Fault.CHANGE),
    "crash on the very first rollout": (facts(CRASHED), Health.DEGRADED, Fault.CHANGE),
    "crash while an old one fails too": (facts(CRASHED, *SICK), Health.DEGRADED, Fault.WORLD),
    "crash of what once worked": (facts(CRASHED, proven=True), Health.DEGRADED, Fault.WORLD),
    # DESIGN: "its new replicas crash or fail probes while the old ones pass": that it worked some day is no excuse.
    "crash of what once worked while old ones serve": (
        facts(CRASHED, *OLD, proven=True),
        Health.DEGRADED,
        Fault.CHANGE,
    ),
    "crash of what once worked while an old one fails": (
        facts(CRASHED, *SICK, proven=True),
        Health.DEGRADED,
        Fault.WORLD,
    ),
    "image cannot be pulled": (facts(PULL, *OLD), Health.DEGRADED, Fault.WORLD),
    "image cannot be pulled until the deadline": (
        facts(PULL, *OLD, status={"conditions": LATE}),
        Health.DEGRADED,
        Fault.WORLD,
    ),
    "podman fails": (facts(replica("a", "new", waiting=Waiting.ENGINE), *OLD), Health.DEGRADED, Fault.WORLD),
    "command is not in the image": (
        facts(replica("a", "new", waiting=Waiting.START, restarts=2), *OLD),
        Health.DEGRADED,
        Fault.CHANGE,
    ),
    "probe fails, time is left": (facts(UNREADY, *OLD), Health.PROGRESSING, Fault.NONE),
    "probe fails until the deadline": (
        facts(UNREADY, *OLD, status={"conditions": LATE}),
        Health.DEGRADED,
        Fault.CHANGE,
    ),
    "nothing was even started by the deadline": (
        facts(replica("a", "new", waiting=Waiting.CREATING), *OLD, status={"conditions": LATE}),
        Health.DEGRADED,
        Fault.WORLD,
    ),
    "a ConfigMap is missing until the deadline": (
        facts(replica("a", "new", waiting=Waiting.CONFIG, message="x"), *OLD, status={"conditions": LATE}),
        Health.DEGRADED,
        Fault.CHANGE,
    ),
    "first pull fails": (facts(replica("a", "new", waiting=Waiting.PULL), *OLD), Health.PROGRESSING, Fault.NONE),
    "all ready": (facts(*NEW, status=FULL), Health.HEALTHY, Fault.NONE),
    "all ready, the old still leave": (
        facts(*NEW, replica("web-old-0", "old", stopping=True), status=FULL),
        Health.PROGRESSING,
        Fault.NONE,
    ),
    "paused": (facts(*OLD, paused=True), Health.SUSPENDED, Fault.NONE),
    "not looked at since the apply": (facts(*NEW, status=FULL, settled=False), Health.PROGRESSING, Fault.NONE),
    "generation not observed": (facts(*NEW, status={**FULL, "observedGeneration": 1}), Health.PROGRESSING, Fault.NONE),
}


@pytest.mark.parametrize("name", CASES)
def test_health_and_fault(name: str) -> None:
    seen, health, fault = CASES[name]
    judged = assess(REF, seen)
    assert (judged.health, judged.fault) == (health, fault), judged.reason


def test_nothing_serves_only_when_neither_new_nor_old_replicas_do() -> None:
    assert assess(REF, facts(CRASHED)).down
    assert not assess(REF, facts(CRASHED, *OLD)).down
    assert not assess(REF, facts(CRASHED, *NEW)).down
    assert assess(REF, facts(CRASHED, replica("web-old-0", "old", ready=True, stopping=True))).down
    assert not assess(REF, facts(UNREADY)).down, "what has time left is not down yet"


def test_one_that_is_tried_again_reads_as_before() -> None:
    again = replica("web-new-a", "new", started=True, restarts=4, message="exit 1", lines=LINES)
    assert assess(REF, facts(again)).reason == assess(REF, facts(CRASHED)).reason


def test_the_reason_names_the_error_and_keeps_the_last_lines() -> None:
    judged = assess(REF, facts(CRASHED, *OLD))
    assert judged.reason == (
        "0/3 new ready, 3 old still serving; "
        "web-new-a CrashLoopBackOff: exit 1: ModuleNotFoundError: No module named 'flask'"
    )
    assert judged.excerpt == LINES


def test_kinds_without_a_state_are_healthy() -> None:
    config = Ref("host", "", "ConfigMap", "default", "web")
    account = Ref("host", "", "ServiceAccount", "default", "web")
    assert assess(config, Plain()).health is Health.HEALTHY
    assert assess(account, Plain(), ("ServiceAccount",)).reason == "kept, without effect on one host"


@pytest.mark.parametrize(
    ("seen", "health"),
    [
        (ServiceFacts(address="", ready=0, replicas=3), Health.PROGRESSING),
        (ServiceFacts(address="10.89.2.2", ready=0, replicas=3), Health.HEALTHY),
        (ServiceFacts(address="", ready=1, replicas=1, headless=True), Health.HEALTHY),
        (ServiceFacts(address="10.89.2.2", ready=1, replicas=1, trouble="port 80 is in use"), Health.DEGRADED),
    ],
)
def test_services(seen: ServiceFacts, health: Health) -> None:
    assert assess(Ref("host", "", "Service", "default", "web"), seen).health is health
