"""Rendered objects as YAML that Kubernetes, Helm and Kustomize read back as the same objects. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator

from trueup.core.model import Json

# A plain scalar that no YAML 1.1 or 1.2 reader takes for anything but this text.
_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9_./@=+-]*([:,][A-Za-z0-9_./@=+-]+|[ ][A-Za-z(][A-Za-z0-9_./@=+()-]*)*")
_TAKEN = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"})


def yaml_documents(bodies: Iterable[Json]) -> str:
    """One document an object, keys in the order of apiVersion, kind, metadata and then by name."""
    return "".join("---\n" + "\n".join(_block(body, 0, top=True)) + "\n" for body in bodies)


def _block(value: Json, indent: int, *, top: bool = False) -> Iterator[str]:
    pad = " " * indent
    if isinstance(value, dict):
        for key in sorted(value, key=_head if top else str):
            yield from _entry(f"{pad}{scalar(key)}:", value[key], indent)
    else:
        for item in value:
            if isinstance(item, (dict, list)) and item:
                first, *rest = _block(item, indent + 2)
                yield f"{pad}- {first[indent + 2 :]}"
                yield from rest
            else:
                yield from _entry(f"{pad}-", item, indent)


def _entry(start: str, value: Json, indent: int) -> Iterator[str]:
    if isinstance(value, dict) and value:
        yield start
        yield from _block(value, indent + 2)
    elif isinstance(value, list) and value:
        yield start
        yield from _block(value, indent)
    elif isinstance(value, str) and _literal(value):
        yield f"{start} |" + ("" if value.endswith("\n") else "-")
        lines = value.removesuffix("\n").split("\n")
        yield from (" " * (indent + 2) + line if line else "" for line in lines)
    else:
        yield f"{start} {scalar(value)}"


def _literal(text: str) -> bool:
    """Whether several lines can stand as they are."""
    lines = text.removesuffix("\n").split("\n")
    if len(lines) < 2 or text.endswith("\n\n") or not lines[0] or lines[0][0] in " \t":
        return False
    return all(line.isprintable() and not line.endswith(" ") for line in lines)


def scalar(value: Json) -> str:
    """A scalar on one line that every reader takes for this value."""
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _TAKEN:
        return value
    quoted = json.dumps(value, ensure_ascii=False)
    return quoted if quoted.isprintable() else "".join(map(_escaped, quoted))


def _escaped(letter: str) -> str:
    """YAML's own escapes: it has no pairs of surrogates as JSON has. Source: YAML 1.2.2, 5.7."""
    if letter.isprintable():
        return letter
    return f"\\u{ord(letter):04x}" if ord(letter) < 0x10000 else f"\\U{ord(letter):08x}"


def _head(key: str) -> tuple[int, str]:
    return {"apiVersion": 0, "kind": 1, "metadata": 2}.get(key, 3), key
