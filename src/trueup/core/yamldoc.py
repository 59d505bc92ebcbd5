"""YAML with positions: bytes → documents as JSON, each value with its line, column and span.

Reads as Kubernetes does (sigs.k8s.io/yaml: go-yaml v2, then JSON), within limits that no bomb passes. Built on
libyaml's events, iteratively, so that depth costs no stack. Never writes YAML: splices go by span.
Source of behaviour: sigs.k8s.io/yaml v1.6 (goyaml.v2 resolve.go, yaml.go), k8s.io/apimachinery/pkg/util/json.
"""

from __future__ import annotations

import base64
import binascii
import enum
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

import yaml
from msgspec import Struct
from yaml._yaml import CParser

from trueup.core.model import Finding, Json, Place, Severity
from trueup.core.text import shown

PathStep: TypeAlias = str | int


class Limits(Struct, frozen=True):
    """What one file may cost. A file past a limit is refused by name, never read in part."""

    size_bytes: int = 10 << 20
    documents: int = 20_000
    depth: int = 100
    aliased: int = 200_000  # nodes that exist only because an alias repeats them


class Schema(enum.Enum):
    """How a plain scalar gets its type."""

    KUBERNETES = "go-yaml v2"  # yes/no/on/off are booleans, 0777 is octal
    CORE = "YAML 1.2"  # only true/false are booleans; what GitHub and others use


class YamlFault(Exception):
    """The file cannot be read: where, why, and what to do."""

    def __init__(self, place: Place, message: str, fix: str) -> None:
        super().__init__(f"{place}: {message}. {fix}")
        self.place, self.message, self.fix = place, message, fix

    def finding(self, rule: str = "yaml-invalid", severity: Severity = Severity.ERROR) -> Finding:
        return Finding(severity, rule, self.place, shown(self.message), shown(self.fix))


class Span(Struct, frozen=True):
    """Where a value stands: `start` and `end` are byte offsets, line and column count from 1."""

    start: int
    end: int
    line: int
    column: int


class Node(Struct, eq=False, gc=False):
    """A value and where it stands. `keys` and `items` lead to the values within.

    Plain numbers instead of the parser's marks: a large file keeps few objects, and the garbage collector
    (which cannot find a cycle here: this is a tree) has nothing to walk.
    """

    value: Json
    line: int  # from 1
    column: int  # from 1
    end: int = -1  # a scalar's end, in characters; -1 for collections and block scalars
    style: str = ""  # "" plain, else the quote; "*" for what a merge brought in
    size: int = 1  # nodes once every alias is expanded
    keys: dict[str, Node] | None = None  # of a mapping: the key's own node
    items: dict[str, Node] | list[Node] | None = None


class Doc(Struct, frozen=True):
    """One document: its JSON, and the tree of positions beside it."""

    file: str
    data: bytes
    root: Node

    @property
    def body(self) -> Json:
        return self.root.value

    def place(self, *path: PathStep) -> Place:
        """The place of the value at `path`, or of the nearest thing above it that exists."""
        node = self.root
        for step in path:
            below = child(node, step)
            if below is None:
                break
            node = below
        return Place(self.file, node.line, node.column)

    def key_place(self, *path: PathStep) -> Place:
        """The place of the key that leads to `path` (of the value itself in a list)."""
        above = node_at(self.root, path[:-1])
        key = above.keys.get(str(path[-1])) if above is not None and above.keys is not None else None
        return self.place(*path) if key is None else Place(self.file, key.line, key.column)

    def text_span(self, *path: PathStep) -> Span | None:
        """The span of the scalar's text, quotes excluded; None when the text is not written as it reads
        (escapes, folded over lines, block style)."""
        node = node_at(self.root, path)
        return None if node is None else spans(self.data, [node])[0]


def child(node: Node, step: PathStep) -> Node | None:
    if isinstance(node.items, dict):
        return node.items.get(str(step))
    if isinstance(node.items, list) and isinstance(step, int) and 0 <= step < len(node.items):
        return node.items[step]
    return None


