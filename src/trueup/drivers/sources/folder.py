"""A folder on disk as a tree and its contents, committed or not: what `trueup check .` looks at. Read-only."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from trueup.core.model import Oid, Tree, TreeEntry

SKIPPED = frozenset({".git", ".hg", ".svn", "node_modules", "__pycache__", ".venv", ".tox", ".mypy_cache"})
LIMIT = 200_000  # files


def read(root: Path, wanted: Callable[[Tree], tuple[str, ...]]) -> tuple[Tree, Mapping[Oid, bytes]]:
    """The tree under `root` and the contents of `wanted(tree)`. In a Git work tree what Git ignores is left out.

    Raises FileNotFoundError, NotADirectoryError; an unreadable file is an OSError.
    """
    if not root.exists():
        raise FileNotFoundError(f"{root}: no such folder")
    if not root.is_dir():
        raise NotADirectoryError(f"{root}: not a folder; give the repository's root")
    tree: dict[str, TreeEntry] = {}
    for path in _paths(root):
        stat = os.lstat(root / path)
        mode = 0o120000 if os.path.islink(root / path) else 0o100755 if stat.st_mode & 0o100 else 0o100644
        tree[path] = TreeEntry(mode, hashlib.sha1(os.fsencode(path), usedforsecurity=False).hexdigest(), stat.st_size)
    blobs: dict[Oid, bytes] = {}
    for path in wanted(tree):
        blobs[tree[path].oid] = (root / path).read_bytes()
    return tree, blobs


def contents(root: Path, tree: Tree) -> Callable[[Sequence[Oid]], Awaitable[Mapping[Oid, bytes]]]:
    """Reads contents of a tree that `read` gave when they are asked for. Raises OSError."""
    paths = {entry.oid: path for path, entry in tree.items()}

    async def blobs(oids: Sequence[Oid]) -> Mapping[Oid, bytes]:
        return {oid: (root / paths[oid]).read_bytes() for oid in oids if oid in paths}

    return blobs


def _paths(root: Path) -> list[str]:
    listed = subprocess.run(
        ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard", "."],
        capture_output=True,
        check=False,
        env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
    )
    if listed.returncode == 0:
        found = [os.fsdecode(p) for p in listed.stdout.split(b"\0") if p]
        return sorted({p for p in found if os.path.lexists(root / p) and not os.path.isdir(root / p)})
    found = []
    for here, folders, files in os.walk(root):
        folders[:] = sorted(f for f in folders if f not in SKIPPED)
        found += [os.path.relpath(os.path.join(here, f), root) for f in files]
        if len(found) > LIMIT:
            raise OSError(f"{root}: more than {LIMIT} files; give the repository's root")
    return sorted(found)


def addresses(root: Path) -> tuple[str, ...]:
    """Every address that this repository's remotes have; none for a folder that is no repository or has no remote."""
    asked = ["git", "-C", str(root), "config", "--get-regexp", r"^remote\..*\.url$"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=30)
    return tuple(dict.fromkeys(line.partition(" ")[2] for line in done.stdout.splitlines()))
