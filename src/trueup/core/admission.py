"""Says whether the host can hold an object, and if not what is wrong, where, and what to do. Never does IO."""

from __future__ import annotations

import base64
import binascii
import copy
import difflib
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, get_args

import msgspec
from msgspec import Struct

from trueup.core import support
from trueup.core.kinds import (
    SERVED,
    Container,
    Deployment,
    IntOrString,
    PodSpec,
    Probe,
    Secret,
    Served,
    Service,
    Volume,
)

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_ENV = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)(m|k|M|G|T|Ki|Mi|Gi|Ti|)")
_SCALE = {"": 1.0, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_SCALE |= {"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40}
_DOWNWARD = re.compile(r"metadata\.(name|namespace|uid|labels\['[^']+'\]|annotations\['[^']+'\])|spec\.nodeName")
SLEEPLESS_PROBE_S = 1


class Refusal(Struct, frozen=True):
    """Why an object is not held. `at` is the path in the object, "spec.replicas"; "" means all of it."""

    at: str
    message: str  # what is wrong and what to do

    def __str__(self) -> str:
        return f"{self.at}: {self.message}" if self.at else self.message


class Admitted(Struct, frozen=True):
    """`served` is None for a kind that is kept without effect."""

    served: Served | None
    inert: tuple[str, ...]  # paths of fields (or the kind) without effect


def admit(
    body: Mapping[str, Any], before: Mapping[str, Any] | None = None, accepted: Collection[str] = ()
) -> Admitted | Refusal:
    """Read one desired object. `before` is the body held so far; `accepted` names what trueup.yaml accepts."""
    kind, version = str(body.get("kind", "")), str(body.get("apiVersion", ""))
    row = support.of_kind(kind)
    if row is not None:
        if support.refuses(row, accepted):
            return Refusal("kind", f"{kind} is refused on one host: {row.why}{_accept(row)}")
        return Admitted(None, (kind,))
    schema = SERVED.get((version, kind))
    if schema is None:
        return Refusal("kind", _unknown_kind(kind, version))
    stripped, found = support.split(kind, body, accepted)
    for item in found:
        if support.refuses(item.row, accepted):
            return Refusal(item.at, f"refused on one host: {item.row.why}{_accept(item.row)}")
    try:
        served = msgspec.convert(stripped, schema)
    except msgspec.ValidationError as error:
        return _schema_refusal(str(error), stripped, schema)
    refusal = next(_problems(served), None) or _immutable(served, before)
    return refusal or Admitted(served, tuple(item.at for item in found))


def refusals(body: Mapping[str, Any], accepted: Collection[str] = ()) -> tuple[Refusal, ...]:
    """Every reason why `admit` refuses a body, as far as each can be seen beside the others; () when it does not."""
    first = admit(body, None, accepted)
    if isinstance(first, Admitted):
        return ()
    kind, version = str(body.get("kind", "")), str(body.get("apiVersion", ""))
    schema = SERVED.get((version, kind))
    if schema is None:
        return (first,)
    stripped, found = support.split(kind, body, accepted)
    refused = [
        Refusal(item.at, f"refused on one host: {item.row.why}{_accept(item.row)}")
        for item in found
        if support.refuses(item.row, accepted)
    ]
    try:
        return (*refused, *_problems(msgspec.convert(stripped, schema)))
    except msgspec.ValidationError:
        return (*refused, *_shape_refusals(stripped, schema))


def served(body: Mapping[str, Any]) -> Served | None:
    """The record of a body that was admitted before, None when its kind has no effect here."""
    schema = SERVED.get((str(body.get("apiVersion", "")), str(body.get("kind", ""))))
    if schema is None:
        return None
    stripped, _ = support.split(str(body["kind"]), body, accepted=("hostPath",))
    return msgspec.convert(stripped, schema)


def quantity(text: int | float | str) -> float:
    """A Kubernetes quantity as a number: "500m" → 0.5, "64Mi" → 67108864. Raises ValueError."""
    match = _QUANTITY.fullmatch(str(text))
    if match is None:
        raise ValueError(f"{text!r} is not a quantity such as 500m, 0.5 or 64Mi")
    return float(match[1]) * _SCALE[match[2]]


def percent(value: IntOrString, of: int, *, up: bool) -> int:
    """A count or a percentage of `of`, rounded up (maxSurge) or down (maxUnavailable). Raises ValueError.

    Source: k8s.io/apimachinery/pkg/util/intstr GetScaledValueFromIntOrPercent."""
    if isinstance(value, int):
        return value
    if not re.fullmatch(r"\d+%", value):
        raise ValueError(f"{value!r} is neither a number nor a percentage")
    share = int(value[:-1]) * of
    return -(-share // 100) if up else share // 100


# --- shape -----------------------------------------------------------------------------------------


def _accept(row: support.Row) -> str:
    if row.answer is support.Answer.NEVER:
        return ""
    return f" (to deploy all the same, list {row.path.rsplit('.', 1)[-1]} under accept: in trueup.yaml)"


def _unknown_kind(kind: str, version: str) -> str:
    versions = [v for v, k in SERVED if k == kind]
    if versions:
        return f"apiVersion {version!r} of {kind} is not served: write {versions[0]}"
    names = [k for _, k in SERVED] + [row.path for row in support.TABLE if "." not in row.path]
    near = difflib.get_close_matches(kind, names, n=1)
    hint = f": did you mean {near[0]}?" if near else ""
    return f"kind {kind!r} ({version}) is not served on one host{hint}"


MOST = 50  # unknown fields told of one object
_AT = re.compile(r"^(?P<what>.*?)(?: - at `(?P<at>[^`]*)`)?$", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`")


def _shape_refusals(body: Mapping[str, Any], schema: type[Struct]) -> Iterator[Refusal]:
    """Every unknown field, each taken out before the next is looked for, and the first value of a wrong kind. What is
    missing is told only when no field was unknown: most often it is the same, misspelt."""
    left = copy.deepcopy(dict(body))
    for number in range(MOST):
        try:
            msgspec.convert(left, schema)
            return
        except msgspec.ValidationError as error:
            text = str(error)
        match = _AT.match(text)
        unknown = _UNKNOWN.match(match["what"]) if match else None
        if unknown is None and number and "missing required field" in text:
            return
        yield _schema_refusal(text, left, schema)
        if match is None or unknown is None or not _taken_out(left, match["at"] or "$", unknown[1]):
            return


def _taken_out(body: Any, at: str, field: str) -> bool:
    """Remove the field of the mapping at a path like "$.spec.containers[0]"; False when the path is not so plain."""
    for name, index in re.findall(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]", at.removeprefix("$")):
        try:
            body = body[int(index)] if index else body[name]
        except (KeyError, IndexError, TypeError, ValueError):
            return False
    return isinstance(body, dict) and body.pop(field, None) is not None


def _schema_refusal(text: str, body: Mapping[str, Any], schema: type[Struct]) -> Refusal:
    match = _AT.match(text)
    what, at = (match["what"], match["at"] or "$") if match else (text, "$")
    path = at.removeprefix("$").removeprefix(".")
    unknown = _UNKNOWN.match(what)
    if unknown is None:
        return Refusal(path, _type_message(what))
    name = unknown[1]
    known = _fields_at(schema, path)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f": did you mean {near[0]}?" if near else f": known here are {', '.join(sorted(known))}"
    return Refusal(f"{path}.{name}".lstrip("."), f"unknown field {name!r}{hint}")


def _type_message(what: str) -> str:
    names = {"int": "a whole number", "str": "a string (put it in quotes)", "bool": "true or false", "array": "a list"}
    match = re.fullmatch(r"Expected `([^`]*)`, got `([^`]*)`", what)
    if match is None:
        missing = re.fullmatch(r"Object missing required field `([^`]*)`", what)
        return f"{missing[1]} is missing: add it" if missing else what
    wanted = " or ".join(names.get(part.strip(), part.strip()) for part in match[1].split("|"))
    return f"must be {wanted.replace('object', 'a mapping')}, not {match[2].replace('object', 'a mapping')}"


def _fields_at(schema: type[Struct], path: str) -> list[str]:
    current: Any = schema
    for part in [p for p in re.split(r"[.\[]", path) if p and not p.endswith("]") and p != "..."]:
        fields = {f.encode_name: f.type for f in msgspec.structs.fields(current)}
        current = _record(fields.get(part))
        if current is None:
            return []
    return [f.encode_name for f in msgspec.structs.fields(current)]


def _record(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, Struct):
        return annotation
    return next((r for r in map(_record, get_args(annotation)) if r is not None), None)


# --- meaning ---------------------------------------------------------------------------------------


def _problems(served: Served) -> Iterator[Refusal]:
    meta = served.metadata
    if not _NAME.fullmatch(meta.name):
        yield Refusal("metadata.name", f"{meta.name!r} is not a name: use lower-case letters, digits and '-'")
    if not _LABEL.fullmatch(meta.namespace):
        yield Refusal("metadata.namespace", f"{meta.namespace!r} is not a namespace: use letters, digits and '-'")
    match served:
        case Deployment():
            yield from _deployment(served)
        case Service():
            yield from _service(served)
        case Secret():
            yield from _secret(served)


def _deployment(deployment: Deployment) -> Iterator[Refusal]:
    spec = deployment.spec
    labels, selector = spec.template.metadata.labels, spec.selector.match_labels
    if not selector:
        yield Refusal("spec.selector.matchLabels", "is empty: state the template's labels here")
    for key, value in selector.items():
        if labels.get(key) != value:
            has = f"has {key}: {labels[key]}" if key in labels else f"has no label {key}"
            yield Refusal(
                "spec.selector.matchLabels", f"{key}: {value} does not match the template, which {has}: make them equal"
            )
    if spec.replicas < 0:
        yield Refusal("spec.replicas", f"{spec.replicas} is negative")
    yield from _strategy(deployment)
    yield from _pod(spec.template.spec, "spec.template.spec")


def _strategy(deployment: Deployment) -> Iterator[Refusal]:
    strategy = deployment.spec.strategy
    if strategy.type not in ("RollingUpdate", "Recreate"):
        yield Refusal("spec.strategy.type", f"{strategy.type!r} is neither RollingUpdate nor Recreate")
    rolling = strategy.rolling_update
    try:
        surge, missing = percent(rolling.max_surge, 100, up=True), percent(rolling.max_unavailable, 100, up=False)
    except ValueError as error:
        yield Refusal("spec.strategy.rollingUpdate", f"{error}: write 1 or 25%")
        return
    if surge == 0 and missing == 0:
        yield Refusal(
            "spec.strategy.rollingUpdate", "maxSurge and maxUnavailable are both 0: nothing could be replaced"
        )
    if deployment.spec.progress_deadline_seconds <= deployment.spec.min_ready_seconds:
        yield Refusal("spec.progressDeadlineSeconds", "must be greater than minReadySeconds")


def _pod(pod: PodSpec, at: str) -> Iterator[Refusal]:
    if not pod.containers:
        yield Refusal(f"{at}.containers", "is empty: a pod needs a container")
    if pod.restart_policy != "Always":
        yield Refusal(f"{at}.restartPolicy", f"a Deployment's pods must have Always, not {pod.restart_policy}")
    names = [c.name for c in (*pod.containers, *pod.init_containers)]
    for name in sorted({n for n in names if names.count(n) > 1}):
        yield Refusal(f"{at}.containers", f"two containers are called {name!r}: rename one")
    volumes = {v.name: v for v in pod.volumes}
    for index, volume in enumerate(pod.volumes):
        yield from _volume(volume, f"{at}.volumes[{index}]")
    for group, containers in (("containers", pod.containers), ("initContainers", pod.init_containers)):
        for index, container in enumerate(containers):
            yield from _container(container, volumes, f"{at}.{group}[{index}]")


def _volume(volume: Volume, at: str) -> Iterator[Refusal]:
    kinds = [k for k in (volume.config_map, volume.secret, volume.empty_dir, volume.host_path) if k is not None]
    if len(kinds) != 1:
        yield Refusal(at, f"volume {volume.name!r} needs exactly one of configMap, secret, emptyDir")


def _container(container: Container, volumes: Mapping[str, Volume], at: str) -> Iterator[Refusal]:
    if not _LABEL.fullmatch(container.name):
        yield Refusal(f"{at}.name", f"{container.name!r} is not a name: use lower-case letters, digits and '-'")
    if not container.image or container.image != container.image.strip():
        yield Refusal(f"{at}.image", "is empty or has spaces: name an image")
    for index, port in enumerate(container.ports):
        yield from _port(port.container_port, f"{at}.ports[{index}].containerPort")
    for index, env in enumerate(container.env):
        yield from _env(env.name, env.value_from, f"{at}.env[{index}]")
    for index, mount in enumerate(container.volume_mounts):
        if mount.name not in volumes:
            yield Refusal(f"{at}.volumeMounts[{index}].name", f"no volume is called {mount.name!r} in spec.volumes")
        if not mount.mount_path.startswith("/"):
            yield Refusal(f"{at}.volumeMounts[{index}].mountPath", f"{mount.mount_path!r} must begin with /")
        if ".." in mount.sub_path.split("/") or mount.sub_path.startswith("/"):
            yield Refusal(f"{at}.volumeMounts[{index}].subPath", f"{mount.sub_path!r} leads out of the volume")
    for key, value in container.resources.limits.items():
        try:
            quantity(value)
        except ValueError as error:
            yield Refusal(f"{at}.resources.limits.{key}", str(error))
    ports = {p.name for p in container.ports if p.name}
    for name in ("startup_probe", "readiness_probe", "liveness_probe"):
        probe = getattr(container, name)
        if probe is not None:
            yield from _probe(probe, ports, f"{at}.{name.split('_')[0]}Probe")
    if container.image_pull_policy not in ("", "Always", "IfNotPresent", "Never"):
        yield Refusal(f"{at}.imagePullPolicy", f"{container.image_pull_policy!r} is not Always, IfNotPresent or Never")


def _env(name: str, source: Any, at: str) -> Iterator[Refusal]:
    if not _ENV.fullmatch(name):
        yield Refusal(f"{at}.name", f"{name!r} is not a name of a variable")
    if source is not None and source.field_ref is not None and not _DOWNWARD.fullmatch(source.field_ref.field_path):
        yield Refusal(
            f"{at}.valueFrom.fieldRef", f"{source.field_ref.field_path} is not served: metadata.* and spec.nodeName are"
        )


def _probe(probe: Probe, ports: Collection[str], at: str) -> Iterator[Refusal]:
    actions = [a for a in (probe.http_get, probe.tcp_socket, probe.exec) if a is not None]
    if len(actions) != 1:
        yield Refusal(at, "needs exactly one of httpGet, tcpSocket, exec")
    for action in (probe.http_get, probe.tcp_socket):
        if action is not None and isinstance(action.port, int):
            yield from _port(action.port, f"{at}.port")
        if action is not None and isinstance(action.port, str) and action.port not in ports:
            yield Refusal(f"{at}.port", f"no port of the container is called {action.port!r}")
    if probe.period_seconds < SLEEPLESS_PROBE_S or probe.timeout_seconds < SLEEPLESS_PROBE_S:
        yield Refusal(at, "periodSeconds and timeoutSeconds must be at least 1")
    if probe.failure_threshold < 1 or probe.success_threshold < 1:
        yield Refusal(at, "failureThreshold and successThreshold must be at least 1")


def _port(port: int, at: str) -> Iterator[Refusal]:
    if not 1 <= port <= 65535:
        yield Refusal(at, f"{port} is not a port: 1 to 65535")


def _service(service: Service) -> Iterator[Refusal]:
    spec = service.spec
    if spec.type not in ("ClusterIP", "NodePort", "LoadBalancer"):
        yield Refusal("spec.type", f"{spec.type!r} is not served: ClusterIP, NodePort or LoadBalancer")
    if not spec.ports and spec.cluster_ip != "None":
        yield Refusal("spec.ports", "is empty: a Service needs a port")
    if not spec.selector:
        yield Refusal(
            "spec.selector",
            "is missing: the host knows no Endpoints but those of a selector; select pods of this repository, or "
            "remove the Service and use the outside address itself",
        )
    names = [p.name for p in spec.ports]
    if len(names) > 1 and (len(set(names)) != len(names) or "" in names):
        yield Refusal("spec.ports", "every port needs a name of its own when there are several")
    for index, port in enumerate(spec.ports):
        yield from _port(port.port, f"spec.ports[{index}].port")
        if isinstance(port.target_port, int):
            yield from _port(port.target_port, f"spec.ports[{index}].targetPort")
        if port.node_port and not 1024 <= port.node_port <= 65535:
            yield Refusal(f"spec.ports[{index}].nodePort", f"{port.node_port} is not between 1024 and 65535")
        if port.protocol != "TCP":
            yield Refusal(f"spec.ports[{index}].protocol", f"{port.protocol} is not served: HAProxy carries TCP")


def _secret(secret: Secret) -> Iterator[Refusal]:
    for key, value in secret.data.items():
        try:
            base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            yield Refusal(f"data.{key}", "is not base64: encode it, or move it to stringData")


def _immutable(served: Served, before: Mapping[str, Any] | None) -> Refusal | None:
    if before is None:
        return None
    if isinstance(served, Deployment):
        old = ((before.get("spec") or {}).get("selector") or {}).get("matchLabels")
        if old is not None and old != served.spec.selector.match_labels:
            return Refusal("spec.selector", "cannot change: give the Deployment a new name, or delete it first")
    if before.get("immutable") is True:
        for key in ("data", "binaryData", "stringData"):
            if before.get(key) != getattr(served, _snake(key), None) and before.get(key):
                return Refusal(key, "is immutable: give it a new name, and refer to that")
    return None


def _snake(name: str) -> str:
    return re.sub(r"([A-Z])", lambda m: "_" + m[1].lower(), name)


def duplicates(names: Collection[tuple[str, str, str, str]]) -> tuple[tuple[str, str, str, str], ...]:
    """Identities (group, kind, namespace, name) stated more than once."""
    seen: dict[tuple[str, str, str, str], int] = {}
    for name in names:
        seen[name] = seen.get(name, 0) + 1
    return tuple(name for name, count in seen.items() if count > 1)


# what a pod reads: (kind, name) of each ConfigMap and Secret
def reads(pod: PodSpec) -> tuple[tuple[str, str], ...]:
    """The ConfigMaps and Secrets that a pod reads by env, envFrom or volume, sorted."""
    return tuple(sorted({(kind, name) for kind, name, _ in (*_env_reads(pod), *_volume_reads(pod))}))


def needs(pod: PodSpec) -> tuple[tuple[str, str], ...]:
    """Those of `reads` without which it cannot start: not marked optional."""
    every = (*_env_reads(pod), *_volume_reads(pod))
    return tuple(sorted({(kind, name) for kind, name, optional in every if not optional}))


def _env_reads(pod: PodSpec) -> Iterator[tuple[str, str, bool]]:
    for container in (*pod.containers, *pod.init_containers):
        for env in container.env:
            source = env.value_from
            if source is not None and (key := source.config_map_key_ref) is not None:
                yield "ConfigMap", key.name, key.optional
            if source is not None and (key := source.secret_key_ref) is not None:
                yield "Secret", key.name, key.optional
        for origin in container.env_from:
            if (ref := origin.config_map_ref) is not None:
                yield "ConfigMap", ref.name, ref.optional
            if (ref := origin.secret_ref) is not None:
                yield "Secret", ref.name, ref.optional


def _volume_reads(pod: PodSpec) -> Iterator[tuple[str, str, bool]]:
    for volume in pod.volumes:
        if volume.config_map is not None:
            yield "ConfigMap", volume.config_map.name, volume.config_map.optional
        if volume.secret is not None:
            yield "Secret", volume.secret.secret_name, volume.secret.optional
