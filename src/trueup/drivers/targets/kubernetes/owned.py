"""What of a live object is ours: managedFields read, owned values taken out, the three-way rule. Pure.

Source: Kubernetes "Server-Side Apply", managedFields; structured-merge-diff v6 fieldpath serialization; KEP-3659.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence

import orjson
from msgspec import Struct

from trueup.core.model import Json

MANAGER = "trueup"
PART_OF = "applyset.kubernetes.io/part-of"
NOTHING: Mapping[str, Json] = {}


def applyset_id(name: str, namespace: str) -> str:
    """The id of an ApplySet whose parent is this ConfigMap. Source: KEP-3659, "ApplySet Identification"."""
    digest = hashlib.sha256(f"{name}.{namespace}.ConfigMap.".encode()).digest()
    return f"applyset-{base64.urlsafe_b64encode(digest).decode().rstrip('=')}-v1"


def entry(body: Json) -> Mapping[str, Json]:
    """Our own managedFields entry; empty when we apply nothing of it."""
    for each in body.get("metadata", {}).get("managedFields") or ():
        if each.get("manager") == MANAGER and each.get("operation") == "Apply" and not each.get("subresource"):
            return dict(each)
    return NOTHING


def mark(body: Json) -> str:
    """Changes whenever our entry does: what we own, or when we last applied."""
    ours = entry(body)
    return digest((ours.get("fieldsV1"), ours.get("time"))) if ours else ""


def digest(value: Json) -> str:
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()[:24]


def values(body: Json, fields: Json) -> Json:
    """The part of `body` that `fields` (fieldsV1) covers: what was applied, as it stands now."""
    return _taken(body, fields)


_ABSENT = object()


def _taken(value: Json, fields: Json) -> Json:
    inner = [key for key in fields if key != "."]
    if not inner:
        return value
    if isinstance(value, list):
        return _items(value, fields, inner)
    if not isinstance(value, dict):
        return value
    taken = {}
    for key in inner:
        if key.startswith("f:") and key[2:] in value:
            taken[key[2:]] = _taken(value[key[2:]], fields[key])
    return taken


def _items(value: list[Json], fields: Json, inner: list[str]) -> list[Json]:
    keyed = [(orjson.loads(key[2:]), fields[key]) for key in inner if key.startswith("k:")]
    members = {digest(orjson.loads(key[2:])) for key in inner if key.startswith("v:")}
    taken = []
    for at, item in enumerate(value):
        if f"i:{at}" in fields or (members and digest(item) in members):
            taken.append(item)
        for keys, below in keyed:
            if isinstance(item, dict) and all(item.get(k, _default(k)) == v for k, v in keys.items()):
                taken.append(_taken(item, below))
    return taken


def _default(key: str) -> str:
    return "TCP" if key == "protocol" else ""


def paths(fields: Json, before: str = "") -> Iterator[str]:
    """Every leaf: "spec.replicas", "spec.template.spec.containers[web].image"."""
    inner = [key for key in fields if key != "."]
    if not inner and before:
        yield before
    for key in inner:
        yield from paths(fields[key], _step(before, key))


def path_text(steps: Sequence[str]) -> str:
    """One path as `paths` writes it."""
    text = ""
    for step in steps:
        text = _step(text, step)
    return text


def _step(before: str, key: str) -> str:
    kind, _, text = key.partition(":")
    if kind == "f":
        return f"{before}.{text}" if before else text
    read = orjson.loads(text) if kind in ("k", "v") else text
    named = ",".join(str(v) for v in read.values()) if isinstance(read, dict) else str(read)
    return f"{before}[{named}]"


class Culprit(Struct, frozen=True):
    """Who holds a field that was ours."""

    path: str
    manager: str
    operation: str
    time: str

    def __str__(self) -> str:
        return f"{self.path} by {self.manager} ({', '.join(filter(None, (self.operation, self.time)))})"


def culprits(body: Json, fields: Json) -> tuple[Culprit, ...]:
    """Of the fields that we applied (`fields`): those no longer ours, with who holds them now."""
    ours = set(paths(entry(body).get("fieldsV1") or {}))
    lost = [path for path in paths(fields) if path not in ours]
    others = [
        (each, set(paths(each.get("fieldsV1") or {})))
        for each in body["metadata"].get("managedFields") or ()
        if each.get("manager") != MANAGER or each.get("operation") != "Apply"
    ]
    found = []
    for path in lost:
        holders = [each for each, held in others if path in held]
        last = max(holders, key=lambda each: str(each.get("time") or ""), default=None)
        if last is not None:
            found.append(
                Culprit(path, str(last.get("manager")), str(last.get("operation")), str(last.get("time") or ""))
            )
        else:
            found.append(Culprit(path, "someone", "removed", ""))
    return tuple(found)


def why_not_ours(body: Json, set_id: str, uid: str) -> str:
    """Why this live object is not ours to delete; "" when all three agree: label, managedFields, applied uid."""
    metadata = body.get("metadata", {})
    if (metadata.get("labels") or {}).get(PART_OF) != set_id:
        return f"its label {PART_OF} is not this application's"
    if f"f:{PART_OF}" not in (entry(body).get("fieldsV1") or {}).get("f:metadata", {}).get("f:labels", {}):
        return "the label on it was not applied by us"
    if metadata.get("uid") != uid:
        return "it is not the object that we applied, but one made since with its name"
    owner = next((o for o in metadata.get("ownerReferences") or () if o.get("controller")), None)
    return f"{owner['kind']}/{owner['name']} controls it" if owner else ""
