"""Looks at the pods of a workload that is not healthy, and at the log of the one that fails: asked then, never watched.

Source of the labels: pod-template-hash (Deployment controller), controller-revision-hash (StatefulSet, DaemonSet).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from msgspec.structs import replace

from trueup.core.health.pods import Explained, Trouble, explain, of_job
from trueup.core.health.telling import telling
from trueup.core.model import Health, Json, Judgement, Ref
from trueup.drivers.targets.kubernetes.client import ApiError, Call, Client
from trueup.ports import TargetDown

PODS = frozenset({("apps", "Deployment"), ("apps", "StatefulSet"), ("apps", "DaemonSet"), ("batch", "Job")})
LINES = 15
LOG_S = 5.0
NO_LOGS = b"unable to retrieve container logs for "
PROBE = "Unhealthy"  # the reason of the kubelet's event about a probe that fails
REVISION = "deployment.kubernetes.io/revision"


async def why(client: Client, ref: Ref, health: Health, reason: str, *, proven: bool) -> Judgement:
    """The judgement with the reason its pods give; as it was when they cannot be read."""
    try:
        found, lines = await _look(client, ref, health, reason, proven)
    except (ApiError, TargetDown, KeyError):
        return Judgement(ref, health, reason)
    down = found.down and ref.kind != "Job"  # which never serves anybody
    return Judgement(ref, found.health, found.reason, found.fault, lines, down)


async def _look(
    client: Client, ref: Ref, health: Health, reason: str, proven: bool
) -> tuple[Explained, tuple[str, ...]]:
    plural = {"Deployment": "deployments", "StatefulSet": "statefulsets", "DaemonSet": "daemonsets", "Job": "jobs"}
    root = "/apis/batch/v1" if ref.group == "batch" else "/apis/apps/v1"
    body = await client.get(f"{root}/namespaces/{ref.namespace}/{plural[ref.kind]}/{ref.name}")
    selector = _selector(body["spec"].get("selector") or {})
    listed = await client.get(f"/api/v1/namespaces/{ref.namespace}/pods", labelSelector=selector, limit="200")
    pods = [p for p in listed.get("items") or () if not p["metadata"].get("deletionTimestamp")]
    new, old = await _split(client, ref, body, selector, pods)
    found = explain(health, reason, new, old, proven=proven)
    if ref.kind == "Job":
        found = of_job(health, reason, found)
    if found.worst is None:
        words = await _refused(client, ref, selector) if ref.kind == "Deployment" else ""
        words = words or await _warning(client, ref.namespace, body["metadata"]["uid"])
        return (replace(found, reason="; ".join(filter(None, (reason, words)))) if words else found), ()
    worst = found.worst
    if worst.unsaid:
        uid = next((p["metadata"]["uid"] for p in pods if p["metadata"]["name"] == worst.pod), "")
        if words := await _warning(client, ref.namespace, uid, PROBE if worst.container else ""):
            found = replace(found, reason=f"{found.reason}: {words}")
    if not worst.container:
        return found, ()
    lines = await _log(client, ref.namespace, worst)
    said = telling(lines) if worst.crashed else ""
    return (replace(found, reason=f"{found.reason}: {said}") if said else found), lines


def _selector(selector: Json) -> str:
    parts = [f"{k}={v}" for k, v in (selector.get("matchLabels") or {}).items()]
    words = {"In": "in", "NotIn": "notin"}
    for each in selector.get("matchExpressions") or ():
        operator, key = each["operator"], each["key"]
        if operator in words:
            parts.append(f"{key} {words[operator]} ({','.join(each.get('values') or ())})")
        else:
            parts.append(key if operator == "Exists" else f"!{key}")
    return ",".join(parts)


async def _split(
    client: Client, ref: Ref, body: Json, selector: str, pods: Sequence[Json]
) -> tuple[list[Json], list[Json]]:
    """The pods of the wanted template, and the others."""
    label, wanted = "controller-revision-hash", ""
    if ref.kind == "Job":
        return list(pods), []
    if ref.kind == "Deployment":
        label = "pod-template-hash"
        sets = await client.get(f"/apis/apps/v1/namespaces/{ref.namespace}/replicasets", labelSelector=selector)
        revision = (body["metadata"].get("annotations") or {}).get(REVISION)
        for each in sets.get("items") or ():
            if (each["metadata"].get("annotations") or {}).get(REVISION) == revision:
                wanted = each["metadata"]["labels"].get(label, "")
    elif ref.kind == "StatefulSet":
        wanted = (body.get("status") or {}).get("updateRevision", "")
    else:
        newest = max(pods, key=lambda p: str(p["metadata"]["creationTimestamp"]), default=None)
        wanted = newest["metadata"]["labels"].get(label, "") if newest else ""
    of = {True: [], False: []}  # type: dict[bool, list[Json]]
    for pod in pods:
        of[(pod["metadata"].get("labels") or {}).get(label) == wanted].append(pod)
    return of[True], of[False]


async def _refused(client: Client, ref: Ref, selector: str) -> str:
    """Why no pod could be made: quota, admission, as the ReplicaSet's condition says it."""
    sets = await client.get(f"/apis/apps/v1/namespaces/{ref.namespace}/replicasets", labelSelector=selector)
    for each in sets.get("items") or ():
        for condition in (each.get("status") or {}).get("conditions") or ():
            if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
                return str(condition.get("message", ""))[:400]
    return ""


async def _warning(client: Client, namespace: str, uid: str, reason: str = "") -> str:
    """What the last warning about an object says: of a probe, a mount, a sandbox, a pod that could not be made.

    Source: Kubernetes API reference v1.36, Event v1 core: fieldSelector on involvedObject.uid, type and reason."""
    path, of = f"/api/v1/namespaces/{namespace}/events", f"involvedObject.uid={uid},type=Warning"
    of += f",reason={reason}" if reason else ""
    try:
        listed = await client.get(path, fieldSelector=of, limit="100")
    except ApiError:  # the right to list events is not needed otherwise
        return ""
    newest = max(listed.get("items") or (), key=_seen_at, default=None)
    return " ".join(str(newest.get("message") or "").split())[:400] if newest else ""


def _seen_at(event: Json) -> str:
    series = event.get("series") or {}
    return str(series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime") or "")


async def _log(client: Client, namespace: str, found: Trouble) -> tuple[str, ...]:
    """The last lines of the container that fails: of its last run that ended, also while it is started anew.

    Source: kubelet, `validateContainerLogStatus`: without `previous` a container that waits shows the run that ended;
    of a run that was removed meanwhile the kubelet answers 200 and one line that it has no logs."""
    for previous in ("true", "false") if found.runs else ("false", "true") if found.crashed else ("false",):
        if lines := await _run_log(client, namespace, found, previous):
            return lines
    return ()


async def _run_log(client: Client, namespace: str, found: Trouble, previous: str) -> tuple[str, ...]:
    query = (("container", found.container), ("tailLines", str(LINES)), ("previous", previous))
    path = f"/api/v1/namespaces/{namespace}/pods/{found.pod}/log"
    try:
        async with asyncio.timeout(LOG_S):
            data = await client.raw(Call(path=path, query=query, accept="*/*", patience_s=0))
    except (ApiError, TargetDown, TimeoutError):  # its node may be away
        return ()
    return () if data.startswith(NO_LOGS) else tuple(data.decode(errors="replace").splitlines()[-LINES:])
