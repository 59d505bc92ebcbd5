"""How an object of a Kubernetes cluster is, from its body as the cluster gave it. Pure; asks nothing.

Source of the rules: gitops-engine v0.7 `pkg/health` and kstatus (sigs.k8s.io/cli-utils v0.37 `pkg/kstatus/status`);
where the two differ the comment says which one is followed. Kinds of projects: `facts`.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from trueup.core.health.conditions import conditions, told
from trueup.core.health.facts import FACTS, Fact
from trueup.core.health.projects import PROJECTS, Rule
from trueup.core.model import Health, Json


class Found(Struct, frozen=True):
    """`rule`: what judged: a built-in kind, a row of `facts`, "conditions", or "" when nothing has a say."""

    health: Health
    reason: str = ""
    rule: str = ""


def group_of(body: Json) -> str:
    version = body.get("apiVersion")
    return version.rpartition("/")[0] if isinstance(version, str) else ""


def live_health(body: Json) -> Found:
    """Total: whatever the body's shape, an answer comes, UNKNOWN with the reason when it cannot be read."""
    try:
        return _judged(body)
    except (AttributeError, TypeError, KeyError, ValueError, IndexError) as error:
        return Found(Health.UNKNOWN, f"its status has an unexpected shape: {error}"[:200])


def is_judged(group: str, kind: str) -> bool:
    """Whether a kind's health says more than that it exists: custom resources always may."""
    return (group, kind) in RULES or (group, kind) in FACTS or ("." in group and not group.endswith(".k8s.io"))


def _judged(body: Json) -> Found:
    kind, group = body.get("kind"), group_of(body)
    status = body.get("status") or {}
    if body["metadata"].get("deletionTimestamp"):
        return Found(Health.PROGRESSING, _terminating(body), "deletion")
    rule, fact = RULES.get((group, kind)), FACTS.get((group, kind))
    if rule is None and fact is None and not is_judged(group, kind):
        return Found(Health.HEALTHY)
    if _behind(body, status):
        return Found(Health.PROGRESSING, "its controller has not seen the last change yet", "generation")
    if rule is not None:
        health, reason = rule(body, body.get("spec") or {}, status)
        return Found(health, reason, kind)
    return _by_fact(fact, body, status) if fact is not None else _by_conditions(group, status)


def _behind(body: Json, status: Json) -> bool:
    observed, generation = status.get("observedGeneration"), body["metadata"].get("generation")
    return isinstance(observed, int) and isinstance(generation, int) and observed < generation


def _terminating(body: Json) -> str:
    finalizers = [*(body["metadata"].get("finalizers") or ()), *((body.get("spec") or {}).get("finalizers") or ())]
    stuck = [c for c in (body.get("status") or {}).get("conditions") or () if c.get("status") == "True"]
    told = next((c.get("message", "") for c in stuck if "Remain" in c.get("type", "") or "Fail" in c["type"]), "")
    waits = f"is being deleted, waits for {', '.join(finalizers)}" if finalizers else "is being deleted"
    return f"{waits}: {told}" if told else waits


# --- conditions ----------------------------------------------------------------------------------


# Crossplane's managed resources are of many groups. Source: Crossplane documentation, managed resource conditions
MANAGED = (".upbound.io", ".crossplane.io")


def _by_conditions(group: str, status: Json) -> Found:
    """A custom resource of no known project: kstatus's convention of conditions, then Ready as most mean it."""
    have = conditions(status)
    if group.endswith(MANAGED) and have.get("Synced", {}).get("status") == "False":
        return Found(Health.DEGRADED, told(have["Synced"]), "crossplane")
    for type, health in (("Stalled", Health.DEGRADED), ("Reconciling", Health.PROGRESSING)):
        if type in have and have[type].get("status") == "True":
            return Found(health, told(have[type]), "conditions")
    for type in ("Ready", "Available", "Healthy", "Succeeded", "Complete"):
        if type in have:
            state = have[type].get("status")
            if state == "True":
                return Found(Health.HEALTHY, "", "conditions")
            return Found(Health.PROGRESSING, told(have[type]), "conditions")  # as kstatus; False may be on its way
    failed = have.get("Failed")
    if failed is not None and failed.get("status") == "True":
        return Found(Health.DEGRADED, told(failed), "conditions")
    return Found(Health.HEALTHY)


