"""A Git repository without Git: trees, commits and branches in dicts. Shipped for tests, simulations and benchmarks."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from trueup.core.model import Commit, Oid, Tree, TreeEntry
from trueup.ports import Pushed, Raced, Refused, SourceError

_encode = msgspec.json.Encoder(order="deterministic").encode
FILE = 0o100644


class MemoryRemote:
    """What stands on the other side: `push` is a person's; `refuse` maps a branch to why nobody of ours may push."""

    def __init__(self) -> None:
        self.blobs: dict[Oid, bytes] = {}
        self.trees: dict[Oid, Tree] = {}
        self.commits: dict[Oid, Commit] = {}
        self.branches: dict[str, Oid] = {}
        self.refuse: dict[str, str] = {}
        self.down = ""

    def blob(self, data: bytes) -> Oid:
        oid = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
        self.blobs[oid] = data
        return oid

    def write(self, tree: Tree, parents: tuple[Oid, ...], author: str, message: str, time: datetime) -> Oid:
        rows = sorted((p, e.mode, e.oid) for p, e in tree.items())
        tree_oid = hashlib.sha1(_encode(rows), usedforsecurity=False).hexdigest()
        self.trees[tree_oid] = dict(tree)
        commit = Commit("", tree_oid, parents, author, author, time, message)
        oid = hashlib.sha1(_encode(commit), usedforsecurity=False).hexdigest()
        self.commits[oid] = msgspec.structs.replace(commit, id=oid)
        return oid

    def edited(self, tree: Tree, edits: Mapping[str, bytes | tuple[int, Oid] | None]) -> Tree:
        result = dict(tree)
        for path, edit in edits.items():
            if edit is None:
                result.pop(path, None)
            elif isinstance(edit, bytes):
                mode = result[path].mode if path in result else FILE
                result[path] = TreeEntry(mode, self.blob(edit), len(edit))
            else:
                result[path] = TreeEntry(edit[0], edit[1], len(self.blobs[edit[1]]))
        return result

    def push(self, files: Mapping[str, str | None], message: str, branch: str = "main", author: str = "") -> Oid:
        """A person commits on the branch's head and pushes."""
        parent = self.branches.get(branch)
        tree = self.trees[self.commits[parent].tree] if parent else {}
        edits = {p: None if t is None else t.encode() for p, t in files.items()}
        time = datetime(2026, 1, 1, tzinfo=UTC)
        oid = self.write(
            self.edited(tree, edits), (parent,) if parent else (), author or "Ann <ann@example.org>", message, time
        )
        self.branches[branch] = oid
        return oid

    def file(self, path: str, branch: str = "main") -> str:
        return self.blobs[self.trees[self.commits[self.branches[branch]].tree][path].oid].decode()

    def ancestors(self, oid: Oid) -> list[Oid]:
        """`oid` and all before it, newest first."""
        found: dict[Oid, None] = {}
        stack = [oid]
        while stack:
            at = stack.pop()
            if at not in found:
                found[at] = None
                stack += reversed(self.commits[at].parents)
        return list(found)


class MemorySource:
    """A `ports.Source` over a MemoryRemote. Each act on the outside can be interrupted before and after it."""

    def __init__(self, remote: MemoryRemote) -> None:
        self.remote = remote

    async def _reach(self) -> None:
        await asyncio.sleep(0)
        if self.remote.down:
            raise SourceError(self.remote.down)

    async def fetch(self) -> Mapping[str, Oid]:
        await self._reach()
        return dict(self.remote.branches)

    async def commit(self, oid: Oid) -> Commit:
        return self.remote.commits[oid]

    async def tree(self, commit: Oid) -> Tree:
        return self.remote.trees[self.remote.commits[commit].tree]

    async def blobs(self, oids: Sequence[Oid]) -> Mapping[Oid, bytes]:
        return {o: self.remote.blobs[o] for o in oids}

    async def is_ancestor(self, ancestor: Oid, descendant: Oid) -> bool:
        return ancestor in self.remote.ancestors(descendant)

    async def between(self, before: Oid, after: Oid) -> tuple[Commit, ...]:
        if not before:
            return (self.remote.commits[after],)
        known = set(self.remote.ancestors(before))
        return tuple(self.remote.commits[o] for o in reversed(self.remote.ancestors(after)) if o not in known)

    async def make_commit(
        self,
        parent: Oid,
        edits: Mapping[str, bytes | tuple[int, Oid] | None],
        message: str,
        *,
        when: datetime,
    ) -> Oid:
        await asyncio.sleep(0)
        tree = self.remote.edited(await self.tree(parent), edits)
        return self.remote.write(tree, (parent,), "Trueup <trueup@localhost>", message, when)

    async def push(self, branch: str, commit: Oid, *, expect: Oid | None) -> Pushed | Raced | Refused:
        await self._reach()
        if branch in self.remote.refuse:
            return Refused(self.remote.refuse[branch])
        head = self.remote.branches.get(branch)
        if head != expect:
            return Raced(head)
        self.remote.branches[branch] = commit
        await asyncio.sleep(0)
        return Pushed(commit)

    async def may_push(self, branch: str) -> Refused | None:
        await self._reach()
        return Refused(self.remote.refuse[branch]) if branch in self.remote.refuse else None

    async def checkout(self, commit: Oid, into: Path) -> tuple[str, ...]:
        for path, entry in (await self.tree(commit)).items():
            file = into / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(self.remote.blobs[entry.oid])
        return ()
