"""Collects what nothing needs any more: images, build layers, workspaces, logs. By age, then by size, oldest first.

It lists first and removes what it listed. It never touches what runs, what a rollback needs, or what is not ours.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import math
import os
import shutil
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime
from pathlib import Path

import msgspec
from msgspec import Struct

from trueup.core.layout import Layout
from trueup.core.reference import mirror_name
from trueup.drivers.builders.base import LABEL_IMAGE
from trueup.drivers.builders.buildah import Buildah
from trueup.engine.pins import unneeded
from trueup.engine.registry import Registry, Stored

DAY_S = 86_400.0
CONTEXT_S = 2 * 3600.0  # longer than any build takes
GRACE_S = 3600.0  # an image this young may be on its way to a rollout


class Kind(enum.Enum):
    IMAGE = "image"
    LAYER = "build layer"
    WORKSPACE = "workspace"
    LOG = "log"
    CONTEXT = "build context"
    REMOTE = "remote part"


class Limits(Struct, frozen=True):
    """What is older than its age goes; above its bytes the oldest go first."""

    images_age_s: float = 30 * DAY_S
    images_bytes: int = 20 << 30
    layers_age_s: float = 7 * DAY_S
    workspaces_age_s: float = DAY_S
    logs_age_s: float = 90 * DAY_S
    logs_bytes: int = 2 << 30
    remotes_age_s: float = 90 * DAY_S


class Keep(Struct, frozen=True):
    """What must stay: digests that run or that a rollback needs, runs that are not over (ids, "run/" or not), and
    commits whose remote parts are pinned."""

    digests: frozenset[str] = frozenset()
    runs: frozenset[str] = frozenset()
    commits: frozenset[str] = frozenset()


class Item(Struct, frozen=True):
    """Something that would go."""

    kind: Kind
    name: str  # digest, image id, or path
    size_bytes: int  # what is won when all listed items go; shared layers count once
    age_s: float
    places: tuple[str, ...] = ()  # repositories of an image in the embedded registry


class Housekeeping:
    """Looks and collects in one state folder. `now` tells aware UTC."""

    def __init__(self, layout: Layout, registry: Registry, builder: Buildah, now: Callable[[], datetime]) -> None:
        self._layout = layout
        self._registry = registry
        self._builder = builder
        self._now = now

    async def survey(self, keep: Keep, limits: Limits) -> tuple[Item, ...]:
        """What would go now, nothing touched."""
        files = await asyncio.to_thread(self._files, keep, limits)
        images = await asyncio.to_thread(self._images, keep, limits)
        return (*images, *await self._layers(limits), *files)

    async def collect(self, items: Collection[Item]) -> int:
        """Remove what `survey` listed; the bytes won. What came into use meanwhile stays. Raises RegistryDown."""
        images = [item for item in items if item.kind is Kind.IMAGE]
        won = sum(item.size_bytes for item in items if item.kind is not Kind.IMAGE)
        if images:
            for item in images:
                await self._forget(item)
            won += await self._registry.collect([(place, item.name) for item in images for place in item.places])
        for item in items:
            if item.kind is Kind.LAYER:
                await self._builder.tools.buildah("rmi", item.name)
            elif item.kind is not Kind.IMAGE:
                await asyncio.to_thread(_remove, Path(item.name))
        return won

    # --- images ----------------------------------------------------------------------------------

    def _images(self, keep: Keep, limits: Limits) -> list[Item]:
        held: dict[str, list[Stored]] = {}
        for stored in self._registry.stored():
            held.setdefault(stored.digest, []).append(stored)
        used = {entry.digest: entry.time_s for entry in (*self._builder.index.names(), *self._builder.index.keys())}
        ages = {digest: self._age(max([used.get(digest, 0.0), *_times(found)])) for digest, found in held.items()}
        blobs = {digest: self._registry.blobs(digest) for digest in held}
        loose = sorted((d for d in held if d not in keep.digests and ages[d] > GRACE_S), key=lambda d: -ages[d])
        staying = set(held)
        going: list[str] = []
        for digest in loose:
            if ages[digest] > limits.images_age_s or _sum(blobs, staying) > limits.images_bytes:
                staying.discard(digest)
                going.append(digest)
        return [
            Item(Kind.IMAGE, digest, size, ages[digest], tuple(found.repository for found in held[digest]))
            for digest, size in _won(going, blobs, staying)
        ]

    async def _forget(self, item: Item) -> None:
        """Drop the image's names in local storage and in the index; an image that a container uses stays there."""
        names = [entry.name for entry in self._builder.index.names() if entry.digest == item.name]
        exact = [f"{name.rpartition(':')[0]}@{item.name}" for name in names]
        pinned = [mirror_name(name, address) for address in self._registry.addresses() for name in exact]
        self._builder.index.drop(item.name)
        for name in (*names, *pinned):
            if await self._builder.tools.image_id(name):
                await self._builder.tools.buildah("rmi", name)

    async def _layers(self, limits: Limits) -> list[Item]:
        """Build layers of ours that no image stands on and no name reaches."""
        filters = ("--filter", "dangling=true", "--filter", f"label={LABEL_IMAGE}=build")
        ended = await self._builder.tools.buildah("images", "--json", "--no-trunc", *filters)
        if ended.code:
            return []
        found = msgspec.json.decode(ended.text.encode() or b"[]", type=list[_Image] | None) or []
        root = await self._builder.tools.storage_root()
        items = [Item(Kind.LAYER, i.id, _size(i.size), self._age(_made(root, i.id))) for i in found]
        return [item for item in items if item.age_s > limits.layers_age_s]

    # --- files -----------------------------------------------------------------------------------

    def _files(self, keep: Keep, limits: Limits) -> list[Item]:
        runs = {run.rpartition("/")[2] for run in keep.runs}
        workspaces = self._below(Path(self._layout.workspaces), Kind.WORKSPACE)
        logs = sorted(self._below(Path(self._layout.logs), Kind.LOG), key=lambda item: -item.age_s)
        contexts = self._below(Path(self._layout.root) / "builder/contexts", Kind.CONTEXT)
        loose = [item for item in logs if Path(item.name).name not in runs]
        return [
            *(i for i in workspaces if i.age_s > limits.workspaces_age_s and Path(i.name).name not in runs),
            *_over(loose, sum(item.size_bytes for item in logs), limits),
            *(item for item in contexts if item.age_s > CONTEXT_S),
            *self._remotes(keep, limits),
        ]

    def _remotes(self, keep: Keep, limits: Limits) -> Iterable[Item]:
        before_s = self._now().timestamp() - limits.remotes_age_s
        for path in unneeded(Path(self._layout.remotes), keep.commits, before_s):
            size, newest = _weigh(path)
            yield Item(Kind.REMOTE, str(path), size, self._age(newest))

    def _below(self, folder: Path, kind: Kind) -> list[Item]:
        """Each entry of a folder, as old as the newest file in it."""
        found: list[Item] = []
        for path in sorted(folder.iterdir()) if folder.is_dir() else []:
            size, newest = _weigh(path)
            found.append(Item(kind, str(path), size, self._age(newest)))
        return found

    def _age(self, then_s: float) -> float:
        return max(0.0, self._now().timestamp() - then_s)