def _by_fact(fact: Fact, body: Json, status: Json) -> Found:
    name = f"{fact.group}/{body['kind']}"
    if fact.suspend and _at(body, fact.suspend) is True:
        return Found(Health.SUSPENDED, f"{fact.suspend} is true", name)
    have = conditions(status)
    found = _by_signs(fact, have, name) or (_by_phase(fact, body, name) if fact.phase else None)
    found = found or _by_ready(fact, have, name)
    held = _true(fact.held, have)
    if held is not None and found.health is not Health.DEGRADED:
        return Found(Health.SUSPENDED, told(held), name)
    if found.health is not Health.HEALTHY:
        return found
    counts = [_at(body, path) for path in fact.equal]
    return found if len(set(counts)) < 2 else Found(Health.PROGRESSING, _counted(fact, counts), name)


def _by_signs(fact: Fact, have: Mapping[str, Mapping[str, str]], name: str) -> Found | None:
    """What one condition alone decides."""
    if busy := _true(fact.busy, have):
        return Found(Health.PROGRESSING, told(busy), name)
    if bad := _true(fact.bad, have):
        soon = bad.get("reason") in fact.progressing
        return Found(Health.PROGRESSING if soon else Health.DEGRADED, told(bad), name)
    for type in fact.needed:
        if have.get(type, {}).get("status") == "False":
            return Found(Health.DEGRADED, told(have[type]), name)
    return None


def _true(types: tuple[str, ...], have: Mapping[str, Mapping[str, str]]) -> Mapping[str, str] | None:
    """The first of these conditions that is True."""
    return next((have[type] for type in types if have.get(type, {}).get("status") == "True"), None)


def _counted(fact: Fact, counts: list[Json]) -> str:
    return ", ".join(f"{path.rpartition('.')[2]} {count}" for path, count in zip(fact.equal, counts, strict=True))


def _by_phase(fact: Fact, body: Json, name: str) -> Found | None:
    phase = _at(body, fact.phase)
    if not isinstance(phase, str) or not phase:
        return None if fact.ready else Found(Health.PROGRESSING, f"{fact.phase} says nothing yet", name)
    for health, words in (
        (Health.HEALTHY, fact.healthy),
        (Health.DEGRADED, fact.degraded),
        (Health.SUSPENDED, fact.suspended),
    ):
        if phase in words:
            message = _at(body, fact.message) if fact.message and health is not Health.HEALTHY else ""
            return Found(health, f"{phase}: {message}" if message else "" if health is Health.HEALTHY else phase, name)
    return None if fact.ready else Found(Health.PROGRESSING, phase, name)


def _by_ready(fact: Fact, have: Mapping[str, Mapping[str, str]], name: str) -> Found:
    for type in fact.ready:
        condition = have.get(type)
        if condition is None:
            return Found(Health.PROGRESSING, f"no condition {type} yet", name)
        if condition.get("status") != "True":
            final = condition.get("status") in fact.no and not _on_its_way(fact, condition)
            return Found(Health.DEGRADED if final else Health.PROGRESSING, told(condition), name)
    return Found(Health.HEALTHY, "", name)


def _on_its_way(fact: Fact, condition: Mapping[str, str]) -> bool:
    reason = condition.get("reason")
    return reason in fact.progressing or (fact.patient and reason not in fact.final)


def _at(body: Json, path: str) -> Json:
    for step in path.split("."):
        body = body.get(step) if isinstance(body, dict) else None
    return body


# --- built-in kinds ------------------------------------------------------------------------------


