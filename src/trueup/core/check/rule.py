"""What a check is made of: rules as data, and the subject they look at."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping
from datetime import date

from msgspec import Struct

from trueup.core.found import Found
from trueup.core.hooks import hook_of, is_hook
from trueup.core.manifests import Manifest
from trueup.core.model import Finding, Oid, Place, Severity, Tree
from trueup.core.text import shown
from trueup.core.yamldoc import Doc, Schema, YamlFault, documents


class Rule(Struct, frozen=True):
    """One thing that can be wrong. `says` is its row in docs/check.md."""

    id: str
    severity: Severity
    says: str

    def at(self, place: Place, message: str, fix: str) -> Finding:
        return Finding(self.severity, self.id, place, shown(message), shown(fix))


class Subject(Struct, frozen=True):
    """One commit, as read: what the checks may look at. `today` is given, never asked of a clock."""

    tree: Tree
    blobs: Mapping[Oid, bytes]
    found: Found
    manifests: tuple[Manifest, ...]
    today: date
    target: str = "host"
    accepted: frozenset[str] = frozenset()

    @property
    def applied(self) -> tuple[Manifest, ...]:
        """Those that are ever applied: not a chart's tests."""
        return tuple(m for m in self.manifests if not is_hook(m.object.body) or hook_of(m.object).when)

    def data(self, path: str) -> bytes | None:
        entry = self.tree.get(path)
        return self.blobs.get(entry.oid) if entry and entry.mode & 0o170000 == 0o100000 else None

    def text(self, path: str) -> str | None:
        data = self.data(path)
        return None if data is None else data.decode("utf-8", "replace")

    def docs(self, path: str, schema: Schema = Schema.CORE) -> tuple[Doc, ...] | YamlFault:
        """The documents of a YAML file; a file that is not there has none."""
        data = self.data(path)
        try:
            return documents(data, path, schema=schema) if data is not None else ()
        except YamlFault as fault:
            return fault


def nearest(word: str, known: Collection[str], count: int = 1, cutoff: float = 0.6) -> tuple[str, ...]:
    """The known words most like `word`, best first."""
    return tuple(difflib.get_close_matches(word, list(known), count, cutoff))


def one_of(words: Iterable[str]) -> str:
    """ "a", "a or b", "a, b or c"."""
    listed = list(words)
    return listed[0] if len(listed) == 1 else ", ".join(listed[:-1]) + f" or {listed[-1]}"
