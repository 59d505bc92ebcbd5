"""Which fields of objects are left to whoever else writes them (`model.Leave`). Pure.

A rule names objects and fields, as `ignoreDifferences` of an Argo CD Application does. Which values that leaves out is
found here for JSON pointers; jq expressions are evaluated elsewhere (ports.Expressions), managers by the target.
Source: Argo CD "Diff Customization"; RFC 6901 (JSON pointers).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import TypeAlias

from trueup.core.model import Json, Leave, Ref

Path: TypeAlias = tuple[str | int, ...]  # keys and list positions from the root of a body


def concerning(rules: Iterable[Leave], ref: Ref) -> tuple[Leave, ...]:
    """The rules for this object."""
    return tuple(rule for rule in rules if _concerns(rule, ref))


def _concerns(rule: Leave, ref: Ref) -> bool:
    return (
        fnmatchcase(ref.group, rule.group)
        and fnmatchcase(ref.kind, rule.kind)
        and rule.namespace in ("", ref.namespace)
        and rule.name in ("", ref.name)
    )


def pointed(body: Json, pointers: Sequence[str]) -> tuple[Path, ...]:
    """Where these JSON pointers lead in `body`; those that lead nowhere are left out."""
    return tuple(path for path in (_followed(body, pointer) for pointer in pointers) if path)


def _followed(body: Json, pointer: str) -> Path:
    path: list[str | int] = []
    for token in pointer.split("/")[1:]:
        name = token.replace("~1", "/").replace("~0", "~")
        if isinstance(body, dict) and name in body:
            path.append(name)
        elif isinstance(body, list) and name.isdecimal() and int(name) < len(body):
            path.append(int(name))
        else:
            return ()
        body = body[path[-1]]
    return tuple(path)


def leads(body: Json, path: Path) -> bool:
    """Whether there is something at this path; never for the whole body."""
    for step in path:
        if isinstance(body, dict):
            found = step in body
        else:
            found = isinstance(body, list) and isinstance(step, int) and step < len(body)
        if not found:
            return False
        body = body[step]
    return bool(path)


def without(body: Json, paths: Iterable[Path]) -> Json:
    """A copy of `body` that lacks what stands at these paths; what is not concerned is shared with the original."""
    return _without(body, [path for path in paths if path])


def _without(body: Json, paths: Sequence[Path]) -> Json:
    if not paths or not isinstance(body, (dict, list)):
        return body
    gone = {path[0] for path in paths if len(path) == 1}
    deeper: dict[str | int, list[Path]] = {}
    for path in paths:
        if path[0] not in gone:
            deeper.setdefault(path[0], []).append(path[1:])
    if isinstance(body, dict):
        return {k: _without(v, deeper.get(k, ())) for k, v in body.items() if k not in gone}
    return [_without(v, deeper.get(at, ())) for at, v in enumerate(body) if at not in gone]
