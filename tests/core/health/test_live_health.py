"""How objects of a cluster are judged: each built-in rule by cases, each row of the table by what it says itself."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueup.core.health.facts import FACTS, Fact
from trueup.core.health.live import RULES, is_judged, live_health
from trueup.core.model import Health

H, P, D, S = Health.HEALTHY, Health.PROGRESSING, Health.DEGRADED, Health.SUSPENDED


def obj(version: str, kind: str, status: Any = None, spec: Any = None, **metadata: Any) -> dict[str, Any]:
    body = {"apiVersion": version, "kind": kind, "metadata": {"name": "x", "generation": 2, **metadata}}
    return {**body, "spec": spec or {}, **({"status": status} if status is not None else {})}


def condition(type: str, status: str = "True", reason: str = "", message: str = "") -> dict[str, str]:
    return {"type": type, "status": status, "reason": reason, "message": message}


def deployment(status: Any = None, **spec: Any) -> dict[str, Any]:
    return obj("apps/v1", "Deployment", {"observedGeneration": 2, **(status or {})}, {"replicas": 2, **spec})


def conditions(*given: dict[str, str]) -> dict[str, Any]:
    return {"conditions": list(given)}


FULL = {"updatedReplicas": 2, "availableReplicas": 2, "replicas": 2, "readyReplicas": 2}
SET = {"observedGeneration": 2, "readyReplicas": 2, "replicas": 2, "updatedReplicas": 2}
LATE = condition("Progressing", "False", "ProgressDeadlineExceeded", "took too long")
NODE_GONE = {"phase": "Failed", "reason": "Evicted", "message": "The node was low on memory."}
BAD_PULL = {"name": "a", "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}
EXIT_3 = {"name": "a", "state": {"terminated": {"exitCode": 3, "reason": "Error"}}}

CASES: list[tuple[str, dict[str, Any], Health, str]] = [
    ("a deployment with all replicas", deployment(FULL), H, "2/2 ready"),
    ("one not seen by its controller", {**deployment(FULL), "status": {"observedGeneration": 1}}, P, "has not seen"),
    ("one without a status", obj("apps/v1", "Deployment"), P, "has not seen"),
    ("old replicas leave", deployment({**FULL, "replicas": 3}), P, "1 old replicas are leaving"),
    ("not all updated", deployment({**FULL, "updatedReplicas": 1}), P, "1/2 updated"),
    ("past its deadline", deployment({**FULL, "availableReplicas": 1, **conditions(LATE)}), D, "took too long"),
    ("quota", deployment(conditions(condition("ReplicaFailure", message="exceeded quota"))), D, "exceeded quota"),
    ("paused", deployment(FULL, paused=True), S, "paused"),
    ("scaled to nothing", deployment({}, replicas=0), H, "0/0 ready"),
    ("a set with all replicas", obj("apps/v1", "StatefulSet", SET, {"replicas": 2}), H, "2/2"),
    ("a set waits for one", obj("apps/v1", "StatefulSet", {**SET, "readyReplicas": 1}, {"replicas": 2}), P, "1/2"),
    (
        "a set rolls",
        obj("apps/v1", "StatefulSet", {**SET, "updatedReplicas": 1, "updateRevision": "b", "currentRevision": "a"},
            {"replicas": 2}),
        P, "1/2 updated",
    ),
    (
        "a partition is not waited for",
        obj("apps/v1", "StatefulSet", {**SET, "updatedReplicas": 1, "updateRevision": "b", "currentRevision": "a"},
            {"replicas": 2, "updateStrategy": {"rollingUpdate": {"partition": 1}}}),
        H, "1 of 1 updated",
    ),
    (
        "daemons on every node",
        obj("apps/v1", "DaemonSet", {"observedGeneration": 2, "desiredNumberScheduled": 3, "numberAvailable": 3,
                                     "updatedNumberScheduled": 3}),
        H, "3/3",
    ),
    (
        "a daemon is missing",
        obj("apps/v1", "DaemonSet", {"observedGeneration": 2, "desiredNumberScheduled": 3, "numberAvailable": 2,
                                     "updatedNumberScheduled": 3}),
        P, "2/3",
    ),
    ("a job runs", obj("batch/v1", "Job", {"active": 1}), P, "0/1 complete"),
    ("a job is done", obj("batch/v1", "Job", conditions(condition("Complete"))), H, "complete"),
    (
        "a job failed",
        obj("batch/v1", "Job", conditions(condition("Failed", reason="BackoffLimitExceeded", message="too often"))),
        D, "BackoffLimitExceeded: too often",
    ),
    ("a job is suspended", obj("batch/v1", "Job", {}, {"suspend": True}), S, "suspended"),
    ("a cron job", obj("batch/v1", "CronJob", {}), H, ""),
    ("a pod ready", obj("v1", "Pod", {"phase": "Running", **conditions(condition("Ready"))}), H, ""),
    ("a pod not ready", obj("v1", "Pod", {"phase": "Running", **conditions(condition("Ready", "False"))}), P, "not"),
    ("a pod evicted", obj("v1", "Pod", NODE_GONE), D, "low on memory"),
    ("a pod failed", obj("v1", "Pod", {"phase": "Failed", "containerStatuses": [EXIT_3]}), D, "exit 3"),
    ("no such image", obj("v1", "Pod", {"phase": "Pending", "containerStatuses": [BAD_PULL]}), D, "no such image"),
    (
        "no room",
        obj("v1", "Pod",
            {"phase": "Pending", **conditions(condition("PodScheduled", "False", "Unschedulable", "no cpu"))}),
        P, "Unschedulable: no cpu",
    ),
    ("a claim bound", obj("v1", "PersistentVolumeClaim", {"phase": "Bound"}), H, ""),
    ("a claim waits", obj("v1", "PersistentVolumeClaim", {"phase": "Pending"}), P, "Pending"),
    ("a claim lost", obj("v1", "PersistentVolumeClaim", {"phase": "Lost"}), D, "Lost"),
    ("a service", obj("v1", "Service", {}), H, ""),
    ("no address yet", obj("v1", "Service", {"loadBalancer": {}}, {"type": "LoadBalancer"}), P, "waits"),
    (
        "an address",
        obj("v1", "Service", {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}, {"type": "LoadBalancer"}),
        H, "",
    ),
    ("an ingress alone", obj("networking.k8s.io/v1", "Ingress", {"loadBalancer": {}}), P, "no ingress controller"),
    (
        "no metrics",
        obj("autoscaling/v2", "HorizontalPodAutoscaler",
            conditions(condition("ScalingActive", "False", "FailedGetResourceMetric", "no metrics API"))),
        D, "no metrics API",
    ),
    (
        "a definition",
        obj("apiextensions.k8s.io/v1", "CustomResourceDefinition",
            conditions(condition("NamesAccepted"), condition("Established"))),
        H, "",
    ),
    (
        "names taken",
        obj("apiextensions.k8s.io/v1", "CustomResourceDefinition",
            conditions(condition("NamesAccepted", "False", "ListKindConflict", "taken"))),
        D, "taken",
    ),
    ("a config map", obj("v1", "ConfigMap"), H, ""),
    ("being deleted", obj("v1", "ConfigMap", deletionTimestamp="now", finalizers=["a/b"]), P, "waits for a/b"),
    ("unknown kind without a status", obj("made.example/v1", "Widget"), H, ""),
    ("unknown kind, ready", obj("made.example/v1", "Widget", conditions(condition("Ready"))), H, ""),
    ("another not", obj("made.example/v1", "Widget", conditions(condition("Ready", "False", "R", "m"))), P, "R: m"),
    ("stalled", obj("made.example/v1", "Widget", conditions(condition("Stalled", "True", "Bad", "w"))), D, "Bad: w"),
    (
        "a managed resource out of step",
        obj("ec2.aws.upbound.io/v1beta1", "VPC", conditions(condition("Synced", "False", "ReconcileError", "denied"))),
        D, "denied",
    ),
    ("flux suspended", obj("helm.toolkit.fluxcd.io/v2", "HelmRelease", {}, {"suspend": True}), S, "spec.suspend"),
    (
        "flux waits for another",
        obj("kustomize.toolkit.fluxcd.io/v1", "Kustomization",
            conditions(condition("Ready", "False", "DependencyNotReady", "on db"))),
        P, "on db",
    ),
    (
        "flux failed",
        obj("kustomize.toolkit.fluxcd.io/v1", "Kustomization",
            conditions(condition("Ready", "False", "BuildFailed", "x"))),
        D, "BuildFailed: x",
    ),
    (
        "a rollout paused",
        obj("argoproj.io/v1alpha1", "Rollout", {"phase": "Paused", "message": "CanaryPauseStep"}),
        S, "Paused: CanaryPauseStep",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("body", "health", "words"), [pytest.param(*c[1:], id=c[0]) for c in CASES])
def test_a_case(body: dict[str, Any], health: Health, words: str) -> None:
    found = live_health(body)
    assert (found.health, words in found.reason) == (health, True), found


def _set(body: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    *above, last = path.split(".")
    at = body
    for step in above:
        at = at.setdefault(step, {})
    at[last] = value
    return body


def _of(group: str, kind: str, fact: Fact, phase: str = "") -> dict[str, Any]:
    body = obj(f"{group}/v1", kind, conditions(*(condition(type) for type in fact.ready)))
    return _set(body, fact.phase, phase) if phase else body


@pytest.mark.parametrize(("group", "kind"), sorted(FACTS))
def test_a_row_says_what_is_healthy_and_what_is_not(group: str, kind: str) -> None:
    fact = FACTS[group, kind]
    assert is_judged(group, kind) and fact.source and (group, kind) not in RULES
    for phase in fact.healthy or ("",):
        assert live_health(_of(group, kind, fact, phase)).health is H, phase
    for phase in fact.degraded:
        assert live_health(_of(group, kind, fact, phase)).health is D, phase
    for phase in fact.suspended:
        assert live_health(_of(group, kind, fact, phase)).health is S, phase
    for type in fact.bad:
        body = _of(group, kind, fact, (fact.healthy or ("",))[0])
        body["status"]["conditions"].append(condition(type, "True", "Why", "words"))
        found = live_health(body)
        assert (found.health, found.reason) == (D, "Why: words"), type
    assert live_health(obj(f"{group}/v1", kind)).health is not H or not (fact.ready or fact.phase)
    if fact.suspend:
        assert live_health(_set(obj(f"{group}/v1", kind), fact.suspend, True)).health is S


def test_no_kind_stands_in_two_rows() -> None:
    from trueup.core.health.facts import ROWS

    assert sum(len(row.kinds) for row in ROWS) == len(FACTS)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["conditions", "type", "status", "phase", "replicas", "state", "containerStatuses", "loadBalancer"]
    ), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(kind=st.sampled_from(sorted(RULES) + sorted(FACTS)[:20]), spec=JSON, status=JSON)
def test_any_shape_gets_an_answer(kind: tuple[str, str], spec: Any, status: Any) -> None:
    body = {"apiVersion": f"{kind[0]}/v1", "kind": kind[1], "metadata": {"name": "x"}, "spec": spec, "status": status}
    assert isinstance(live_health(body).health, Health)