def node_at(node: Node, path: Iterable[PathStep]) -> Node | None:
    at: Node | None = node
    for step in path:
        if at is None:
            return None
        at = child(at, step)
    return at


# --- spans ---------------------------------------------------------------------------------------


def spans(data: bytes, nodes: Iterable[Node]) -> list[Span | None]:
    """The span of each string's text, in the order asked. libyaml counts characters; these are bytes."""
    nodes = list(nodes)
    texts = [node.value if isinstance(node.value, str) else "" for node in nodes]
    if data.isascii():
        offset: Callable[[int], int] = int
    else:
        indexes = {index for node, text in zip(nodes, texts, strict=True) for index in _text_indexes(node, text)}
        offset = _byte_offsets(data, indexes).__getitem__
    return [_checked(data, offset, node, text) if text else None for node, text in zip(nodes, texts, strict=True)]


def _text_indexes(node: Node, text: str) -> tuple[int, int]:
    end = node.end - len(node.style)
    return (end - len(text), end) if node.end >= 0 else (-1, -1)


def _checked(data: bytes, offset: Callable[[int], int], node: Node, text: str) -> Span | None:
    first, last = _text_indexes(node, text)
    if first < 0:
        return None
    start, end = offset(first), offset(last)
    return Span(start, end, node.line, node.column) if data[start:end] == text.encode() else None


def _byte_offsets(data: bytes, indexes: set[int]) -> dict[int, int]:
    """Character index → byte offset, in one walk. A byte order mark is no character to libyaml."""
    mark = 3 if data.startswith(b"\xef\xbb\xbf") else 0
    text = data[mark:].decode()
    offsets: dict[int, int] = {}
    at, offset = 0, mark
    for index in sorted(i for i in indexes if i >= 0):
        offset += len(text[at:index].encode())
        at = index
        offsets[index] = offset
    return offsets


# --- plain scalars -------------------------------------------------------------------------------

_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
}
_CORE_WORDS = {word: value for word, value in _WORDS.items() if word.lower() in ("true", "false", "", "~", "null")}
_NOT_FINITE = {sign + word for sign in ("", "+", "-") for word in (".inf", ".Inf", ".INF")} | {".nan", ".NaN", ".NAN"}
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_DOT_FLOAT = re.compile(r"\.[0-9][0-9_]*([eE][-+]?[0-9]+)?")
_INTEGER = re.compile(r"([-+]?)(?:0[xX]([0-9a-fA-F]+)|0[bB]([01]+)|0[oO]?([0-7]+)|(0|[1-9][0-9]*))")
_TIME = re.compile(r"[0-9]{4}-[0-9]")
_DATE = re.compile(r"[0-9]{4}-(0?[1-9]|1[0-2])-(0?[1-9]|[12][0-9]|3[01])([Tt ][0-9:.]+(Z|[+-][0-9:]+)?)?")


class NotFinite(ValueError):
    """NaN and the infinities have no place in JSON."""


def plain(text: str) -> Json:
    """The JSON value of a plain scalar, as go-yaml v2 and then Kubernetes' JSON decoder see it. Raises NotFinite."""
    first = text[:1]
    if first in "yYnNtTfFoO~":
        return _WORDS.get(text, text)
    if first not in "+-.0123456789":
        return text
    return _number(text)


def plain_core(text: str) -> Json:
    """The same by YAML 1.2's core schema, as far as a reader of positions needs it."""
    if text[:1] in "tTfFnN~":
        return _CORE_WORDS.get(text, text)
    if text[:1] not in "+-.0123456789" or text in _NOT_FINITE:
        return text
    return _number(text)


def _number(text: str) -> Json:
    if text in _NOT_FINITE:
        raise NotFinite(text)
    digits = text.replace("_", "")
    if text[0] == ".":
        return _float(digits, text) if _DOT_FLOAT.fullmatch(text) else text
    if _TIME.match(text):
        return text
    if found := _INTEGER.fullmatch(digits):
        return _integer(found, text)
    return _float(digits, text) if _FLOAT.fullmatch(digits) else text


