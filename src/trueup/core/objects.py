"""Desired objects: identity, hash and the images they state. Never reads a file and never asks a cluster."""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import re
from collections.abc import Iterable, Iterator

import orjson

from trueup.core.model import ImageUse, Json, Object, Place, Ref

# kind → where its pod spec stands
POD_SPECS: dict[str, tuple[str, ...]] = {
    "Deployment": ("spec", "template", "spec"),
    "StatefulSet": ("spec", "template", "spec"),
    "DaemonSet": ("spec", "template", "spec"),
    "ReplicaSet": ("spec", "template", "spec"),
    "ReplicationController": ("spec", "template", "spec"),
    "Job": ("spec", "template", "spec"),
    "CronJob": ("spec", "jobTemplate", "spec", "template", "spec"),
    "Pod": ("spec",),
}
CONTAINER_LISTS = ("initContainers", "containers")

# Source: Kubernetes API reference v1.31, "namespaced: false" of the built-in resources
CLUSTER_SCOPED = frozenset({
    "APIService", "CSIDriver", "CSINode", "CertificateSigningRequest", "ClusterRole", "ClusterRoleBinding",
    "ComponentStatus", "CustomResourceDefinition", "FlowSchema", "IngressClass", "MutatingWebhookConfiguration",
    "Namespace", "Node", "PersistentVolume", "PriorityClass", "PriorityLevelConfiguration", "RuntimeClass",
    "StorageClass", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding",
    "ValidatingWebhookConfiguration", "VolumeAttachment",
})  # fmt: skip

# The order in which kinds are applied within a wave; unlisted kinds come after all of these.
# Source: Helm 3 `pkg/releaseutil/kind_sorter.go` InstallOrder.
KIND_ORDER = {
    kind: at
    for at, kind in enumerate((
        "PriorityClass", "Namespace", "NetworkPolicy", "ResourceQuota", "LimitRange", "PodDisruptionBudget",
        "ServiceAccount", "Secret", "SecretList", "ConfigMap", "StorageClass", "PersistentVolume",
        "PersistentVolumeClaim", "CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding", "Role",
        "RoleBinding", "Service", "DaemonSet", "Pod", "ReplicationController", "ReplicaSet", "Deployment",
        "HorizontalPodAutoscaler", "StatefulSet", "Job", "CronJob", "IngressClass", "Ingress", "APIService",
    ))
}  # fmt: skip

_LAST = len(KIND_ORDER)

# Source: RFC 1123 subdomain as in apimachinery `validation.go`; RBAC and API service names may hold ":" too
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
_PATH_NAME = re.compile(r"[^/%\s\x00-\x1f]{1,253}")
_PATH_NAMED = frozenset({"ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"})
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_VERSION = re.compile(r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[a-zA-Z0-9]+")


class Malformed(ValueError):
    """A document that is no Kubernetes object; `path` leads to the value at fault."""

    def __init__(self, path: tuple[str, ...], message: str, fix: str) -> None:
        super().__init__(message)
        self.path, self.message, self.fix = path, message, fix


def body_hash(body: Json) -> str:
    """SHA-256 over the body as JSON with sorted keys: the same whatever the order of keys or the file's style."""
    return hashlib.sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).hexdigest()


def make_object(
    body: Json, place: Place, images: tuple[ImageUse, ...] = (), *, cluster: str = "host", namespace: str = "default"
) -> Object:
    """The record of a body. `namespace` is for namespaced bodies that name none. Raises Malformed."""
    return Object(
        ref=ref_of(body, cluster, namespace),
        api_version=body["apiVersion"],
        body=body,
        hash=body_hash(body),
        place=place,
        images=images,
    )


def ref_of(body: Json, cluster: str = "host", namespace: str = "default") -> Ref:
    """The identity of a body. Raises Malformed."""
    if not isinstance(body, dict):
        raise Malformed((), "this is no object", "A manifest is a mapping with apiVersion, kind and metadata.")
    version, kind = body.get("apiVersion"), body.get("kind")
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        raise Malformed(("apiVersion",), _is("apiVersion", version), "Write e.g. `apiVersion: apps/v1`.")
    if not isinstance(kind, str) or not kind.isalnum():
        raise Malformed(("kind",), _is("kind", kind), "Write e.g. `kind: Deployment`.")
    metadata = body.get("metadata")
    if not isinstance(metadata, dict):
        raise Malformed(("metadata",), _is("metadata", metadata), "Write `metadata:` with a `name:` below it.")
    group = version.rpartition("/")[0]
    return Ref(cluster, group, kind, _namespace(metadata, kind, namespace), _name(metadata, kind))


