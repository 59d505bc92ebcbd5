from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from trueup.core.layout import Layout
from trueup.engine.registry import PROGRAM, Registry, RegistryDown

pytestmark = pytest.mark.integration
KIND = "application/vnd.oci.image.manifest.v1+json"


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    if shutil.which(PROGRAM) is None:
        pytest.skip(f"not installed: {PROGRAM}")
    return Layout(str(tmp_path / "state"))


@pytest.fixture
async def registry(layout: Layout) -> AsyncIterator[Registry]:
    found = Registry(layout)
    yield found
    await found.stop()


async def put_image(address: str, repository: str, tag: str, content: bytes) -> str:
    """Push an image of one layer by hand; its digest."""
    parts = []
    async with aiohttp.ClientSession() as http:
        for data in (b"{}", content):
            digest = "sha256:" + hashlib.sha256(data).hexdigest()
            async with http.post(f"http://{address}/v2/{repository}/blobs/uploads/") as begun:
                where = begun.headers["Location"]
            async with http.put(where, params={"digest": digest}, data=data) as done:
                assert done.status == 201
            parts.append({"mediaType": "application/octet-stream", "digest": digest, "size": len(data)})
        manifest = json.dumps({"schemaVersion": 2, "mediaType": KIND, "config": parts[0], "layers": parts[1:]}).encode()
        url = f"http://{address}/v2/{repository}/manifests/{tag}"
        async with http.put(url, data=manifest, headers={"Content-Type": KIND}) as done:
            assert done.status == 201
    return "sha256:" + hashlib.sha256(manifest).hexdigest()


async def has(address: str, repository: str, digest: str) -> bool:
    async with aiohttp.ClientSession() as http:
        url = f"http://{address}/v2/{repository}/manifests/{digest}"
        async with http.get(url, headers={"Accept": KIND}) as answer:
            return answer.status == 200


async def gone(pid: int) -> None:
    """Wait until a process is dead, reaped or not."""
    while True:
        try:
            if not Path(f"/proc/{pid}/cmdline").read_bytes():
                return
        except OSError:
            return
        await asyncio.sleep(0.01)


async def test_one_whose_folder_was_wiped_is_ended(layout: Layout, registry: Registry) -> None:
    await registry.start()
    lost = registry.pid()
    assert lost is not None
    shutil.rmtree(layout.registry)
    await registry.start()
    assert registry.pid() != lost
    await asyncio.wait_for(gone(lost), 10)


async def test_it_is_found_again_and_keeps_its_address(layout: Layout, registry: Registry) -> None:
    address = await registry.start()
    pid = registry.pid()
    again = Registry(layout)
    assert await again.start() == address
    assert again.pid() == pid
    digest = await put_image(address, "ghcr.io/acme/app", "1", b"one")
    await again.stop()
    assert await registry.address() is None
    assert await registry.start() == address
    assert await has(address, "ghcr.io/acme/app", digest)


async def test_a_killed_one_is_started_again(registry: Registry) -> None:
    address = await registry.start()
    pid = registry.pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await asyncio.wait_for(gone(pid), 10)
    assert await registry.start() == address
    assert registry.pid() != pid


async def test_starting_twice_at_once_gives_one(layout: Layout, registry: Registry) -> None:
    found = await asyncio.gather(registry.start(), Registry(layout).start(), registry.start())
    assert len(set(found)) == 1


async def test_a_stale_process_id_is_nobody_of_ours(layout: Layout, registry: Registry) -> None:
    await registry.start()
    await registry.stop()
    (Path(layout.registry) / "pid").write_text(str(os.getpid()))
    assert registry.pid() is None
    await registry.stop()
    assert await registry.start()


async def test_a_taken_port_is_left_to_its_owner(layout: Layout, registry: Registry) -> None:
    address = await registry.start()
    await registry.stop()
    port = int(address.rpartition(":")[2])
    other = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", port)
    async with other:
        now = await registry.start()
        assert now != address
        assert registry.addresses() == (address, now), "images of the first address are still ours"
    await registry.stop()
    assert await registry.start() == now


async def test_what_is_dropped_frees_what_nothing_else_needs(registry: Registry) -> None:
    address = await registry.start()
    shared, own = os.urandom(1000), os.urandom(50_000)
    keep = await put_image(address, "ghcr.io/acme/app", "1", shared)
    drop = await put_image(address, "ghcr.io/acme/app", "2", own)
    both = await put_image(address, "ghcr.io/acme/twin", "1", shared)
    assert {(s.repository, s.digest, s.tags) for s in registry.stored()} == {
        ("ghcr.io/acme/app", keep, ("1",)),
        ("ghcr.io/acme/app", drop, ("2",)),
        ("ghcr.io/acme/twin", both, ("1",)),
    }
    assert registry.blobs(drop)[drop] < 1000 < sum(registry.blobs(drop).values())
    won = await registry.collect([("ghcr.io/acme/app", drop), ("ghcr.io/acme/twin", both)])
    assert 50_000 <= won < 51_500
    address = await registry.start()
    assert await has(address, "ghcr.io/acme/app", keep)
    assert not await has(address, "ghcr.io/acme/app", drop)
    again = await put_image(address, "ghcr.io/acme/app", "2", own)
    assert again == drop
    assert await has(address, "ghcr.io/acme/app", drop)


async def test_cleaning_waits_for_those_who_push(registry: Registry) -> None:
    async with registry.writing():
        cleaning = asyncio.ensure_future(registry.collect([]))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(cleaning), 0.2)
    assert await cleaning == 0


async def test_one_that_cannot_run_says_why(layout: Layout, tmp_path: Path) -> None:
    with pytest.raises(RegistryDown, match="apt-get install docker-registry"):
        await Registry(layout, program="no-such-registry").start()
    script = tmp_path / "broken"
    script.write_text("#!/bin/sh\necho cannot bind: in use >&2\nexit 1\n")
    script.chmod(0o755)
    with pytest.raises(RegistryDown, match="cannot bind: in use"):
        await Registry(layout, program=str(script)).start()