def _integer(found: re.Match[str], text: str) -> Json:
    """Past 64 bits Kubernetes reads a float (decimal digits), or go-yaml leaves a string (other bases)."""
    sign, hexadecimal, binary, octal, decimal = found.groups()
    digits, base = next(pair for pair in ((hexadecimal, 16), (binary, 2), (octal, 8), (decimal, 10)) if pair[0])
    if len(digits) > 64:
        return _float(found.group(), text) if base == 10 else text
    number = int(digits, base) * (-1 if sign == "-" else 1)
    if -(1 << 63) <= number < 1 << 63:
        return number
    return float(number) if base == 10 or 0 < number < 1 << 64 else text


def _float(digits: str, text: str = "") -> Json:
    number = float(digits)
    if number in (float("inf"), float("-inf")):
        return text or digits  # out of range: go-yaml leaves a string
    return int(number) if number.is_integer() and abs(number) < 1 << 63 else number


def tag_of(text: str) -> str:
    """The tag that go-yaml resolves a plain scalar to: "null", "bool", "int", "float", "timestamp" or "str"."""
    if text in _WORDS:
        return "null" if _WORDS[text] is None else "bool"
    if text in _NOT_FINITE:
        return "float"
    if text[0] not in "+-.0123456789" or isinstance(_number(text), str):
        return "timestamp" if _DATE.fullmatch(text) else "str"
    whole = _INTEGER.fullmatch(text.replace("_", ""))
    fits = whole and abs(int(_number(text))) < 1 << 64
    return "int" if fits and text[0] != "." else "float"


# --- documents -----------------------------------------------------------------------------------

_SPACES = "Indent with spaces; YAML allows no tab there."


def documents(
    data: bytes, file: str, *, schema: Schema = Schema.KUBERNETES, limits: Limits | None = None
) -> tuple[Doc, ...]:
    """Every document of the file, empty ones included as null. Raises YamlFault."""
    return tuple(Doc(file, data, node) for node in _Reader(file, schema, limits or Limits()).read(data))


_Scalar, _Alias = yaml.ScalarEvent, yaml.AliasEvent
_MappingStart, _MappingEnd = yaml.MappingStartEvent, yaml.MappingEndEvent
_SequenceStart, _SequenceEnd = yaml.SequenceStartEvent, yaml.SequenceEndEvent
_SPECIAL = frozenset("yYnNtTfFoO~+-.0123456789") | {""}  # first characters of plain scalars that may be no string


