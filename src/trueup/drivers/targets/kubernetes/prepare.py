"""From a desired object to the body that is applied. Pure.

What client-side apply accepts and server-side apply refuses is made one: lists keyed by name or port may hold a key
once only. Source: Kubernetes API, x-kubernetes-list-map-keys of Container.env and Container.ports.
"""

from __future__ import annotations

from collections.abc import Callable

from trueup.core.keyed import KEYED, last_of
from trueup.core.model import Json, Object
from trueup.core.objects import CONTAINER_LISTS, POD_SPECS, dig, dotted
from trueup.core.plan import SERVER_FIELDS
from trueup.drivers.targets.kubernetes.owned import PART_OF


def prepared(object: Object, set_id: str, namespaced: bool) -> tuple[Json, tuple[str, ...]]:
    """(the body with our label, what was stated twice: one line each). The desired body is left as it is."""
    body = {key: value for key, value in object.body.items() if key != "status"}
    metadata = {k: v for k, v in body["metadata"].items() if k not in SERVER_FIELDS and v is not None}
    metadata["labels"] = {**(metadata.get("labels") or {}), PART_OF: set_id}
    if namespaced:
        metadata["namespace"] = object.ref.namespace
    body["metadata"] = metadata
    path = POD_SPECS.get(object.ref.kind)
    spec = dig(body, path) if path else None
    if path is None or not isinstance(spec, dict):
        return body, ()
    made, notes = _pod_spec(spec, path)
    return (_replaced(body, path, made), notes) if notes else (body, ())


def _pod_spec(spec: Json, path: tuple[str, ...]) -> tuple[Json, tuple[str, ...]]:
    notes: list[str] = []
    made = dict(spec)
    for name in CONTAINER_LISTS:
        if isinstance(spec.get(name), list):
            made[name] = [_container(c, (*path, name, at), notes) for at, c in enumerate(spec[name])]
    return made, tuple(notes)


def _container(container: Json, path: tuple[str | int, ...], notes: list[str]) -> Json:
    if not isinstance(container, dict):
        return container
    made = dict(container)
    for name, key in KEYED.items():
        if isinstance(container.get(name), list):
            made[name] = _once(container[name], key, dotted((*path, name)), notes)
    return made


def _once(items: list[Json], key: Callable[[Json], str], where: str, notes: list[str]) -> list[Json]:
    """Each key once: the last stated counts, as it does in a running container."""
    last = last_of(items, key)
    twice = sorted({key(item) for at, item in enumerate(items) if isinstance(item, dict) and last[key(item)] != at})
    notes += [f"{where}: {each} is stated twice, the last one counts" for each in twice]
    return [item for at, item in enumerate(items) if not isinstance(item, dict) or last[key(item)] == at]


def _replaced(body: Json, path: tuple[str, ...], value: Json) -> Json:
    if not path:
        return value
    return {**body, path[0]: _replaced(body[path[0]], path[1:], value)}
