"""The last trees that were read, so that one commit is not listed again and again. They never change."""

from __future__ import annotations

from collections import OrderedDict
from types import MappingProxyType

from trueup.core.model import Oid, Tree

MOST_PATHS = 50_000  # of all that is kept: some 15 MB


class Trees:
    def __init__(self, most_paths: int = MOST_PATHS) -> None:
        self._most, self._paths = most_paths, 0
        self._kept: OrderedDict[Oid, Tree] = OrderedDict()

    def get(self, commit: Oid) -> Tree | None:
        if commit in self._kept:
            self._kept.move_to_end(commit)
        return self._kept.get(commit)

    def keep(self, commit: Oid, tree: Tree) -> None:
        """The least lately asked for go when there is no room; one too large for all the room is not kept. A commit
        that is named by less than its whole id may become another one, and is not kept either."""
        size = len(tree) + 1
        if size > self._most or len(commit) not in (40, 64) or commit in self._kept:
            return
        while self._paths + size > self._most:
            _, gone = self._kept.popitem(last=False)
            self._paths -= len(gone) + 1
        self._kept[commit] = MappingProxyType(dict(tree))
        self._paths += size
