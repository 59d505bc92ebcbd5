"""What a build can see: hashed, and copied out of reach of the steps that go on running beside it.

No path is ever followed out of the workspace: folders are opened one by one without following links, and what buildah
gets is a private copy, so that nothing can be swapped between the look and the build.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from trueup.core import ignore
from trueup.core.unspliced import ENDINGS, unspliced
from trueup.ports import BuilderDown, BuildFailed

MAX_BYTES = 8 << 30
MAX_ENTRIES = 500_000
DOCKERFILE_BYTES = 1 << 20
_CHUNK = 1 << 20
_MANIFEST_BYTES = 1 << 20


class Seen(Struct, frozen=True):
    digest: str  # over names, modes, links and contents
    entries: int
    size_bytes: int


class Selection(Struct, frozen=True):
    """Which files of the context count. `own` are last path components of the images this build makes: their tag and
    digest in a manifest are the bytes that a write-back splices, and do not make a new image."""

    rules: tuple[ignore.Rule, ...] = ()
    sources: tuple[str, ...] | None = None
    own: tuple[str, ...] = ()


def inside(workspace: Path, path: Path) -> str:
    """`path` with its links resolved, relative to the workspace. Raises BuildFailed when it leads out."""
    root = workspace.resolve()
    real = Path(os.path.realpath(path))
    if not real.is_relative_to(root):
        raise BuildFailed(f"{_short(workspace, path)} leads out of the workspace: only what it holds can be built")
    return str(real.relative_to(root))


def _short(workspace: Path, path: Path) -> str:
    try:
        return str(path.relative_to(workspace))
    except ValueError:
        return str(path)


def open_inside(workspace: Path, path: Path, *, folder: bool) -> int:
    """A descriptor of a folder or file of the workspace, no link followed on the way. Raises BuildFailed."""
    parts = [part for part in inside(workspace, path).split("/") if part not in ("", ".")]
    current = os.open(workspace.resolve(), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for number, part in enumerate(parts):
            kind = os.O_DIRECTORY if folder or number < len(parts) - 1 else os.O_NONBLOCK
            below = os.open(part, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | kind, dir_fd=current)
            os.close(current)
            current = below
    except OSError as e:
        os.close(current)
        what = "folder" if folder else "file"
        raise BuildFailed(f"{_short(workspace, path)}: no such {what} in the workspace ({e.strerror})") from e
    return current


def read_inside(workspace: Path, path: Path, limit: int = DOCKERFILE_BYTES) -> bytes:
    """The bytes of a small file of the workspace. Raises BuildFailed."""
    with os.fdopen(open_inside(workspace, path, folder=False), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise BuildFailed(f"{_short(workspace, path)} is not a file")
        data = file.read(limit + 1)
    if len(data) > limit:
        raise BuildFailed(f"{_short(workspace, path)} has more than {limit >> 20} MiB")
    return data


WITHOUT_GIT = ignore.rules(".git")


def ignore_rules(workspace: Path, context: Path, dockerfile: Path) -> tuple[ignore.Rule, ...]:
    """From `<Dockerfile>.dockerignore`, else `.dockerignore` of the context; `.git` is left out unless `!.git` stands.

    It names the commit and the hour of its checkout, so that no build of an unchanged context would be found again.
    Source: BuildKit leaves it out of Git contexts for the same reason (BUILDKIT_CONTEXT_KEEP_GIT_DIR)."""
    for path in (dockerfile.with_name(dockerfile.name + ".dockerignore"), context / ".dockerignore"):
        if os.path.lexists(path):
            return (*WITHOUT_GIT, *ignore.rules(read_inside(workspace, path).decode(errors="replace")))
    return WITHOUT_GIT


def look(workspace: Path, context: Path, selection: Selection, into: Path | None = None, time_s: int = 0) -> Seen:
    """Hash what the build can see, and copy it to `into` when given. Raises BuildFailed, BuilderDown."""
    root = open_inside(workspace, context, folder=True)
    try:
        return _look(root, selection, into, time_s)
    except OSError as e:
        if e.errno in (28, 122, 30):  # ENOSPC, EDQUOT, EROFS
            raise BuilderDown(f"the build context cannot be copied to {into}: {e.strerror}; free some space") from e
        raise BuildFailed(f"the build context cannot be read: {e}") from e
    finally:
        os.close(root)


def _look(root: int, selection: Selection, into: Path | None, time_s: int) -> Seen:
    total = hashlib.sha256()
    entries = size = 0
    for path, mode, folder, name in _walk(root, selection):
        entries += 1
        copy = into / path if into else None
        if stat.S_ISLNK(mode):
            told = os.readlink(name, dir_fd=folder).encode(errors="surrogateescape")
            if copy:
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.symlink_to(os.fsdecode(told))
        elif stat.S_ISDIR(mode):
            told = b""
            if copy:
                copy.mkdir(parents=True, exist_ok=True)
                copy.chmod(stat.S_IMODE(mode) & 0o777 | 0o700)
        else:
            told, length = _file(path, name, folder, selection, copy, time_s)
            size += length
        total.update(b"%s\0%o\0%s\0" % (os.fsencode(path), mode & 0o170777, told))
        if size > MAX_BYTES or entries > MAX_ENTRIES:
            raise BuildFailed(
                f"the build context has more than {MAX_BYTES >> 30} GiB or {MAX_ENTRIES} files: "
                "leave out what the image does not need in .dockerignore"
            )
    return Seen(total.hexdigest(), entries, size)


def _walk(root: int, selection: Selection) -> Iterator[tuple[str, int, int, str]]:
    """(path, mode, folder's descriptor, name) of what counts, in a stable order; folders before what they hold."""
    for here, folders, files, folder in os.fwalk(".", dir_fd=root, follow_symlinks=False):
        prefix = "" if here == "." else here.removeprefix("./") + "/"
        folders.sort()
        for name in sorted([*folders, *files]):
            path = prefix + name
            mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
            counts = not ignore.ignored(path, selection.rules) and ignore.seen(path, selection.sources)
            if counts and (stat.S_ISREG(mode) or stat.S_ISLNK(mode) or stat.S_ISDIR(mode)):
                yield path, mode, folder, name
        if not any(rule.keep for rule in selection.rules):
            folders[:] = [name for name in folders if not ignore.ignored(prefix + name, selection.rules)]


def _file(path: str, name: str, folder: int, selection: Selection, copy: Path | None, time_s: int) -> tuple[bytes, int]:
    """(hash, length) of one file, copied on the way."""
    source = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(os.fdopen(source, "rb"))
        found = os.fstat(source)
        if not stat.S_ISREG(found.st_mode):
            raise BuildFailed(f"{path} changed while it was read: build again")
        out = None
        if copy:
            copy.parent.mkdir(parents=True, exist_ok=True)
            out = stack.enter_context(open(copy, "xb"))
        own = selection.own if path.endswith(ENDINGS) and found.st_size <= _MANIFEST_BYTES else ()
        digest, length = hashlib.sha256(), 0
        while data := file.read(_CHUNK + 1):
            digest.update(unspliced(path, data, own) if own else data)
            length += len(data)
            if out:
                out.write(data)
    if copy:
        copy.chmod(stat.S_IMODE(found.st_mode) & 0o777)
        os.utime(copy, (time_s, time_s))
    return digest.digest(), length
