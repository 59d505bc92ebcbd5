"""What is done with each field of another product's resources: served, served differently, or refused. Pure.

A table is the one place that says so: definitions are read along it, the docs are written from it, and a test holds it
to the product's own schema. Nothing is dropped in silence: a field that no table names is an error with the nearest.
"""

from __future__ import annotations

import difflib
import enum
import re
from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct

from trueup.core.model import Json
from trueup.core.yamldoc import PathStep


class How(enum.Enum):
    SERVED = "served"
    DIFFERENT = "served differently"
    REFUSED = "refused"


class Field(Struct, frozen=True):
    """`path` is as in "spec.sources[].helm.values"; `note` says how it is different or why it is refused."""

    path: str
    how: How
    note: str = ""


class Kind(Struct, frozen=True):
    """One kind of resource. `version` is the one whose schema the table is held to; `like` are paths of subtrees that
    read like another one, of this kind or, before a colon, of another."""

    product: str
    group: str
    version: str
    name: str
    fields: tuple[Field, ...]
    like: tuple[tuple[str, str], ...] = ()


class Met(Struct, frozen=True):
    """A field of a body: at `path`, with what the table says; `nearest` when the table does not know it."""

    path: tuple[PathStep, ...]
    field: Field | None
    nearest: str = ""


class Tables:
    """The tables of all kinds, ready to be walked along with bodies."""

    def __init__(self, kinds: Iterable[Kind]) -> None:
        self.kinds = {(kind.group, kind.name): kind for kind in kinds}
        self._roots: dict[tuple[str, str], _Node] = {}
        for key, kind in self.kinds.items():
            self._roots[key] = root = _Node()
            for field in kind.fields:
                root.add(_steps(field.path), field)
        for key, kind in self.kinds.items():
            for path, target in kind.like:
                other, _, inside = target.rpartition(":")
                source = self._roots[key[0], other or key[1]]
                self._roots[key].join(_steps(path), source.at(_steps(inside)))

    def kind(self, group: str, name: str) -> Kind | None:
        return self.kinds.get((group, name))

    def walk(self, group: str, name: str, body: Json) -> Iterator[Met]:
        """Every field of a body that is not simply served: differently, refused when it asks for something, unknown.

        `apiVersion`, `kind`, `metadata` and `status` are everyone's and are passed over.
        """
        root = self._roots[group, name]
        if isinstance(body, dict):
            for key in body:
                if key not in _COMMON:
                    yield from _walk(root, key, body[key], (key,))


_COMMON = frozenset({"apiVersion", "kind", "metadata", "status"})


class _Node:
    __slots__ = ("below", "field")

    def __init__(self) -> None:
        self.below: dict[str, _Node] = {}
        self.field: Field | None = None

    def add(self, steps: tuple[str, ...], field: Field) -> None:
        node = self
        for step in steps:
            node = node.below.setdefault(step, _Node())
        node.field = field

    def at(self, steps: tuple[str, ...]) -> _Node:
        node = self
        for step in steps:
            node = node.below[step]
        return node

    def join(self, steps: tuple[str, ...], other: _Node) -> None:
        parent = self
        for step in steps[:-1]:
            parent = parent.below.setdefault(step, _Node())
        parent.below[steps[-1]] = other


def _walk(parent: _Node, key: str, value: Json, path: tuple[PathStep, ...]) -> Iterator[Met]:
    node = parent.below.get(key)
    if node is None:
        near = difflib.get_close_matches(key, parent.below, 1)
        yield Met(path, None, near[0] if near else "")
    elif node.field is not None:
        if node.field.how is How.DIFFERENT or (node.field.how is How.REFUSED and asks(value)):
            yield Met(path, node.field)
    elif "[]" in node.below:
        for at, item in enumerate(value if isinstance(value, list) else ()):
            for name in item if isinstance(item, dict) else ():
                yield from _walk(node.below["[]"], name, item[name], (*path, at, name))
    elif isinstance(value, dict):
        for name in value:
            yield from _walk(node, name, value[name], (*path, name))


def asks(value: Json) -> bool:
    """Whether a value asks for anything: false, "", 0, an empty list or mapping, and null do not."""
    return bool(value)


def _steps(path: str) -> tuple[str, ...]:
    return tuple(step for step in path.replace("[]", ".[]").split(".") if step)


def dotted(path: Iterable[PathStep]) -> str:
    """A path in a body as tables write it: ("spec", "sources", 0, "path") → "spec.sources[].path"."""
    return "".join("[]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


# --- writing tables ------------------------------------------------------------------------------------


def served(*patterns: str) -> tuple[Field, ...]:
    return tuple(Field(path, How.SERVED) for pattern in patterns for path in expand(pattern))


def different(note: str, *patterns: str) -> tuple[Field, ...]:
    return tuple(Field(path, How.DIFFERENT, note) for pattern in patterns for path in expand(pattern))


def refused(note: str, *patterns: str) -> tuple[Field, ...]:
    return tuple(Field(path, How.REFUSED, note) for pattern in patterns for path in expand(pattern))


_BRACES = re.compile(r"\{([^{}]+)\}")


def expand(pattern: str) -> Iterator[str]:
    """ "spec.{a,b}.{c,d}" → the four paths; patterns may stand several to a text, apart by spaces."""
    for one in pattern.split():
        found = _BRACES.search(one)
        if found is None:
            yield one
        else:
            for choice in found[1].split(","):
                yield from expand(one[: found.start()] + choice + one[found.end() :])


def grouped(kind: Kind) -> Mapping[tuple[How, str], tuple[str, ...]]:
    """The paths of a kind by what is done with them, in the order in which the table states them."""
    found: dict[tuple[How, str], list[str]] = {}
    for field in kind.fields:
        found.setdefault((field.how, field.note), []).append(field.path)
    return {key: tuple(paths) for key, paths in found.items()}
