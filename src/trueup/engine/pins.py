"""What each remote name was when a revision was first looked at. A file per revision in the state folder; contents by
digest beside it. Without a folder nothing outlives the process."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import secrets
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path

import msgspec

FOLDER_NAME = "folder"  # a folder as it stands is never the same twice: nothing of it is kept


class Pins:
    """`folder` may vanish at any time: what is pinned is then looked up anew."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._known: dict[str, dict[str, str]] = {}

    async def text(self, revision: str, name: str, find: Callable[[], Awaitable[str]]) -> str:
        """What `name` is for this revision; looked up once."""
        pins = await asyncio.to_thread(self._load, revision)
        if name not in pins:
            pins[name] = await find()
            await asyncio.to_thread(self._save, revision)
        return pins[name]

    async def file(self, revision: str, url: str, fetch: Callable[[str], Awaitable[bytes]]) -> bytes:
        async def found() -> tuple[str, bytes]:
            return "", await fetch(url)

        return (await self.named(revision, f"file {url}", found))[1]

    async def named(
        self, revision: str, name: str, fetch: Callable[[], Awaitable[tuple[str, bytes]]]
    ) -> tuple[str, bytes]:
        """(a word, contents) that `name` is for this revision. Contents that were lost are fetched again, and must be
        the same: ValueError when they are not."""
        pins = await asyncio.to_thread(self._load, revision)
        word, _, digest = pins.get(name, "").rpartition(" ")
        data = await asyncio.to_thread(self._get, digest) if digest else None
        if data is not None:
            return word, data
        word, data = await fetch()
        made = await asyncio.to_thread(self._put, data)
        if digest and made != digest:
            raise Changed(f"{name} is another one than when this commit was first read")
        pins[name] = f"{word} {made}"
        await asyncio.to_thread(self._save, revision)
        return word, data

    # --- blocking --------------------------------------------------------------------------------

    def _load(self, revision: str) -> dict[str, str]:
        if revision in self._known:
            return self._known[revision]
        found: dict[str, str] = {}
        if self._folder is not None and revision != FOLDER_NAME:
            try:
                found = msgspec.json.decode(self._file(revision).read_bytes(), type=dict[str, str])
                os.utime(self._file(revision))  # needed still: `unneeded` goes by its age
            except (FileNotFoundError, msgspec.DecodeError):
                found = {}
        if revision != FOLDER_NAME:
            self._known[revision] = found
        return found

    def _save(self, revision: str) -> None:
        if self._folder is not None and revision in self._known:
            _write(self._file(revision), msgspec.json.encode(self._known[revision]))

    def _file(self, revision: str) -> Path:
        assert self._folder is not None
        return self._folder / "pins" / _named(revision)

    def _get(self, digest: str) -> bytes | None:
        if self._folder is None:
            return None
        try:
            data = self._content(digest).read_bytes()
        except FileNotFoundError:
            return None
        return data if hashlib.sha256(data).hexdigest() == digest else None

    def _put(self, data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        if self._folder is not None and self._get(digest) is None:
            _write(self._content(digest), data)
        return digest

    def _content(self, digest: str) -> Path:
        assert self._folder is not None
        return self._folder / "sha256" / digest[:2] / digest


def unneeded(folder: Path, keep: Collection[str], older_than: float) -> list[Path]:
    """Pins of revisions that are not in `keep` and were not looked at since `older_than` (seconds since 1970), and
    contents that no other pin names. Blocking; removes nothing."""
    names = {_named(revision) for revision in keep}
    going, digests = [], set[str]()
    for path in sorted((folder / "pins").glob("*.json")):
        if path.name not in names and path.stat().st_mtime < older_than:
            going.append(path)
            continue
        with contextlib.suppress(msgspec.DecodeError):
            pins = msgspec.json.decode(path.read_bytes(), type=dict[str, str])
            digests.update(value.rpartition(" ")[2] for value in pins.values())
    contents = (path for path in sorted((folder / "sha256").glob("*/*")) if path.name not in digests)
    return [*going, *(path for path in contents if path.stat().st_mtime < older_than)]


def _named(revision: str) -> str:
    return f"{hashlib.sha256(revision.encode()).hexdigest()[:40]}.json"


class Changed(Exception):
    """What was pinned is gone, and what stands there now is something else."""

    expected = True


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{secrets.token_hex(6)}")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
    draft.rename(path)
