"""What an object needs of the other objects of its Bundle before it is applied. Pure.

`uses` orders patches: what is used goes first, nobody waits for it. `gates` is what has to be healthy before: a
Namespace, a CustomResourceDefinition, what serves an APIService or a webhook.
Source: Kubernetes API reference v1.31 (fields that name other objects); DESIGN.md, "Kubernetes, where it counts".
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

from trueup.core.model import Json, Object, Ref
from trueup.core.objects import POD_SPECS, containers, dig

Key: TypeAlias = tuple[str, str, str, str]  # group, kind, namespace, name
RBAC = "rbac.authorization.k8s.io"
BINDINGS = frozenset({"RoleBinding", "ClusterRoleBinding"})
WEBHOOKS = frozenset({"ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"})
CRD, API_SERVICE = "CustomResourceDefinition", "APIService"
GATES = frozenset({"Namespace", CRD, API_SERVICE})  # the kinds that others wait for


def key(ref: Ref) -> Key:
    return (ref.group, ref.kind, ref.namespace, ref.name)


class Known:
    """The objects of one Bundle by what names them: built once for a step of a sync."""

    def __init__(self, objects: Collection[Object]) -> None:
        self.by_key: dict[Key, Object] = {key(o.ref): o for o in objects}
        self.gates = [o for o in objects if o.ref.kind in GATES]
        self._definitions = {
            (dig(o.body, ("spec", "group")), dig(o.body, ("spec", "names", "kind"))): o.ref
            for o in self.gates
            if o.ref.kind == CRD
        }
        self._served = {dig(o.body, ("spec", "group")): o.ref for o in self.gates if o.ref.kind == API_SERVICE}
        self.backed = any(o.ref.kind in WEBHOOKS or o.ref.kind == API_SERVICE for o in objects)

    def gates_of(self, each: Object) -> tuple[Ref, ...]:
        """The objects of this Bundle that must be healthy before this one is applied."""
        if not self.gates and not self.backed:
            return ()
        ref = each.ref
        namespace = self.by_key.get(("", "Namespace", "", ref.namespace)) if ref.namespace else None
        served = (self._definitions.get((ref.group, ref.kind)), self._served.get(ref.group) if ref.group else None)
        found = [namespace.ref] if namespace else []
        found += [gate for gate in served if gate is not None]
        if ref.kind in WEBHOOKS:
            found += self._backends(each.body)
        return tuple(gate for gate in found if gate != ref)

    def _backends(self, body: Json) -> list[Ref]:
        """The Services that a webhook configuration names, and the workloads behind them."""
        found: list[Ref] = []
        for webhook in _items(body.get("webhooks")):
            named = dig(webhook, ("clientConfig", "service"))
            at = ("", "Service", str(_get(named, "namespace")), str(_get(named, "name")))
            service = self.by_key.get(at)
            if service is not None:
                found += [service.ref, *(w.ref for w in self._behind(service))]
        return found

    def _behind(self, service: Object) -> Iterator[Object]:
        selector = dig(service.body, ("spec", "selector"))
        if not isinstance(selector, dict) or not selector:
            return
        for each in self.by_key.values():
            path = POD_SPECS.get(each.ref.kind)
            if path and each.ref.namespace == service.ref.namespace:
                labels = dig(each.body, (*path[:-1], "metadata", "labels"))
                if isinstance(labels, dict) and selector.items() <= labels.items():
                    yield each


def batches(objects: Sequence[Object]) -> list[list[Object]]:
    """The objects in groups: each group uses only what earlier groups hold. Rings are cut where they close."""
    here = {key(o.ref): o for o in objects}
    bound = _bindings(objects)
    needs = {k: [u for u in _uses(o, bound) if u in here and u != k] for k, o in here.items()}
    if not any(needs.values()):
        return [list(objects)] if objects else []
    depths: dict[Key, int] = {}
    for start in here:
        _depth(start, needs, depths)
    levels: dict[int, list[Object]] = {}
    for each in objects:
        levels.setdefault(depths[key(each.ref)], []).append(each)
    return [levels[depth] for depth in sorted(levels)]


def _depth(start: Key, needs: Mapping[Key, Sequence[Key]], depths: dict[Key, int]) -> None:
    """How far an object stands from what uses nothing; without recursion, as chains may be long."""
    stack, open_ = [start], set[Key]()
    while stack:
        at = stack[-1]
        if at in depths:
            stack.pop()
            continue
        open_.add(at)
        waits = [n for n in needs[at] if n not in depths and n not in open_]
        if waits:
            stack.extend(waits)
            continue
        depths[at] = 1 + max((depths[n] for n in needs[at] if n in depths), default=-1)
        open_.discard(at)
        stack.pop()


def _bindings(objects: Iterable[Object]) -> dict[Key, list[Key]]:
    """ServiceAccount → the bindings that give it rights."""
    found: dict[Key, list[Key]] = {}
    for each in objects:
        if each.ref.group == RBAC and each.ref.kind in BINDINGS:
            for account in _accounts(each):
                found.setdefault(account, []).append(key(each.ref))
    return found


def _accounts(binding: Object) -> Iterator[Key]:
    for subject in _items(binding.body.get("subjects")):
        if _get(subject, "kind") == "ServiceAccount":
            namespace = str(_get(subject, "namespace") or binding.ref.namespace)
            yield ("", "ServiceAccount", namespace, str(_get(subject, "name")))


def uses(each: Object) -> frozenset[Key]:
    """Everything that an object names."""
    return frozenset(_uses(each, {}))


def _uses(each: Object, bound: Mapping[Key, Sequence[Key]]) -> Iterator[Key]:
    ref, body = each.ref, each.body
    if ref.namespace:
        yield ("", "Namespace", "", ref.namespace)
    if ref.group == RBAC and ref.kind in BINDINGS:
        role = body.get("roleRef")
        kind = str(_get(role, "kind"))
        yield (RBAC, kind, ref.namespace if kind == "Role" else "", str(_get(role, "name")))
        yield from _accounts(each)
        return
    path = POD_SPECS.get(ref.kind)
    spec = dig(body, path) if path else None
    if isinstance(spec, dict):
        account = ("", "ServiceAccount", ref.namespace, str(_get(spec, "serviceAccountName")))
        yield account
        yield from bound.get(account, ())
        for kind, name in _pod_uses(body, spec):
            yield ("", kind, ref.namespace, name)
        return
    plain = _PLAIN.get(ref.kind)
    if plain is not None:
        yield from plain(each)


def _pod_uses(body: Json, spec: Json) -> Iterator[tuple[str, str]]:
    for secret in _items(spec.get("imagePullSecrets")):
        yield "Secret", str(_get(secret, "name"))
    for volume in _items(spec.get("volumes")):
        yield from _sources(volume)
        for source in _items(dig(volume, ("projected", "sources"))):
            yield from _sources(source)
    for _, container in containers(body):
        for each in _items(container.get("envFrom")):
            yield "ConfigMap", str(_get(each.get("configMapRef"), "name"))
            yield "Secret", str(_get(each.get("secretRef"), "name"))
        for each in _items(container.get("env")):
            yield "ConfigMap", str(_get(dig(each, ("valueFrom", "configMapKeyRef")), "name"))
            yield "Secret", str(_get(dig(each, ("valueFrom", "secretKeyRef")), "name"))


def _sources(volume: Json) -> Iterator[tuple[str, str]]:
    """Of a volume, or of a part of a projected one."""
    yield "ConfigMap", str(_get(volume.get("configMap"), "name"))
    for field in ("secretName", "name"):
        yield "Secret", str(_get(volume.get("secret"), field))
    yield "PersistentVolumeClaim", str(_get(volume.get("persistentVolumeClaim"), "claimName"))


def _ingress(each: Object) -> Iterator[Key]:
    spec = each.body.get("spec")
    backends = [dig(spec, ("defaultBackend",))]
    for rule in _items(_get(spec, "rules")):
        backends += [path.get("backend") for path in _items(dig(rule, ("http", "paths")))]
    for backend in backends:
        yield ("", "Service", each.ref.namespace, str(_get(_get(backend, "service"), "name")))
    for tls in _items(_get(spec, "tls")):
        yield ("", "Secret", each.ref.namespace, str(_get(tls, "secretName")))


def _scaler(each: Object) -> Iterator[Key]:
    target = dig(each.body, ("spec", "scaleTargetRef"))
    group = str(_get(target, "apiVersion") or "").rpartition("/")[0]
    yield (group, str(_get(target, "kind")), each.ref.namespace, str(_get(target, "name")))


def _claim(each: Object) -> Iterator[Key]:
    yield ("storage.k8s.io", "StorageClass", "", str(dig(each.body, ("spec", "storageClassName"))))


_PLAIN: Mapping[str, Callable[[Object], Iterator[Key]]] = {
    "Ingress": _ingress,
    "HorizontalPodAutoscaler": _scaler,
    "PersistentVolumeClaim": _claim,
}


def _get(value: Json, name: str) -> Json:
    return value.get(name) if isinstance(value, dict) else None


def _items(value: Json) -> Iterator[Json]:
    return (item for item in value if isinstance(item, dict)) if isinstance(value, list) else iter(())
