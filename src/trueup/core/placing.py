"""Where a rendered object is stated: the document among the files read that it most likely comes from. Pure.

Renderers change names (prefixes, suffixes, hashes) and say little of where an object comes from, so kind and name
decide: the same name, or the longest name that the rendered one holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from trueup.core.model import Json
from trueup.core.objects import dig
from trueup.core.render import Asked, Kustomize, Made
from trueup.core.yamldoc import Doc, Node, child

_GENERATORS = {"configMapGenerator": "ConfigMap", "secretGenerator": "Secret"}
_LISTED = ("resources", "bases", "components")


class Places:
    """The documents that a render read. `docs` is by path; `texts` has templates, by path."""

    def __init__(self, asked: Asked, docs: Mapping[str, tuple[Doc, ...]], texts: Mapping[str, bytes]) -> None:
        self._asked, self._texts = asked, texts
        self._stated: dict[str, list[tuple[str, bool, Doc]]] = {}  # kind → name, whether a resource, document
        if isinstance(asked, Kustomize):
            self._index(docs)

    def _index(self, docs: Mapping[str, tuple[Doc, ...]]) -> None:
        listed = {path for at, read in docs.items() for path in _resources(at, read)}
        for path, read in docs.items():
            for doc in read:
                for kind, name, found in (*_objects(doc), *_generated(doc)):
                    self._stated.setdefault(kind, []).append((name, path in listed or found is not doc, found))

    def of(self, made: Made) -> Doc:
        """The document to name for an object."""
        kind, name = _identity(made.body)
        known = [(name == n, len(n), first, doc) for n, first, doc in self._stated.get(kind, ()) if n and n in name]
        if known:
            return max(known, key=lambda found: found[:3])[3]
        path = made.origin or self._asked.path
        return Doc(path, b"", Node(made.body, _line(self._texts.get(path, b""), kind), 1))


def _identity(body: Json) -> tuple[str, str]:
    kind, name = dig(body, ("kind",)), dig(body, ("metadata", "name"))
    return kind if isinstance(kind, str) else "", name if isinstance(name, str) else ""


def _objects(doc: Doc) -> Iterator[tuple[str, str, Doc]]:
    kind, name = _identity(doc.body)
    if kind and name:
        yield kind, name, doc


def _generated(doc: Doc) -> Iterator[tuple[str, str, Doc]]:
    """The entries of a kustomization that make an object."""
    for key, kind in _GENERATORS.items():
        entries = child(doc.root, key)
        for node in entries.items if entries is not None and isinstance(entries.items, list) else ():
            if isinstance(name := dig(node.value, ("name",)), str):
                yield kind, name, Doc(doc.file, doc.data, node)


def _resources(at: str, read: Iterable[Doc]) -> Iterator[str]:
    """The files that a kustomization lists; nothing for other files."""
    for doc in read:
        for key in _LISTED:
            listed = dig(doc.body, (key,))
            for path in listed if isinstance(listed, list) else ():
                if isinstance(path, str):
                    yield joined(at.rpartition("/")[0], path)


def joined(folder: str, path: str) -> str:
    """A relative path from a folder of the repository, as a path from its root; "../…" when it leads out."""
    parts = [part for part in folder.split("/") if part]
    for step in path.split("/"):
        if step == ".." and parts and parts[-1] != "..":
            parts.pop()
        elif step not in ("", "."):
            parts.append(step)
    return "/".join(parts)


def _line(template: bytes, kind: str) -> int:
    """The line of a template that names the kind, when only one does; else 0, the whole file."""
    found = list(re.finditer(rb"^\s*kind:\s*[\"']?" + re.escape(kind.encode()) + rb"\b", template, re.M))
    return template.count(b"\n", 0, found[0].end()) + 1 if len(found) == 1 else 0
