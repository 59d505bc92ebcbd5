"""What was built: build key → digest, and name → digest, as small files. A hint only: the registry has the images."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec import Struct


class Entry(Struct, frozen=True):
    name: str  # complete reference, or the build key
    digest: str
    path: str  # repository in the embedded registry
    time_s: float  # last used
    key: str = ""
    run: str = ""


class Index:
    """Folders of files, each replaced as a whole; unreadable ones count as absent."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def key(self, key: str) -> Entry | None:
        return self._read(self._file("keys", key))

    def name(self, name: str) -> Entry | None:
        return self._read(self._file("names", name))

    def put_key(self, key: str, digest: str, path: str) -> None:
        self._write(self._file("keys", key), Entry(key, digest, path, time.time(), key))

    def put_name(self, name: str, digest: str, path: str, key: str, run: str) -> None:
        self._write(self._file("names", name), Entry(name, digest, path, time.time(), key, run))

    def names(self) -> Iterator[Entry]:
        yield from self._all("names")

    def keys(self) -> Iterator[Entry]:
        yield from self._all("keys")

    def built(self, digest: str) -> Entry | None:
        """Where the embedded registry has an image that was built here."""
        return next((entry for entry in self.names() if entry.digest == digest), None)

    def put_pushed(self, repository: str, digest: str, path: str) -> None:
        """The registry that `repository` names was given this image."""
        name = f"{repository}@{digest}"
        self._write(self._file("pushed", name), Entry(name, digest, path, time.time()))

    def pushed(self, repository: str, digest: str) -> bool:
        return self._read(self._file("pushed", f"{repository}@{digest}")) is not None

    def drop(self, digest: str) -> None:
        """Forget every key and name of an image."""
        for kind in ("keys", "names", "pushed"):
            for file in self._files(kind):
                entry = self._read(file)
                if entry is None or entry.digest == digest:
                    with contextlib.suppress(FileNotFoundError):
                        file.unlink()

    def _all(self, kind: str) -> Iterator[Entry]:
        for file in self._files(kind):
            entry = self._read(file)
            if entry is not None:
                yield entry

    def _files(self, kind: str) -> list[Path]:
        folder = self._folder / kind
        return sorted(folder.glob("*.json")) if folder.is_dir() else []

    def _file(self, kind: str, name: str) -> Path:
        return self._folder / kind / (hashlib.sha256(name.encode()).hexdigest()[:40] + ".json")

    def _read(self, file: Path) -> Entry | None:
        try:
            return msgspec.json.decode(file.read_bytes(), type=Entry)
        except (OSError, msgspec.MsgspecError):
            return None

    def _write(self, file: Path, entry: Entry) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        new = file.with_suffix(".new")
        new.write_bytes(msgspec.json.encode(entry))
        new.replace(file)
