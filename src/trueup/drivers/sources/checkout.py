"""Writes a commit's tree as files, as committed, byte for byte. Nothing is ever written outside the folder given."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from trueup.core.model import Oid, Tree, TreeEntry
from trueup.drivers.sources.objects import Objects, Piece
from trueup.ports import SourceError

_SYMLINK, _SUBMODULE, _EXECUTABLE = 0o120000, 0o160000, 0o100755
_LFS = b"version https://git-lfs.github.com/spec/v1\n"  # Source: Git LFS pointer specification, v1
_LFS_LIMIT = 1024
_BATCH_BYTES = 4 << 20


async def write(objects: Objects, tree: Tree, into: Path) -> tuple[str, ...]:
    """Write `tree` under `into`, which must be empty or absent. Returns what was left out, one line each.

    Files come first and symlinks last, so that nothing can be written through one; a symlink that leads out of the
    folder, by whatever way, is removed again and named. Raises SourceError for a tree that contradicts itself, or a
    full disk."""
    await asyncio.to_thread(_prepare, into)
    kinds = _sorted_out(tree)
    notes = [f"{_shown(path)}: a submodule, its content is not fetched" for path in kinds["submodules"]]
    try:
        notes += await _files(objects, kinds["files"], into)
        notes += await _symlinks(objects, kinds["symlinks"], into)
    except OSError as error:
        raise SourceError(f"cannot write the files of the commit: {error}. Do: {_todo(error)}.") from error
    return tuple(sorted(notes))


def _prepare(into: Path) -> None:
    if into.is_dir() and not into.is_symlink() and any(into.iterdir()):
        raise FileExistsError(f"{into} is not empty: a checkout goes into a folder of its own")
    into.mkdir(parents=True, exist_ok=True)


def _todo(error: OSError) -> str:
    if isinstance(error, FileExistsError | NotADirectoryError | IsADirectoryError):
        return "the same path is stated twice in this commit; push a repaired one"
    return "free some space" if error.errno == 28 else "check the folder's rights"


def _sorted_out(tree: Tree) -> dict[str, dict[str, TreeEntry]]:
    kinds: dict[str, dict[str, TreeEntry]] = {"files": {}, "symlinks": {}, "submodules": {}}
    for path, entry in tree.items():
        kind = {_SYMLINK: "symlinks", _SUBMODULE: "submodules"}.get(entry.mode, "files")
        kinds[kind][path] = entry
    return kinds


def _shown(path: str) -> str:
    """One line, whatever the name holds."""
    return path if path.isprintable() else repr(path)


async def _files(objects: Objects, files: Mapping[str, TreeEntry], into: Path) -> list[str]:
    paths: dict[Oid, list[str]] = {}
    for path, entry in files.items():
        paths.setdefault(entry.oid, []).append(path)
    writer = _Writer(into, files, paths)
    async with contextlib.aclosing(objects.stream(list(paths))) as pieces:
        async for piece in pieces:
            if writer.take(piece) >= _BATCH_BYTES:
                await asyncio.to_thread(writer.flush)
    await asyncio.to_thread(writer.flush)
    return writer.notes


class _Writer:
    """Collects pieces and writes them in batches, off the event loop."""

    def __init__(self, into: Path, files: Mapping[str, TreeEntry], paths: Mapping[Oid, list[str]]) -> None:
        self._into, self._files, self._paths = into, files, paths
        self._pending: list[Piece] = []
        self._bytes = 0
        self._begun: set[Oid] = set()
        self._folders = {str(into)}
        self.notes: list[str] = []

    def take(self, piece: Piece) -> int:
        self._pending.append(piece)
        self._bytes += len(piece.data) + 256
        return self._bytes

    def flush(self) -> None:
        for piece in self._pending:
            self._write(piece)
        self._pending, self._bytes = [], 0

    def _write(self, piece: Piece) -> None:
        first, *copies = self._paths[piece.oid]
        new = piece.oid not in self._begun
        self._begun.add(piece.oid)
        with os.fdopen(self._open(first, new), "wb" if new else "ab") as file:
            file.write(piece.data)
        if piece.last:
            self._note(piece)
            for copy in copies:
                with os.fdopen(self._open(copy, True), "wb") as out, (self._into / first).open("rb") as source:
                    shutil.copyfileobj(source, out, 1 << 20)

    def _open(self, path: str, new: bool) -> int:
        full = os.fsencode(self._into / path)
        folder = os.path.dirname(full).decode(errors="surrogateescape")
        if folder not in self._folders:
            os.makedirs(os.fsencode(folder), exist_ok=True)
            self._folders.add(folder)
        flags = os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC | (os.O_CREAT | os.O_EXCL if new else os.O_APPEND)
        return os.open(full, flags, 0o755 if self._files[path].mode == _EXECUTABLE else 0o644)

    def _note(self, piece: Piece) -> None:
        if piece.size_bytes <= _LFS_LIMIT and piece.data.startswith(_LFS):
            for path in self._paths[piece.oid]:
                self.notes.append(f"{_shown(path)}: a Git LFS pointer, its content is not fetched")


async def _symlinks(objects: Objects, links: Mapping[str, TreeEntry], into: Path) -> list[str]:
    targets = await objects.read([entry.oid for entry in links.values()])
    made = {path: targets[entry.oid][1] for path, entry in links.items()}
    return await asyncio.to_thread(_make_symlinks, made, into)


def _make_symlinks(links: Mapping[str, bytes], into: Path) -> list[str]:
    notes = []
    for path in links:  # all folders before the first link: none can then be made through a link
        (into / path).parent.mkdir(parents=True, exist_ok=True)
    for path, target in links.items():
        if not target or b"\0" in target or len(target) > 4095:
            notes.append(f"{_shown(path)}: a symlink to nothing a file system knows")
            continue
        os.symlink(target, os.fsencode(into / path))
    return notes + _remove_leading_out(links, into)


def _remove_leading_out(links: Mapping[str, bytes], into: Path) -> list[str]:
    """Judge all while all stand (one may lead through another), then remove."""
    root = os.path.realpath(into)
    out = []
    for path, target in links.items():
        full = os.path.join(root, path)
        if os.path.islink(full) and not (os.path.realpath(full) + "/").startswith(root + "/"):
            out.append((full, f"{_shown(path)}: a symlink to {_shown(os.fsdecode(target))}, outside the repository"))
    for full, _ in out:
        os.unlink(os.fsencode(full))
    return [note for _, note in out]
