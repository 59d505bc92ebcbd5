"""What a kustomization or a chart names elsewhere, where it says so, and what it would say with that at hand. Pure.

Source: Kustomize docs, fields `resources`, `components`, `bases`; Helm docs, "Chart dependencies"; helm v4.2.4,
internal/resolver/resolver.go (what Chart.lock's digest is of).
"""

from __future__ import annotations

import hashlib
import json
import posixpath
from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct

from trueup.core.images import Splice, splice
from trueup.core.model import Json, Place
from trueup.core.yamldoc import Doc, PathStep

FIELDS = ("resources", "bases", "components")


class Entry(Struct, frozen=True):
    """One entry of a list of a kustomization."""

    text: str
    path: tuple[PathStep, ...]
    place: Place


def entries(doc: Doc) -> Iterator[Entry]:
    body = doc.body if isinstance(doc.body, dict) else {}
    for field in FIELDS:
        listed = body.get(field)
        for index, text in enumerate(listed if isinstance(listed, list) else ()):
            if isinstance(text, str):
                yield Entry(text, (field, index), doc.place(field, index))


def rewritten(doc: Doc, names: Mapping[tuple[PathStep, ...], str]) -> bytes | Entry:
    """The file with these entries replaced; an entry that is not written as it reads cannot be."""
    splices = []
    for path, name in names.items():
        span = doc.text_span(*path)
        if span is None:
            return Entry(str(doc.body[path[0]][path[1]]), path, doc.place(*path))
        old = doc.data[span.start : span.end].decode()
        splices.append(Splice(doc.file, span.start, span.end, old, name))
    return splice(doc.data, splices)


def below(folder: str, text: str) -> str | None:
    """The path of an entry of a kustomization in `folder`; None when it leads out of the tree."""
    found = posixpath.normpath(posixpath.join(folder, text))
    return None if found == ".." or found.startswith("../") or text.startswith("/") else found.removeprefix("./")


# --- charts ------------------------------------------------------------------------------------------


class Dependency(Struct, frozen=True):
    name: str
    version: str
    repository: str
    place: Place


def dependencies(doc: Doc) -> tuple[Dependency, ...]:
    """Of a Chart.yaml."""
    body = doc.body if isinstance(doc.body, dict) else {}
    listed = body.get("dependencies")
    return tuple(
        Dependency(
            str(one.get("name", "")), str(one.get("version") or ""), str(one.get("repository") or ""),
            doc.place("dependencies", index),
        )
        for index, one in enumerate(listed if isinstance(listed, list) else ())
        if isinstance(one, dict)
    )  # fmt: skip


def locked(lock: Json, chart: Json) -> Mapping[str, str] | None:
    """name → version, of a Chart.lock that is of this Chart.yaml; None when it is of another state of it."""
    stated, held = (_listed(body, "dependencies") for body in (chart, lock))
    if not isinstance(lock, dict) or lock.get("digest") != f"sha256:{_hash([stated, held])}":
        return None
    return {str(one.get("name")): str(one.get("version")) for one in held}


def _listed(body: Json, name: str) -> list[dict[str, Json]]:
    listed = body.get(name) if isinstance(body, dict) else None
    return [one for one in (listed if isinstance(listed, list) else ()) if isinstance(one, dict)]


_FIELDS = ("name", "version", "repository", "condition", "tags", "enabled", "import-values", "alias")
_ALWAYS = ("name", "repository")


def _hash(both: Sequence[Sequence[Mapping[str, Json]]]) -> str:
    """As Go's encoding/json writes the two lists."""
    told = [[{f: one.get(f, "") for f in _FIELDS if f in _ALWAYS or one.get(f)} for one in part] for part in both]
    text = json.dumps(told, separators=(",", ":"), ensure_ascii=False)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return hashlib.sha256(text.encode()).hexdigest()
