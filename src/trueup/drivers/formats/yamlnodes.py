"""YAML of pipeline files with the line of everything in it. Hostile files are refused before they grow.

Reads YAML 1.2's core schema, as GitHub and GitLab do for these files: `on` is a text, only true and false are
booleans. Python handles this YAML for positions only; manifests are read as Kubernetes reads them, elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TypeAlias

import yaml
from msgspec import Struct

from trueup.core.model import Json

MAX_BYTES = 512 << 10  # GitHub refuses larger workflow files too
MAX_DEPTH = 60
MAX_NODES = 50_000


class YamlError(Exception):
    """A file that cannot be read; `line` counts from 1."""

    def __init__(self, message: str, line: int = 1, column: int = 1, fix: str = "") -> None:
        super().__init__(message)
        self.line, self.column, self.fix = line, column, fix


class Scalar(Struct, frozen=True):
    text: str  # as written, quotes and folding undone
    value: Json
    line: int
    column: int
    block_line: int = 0  # first line of a `|` or `>` text


class Sequence(Struct, frozen=True):
    items: tuple[Node, ...]
    line: int
    column: int


class Mapping(Struct, frozen=True):
    entries: tuple[tuple[Scalar, Node], ...]
    line: int
    column: int

    def get(self, name: str) -> Node | None:
        return next((value for key, value in self.entries if key.text == name), None)

    def key(self, name: str) -> Scalar | None:
        return next((key for key, _ in self.entries if key.text == name), None)

    def __iter__(self) -> Iterator[tuple[str, Node]]:
        return iter([(key.text, value) for key, value in self.entries])


Node: TypeAlias = Scalar | Sequence | Mapping


def read(data: bytes) -> Node | None:
    """The only document of a file; None for an empty one. Raises YamlError."""
    if len(data) > MAX_BYTES:
        raise YamlError(f"the file is larger than {MAX_BYTES >> 10} KiB", fix="split it into several workflows")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise YamlError("the file is not UTF-8", line, fix="save it as UTF-8") from error
    try:
        _measure(text)
        documents = list(yaml.compose_all(text, Loader=yaml.CSafeLoader))
    except yaml.MarkedYAMLError as error:
        raise _translated(error) from error
    except yaml.YAMLError as error:
        raise YamlError(f"not YAML: {error}", fix="remove the character that YAML does not allow") from error
    if len(documents) > 1:
        raise YamlError("the file holds more than one document", documents[1].start_mark.line + 1, fix="remove the ---")
    return _Reader().node(documents[0], 0) if documents and documents[0] is not None else None


def _translated(error: yaml.MarkedYAMLError) -> YamlError:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    problem = f"{error.problem}" + (f", {error.context}" if error.context else "")
    hint = "indent with spaces" if "'\\t'" in problem else "check the indentation and the colons of this line"
    return YamlError(f"not YAML: {problem}", line, column, fix=hint)


def _measure(text: str) -> None:
    """Refuse depth and size from the events, before anything recursive sees the file."""
    depth = 0
    for count, event in enumerate(yaml.parse(text, Loader=yaml.CSafeLoader)):
        if isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            depth += 1
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            depth -= 1
        if depth > MAX_DEPTH or count > MAX_NODES * 2:
            line = event.start_mark.line + 1 if event.start_mark else 1
            raise YamlError(f"more than {MAX_DEPTH} levels deep or {MAX_NODES} values", line, fix="simplify it")


class _Reader:
    """Counts what aliases grow to."""

    def __init__(self) -> None:
        self.nodes = 0
        self.open: set[int] = set()

    def node(self, node: yaml.Node, depth: int) -> Node:
        self.nodes += 1
        line, column = node.start_mark.line + 1, node.start_mark.column + 1
        if self.nodes > MAX_NODES or depth > MAX_DEPTH or id(node) in self.open:
            raise YamlError(
                f"its aliases grow to more than {MAX_NODES} values", line, fix="write out what the aliases stand for"
            )
        if isinstance(node, yaml.ScalarNode):
            return _scalar(node, line, column)
        self.open.add(id(node))
        try:
            if isinstance(node, yaml.SequenceNode):
                return Sequence(tuple(self.node(item, depth + 1) for item in node.value), line, column)
            return self.mapping(node, depth, line, column)
        finally:
            self.open.discard(id(node))

    def mapping(self, node: yaml.Node, depth: int, line: int, column: int) -> Mapping:
        entries: list[tuple[Scalar, Node]] = []
        seen: set[str] = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise YamlError("a key that is no text", key.start_mark.line + 1, fix="write a plain key")
            name = _scalar(key, key.start_mark.line + 1, key.start_mark.column + 1)
            if name.text in seen:
                raise YamlError(f"the key {name.text!r} stands twice", name.line, name.column, fix="remove one of them")
            seen.add(name.text)
            entries.append((name, self.node(value, depth + 1)))
        return Mapping(tuple(entries), line, column)


_INT = re.compile(r"[-+]?[0-9]+")
_BASED = re.compile(r"0x[0-9a-fA-F]+|0o[0-7]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")


def _scalar(node: yaml.ScalarNode, line: int, column: int) -> Scalar:
    text: str = node.value
    value = text if node.style else plain(text)
    return Scalar(text, value, line, column, line + 1 if node.style in ("|", ">") else 0)


def plain(text: str) -> Json:
    """The value of a text without quotes. Source: YAML 1.2.2, 10.3 core schema."""
    if text in ("", "~", "null", "Null", "NULL"):
        return None
    if text in ("true", "True", "TRUE"):
        return True
    if text in ("false", "False", "FALSE"):
        return False
    if len(text) < 40:
        if _INT.fullmatch(text):
            return int(text)
        if _BASED.fullmatch(text):
            return int(text, 0)
        if _FLOAT.fullmatch(text):
            return float(text)
    return text


def data(node: Node | None) -> Json:
    """The plain value without positions."""
    if isinstance(node, Mapping):
        return {name: data(value) for name, value in node}
    if isinstance(node, Sequence):
        return [data(item) for item in node.items]
    return node.value if node else None
