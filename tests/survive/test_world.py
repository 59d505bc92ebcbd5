"""What happens around the loop and is not the change's fault: each is said in one sentence, and none makes an undo.

One world for all of them, its state folder on a small disk of its own; each test leaves it whole.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from survive.real import Real, first, page, real
from trueup.engine.registry import Registry

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

DISK_MB = 160
VERSIONS = itertools.count(2)


@pytest.fixture(scope="module")
def disk() -> Iterator[Path]:
    """A disk that can be filled without harm to the machine."""
    folder = Path(tempfile.mkdtemp(prefix="trueup-disk-", dir="/tmp"))
    words = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m,mode=0755", "tmpfs", str(folder)]
    if subprocess.run(words, capture_output=True).returncode:
        folder.rmdir()
        pytest.skip("needs the right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)
    folder.rmdir()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(disk: Path) -> AsyncIterator[Real]:
    async with real(disk / "state") as made:
        await made.up()
        commit = await made.push(first(), "first")
        await made.until("the first push healthy", lambda: made.good(commit))
        await made.serve()
        yield made


@pytest.fixture(autouse=True)
def afresh(world: Real) -> None:
    """Each test hears only what happens in it."""
    world.moments.clear()


async def pushed(world: Real) -> str:
    version = next(VERSIONS)
    return await world.push(page(str(version)), f"version {version}")


async def recovered(world: Real, commit: str) -> None:
    """It becomes healthy by itself, nothing was undone, and nobody lost a request."""
    await world.until("healthy after all", lambda: world.good(commit), 120)
    assert world.undos() == 0
    assert not [m for m in world.moments if m.kind in ("application.condemned", "candidate.red")], world.told()
    count = world.traffic.count()
    assert count.lost == 0 and count.answered > 0, world.traffic.reasons()


async def problem(world: Real, *words: str) -> str:
    """What the running loop says it is stuck on, or has recorded, with all of these words in it."""

    async def ask() -> str | None:
        told = [m.text for m in world.moments] + await problems(world)
        return next((text for text in told if all(w.lower() in text.lower() for w in words)), None)

    return await world.until_asked(f"a message with {words}", ask)


async def problems(world: Real) -> list[str]:
    """What `trueup status` says is in the way."""
    ended = await world.loop.trueup("status", "--output", "json")
    assert ended.code == 0, ended.said
    return list(msgspec.json.decode(ended.said)["problems"].values())


async def test_the_registry_is_killed_and_its_port_taken(world: Real) -> None:
    registry = Registry(world.layout)
    address, pid = await registry.address(), registry.pid()
    assert address is not None and pid is not None
    os.kill(pid, signal.SIGKILL)
    with socket.socket() as squatter:
        squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        await bound(squatter, int(address.rpartition(":")[2]))
        await recovered(world, await pushed(world))
        assert await registry.address() not in (None, address)


async def bound(squatter: socket.socket, port: int) -> None:
    async with asyncio.timeout(10):
        while True:
            try:
                squatter.bind(("127.0.0.1", port))
                return squatter.listen()
            except OSError:
                await asyncio.sleep(0.05)


async def test_the_registry_cannot_start(world: Real) -> None:
    folder = Path(world.layout.registry)
    pid = Registry(world.layout).pid()
    assert pid is not None
    (folder / "data").rename(folder / "away")
    (folder / "data").write_text("no folder")
    os.kill(pid, signal.SIGKILL)
    commit = await pushed(world)
    print(await problem(world, "registry", str(folder)))
    (folder / "data").unlink()
    (folder / "away").rename(folder / "data")
    await recovered(world, commit)


async def test_the_remote_is_down_when_it_is_looked_at(world: Real) -> None:
    commit = await pushed(world)
    await world.until("healthy", lambda: world.good(commit))
    remote = world.person.remote
    remote.rename(remote.with_suffix(".away"))
    print(await problem(world, "the remote cannot be read", str(remote)))
    remote.with_suffix(".away").rename(remote)
    await world.until("it is seen", lambda: world.said("the remote can be read again"))
    await recovered(world, await pushed(world))


async def test_the_remote_goes_down_during_our_push(world: Real) -> None:
    world.person.hook('read old new ref\ntest "$(git log -1 --format=%cn "$new")" != Trueup || kill -9 $PPID\n')
    commit = await pushed(world)
    print(await problem(world, "hung up"))
    world.person.unhook()
    await recovered(world, commit)


@contextmanager
def full(folder: Path, leave_bytes: int) -> Iterator[None]:
    """The disk below `folder` has at most this much left. Others write there meanwhile, so it is filled by pieces."""
    ballast, size, piece = folder / "ballast", 0, 1 << 20
    try:
        with ballast.open("wb") as file:
            while piece >= 4096 and free(folder) > leave_bytes:
                try:
                    os.posix_fallocate(file.fileno(), size, min(piece, max(4096, free(folder) - leave_bytes)))
                    size = os.fstat(file.fileno()).st_size
                except OSError:
                    piece //= 2
        yield
    finally:
        ballast.unlink()


def free(folder: Path) -> int:
    room = os.statvfs(folder)
    return room.f_bavail * room.f_frsize


async def test_the_disk_is_full_for_the_build(world: Real, disk: Path) -> None:
    with full(disk, 2 << 20):
        commit = await pushed(world)
        print(await problem(world, "space"))
    await recovered(world, commit)


async def test_the_disk_is_full_for_the_ledger(world: Real, disk: Path) -> None:
    with full(disk, 0):
        commit = await pushed(world)
        print(await problem(world, "disk"))
    await recovered(world, commit)


async def test_podmans_service_is_killed_in_the_middle_of_a_rollout(world: Real) -> None:
    commit = await pushed(world)
    await world.until("the rollout has begun", lambda: world.said(f"rolling out {commit[:10]}"))
    pid = int((Path(world.layout.agent) / "podman.pid").read_text().split()[0])
    os.kill(pid, signal.SIGKILL)
    await recovered(world, commit)


async def test_a_second_loop_on_the_same_state_folder_is_refused_by_name(world: Real) -> None:
    assert world.loop.up is not None
    second = await world.loop.trueup("up", str(world.person.remote))
    assert second.code == 3
    assert world.layout.root in second.said and str(world.loop.up.pid) in second.said, second.said
    assert "Traceback" not in second.said
    await recovered(world, await pushed(world))


async def test_down_twice_is_as_good_as_once(world: Real) -> None:
    await world.traffic.stop()
    mirrors = Registry(world.layout).addresses()
    assert len(mirrors) > 1, "its port was taken by a test above"
    assert named(world, mirrors)
    for _ in range(2):
        ended = await world.loop.down()
        assert ended.code == 0, ended.said
    assert world.containers() == set()
    ended = await world.loop.down(data=True)
    assert ended.code == 0, ended.said
    assert not named(world, mirrors), "an image of ours is left"


def named(world: Real, mirrors: tuple[str, ...]) -> list[str]:
    """Images of ours: under an address that the registry has, or had."""
    return [mirror for mirror in mirrors if f"{mirror}/" in world.images()]
