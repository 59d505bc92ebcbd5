"""Small questions about Git trees. Pure."""

from __future__ import annotations

from trueup.core.model import Tree


def differing(before: Tree, after: Tree) -> tuple[str, ...]:
    """Paths whose mode or content differ."""
    a, b = ({p: (e.mode, e.oid) for p, e in tree.items()} for tree in (before, after))
    return tuple(sorted(p for p in a.keys() | b.keys() if a.get(p) != b.get(p)))
