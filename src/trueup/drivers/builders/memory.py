"""A builder without images: digests follow from the request alone, and builds are counted. For tests of the core."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from trueup.core.model import BuiltImage, Place
from trueup.core.reference import ReferenceInvalid, split, tagged
from trueup.ports import BuilderDown, BuildFailed, BuildRequest, Login, Output


class MemoryBuilder:
    """Implements ports.Builder. `down` set to a reason makes everything raise BuilderDown."""

    def __init__(self) -> None:
        self.builds = 0
        self.pushes: list[str] = []
        self.down = ""
        self._by_key: dict[str, str] = {}  # key → digest
        self._by_name: dict[str, str] = {}  # complete reference → digest

    async def build(self, request: BuildRequest, output: Output) -> tuple[BuiltImage, bool]:
        self._up()
        names = [_complete(tag) for tag in request.tags]
        if not names:
            raise BuildFailed(f"{request.dockerfile}: no tag was given: docker build -t NAME:TAG")
        key = _key(request)
        cached = key in self._by_key
        if not cached:
            self.builds += 1
            self._by_key[key] = "sha256:" + hashlib.sha256(key.encode()).hexdigest()
        digest = self._by_key[key]
        self._by_name.update((name, digest) for name in names)
        output(f"{'from cache' if cached else 'built'}: {names[0]}@{digest}\n".encode())
        name, tag, _ = split(request.tags[0])
        return BuiltImage(name, tag or "latest", digest, key, Place(request.dockerfile)), cached

    async def push(self, reference: str, output: Output, logins: Sequence[Login] = ()) -> str:
        self._up()
        name = _complete(reference)
        digest = self._by_name.get(name)
        if digest is None:
            raise BuildFailed(f"{reference} was not built here: build or tag it before pushing")
        self.pushes.append(name)
        output(f"pushed: {name}@{digest}\n".encode())
        return digest

    async def tag(self, image: str, reference: str) -> None:
        self._up()
        digest = self._by_name.get(_complete(image))
        if digest is None:
            raise BuildFailed(f"{image} was not built here: build it before tagging")
        self._by_name[_complete(reference)] = digest

    def _up(self) -> None:
        if self.down:
            raise BuilderDown(self.down)


def _complete(reference: str) -> str:
    try:
        return str(tagged(reference))
    except ReferenceInvalid as e:
        raise BuildFailed(str(e)) from e


def _key(request: BuildRequest) -> str:
    found = hashlib.sha256()
    for path in _files(request.context):
        found.update(f"{path.relative_to(request.context)}\0{path.stat().st_mode & 0o111}\0".encode())
        found.update(hashlib.sha256(path.read_bytes()).digest())
    try:
        found.update((request.workspace / request.dockerfile).read_bytes())
    except OSError as e:
        raise BuildFailed(f"{request.dockerfile}: no such Dockerfile in the workspace") from e
    names = [name for name, _ in request.secrets]
    found.update(repr((request.target, request.args, names, request.labels, request.platform)).encode())
    return found.hexdigest()


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and ".git" not in path.parts)