def _is(field: str, value: Json) -> str:
    return f"{field} is missing" if value is None else f"{field} is {value!r}"[:120]


def _name(metadata: Json, kind: str) -> str:
    name = metadata.get("name")
    if name is None and "generateName" in metadata:
        raise Malformed(
            ("metadata", "generateName"),
            "generateName gives a new object at every sync",
            "Give the object a `name`, so that it can be found again.",
        )
    if not isinstance(name, str):
        fix = 'Quote it: `name: "…"`.' if isinstance(name, (bool, int, float)) else "Write `name:` below `metadata:`."
        raise Malformed(("metadata", "name"), _is("metadata.name", name), fix)
    pattern = _PATH_NAME if kind in _PATH_NAMED else _NAME
    if len(name) > 253 or not pattern.fullmatch(name):
        raise Malformed(
            ("metadata", "name"),
            f"metadata.name {name!r:.80} is no valid name",
            "Use lower-case letters, digits, '-' and '.', 253 at most.",
        )
    return name


def _namespace(metadata: Json, kind: str, default: str) -> str:
    namespace = metadata.get("namespace")
    if kind in CLUSTER_SCOPED:
        return ""
    if namespace is None:
        return default
    if not isinstance(namespace, str) or len(namespace) > 63 or not _LABEL.fullmatch(namespace):
        raise Malformed(
            ("metadata", "namespace"), f"metadata.namespace {namespace!r:.80} is no valid name",
            "Use lower-case letters, digits and '-', 63 at most.",
        )  # fmt: skip
    return namespace


def containers(body: Json) -> Iterator[tuple[tuple[str | int, ...], Json]]:
    """(path, container) of every container and init container of a workload; nothing for other kinds."""
    kind = body.get("kind") if isinstance(body, dict) else None
    path = POD_SPECS.get(kind) if isinstance(kind, str) else None
    spec = dig(body, path) if path else None
    if path is None or not isinstance(spec, dict):
        return
    for name in CONTAINER_LISTS:
        listed = spec.get(name)
        for index, container in enumerate(listed if isinstance(listed, list) else ()):
            if isinstance(container, dict):
                yield (*path, name, index), container


def dig(body: Json, path: Iterable[str | int]) -> Json:
    """The value at `path`, or None when anything on the way is absent or of another shape."""
    for step in path:
        if isinstance(body, dict):
            body = body.get(step)
        elif isinstance(body, list) and isinstance(step, int) and step < len(body):
            body = body[step]
        else:
            return None
    return body


def dotted(path: Iterable[str | int]) -> str:
    """("spec", "containers", 0, "image") → "spec.containers[0].image"."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


def undotted(path: str) -> tuple[str | int, ...]:
    """The inverse of `dotted`, for keys without '.' or '['."""
    return tuple(int(index) if index else name for name, index in re.findall(r"([^.\[\]]+)(?=\.|\[|$)|\[(\d+)\]", path))


def annotation(body: Json, name: str) -> str:
    """An annotation's text, "" when absent."""
    value = dig(body, ("metadata", "annotations", name))
    return value if isinstance(value, str) else ""


def secret_values(body: Json) -> tuple[str, ...]:
    """The values of a Secret's body as its readers see them; those that are no text are left out."""
    found = [value for value in (dig(body, ("stringData",)) or {}).values() if isinstance(value, str)]
    for value in (dig(body, ("data",)) or {}).values():
        with contextlib.suppress(binascii.Error, UnicodeDecodeError):
            found.append(base64.b64decode(value, validate=True).decode() if isinstance(value, str) else "")
    return tuple(filter(None, found))


def order(ref: Ref) -> tuple[int, str, str, str, str]:
    """The key that sorts objects of one wave: kinds by what others need first, then by name."""
    kind = ref.kind
    return (KIND_ORDER.get(kind, _LAST), kind, ref.group, ref.namespace, ref.name)