def _deployment(body: Json, spec: Json, status: Json) -> tuple[Health, str]:
    wanted = spec.get("replicas", 1)
    have = conditions(status)
    updated, ready, total = (status.get(k, 0) for k in ("updatedReplicas", "availableReplicas", "replicas"))
    words = f"{min(ready, wanted)}/{wanted} ready"
    progress, failure = have.get("Progressing"), have.get("ReplicaFailure")
    if "observedGeneration" not in status:
        return Health.PROGRESSING, "its controller has not seen it yet"
    if spec.get("paused"):
        return Health.SUSPENDED, f"{words}; paused"
    if progress is not None and progress.get("reason") == "ProgressDeadlineExceeded":
        return Health.DEGRADED, f"{words}; {told(progress)}"
    if failure is not None and failure.get("status") == "True":
        return Health.DEGRADED, f"{words}; {told(failure)}"
    if updated < wanted:
        return Health.PROGRESSING, f"{words}; {updated}/{wanted} updated"
    if total > updated:
        return Health.PROGRESSING, f"{words}; {total - updated} old replicas are leaving"
    return (Health.HEALTHY if ready >= wanted else Health.PROGRESSING), words


def _stateful_set(body: Json, spec: Json, status: Json) -> tuple[Health, str]:
    wanted, ready = spec.get("replicas", 1), status.get("readyReplicas", 0)
    strategy = spec.get("updateStrategy") or {}
    words = f"{min(ready, wanted)}/{wanted} ready"
    if "observedGeneration" not in status:
        return Health.PROGRESSING, "its controller has not seen it yet"
    if ready < wanted:
        return Health.PROGRESSING, words
    if strategy.get("type") == "OnDelete":
        return Health.HEALTHY, words
    partition = (strategy.get("rollingUpdate") or {}).get("partition") or 0
    updated = status.get("updatedReplicas", 0)
    if partition:
        waits = updated < wanted - partition
        return (Health.PROGRESSING if waits else Health.HEALTHY), f"{words}; {updated} of {wanted - partition} updated"
    if status.get("updateRevision") != status.get("currentRevision") and updated < wanted:
        return Health.PROGRESSING, f"{words}; {updated}/{wanted} updated"
    return Health.HEALTHY, words


def _daemon_set(body: Json, spec: Json, status: Json) -> tuple[Health, str]:
    wanted, ready = status.get("desiredNumberScheduled", 0), status.get("numberAvailable", 0)
    updated = status.get("updatedNumberScheduled", 0)
    words = f"{ready}/{wanted} ready"
    if "observedGeneration" not in status:
        return Health.PROGRESSING, "its controller has not seen it yet"
    if (spec.get("updateStrategy") or {}).get("type") != "OnDelete" and updated < wanted:
        return Health.PROGRESSING, f"{words}; {updated}/{wanted} updated"
    return (Health.HEALTHY if ready >= wanted else Health.PROGRESSING), words


def _replica_set(body: Json, spec: Json, status: Json) -> tuple[Health, str]:
    failure = conditions(status).get("ReplicaFailure")
    wanted, ready = spec.get("replicas", 1), status.get("availableReplicas", 0)
    if failure is not None and failure.get("status") == "True":
        return Health.DEGRADED, told(failure)
    return (Health.HEALTHY if ready >= wanted else Health.PROGRESSING), f"{ready}/{wanted} ready"


def _job(body: Json, spec: Json, status: Json) -> tuple[Health, str]:
    have = {t: c for t, c in conditions(status).items() if c.get("status") == "True"}
    if "Failed" in have:
        return Health.DEGRADED, told(have["Failed"])
    if "Complete" in have:
        return Health.HEALTHY, "complete"
    if "Suspended" in have or spec.get("suspend"):
        return Health.SUSPENDED, "suspended"
    if "FailureTarget" in have:
        return Health.DEGRADED, told(have["FailureTarget"])
    done, wanted = status.get("succeeded", 0), spec.get("completions", 1)
    return Health.PROGRESSING, f"{done}/{wanted} complete, {status.get('failed', 0)} failed"


