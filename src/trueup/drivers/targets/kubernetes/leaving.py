"""The hand-over rule: what is still stated of a field that is left to others, so that applying never deletes it.

A field that somebody else holds is no longer stated; one that only we hold is stated with its live value until somebody
takes it. So nothing is given up before it has another holder, and a first apply states everything. Pure.
Source: Kubernetes "Server-Side Apply", "Transferring ownership"; docs/decisions/0008.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

import orjson

from trueup.core.leave import Path, without
from trueup.core.model import Json
from trueup.drivers.targets.kubernetes.owned import MANAGER, entry

Steps: TypeAlias = tuple[str, ...]  # a path as managedFields has it: "f:spec", 'k:{"name":"web"}', "i:0"

REPLICAS: Steps = ("f:spec", "f:replicas")


class _Sign:
    """A value that no body has."""


ABSENT, WHOLE = _Sign(), _Sign()  # not there; an ancestor is held as one value


def managed(body: Json) -> Sequence[Mapping[str, Json]]:
    found: Sequence[Mapping[str, Json]] = body.get("metadata", {}).get("managedFields") or ()
    return found


def scaled_by(body: Json) -> str:
    """The manager that set the replicas last through `scale`, as autoscalers do; "" when nobody did."""
    for each in managed(body):
        held = _node(each.get("fieldsV1") or {}, REPLICAS)
        if each.get("subresource") == "scale" and not isinstance(held, _Sign):
            return str(each.get("manager"))
    return ""


def held_by(body: Json, managers: Iterable[str]) -> tuple[Steps, ...]:
    """Every field that these managers hold and that has a value."""
    names = frozenset(managers)
    trees = [e.get("fieldsV1") or {} for e in managed(body) if e.get("manager") in names]
    return tuple(steps for steps in leaves(union(trees)) if not isinstance(value_at(body, steps), _Sign))


def leaves(fields: Json, before: Steps = ()) -> Iterable[Steps]:
    """Every field held."""
    inner = [key for key in fields if key != "."]
    if not inner and before:
        yield before
    for key in inner:
        yield from leaves(fields[key], (*before, key))


def stated(desired: Json, live: Json, left: Iterable[Steps]) -> Json:
    """What to apply over `live`: `desired`, what is `left` taken out, or at its live value while only we hold it."""
    ours = union([entry(live).get("fieldsV1") or {}])
    others = union([each.get("fieldsV1") or {} for each in managed(live) if not _is_ours(each)])
    body = desired
    for steps in sorted(set(left), reverse=True):
        held, theirs = _node(ours, steps), _node(others, steps)
        body = _put(body, steps, _kept(value_at(live, steps), held, theirs))
    return body


def stripped(body: Json, left: Iterable[Steps]) -> Json:
    """The body without what these lead to."""
    return without(body, [path for path in (path_of(body, each) for each in left) if path])


def _is_ours(each: Mapping[str, Json]) -> bool:
    return each.get("manager") == MANAGER and each.get("operation") == "Apply" and not each.get("subresource")


# --- fields


def union(trees: Sequence[Json]) -> Json:
    """The fields of all, with the keys of list items in one spelling."""
    made: dict[str, Json] = {}
    for tree in trees:
        for key, below in tree.items():
            name = _normal(key)
            made[name] = union([made[name], below]) if name in made else union([below])
    return made


def _normal(key: str) -> str:
    return key[:2] + _text(orjson.loads(key[2:])) if key.startswith(("k:", "v:")) else key


def _text(value: Json) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def _node(fields: Json, steps: Steps) -> Json | _Sign:
    """What is held there or inside of it; WHOLE when an ancestor is one value, ABSENT when nothing is."""
    for at, step in enumerate(steps):
        if at and not any(key != "." for key in fields):
            return WHOLE
        if step not in fields:
            return ABSENT
        fields = fields[step]
    return fields


def _kept(value: Json | _Sign, ours: Json | _Sign, others: Json | _Sign) -> Json | _Sign:
    """The part of a live value that only we hold. What is one value for both is stated by both."""
    if isinstance(value, _Sign):
        return ABSENT
    if isinstance(ours, _Sign):
        return value if ours is WHOLE else ABSENT
    if others is WHOLE:
        return ABSENT
    inner = [key for key in ours if key != "."]
    if not inner:
        return value if others is ABSENT else ABSENT
    below = {key: ABSENT if isinstance(others, _Sign) else _node(others, (key,)) for key in inner}
    if isinstance(value, dict):
        parts = {key[2:]: _kept(value_at(value, (key,)), ours[key], below[key]) for key in inner if key[:2] == "f:"}
        made = {key: part for key, part in parts.items() if not isinstance(part, _Sign)}
        return made or ABSENT
    items = [_kept_item(value, key, ours[key], below[key]) for key in inner]
    return [item for item in items if not isinstance(item, _Sign)] or ABSENT


def _kept_item(items: Json, key: str, ours: Json, others: Json | _Sign) -> Json | _Sign:
    part = _kept(value_at(items, (key,)), ours, others)
    if isinstance(part, _Sign) or not key.startswith("k:"):
        return part
    return {**orjson.loads(key[2:]), **part}


def _put(body: Json | _Sign, steps: Steps, value: Json | _Sign) -> Json | _Sign:
    """The body with `value` there, or without anything there. Mappings are made on the way, items only at its end."""
    if not steps:
        return value
    if isinstance(body, _Sign) and (isinstance(value, _Sign) or any(step[:2] != "f:" for step in steps[:-1])):
        return body
    step, rest = steps[0], steps[1:]
    if step[:2] == "f:":
        given = body if isinstance(body, dict) else {}
        new = _put(given.get(step[2:], ABSENT), rest, value)
        kept = {k: v for k, v in given.items() if k != step[2:]}
        return kept if isinstance(new, _Sign) else {**given, step[2:]: new}
    listed = body if isinstance(body, list) else []
    at = _index(listed, step)
    if at is None:
        return body if rest or isinstance(value, _Sign) else [*listed, value]
    new = _put(listed[at], rest, value)
    return [*listed[:at], *(() if isinstance(new, _Sign) else (new,)), *listed[at + 1 :]]


# --- paths


def steps_of(body: Json, path: Path, fields: Json) -> Steps:
    """The path as managedFields writes it: items of keyed lists by their keys, whichever `fields` uses there."""
    steps: list[str] = []
    for step in path:
        body = body[step]
        made = f"f:{step}" if isinstance(step, str) else _item(body, step, [key for key in fields if key != "."])
        steps.append(made)
        fields = fields.get(made, {})
    return tuple(steps)


def _item(item: Json, at: int, inner: Sequence[str]) -> str:
    keys = next((orjson.loads(key[2:]) for key in inner if key.startswith("k:")), None)
    if keys is not None and isinstance(item, dict):
        return "k:" + _text({name: item.get(name, _default(name)) for name in keys})
    return "v:" + _text(item) if any(key.startswith("v:") for key in inner) else f"i:{at}"


def path_of(body: Json, steps: Steps) -> Path:
    """Where these steps lead in `body`; empty when it has nothing there."""
    path: list[str | int] = []
    for step in steps:
        at = _position(body, step)
        if at is None:
            return ()
        path.append(at)
        body = body[at]
    return tuple(path)


def value_at(body: Json, steps: Steps) -> Json | _Sign:
    for step in steps:
        at = _position(body, step)
        if at is None:
            return ABSENT
        body = body[at]
    return body


def _position(body: Json, step: str) -> str | int | None:
    kind, text = step[:2], step[2:]
    if kind == "f:":
        return text if isinstance(body, dict) and text in body else None
    return _index(body, step) if isinstance(body, list) else None


def _index(items: list[Json], step: str) -> int | None:
    kind, text = step[:2], step[2:]
    if kind == "i:":
        return int(text) if int(text) < len(items) else None
    wanted = orjson.loads(text)
    for at, item in enumerate(items):
        if item == wanted if kind == "v:" else _has_keys(item, wanted):
            return at
    return None


def _has_keys(item: Json, keys: Mapping[str, Json]) -> bool:
    return isinstance(item, dict) and all(item.get(key, _default(key)) == value for key, value in keys.items())


def _default(key: str) -> str | None:
    return "TCP" if key == "protocol" else None
