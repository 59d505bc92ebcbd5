"""Leaving a machine: stop and remove what one state folder runs; weigh what it keeps; forget that, too, when told.

Everything is found by the folder and its label. Never touches what another state folder or a person made.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from trueup.core.layout import LABEL_STATE, Layout
from trueup.drivers.builders.index import Index
from trueup.drivers.targets.host import Host
from trueup.engine.registry import Registry
from trueup.store.keys import SEALING, sealing_key

PODMAN_S = 120.0
AGENT_S = 30.0
LOOK_S = 0.05


class NotLeft(Exception):
    """Something could not be removed; the message says what and what to try."""


class Kept(Struct, frozen=True):
    """One thing that stays on the disk."""

    what: str
    where: str
    size_bytes: int


FOLDERS: Mapping[str, str] = {
    "the embedded registry": "registry",
    "what was built before": "builder",
    "clones of the repositories": "git",
    "remote bases and charts": "remotes",
    "workspaces of pipelines": "runs",
    "logs": "logs",
    "the agent's memory and volumes": "agent",
    "what was applied to the cluster: without it nothing is deleted there": "cluster",
    "keys": "keys",
}
FILES: Mapping[str, tuple[str, ...]] = {
    "the ledger": ("ledger.db", "ledger.db-wal"),
    "records: bundles, plans, findings": ("records.db", "records.db-wal"),
    "renders": ("renders.db", "renders.db-wal"),
    "secrets": ("secrets.db",),
}


async def leave(layout: Layout, environ: Mapping[str, str], say: Callable[[str], None]) -> None:
    """Stop and remove containers, Services, network, proxy, agent and registry. What is kept stays on the disk.

    Raises NotLeft, TargetDown, RegistryDown."""
    if Path(layout.agent).is_dir():
        say(await _end_agent(layout))
    jobs = (
        await _podman(layout, environ, "ps", "--all", "--quiet", "--filter", f"label={LABEL_STATE}={layout.id}")
    ).split()
    if jobs:
        await _podman(layout, environ, "rm", "--force", "--time", "5", *jobs)
        say(f"{len(jobs)} containers of pipelines are gone")
    if Path(layout.registry).is_dir():
        await Registry(layout).stop()
        say("the embedded registry is stopped")


async def _end_agent(layout: Layout) -> str:
    host = Host(layout)
    try:
        await host.ensure()
        hello = await host.hello()
        said = await host.down()
    finally:
        await host.close()
    async with asyncio.timeout(AGENT_S):
        # The agent is nobody's child here, or ours and never waited for: its end is seen by looking.
        while hello is not None and _runs(hello.pid):  # noqa: ASYNC110
            await asyncio.sleep(LOOK_S)
    return said


def _runs(pid: int) -> bool:
    """Source: proc(5), /proc/pid/stat: after the name in brackets comes the state, Z for a process that has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def weigh(layout: Layout, environ: Mapping[str, str]) -> tuple[Kept, ...]:
    """What this state folder keeps, the largest first, with the images that only it has named."""
    kept = await asyncio.to_thread(_weigh, layout)
    kept += [Kept("image", _called(image), image.size) for image in await _images(layout, environ)]
    return tuple(sorted(kept, key=lambda k: (-k.size_bytes, k.what)))


async def forget(layout: Layout, environ: Mapping[str, str]) -> None:
    """Remove all that `weigh` lists, for good. Only after `leave`. Raises NotLeft."""
    names = [name for image in await _images(layout, environ) for name in image.names]
    for name in names:
        await _podman(layout, environ, "rmi", "--force", name)
    try:
        await asyncio.to_thread(_forget, layout)
    except OSError as error:
        raise NotLeft(f"{error.filename}: {error.strerror}; remove it by hand: rm -r {layout.root}") from error


def _forget(layout: Layout) -> None:
    apart = [sealing_key(layout, name) for name in SEALING]
    shutil.rmtree(layout.root)
    for key in apart:
        key.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        apart[0].parent.rmdir()


def _weigh(layout: Layout) -> list[Kept]:
    found = [Kept(what, layout / name, _size(Path(layout / name))) for what, name in FOLDERS.items()]
    found += [
        Kept(what, layout / names[0], sum(_size(Path(layout / n)) for n in names)) for what, names in FILES.items()
    ]
    return [k for k in found if Path(k.where).exists()]


def _size(path: Path) -> int:
    """Bytes on the disk, not what sparse files claim. What vanishes meanwhile counts nothing."""
    if not path.is_dir():
        return path.lstat().st_blocks * 512 if path.exists() else 0
    total = 0
    for above, _, files in os.walk(path):
        for name in files:
            try:
                total += os.lstat(os.path.join(above, name)).st_blocks * 512
            except FileNotFoundError:
                continue
    return total


class Image(Struct, frozen=True):
    """One image with all its names of ours."""

    names: tuple[str, ...]
    size: int


def _called(image: Image) -> str:
    more = f" and {len(image.names) - 1} more names" if len(image.names) > 1 else ""
    return f"{min(image.names, key=lambda n: ('@' in n, n))}{more}"


class Listed(Struct, rename="pascal"):
    """Source: podman-images(1), --format json, 4.3."""

    id: str
    size: int = 0
    names: list[str] | None = None


async def _images(layout: Layout, environ: Mapping[str, str]) -> list[Image]:
    """Images in Podman's storage under names of ours: what was built here, and what the mirror handed out."""
    if not Path(layout.registry).is_dir():
        return []
    mine = {entry.name for entry in Index(Path(layout / "builder")).names()}
    mirrors = tuple(f"{address}/" for address in Registry(layout).addresses())
    listed = msgspec.json.decode(await _podman(layout, environ, "images", "--format", "json"), type=list[Listed])
    return ours(listed, mine, mirrors)


def ours(listed: Iterable[Listed], mine: Collection[str], mirrors: tuple[str, ...]) -> list[Image]:
    """The images under names of ours, each once: Podman lists an image anew for every name it has."""
    found = {
        image.id: Image(names, image.size)
        for image in listed
        if (names := tuple(n for n in image.names or () if n in mine or n.startswith(mirrors)))
    }
    return list(found.values())


async def _podman(layout: Layout, environ: Mapping[str, str], *words: str) -> str:
    own = {"CONTAINERS_CONF": layout.containers_conf} if Path(layout.containers_conf).exists() else {}
    try:
        podman = await asyncio.create_subprocess_exec(
            "podman", *words, env={**environ, **own}, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
    except FileNotFoundError:
        return "[]" if words[0] == "images" else ""  # without Podman there is nothing of ours in it
    out, err = await asyncio.wait_for(podman.communicate(), PODMAN_S)
    if podman.returncode:
        said = err.decode(errors="replace").strip().splitlines()
        raise NotLeft(f"podman {' '.join(words[:2])}: {said[-1] if said else podman.returncode}")
    return out.decode()