def _cron_job(body: Json, spec: Json, status: Json) -> tuple[Health, str]:
    return (Health.SUSPENDED, "suspended") if spec.get("suspend") else (Health.HEALTHY, "")


def _pod(body: Json, spec: Json, status: Json) -> tuple[Health, str]:
    phase = status.get("phase", "")
    states = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    waiting = next((w for s in states if (w := (s.get("state") or {}).get("waiting")) and _is_bad(w)), None)
    if waiting is not None and spec.get("restartPolicy", "Always") == "Always":
        return Health.DEGRADED, told({"type": "Waiting", "status": "True", **waiting})
    if phase == "Succeeded":
        return Health.HEALTHY, "completed"
    if phase == "Failed":
        return Health.DEGRADED, _pod_failure(status, states)
    have = conditions(status)
    if phase == "Running":
        ready = have.get("Ready", {}).get("status") == "True"
        if spec.get("restartPolicy", "Always") != "Always":
            return Health.PROGRESSING, "runs"
        return (Health.HEALTHY, "") if ready else (Health.PROGRESSING, "runs, not ready")
    if phase == "Pending":
        scheduled = have.get("PodScheduled", {})
        why = told(scheduled) if scheduled.get("status") == "False" else "pending"
        return Health.PROGRESSING, why
    return Health.UNKNOWN, f"its phase is {phase or 'not known'}"


BAD_WAITS = ("BackOff", "ErrImage", "InvalidImage", "CreateContainer", "RunContainerError", "ImageInspect")


def _is_bad(waiting: Json) -> bool:
    return any(word in str(waiting.get("reason")) for word in BAD_WAITS)


def _pod_failure(status: Json, states: list[Json]) -> str:
    if status.get("message"):
        return str(status["message"])
    for state in states:
        ended = (state.get("state") or {}).get("terminated")
        if ended and ended.get("exitCode"):
            return f"container {state.get('name')} {ended.get('reason', 'Error')}: exit {ended['exitCode']}"
    return str(status.get("reason") or "failed")


def _claim(body: Json, spec: Json, status: Json) -> tuple[Health, str]:
    phase = status.get("phase", "Pending")
    states = {"Bound": Health.HEALTHY, "Lost": Health.DEGRADED}
    return states.get(phase, Health.PROGRESSING), "" if phase == "Bound" else f"the claim is {phase}"


def _volume(body: Json, spec: Json, status: Json) -> tuple[Health, str]:
    phase = status.get("phase", "Pending")
    ill = phase == "Failed"
    health = Health.DEGRADED if ill else Health.PROGRESSING if phase == "Pending" else Health.HEALTHY
    return health, str(status.get("message") or phase) if ill else phase


def _service(body: Json, spec: Json, status: Json) -> tuple[Health, str]:
    if spec.get("type") != "LoadBalancer":
        return Health.HEALTHY, ""
    given = (status.get("loadBalancer") or {}).get("ingress")
    return (Health.HEALTHY, "") if given else (Health.PROGRESSING, "waits for an address of its load balancer")


def _ingress(body: Json, spec: Json, status: Json) -> tuple[Health, str]:
    """As Argo CD; kstatus has every Ingress current. Without a controller's address nobody reaches it."""
    given = (status.get("loadBalancer") or {}).get("ingress")
    return (Health.HEALTHY, "") if given else (Health.PROGRESSING, "no ingress controller has given it an address yet")


AUTOSCALER_ILL = ("FailedGetScale", "InvalidSelector", "FailedGetResourceMetric", "FailedComputeMetricsReplicas")