class _Image(Struct, frozen=True):
    id: str
    size: str = ""


def _times(found: Iterable[Stored]) -> list[float]:
    return [stored.time.timestamp() for stored in found]


def _sum(blobs: dict[str, dict[str, int]], digests: Collection[str]) -> int:
    together: dict[str, int] = {}
    for digest in digests:
        together.update(blobs[digest])
    return sum(together.values())


def _won(going: Sequence[str], blobs: dict[str, dict[str, int]], staying: Collection[str]) -> list[tuple[str, int]]:
    """What each image frees, given that the ones before it in the list go too."""
    needed = {blob for digest in staying for blob in blobs[digest]}
    found: list[tuple[str, int]] = []
    for digest in going:
        own = {blob: size for blob, size in blobs[digest].items() if blob not in needed}
        needed.update(own)
        found.append((digest, sum(own.values())))
    return found


def _over(oldest_first: Sequence[Item], total: int, limits: Limits) -> list[Item]:
    going: list[Item] = []
    for item in oldest_first:
        if item.age_s > limits.logs_age_s or total > limits.logs_bytes:
            going.append(item)
            total -= item.size_bytes
    return going


def _weigh(path: Path) -> tuple[int, float]:
    """(bytes, newest change) of a file or folder; links are never followed."""
    found = path.lstat()
    size, newest = found.st_size, found.st_mtime
    if path.is_dir() and not path.is_symlink():
        for folder, folders, files in os.walk(path):
            for name in (*folders, *files):
                with contextlib.suppress(OSError):
                    inner = os.lstat(os.path.join(folder, name))
                    size, newest = size + inner.st_size, max(newest, inner.st_mtime)
    return size, newest


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _made(root: Path, image: str) -> float:
    """When storage got an image: its own creation time is the commit's, by which nothing can be aged."""
    try:
        return (root / "overlay-images" / image.removeprefix("sha256:")).stat().st_mtime
    except OSError:
        return math.inf  # not to be told: never old enough


def _size(text: str) -> int:
    """buildah's "12.3 MB" in bytes."""
    number, _, unit = text.partition(" ")
    try:
        return int(float(number) * {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}.get(unit.upper(), 1))
    except ValueError:
        return 0
