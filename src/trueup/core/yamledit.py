"""Splices into YAML that people wrote: replace a scalar, add a key beside another, an item to a list. Pure.

Every other byte stays. What cannot be told from positions alone gives None; a caller proves what it got by reading
the result again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from trueup.core.images import Splice
from trueup.core.renderyaml import scalar
from trueup.core.yamldoc import Doc, Node

_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")


class Text:
    """A file as characters, with the way back to bytes."""

    def __init__(self, file: str, data: bytes) -> None:
        self._file = file
        self._mark = 3 if data.startswith(b"\xef\xbb\xbf") else 0
        self.text = data[self._mark :].decode()
        self.newline = "\r\n" if "\r\n" in self.text else "\n"

    def splice(self, start: int, end: int, new: str) -> Splice:
        at = self._mark + len(self.text[:start].encode())
        old = self.text[start:end]
        return Splice(self._file, at, at + len(old.encode()), old, new)

    def line_end(self, at: int) -> int:
        """Where the line that holds a character ends, its break left out."""
        found = _BREAK.search(self.text, at)
        return found.start() if found else len(self.text)

    def line_start(self, at: int) -> int:
        start = 0
        for found in _BREAK.finditer(self.text, 0, at):
            start = found.end()
        return start

    def start(self, node: Node) -> int:
        """The character at which a scalar of one line begins, its quote included; -1 for others."""
        if node.end < 0:
            return -1
        start = self.line_start(node.end) + node.column - 1
        return start if start <= node.end else -1


def replaced(text: Text, node: Node, value: str) -> Splice | None:
    """A scalar as `value`, in the quotes that it has. None for scalars over lines and aliases."""
    start = text.start(node)
    if start < 0 or node.style not in ("", '"', "'"):
        return None
    if node.style:
        if text.text[start : start + 1] != node.style or text.text[node.end - 1 : node.end] != node.style:
            return None
        return text.splice(start + 1, node.end - 1, value)
    if text.text[start : start + 1] in ("&", "*", "!"):
        return None  # an anchor or a tag: others may mean it, too
    if start == node.end:  # `key:` with nothing after it
        return text.splice(start, start, ("" if text.text[start - 1 : start] == " " else " ") + scalar(value))
    return text.splice(start, node.end, scalar(value))


def added(text: Text, mapping: Node, pairs: Sequence[tuple[str, str]], after: str = "") -> Splice | None:
    """Keys after the key `after` of a mapping, or after its last one. None where that one's value is over lines."""
    if not isinstance(mapping.items, dict) or not mapping.keys:
        return None
    key = after or max(mapping.keys, key=lambda name: (_line(mapping, name), mapping.keys[name].column))  # type: ignore[index]  # it has keys
    value, head = mapping.items[key], mapping.keys[key]
    if value.end < 0 or value.style == "*":
        return None
    if _flows(text, mapping):
        said = "".join(f', {name}: "{one}"' for name, one in pairs)
        return text.splice(value.end, value.end, said)
    pad = text.newline + " " * (head.column - 1)
    end = text.line_end(value.end)
    return text.splice(end, end, "".join(f"{pad}{name}: {scalar(one)}" for name, one in pairs))


def _line(mapping: Node, name: str) -> int:
    assert mapping.keys is not None
    return mapping.keys[name].line


def _flows(text: Text, node: Node) -> bool:
    """Whether a collection is written in braces or brackets."""
    lines = _BREAK.split(text.text)
    line = lines[node.line - 1] if node.line <= len(lines) else ""
    return line[node.column - 1 : node.column] in ("{", "[")


def appended(text: Text, items: Node, pairs: Sequence[tuple[str, str]]) -> Splice | None:
    """A mapping as one more item of a list of mappings. None for an empty list or one in brackets."""
    if not isinstance(items.items, list) or not items.items or _flows(text, items):
        return None
    ends = [_last_end(item) for item in items.items]
    if min(ends) < 0:
        return None
    at = text.line_end(ends[-1])
    pad = text.newline + " " * (items.column - 1)
    lines = [f"{name}: {scalar(one)}" for name, one in pairs]
    return text.splice(at, at, f"{pad}- " + f"{pad}  ".join(lines))


def _last_end(node: Node) -> int:
    """The character after the last scalar within; -1 when one is written as a block."""
    if node.items is None:
        return node.end
    within = list(node.items.values()) if isinstance(node.items, dict) else node.items
    ends = [_last_end(one) for one in within]
    return -1 if not ends or min(ends) < 0 else max(ends)


def at_end(text: Text, doc: Doc, lines: Sequence[str]) -> Splice | None:
    """Lines after the last one of a file that is one mapping, written in lines."""
    if doc.body is not None and (not isinstance(doc.body, dict) or doc.root.column != 1 or _flows(text, doc.root)):
        return None
    if re.search(r"^(---|\.\.\.)", text.text.lstrip().removeprefix("---"), re.M):
        return None  # more than one document, or an end of one
    end = len(text.text)
    before = "" if not text.text or text.text.endswith(("\n", "\r")) else text.newline
    return text.splice(end, end, before + "".join(line + text.newline for line in lines))
