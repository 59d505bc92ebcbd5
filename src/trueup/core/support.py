"""What one host does with the parts of Kubernetes that it does not act on: one table, two answers.

Inert: kept, listed, without effect. Refused: it would weaken a promise, so the object is not applied unless
the repository's `trueup.yaml` accepts it by name. The table in docs/host.md is generated from here.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping
from typing import Any

from msgspec import Struct


class Answer(enum.Enum):
    INERT = "inert"
    REFUSED = "refused"  # unless accepted by name, then inert
    NEVER = "never"  # refused, and cannot be accepted


class Row(Struct, frozen=True):
    """`path` is a kind, or a kind and a field below it: "Deployment.spec.template.spec.affinity"."""

    path: str
    answer: Answer
    why: str


def _rows(answer: Answer, prefix: str, entries: Mapping[str, str]) -> tuple[Row, ...]:
    return tuple(Row(f"{prefix}{name}", answer, why) for name, why in entries.items())


_POD = "Deployment.spec.template.spec."
_CONTAINER = _POD + "containers[]."
_ONE_NODE = "there is one machine"

TABLE: tuple[Row, ...] = (
    *_rows(
        Answer.INERT,
        "",
        {
            "ServiceAccount": "the host has no Kubernetes API for a pod to call",
            "Role": "the host has no Kubernetes API to guard",
            "RoleBinding": "the host has no Kubernetes API to guard",
            "ClusterRole": "the host has no Kubernetes API to guard",
            "ClusterRoleBinding": "the host has no Kubernetes API to guard",
            "PodDisruptionBudget": "nothing evicts pods here; updates keep to maxUnavailable",
            "PriorityClass": _ONE_NODE,
            "LimitRange": "state limits in the containers themselves",
        },
    ),
    *_rows(
        Answer.REFUSED,
        "",
        {
            "NetworkPolicy": "the host does not filter traffic between pods",
            "HorizontalPodAutoscaler": "the host does not scale by load: state spec.replicas",
            "ResourceQuota": "the host does not count quotas",
        },
    ),
    *_rows(
        Answer.NEVER,
        "",
        {
            "StatefulSet": "the host does not serve it yet: without data of its own state a Deployment; run a database "
            "beside Trueup and name its address",
            "DaemonSet": "there is one machine: state a Deployment of one replica",
            "Job": "the host does not serve it yet: run it as a step of a pipeline, or as an init container",
            "CronJob": "the host does not serve it yet: run it by cron on the machine",
            "Pod": "state a Deployment, so that it can be updated and restarted",
            "ReplicaSet": "state a Deployment",
            "Ingress": "the host does not serve it yet: use a Service of type NodePort or LoadBalancer",
            "PersistentVolumeClaim": "the host does not keep volumes yet: use emptyDir for what may be lost, and keep "
            "the rest outside",
            "PersistentVolume": "the host does not keep volumes yet: remove it",
            "StorageClass": "the host has no storage drivers: remove it",
            "CustomResourceDefinition": "the host has no controllers for custom resources",
        },
    ),
    *_rows(
        Answer.INERT,
        _POD,
        {
            "affinity": _ONE_NODE,
            "tolerations": _ONE_NODE,
            "nodeSelector": _ONE_NODE,
            "topologySpreadConstraints": _ONE_NODE,
            "schedulerName": _ONE_NODE,
            "priorityClassName": _ONE_NODE,
            "preemptionPolicy": _ONE_NODE,
            "serviceAccountName": "the host has no Kubernetes API for a pod to call",
            "serviceAccount": "the host has no Kubernetes API for a pod to call",
            "automountServiceAccountToken": "the host has no Kubernetes API for a pod to call",
            "imagePullSecrets": "registry logins come from the machine's auth.json",
            "dnsPolicy": "names are always resolved as ClusterFirst",
            "enableServiceLinks": "no variables are made for Services: use their names",
        },
    ),
    *_rows(
        Answer.NEVER,
        _POD,
        {
            "hostNetwork": "pods have addresses of their own: use a Service of type NodePort",
            "hostPID": "pods do not see the machine's processes",
            "hostIPC": "pods do not share the machine's memory",
            "shareProcessNamespace": "containers do not share processes here",
            "ephemeralContainers": "they cannot be declared",
            "dnsConfig": "the host's own resolver is always used",
            "hostAliases": "the host does not serve it yet",
            "runtimeClassName": "runc runs every container",
            "activeDeadlineSeconds": "a Deployment's pods run for ever",
            "os": "only Linux is served",
        },
    ),
    *_rows(Answer.INERT, _POD, {"securityContext.fsGroupChangePolicy": "volumes are small"}),
    *_rows(
        Answer.REFUSED,
        _POD + "securityContext.",
        {
            "seccompProfile": "Podman's default profile is always used",
            "supplementalGroups": "the host does not set them",
            "sysctls": "the host does not set them",
        },
    ),
    *_rows(Answer.NEVER, _POD + "securityContext.", {"seLinuxOptions": "the host has no SELinux policy for pods"}),
    *_rows(
        Answer.REFUSED,
        _POD + "volumes[].",
        {"hostPath": "it lets a repository read and write the machine's own files"},
    ),
    *_rows(
        Answer.NEVER,
        _POD + "volumes[].",
        {
            "persistentVolumeClaim": "the host does not serve it yet",
            "projected": "the host does not serve it yet: mount each ConfigMap and Secret",
            "downwardAPI": "the host does not serve it yet: use env with fieldRef",
            "csi": "the host has no storage drivers",
            "nfs": "the host has no storage drivers",
            "ephemeral": "the host has no storage drivers",
        },
    ),
    *_rows(Answer.INERT, _POD + "volumes[].emptyDir.", {"sizeLimit": "the size is not limited"}),
    *_rows(
        Answer.INERT,
        _CONTAINER,
        {
            "terminationMessagePath": "the last log lines are kept instead",
            "terminationMessagePolicy": "the last log lines are kept instead",
            "resources.requests": "one machine does not schedule by requests",
            "ports[].hostIP": "container ports are only opened through Services",
            "stdin": "nobody is attached",
            "tty": "nobody is attached",
            "resizePolicy": "a change of resources rolls the pods",
        },
    ),
    *_rows(
        Answer.NEVER,
        _CONTAINER,
        {
            "ports[].hostPort": "use a Service of type NodePort",
            "volumeDevices": "the host has no storage drivers",
            "lifecycle.postStart": "the host does not serve it yet",
            "lifecycle.preStop.httpGet": "use exec or sleep",
            "lifecycle.preStop.tcpSocket": "use exec or sleep",
            "restartPolicy": "sidecar init containers are not served yet: list it under containers",
            "startupProbe.grpc": "gRPC probes are not served: use httpGet, tcpSocket or exec",
            "readinessProbe.grpc": "gRPC probes are not served: use httpGet, tcpSocket or exec",
            "livenessProbe.grpc": "gRPC probes are not served: use httpGet, tcpSocket or exec",
            "startupProbe.terminationGracePeriodSeconds": "the pod's own is used",
            "livenessProbe.terminationGracePeriodSeconds": "the pod's own is used",
            "env[].valueFrom.resourceFieldRef": "state the value",
            "volumeMounts[].subPathExpr": "use subPath",
            "volumeMounts[].mountPropagation": "mounts are private",
        },
    ),
    *_rows(
        Answer.NEVER,
        _CONTAINER + "securityContext.",
        {
            "privileged": "a privileged container owns the machine",
            "seLinuxOptions": "the host has no SELinux policy for pods",
            "procMount": "/proc is always masked",
        },
    ),
    *_rows(
        Answer.REFUSED,
        _CONTAINER + "securityContext.",
        {"seccompProfile": "Podman's default profile is always used"},
    ),
    *_rows(Answer.NEVER, "Deployment.spec.", {"selector.matchExpressions": "use matchLabels"}),
    *_rows(
        Answer.INERT,
        "Service.spec.",
        {
            "internalTrafficPolicy": _ONE_NODE,
            "externalTrafficPolicy": _ONE_NODE,
            "ipFamilies": "addresses are IPv4",
            "ipFamilyPolicy": "addresses are IPv4",
            "clusterIPs": "clusterIP is used",
            "allocateLoadBalancerNodePorts": "a LoadBalancer binds its own port",
            "publishNotReadyAddresses": "only ready replicas get requests",
            "sessionAffinityConfig": "the proxy keeps a client for three hours",
            "trafficDistribution": _ONE_NODE,
            "loadBalancerClass": "HAProxy serves every LoadBalancer",
        },
    ),
    *_rows(
        Answer.NEVER,
        "Service.spec.",
        {
            "externalName": "the host does not serve ExternalName Services",
            "externalIPs": "the host does not serve it: use NodePort or LoadBalancer",
            "loadBalancerIP": "a LoadBalancer binds the address Trueup was started with",
            "loadBalancerSourceRanges": "the host does not filter clients",
            "healthCheckNodePort": "there is no outside load balancer to serve",
        },
    ),
)

_PSEUDO_FALSE = frozenset({"hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace", "privileged"})
_METADATA_INERT = frozenset(
    {"creationTimestamp", "generation", "resourceVersion", "uid", "selfLink", "managedFields", "finalizers"}
    | {"ownerReferences", "generateName"}
)
_BY_PATH = {row.path: row for row in TABLE}


class Found(Struct, frozen=True):
    """A row met in an object, and where."""

    row: Row
    at: str


def of_kind(kind: str) -> Row | None:
    """What the host answers to a whole kind, or None when it is served or unknown."""
    return _BY_PATH.get(kind)


def refuses(row: Row, accepted: Collection[str]) -> bool:
    """True when this row refuses the object; `accepted` holds kinds and last path components."""
    name = row.path.rsplit(".", 1)[-1]
    return row.answer is Answer.NEVER or (row.answer is Answer.REFUSED and name not in accepted)


def split(kind: str, body: Mapping[str, Any], accepted: Collection[str] = ()) -> tuple[dict[str, Any], list[Found]]:
    """`body` without nulls and inert fields, as the served records read it; and every table row it met."""
    found: list[Found] = []
    kept = {key: value for key, value in body.items() if key != "status"}
    out = _walk(kept, kind, "", found, accepted)
    if isinstance(out.get("metadata"), dict):
        out["metadata"] = {k: v for k, v in out["metadata"].items() if k not in _METADATA_INERT}
    template = (out.get("spec") or {}).get("template") if isinstance(out.get("spec"), dict) else None
    if isinstance(template, dict) and isinstance(template.get("metadata"), dict):
        template["metadata"] = {k: v for k, v in template["metadata"].items() if k not in _METADATA_INERT}
    return out, found


def _walk(value: Any, path: str, at: str, found: list[Found], accepted: Collection[str]) -> Any:
    if isinstance(value, list):
        return [_walk(item, f"{path}[]", f"{at}[{i}]", found, accepted) for i, item in enumerate(value)]
    if not isinstance(value, Mapping):
        return value
    out: dict[str, Any] = {}
    for key, item in value.items():
        below = f"{path}.{key}"
        row = _BY_PATH.get(below.replace("initContainers[]", "containers[]"))
        where = f"{at}.{key}" if at else str(key)
        if item is None or (item is False and key in _PSEUDO_FALSE):
            continue
        if row is not None:
            found.append(Found(row, where))
            if row.answer is Answer.INERT or not row.path.endswith("hostPath"):
                continue
        out[key] = _walk(item, below, where, found, accepted)
    return out


def markdown() -> str:
    """The table of docs/host.md."""
    words = {
        Answer.INERT: "inert",
        Answer.REFUSED: "refused unless accepted",
        Answer.NEVER: "refused",
    }
    rows = [f"| `{row.path}` | {words[row.answer]} | {row.why} |" for row in TABLE]
    return "\n".join(["| Kind or field | Here | Why, or what to do |", "|---|---|---|", *rows])