class _Reader:
    """Reads one file; lives only while it does."""

    def __init__(self, file: str, schema: Schema, limits: Limits) -> None:
        self.file, self.limits = file, limits
        self.plain = plain if schema is Schema.KUBERNETES else plain_core
        self.anchors: dict[str, Node | None] = {}
        self.aliased = 0

    def read(self, data: bytes) -> list[Node]:
        self.check_text(data)
        try:
            return list(self.all_documents(CParser(data)))
        except yaml.MarkedYAMLError as error:
            raise self.fault_of(error) from None
        except yaml.reader.ReaderError as error:
            raise YamlFault(
                Place(self.file), f"it holds a character that YAML forbids ({error.reason})", _CLEAN
            ) from None

    def check_text(self, data: bytes) -> None:
        if len(data) > self.limits.size_bytes:
            raise too_large(self.file, len(data), self.limits)
        try:
            data.decode()
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise YamlFault(
                Place(self.file, line), f"byte {data[error.start]:#04x} is not UTF-8", "Save the file as UTF-8."
            ) from None

    def all_documents(self, parser: Any) -> Iterator[Node]:
        next_event = parser.get_event
        count = 0
        while True:
            event = next_event()
            kind = type(event)
            if kind is yaml.StreamEndEvent:
                return
            if kind is yaml.DocumentStartEvent:
                count += 1
                if count > self.limits.documents:
                    raise self.fault(event, f"more than {self.limits.documents} documents", "Split the file.")
                self.anchors.clear()
                yield self.document(next_event)

    def document(self, next_event: Callable[[], Any]) -> Node:
        """One document, iteratively: `stack` holds the collections that are open, `pending` their waiting keys.

        The hot loop: the commonest events, plain and quoted scalars without tag or anchor, cost no call of ours.
        """
        stack: list[Node] = []
        pending: list[Node | None] = []
        anchors: list[str | None] = []
        while True:
            event = next_event()
            kind = type(event)
            if kind is _Scalar:
                text = event.value
                if event.tag is not None or event.anchor is not None or (event.implicit[0] and text[:1] in _SPECIAL):
                    node = self.scalar(event)
                else:
                    mark = event.start_mark
                    style = event.style
                    end = -1 if style == "|" or style == ">" else event.end_mark.index
                    node = Node(text, mark.line + 1, mark.column + 1, end, style)
            elif kind is _MappingStart or kind is _SequenceStart:
                stack.append(self.open(event, kind is _MappingStart, len(stack)))
                pending.append(None)
                anchors.append(event.anchor)
                continue
            elif kind is _MappingEnd or kind is _SequenceEnd:
                node = stack.pop()
                pending.pop()
                if anchor := anchors.pop():
                    self.anchors[anchor] = node
            elif kind is _Alias:
                node = self.alias(event)
            else:
                raise self.fault(event, "a value was expected", "Complete the document.")
            if not stack:
                return node
            if pending[-1] is None and stack[-1].keys is not None:
                pending[-1] = node
            else:
                self.place(stack[-1], pending, node)

    def open(self, event: Any, mapping: bool, depth: int) -> Node:
        if depth >= self.limits.depth:
            raise self.fault(event, f"nested deeper than {self.limits.depth}", "Flatten it.")
        if event.anchor:
            self.anchors[event.anchor] = None  # an alias from within would be endless
        mark = event.start_mark
        if mapping:
            return Node({}, mark.line + 1, mark.column + 1, -1, "", 1, {}, {})
        return Node([], mark.line + 1, mark.column + 1, -1, "", 1, None, [])

    def place(self, into: Node, pending: list[Node | None], node: Node) -> None:
        """Put `node` into the collection that is open: as an item, or as the pending key's value."""
        key = pending[-1]
        if key is None:
            into.items.append(node)  # type: ignore[union-attr]  # a collection without a pending key is a list
            into.value.append(node.value)
            into.size += node.size
            return
        pending[-1] = None
        into.size += node.size + 1
        if key.value == "<<" and not key.style:
            self.merge(into, node)
        else:
            self.put(into, key, node)

    def put(self, into: Node, key: Node, node: Node) -> None:
        name = key.value if type(key.value) is str else self.key(key)
        keys: dict[str, Node] = into.keys  # type: ignore[assignment]  # only mappings get here
        before = keys.get(name)
        if before is not None and before.style != "*":
            raise self.fault_at(key, f"the key {name!r} is already given on line {before.line}", "Keep one of them.")
        keys[name] = key
        into.items[name] = node  # type: ignore[call-overload,index]
        into.value[name] = node.value

    def key(self, key: Node) -> str:
        value = key.value
        if value is True or value is False:
            return "true" if value else "false"
        if isinstance(value, int):
            return str(value)
        if isinstance(value, float) and 1e-4 <= abs(value) < 1e6:
            return repr(value)  # beyond these go-yaml writes exponents of its own
        raise self.fault_at(key, "a key must be a string", "Write the key as text, in quotes if need be.")

    def merge(self, into: Node, node: Node) -> None:
        """`<<`: earlier mappings win over later ones; like go-yaml v2 it overwrites keys given before it."""
        parts = node.items if isinstance(node.items, list) else [node]
        for part in reversed(parts):
            if not isinstance(part.items, dict) or part.keys is None:
                raise self.fault_at(node, "`<<` merges mappings only", "Give it a mapping or a list of mappings.")
            assert isinstance(into.items, dict) and into.keys is not None
            into.keys |= {name: Node(key.value, key.line, key.column, -1, "*") for name, key in part.keys.items()}
            into.items |= part.items
            into.value |= part.value

    def alias(self, event: Any) -> Node:
        if event.anchor not in self.anchors:
            raise self.fault(event, f"the alias *{event.anchor} has no anchor", f"Define &{event.anchor} before it.")
        node = self.anchors[event.anchor]
        if node is None:
            raise self.fault(event, f"the alias *{event.anchor} stands inside its own anchor", "Remove it.")
        self.aliased += node.size
        if self.aliased > self.limits.aliased:
            raise self.fault(
                event,
                f"aliases repeat more than {self.limits.aliased} values (a YAML bomb grows like this)",
                "Write the values out, or use fewer aliases.",
            )
        return node

    def scalar(self, event: Any) -> Node:
        mark, style = event.start_mark, event.style
        end = -1 if style == "|" or style == ">" else event.end_mark.index
        node = Node(self.typed(event), mark.line + 1, mark.column + 1, end, style)
        if event.anchor:
            self.anchors[event.anchor] = node
        return node

    def typed(self, event: Any) -> Json:
        if event.tag is not None:
            return self.tagged(event)
        if not event.implicit[0]:
            return event.value
        try:
            return self.plain(event.value)
        except NotFinite as error:
            raise self.fault(event, f"{error} is no number in JSON", "Quote it if text is meant.") from None

    def tagged(self, event: Any) -> Json:
        """An explicit tag must agree with what the text is; tags that go-yaml does not know leave text."""
        tag, text = event.tag.removeprefix("tag:yaml.org,2002:"), event.value
        if tag == "binary":
            return self.binary(event)
        if tag not in ("bool", "int", "float", "null", "timestamp"):
            return text
        resolved = tag_of(text)
        if resolved != tag and (resolved, tag) != ("int", "float"):
            raise self.fault(event, f"{text!r} is no {tag}", f"Remove the tag !!{tag}, or correct the value.")
        try:
            return plain(text)
        except NotFinite as error:
            raise self.fault(event, f"{error} is no number in JSON", "Quote it if text is meant.") from None

    def binary(self, event: Any) -> str:
        try:
            return base64.b64decode(event.value.replace("\n", ""), validate=True).decode()
        except (binascii.Error, ValueError):
            raise self.fault(event, "!!binary does not hold base64 of UTF-8 text", "Use a string.") from None

    def fault(self, event: Any, message: str, fix: str) -> YamlFault:
        mark = event.start_mark
        return YamlFault(Place(self.file, mark.line + 1, mark.column + 1), message, fix)

    def fault_at(self, node: Node, message: str, fix: str) -> YamlFault:
        return YamlFault(Place(self.file, node.line, node.column), message, fix)

    def fault_of(self, error: yaml.MarkedYAMLError) -> YamlFault:
        mark = error.problem_mark or error.context_mark
        place = Place(self.file, mark.line + 1, mark.column + 1) if mark else Place(self.file)
        problem = error.problem or "not YAML"
        if "cannot start any token" in problem:
            return YamlFault(
                place, "a tab, or a character that must be quoted, stands here", _SPACES + " Quote @, ` and %."
            )
        context = f" ({error.context}" + (
            f" that began on line {error.context_mark.line + 1})" if error.context_mark else ")"
        )
        return YamlFault(place, problem + (context if error.context else ""), _hint(problem))


_CLEAN = "Remove control characters and save the file as UTF-8."


def _hint(problem: str) -> str:
    if "mapping values are not allowed" in problem:
        return "Quote a value that holds ': ', or correct the indentation."
    if "expected <block end>" in problem or "block mapping" in problem or "could not find expected ':'" in problem:
        return "Align this line with its siblings; each is `key: value`."
    return "Correct the YAML here."


def too_large(file: str, size_bytes: int, limits: Limits) -> YamlFault:
    return YamlFault(
        Place(file),
        f"{size_bytes / (1 << 20):.0f} MiB; a manifest may have {limits.size_bytes >> 20} MiB",
        "Split it, or move data out of it.",
    )