def _autoscaler(body: Json, spec: Json, status: Json) -> tuple[Health, str]:
    have = conditions(status)
    for condition in have.values():
        reason = condition.get("reason", "")
        failing = condition.get("status") == "False" and condition["type"] in ("AbleToScale", "ScalingActive")
        if failing and reason != "ScalingDisabled" and (reason.startswith("FailedGet") or reason in AUTOSCALER_ILL):
            return Health.DEGRADED, told(condition)
    if have.get("ScalingActive", {}).get("status") == "True" or have.get("AbleToScale", {}).get("status") == "True":
        return Health.HEALTHY, ""
    return Health.PROGRESSING, "waits to scale for the first time"


def _budget(body: Json, spec: Json, status: Json) -> tuple[Health, str]:
    """As kstatus: current once its controller has seen it."""
    if "observedGeneration" not in status:
        return Health.PROGRESSING, "its controller has not seen it yet"
    return Health.HEALTHY, f"{status.get('currentHealthy', 0)} healthy, {status.get('desiredHealthy', 0)} needed"


def _definition(body: Json, spec: Json, status: Json) -> tuple[Health, str]:
    have = conditions(status)
    for type in ("NamesAccepted", "Established"):
        condition = have.get(type)
        if condition is not None and condition.get("status") == "False":
            final = type == "NamesAccepted" or condition.get("reason") != "Installing"
            return (Health.DEGRADED if final else Health.PROGRESSING), told(condition)
    nonstructural = have.get("NonStructuralSchema", {})
    if nonstructural.get("status") == "True":
        return Health.DEGRADED, told(nonstructural)
    if have.get("Established", {}).get("status") == "True":
        return Health.HEALTHY, ""
    return Health.PROGRESSING, "not established yet"


def _api_service(body: Json, spec: Json, status: Json) -> tuple[Health, str]:
    available = conditions(status).get("Available")
    if available is None:
        return Health.PROGRESSING, "not looked at yet"
    return (Health.HEALTHY, "") if available.get("status") == "True" else (Health.PROGRESSING, told(available))


def _namespace(body: Json, spec: Json, status: Json) -> tuple[Health, str]:
    return (Health.HEALTHY, "") if status.get("phase", "Active") == "Active" else (Health.PROGRESSING, "terminating")


def _node(body: Json, spec: Json, status: Json) -> tuple[Health, str]:
    ready = conditions(status).get("Ready", {"type": "Ready", "status": "Unknown"})
    if ready.get("status") != "True":
        return Health.DEGRADED, told(ready)
    return (Health.SUSPENDED, "cordoned") if spec.get("unschedulable") else (Health.HEALTHY, "")


def _signing(body: Json, spec: Json, status: Json) -> tuple[Health, str]:
    have = conditions(status)
    for type in ("Denied", "Failed"):
        if type in have:
            return Health.DEGRADED, told(have[type])
    return (Health.HEALTHY, "") if status.get("certificate") else (Health.PROGRESSING, "waits for its certificate")


RULES: dict[tuple[str, str], Rule] = {
    ("apps", "Deployment"): _deployment,
    ("apps", "StatefulSet"): _stateful_set,
    ("apps", "DaemonSet"): _daemon_set,
    ("apps", "ReplicaSet"): _replica_set,
    ("", "ReplicationController"): _replica_set,
    ("batch", "Job"): _job,
    ("batch", "CronJob"): _cron_job,
    ("", "Pod"): _pod,
    ("", "PersistentVolumeClaim"): _claim,
    ("", "PersistentVolume"): _volume,
    ("", "Service"): _service,
    ("networking.k8s.io", "Ingress"): _ingress,
    ("autoscaling", "HorizontalPodAutoscaler"): _autoscaler,
    ("policy", "PodDisruptionBudget"): _budget,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): _definition,
    ("apiregistration.k8s.io", "APIService"): _api_service,
    ("", "Namespace"): _namespace,
    ("", "Node"): _node,
    ("certificates.k8s.io", "CertificateSigningRequest"): _signing,
    **PROJECTS,
}
