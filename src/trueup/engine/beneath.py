"""Reads what a job's steps left in folders they can write. Never follows a link, opens a pipe or a device.

Repository code owns these folders and may have turned any part of a path into a link to somewhere else.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from trueup.core.filters import matches

FILE_BYTES = 64 << 20
HASHED_FILES = 20_000


def read_file(root: Path, relative: str, limit: int = FILE_BYTES) -> bytes | None:
    """The bytes of a regular file below `root`; None when there is none, or it is larger than `limit`."""
    parts = PurePosixPath(relative).parts
    if not parts or ".." in parts or parts[0] == "/":
        return None
    try:
        folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        for part in parts[:-1]:
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            os.close(folder)
            folder = inner
        return _read_in(folder, parts[-1], limit)
    except OSError:
        return None
    finally:
        os.close(folder)


def _read_in(folder: int, name: str, limit: int) -> bytes | None:
    file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    with os.fdopen(file, "rb") as opened:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode) or found.st_size > limit:
            return None
        data = opened.read(limit + 1)
        return data if len(data) <= limit else None  # it may have grown since


def copy_file(root: Path, name: str, to: Path, limit: int) -> bool:
    """Copy a regular file that lies directly in `root`; False when it is none, or larger than `limit`."""
    try:
        file = os.open(root / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    with os.fdopen(file, "rb") as source:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode) or found.st_size > limit:
            return False
        with to.open("wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
        return True


def create(path: Path, data: bytes = b"", mode: int = 0o644) -> Path:
    """A new file of ours; never through a link, never over a file. Raises OSError."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    with os.fdopen(file, "wb") as opened:
        os.fchmod(file, mode)
        opened.write(data)
    return path


def hash_files(root: Path, patterns: Sequence[str]) -> str:
    """SHA-256 over the SHA-256 of every file that the patterns select, in order of path; "" when none is.

    Source: GitHub Docs, "Evaluate expressions", hashFiles (patterns as in @actions/glob)."""
    whole = hashlib.sha256()
    found = False
    for relative in _files(root):
        if _selected(patterns, relative):
            data = read_file(root, relative, 1 << 30)
            if data is not None:
                whole.update(hashlib.sha256(data).digest())
                found = True
    return whole.hexdigest() if found else ""


def _files(root: Path) -> list[str]:
    found: list[str] = []
    for folder, folders, files in os.walk(root, followlinks=False):
        folders[:] = [name for name in folders if name != ".git"]
        base = Path(folder).relative_to(root)
        found.extend(str(base / name) for name in files)
        if len(found) > HASHED_FILES:
            break
    return sorted(found)


def _selected(patterns: Sequence[str], relative: str) -> bool:
    chosen = False
    for pattern in patterns:
        negated = pattern.startswith("!")
        plain = pattern.lstrip("!").removeprefix("./").rstrip("/")
        if matches(plain, relative) or matches(plain + "/**", relative):
            chosen = not negated
    return chosen
