"""The bridge, the edge, the names and the proxy together, seen from real containers."""

from __future__ import annotations

import asyncio
import io
import shutil
import socket
import subprocess
import tarfile
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from trueup.agent.dns import Dns
from trueup.agent.network import Network
from trueup.agent.network_run import run
from trueup.agent.proxy import Backend, Proxy, ServicePort, ServiceSpec
from trueup.core.layout import LABEL_STATE, Layout

MISSING = [tool for tool in ("podman", "haproxy", "ip", "iptables") if shutil.which(tool) is None]
pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {' '.join(MISSING)}"),
]
SERVER = """
import http.server, os
class H(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = os.environ["NAME"].encode()
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers()
        self.wfile.write(body)
http.server.ThreadingHTTPServer(("0.0.0.0", 8080), H).serve_forever()
"""
FETCH = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=5).read().decode())"


class Host:
    """One state folder's network, and containers that see the host's own /usr instead of an image of their own."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.network = Network(layout)
        self.image = f"localhost/trueup-test/{layout.id}:1"

    async def podman(self, *args: str) -> str:
        got = await run(["env", f"CONTAINERS_CONF={self.layout.containers_conf}", "podman", *args], timeout_s=60)
        assert got.code == 0, got.err
        return got.out.strip()

    async def make_image(self) -> None:
        data = Path(self.layout.root, "root.tar")
        with tarfile.open(data, "w") as tar:
            for name in ("usr", "etc", "tmp", "proc", "sys", "dev"):
                entry = tarfile.TarInfo(name)
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(entry)
            for name in ("bin", "lib", "lib64", "sbin"):
                entry = tarfile.TarInfo(name)
                entry.type, entry.linkname = tarfile.SYMTYPE, f"usr/{name}"
                tar.addfile(entry)
            entry = tarfile.TarInfo("etc/nsswitch.conf")
            entry.size = len(b"hosts: files dns\n")
            tar.addfile(entry, io.BytesIO(b"hosts: files dns\n"))
        await self.podman("import", "-q", str(data), self.image)

    def args(self, *args: str) -> list[str]:
        facts = self.network.facts
        assert facts is not None
        search = [word for domain in facts.search("default") for word in ("--dns-search", domain)]
        options = [word for option in facts.options for word in ("--dns-option", option)]
        fixed = ["--network", facts.name, "--dns", facts.dns, "--label", f"{LABEL_STATE}={self.layout.id}"]
        return [*fixed, *search, *options, "-v", "/usr:/usr:ro", *args, self.image]

    async def serve(self, name: str) -> str:
        """Start a server container; its address."""
        args = self.args("-d", "--name", f"{name}-{self.layout.id}", "-e", f"NAME={name}")
        await self.podman("run", *args, "/usr/bin/python3", "-c", SERVER)
        form = f'{{{{(index .NetworkSettings.Networks "{self.network.name}").IPAddress}}}}'
        address = await self.podman("inspect", f"{name}-{self.layout.id}", "--format", form)
        await until_open(address, 8080)
        return address

    async def fetch(self, url: str) -> str:
        """What a container of the namespace "default" gets."""
        return await self.podman("run", *self.args("--rm"), "/usr/bin/python3", "-c", FETCH, url)

    async def close(self) -> None:
        await self.podman("rm", "-f", "-t", "0", "--filter", f"label={LABEL_STATE}={self.layout.id}")
        await self.podman("rmi", "-f", self.image)
        await self.network.remove()


async def until_open(address: str, port: int) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                _, writer = await asyncio.open_connection(address, port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return await writer.wait_closed()


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    with tempfile.TemporaryDirectory(prefix="tu") as root:
        made = Host(Layout(root))
        await made.network.ensure()
        await made.make_image()
        yield made
        await made.close()


def links() -> str:
    return subprocess.run(["ip", "-br", "link"], capture_output=True, text=True, check=True, timeout=10).stdout


async def test_containers_and_host_reach_a_service_by_name_and_address(host: Host) -> None:
    network = host.network
    facts = network.facts
    assert facts is not None
    proxy = Proxy(host.layout, network, outside="127.0.0.1")
    dns = Dns(facts.dns, open_socket=network.listen, resolvers=[])
    with socket.socket() as other:  # the host's own listener on the very port of the Service
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("0.0.0.0", 0))
        other.listen()
        port = other.getsockname()[1]
        try:
            await dns.start()
            await proxy.start()
            one, two = await asyncio.gather(host.serve("one"), host.serve("two"))
            both = (
                Backend("one", one, {"http": 8080}, True),
                Backend("two", two, {"http": 8080}, True, draining=True),
            )
            spec = ServiceSpec("default", "web", ports=(ServicePort("http", port),), backends=both)
            bare = ServiceSpec("default", "bare", "None", ports=(ServicePort("http", 8080),), backends=both[:1])
            assert await proxy.sync([spec, bare]) == ()
            dns.set(proxy.records())
            address = proxy.address("default", "web")
            assert await host.fetch(f"http://web:{port}/") == "one"
            assert await host.fetch(f"http://web.default.svc.cluster.local:{port}/") == "one"
            assert await host.fetch("http://bare:8080/") == "one"
            got = await run(["curl", "-s", "-m", "5", "--noproxy", "*", f"http://{address}:{port}/"])
            assert got.out == "one"
        finally:
            await proxy.stop()
            await dns.stop()


async def test_the_bridge_outlives_its_last_container_and_is_mended(host: Host) -> None:
    network = host.network
    facts = network.facts
    assert facts is not None
    address = await host.serve("one")
    await host.podman("rm", "-f", "-t", "0", f"one-{host.layout.id}")
    assert facts.bridge in links()
    await network.hold([network.pool[0]])
    identity = network.identity
    await run(["ip", "link", "del", facts.bridge])
    assert await network.ensure() == facts
    assert await host.serve("two") != ""
    assert address.startswith(facts.subnet.rpartition(".")[0].rpartition(".")[0])
    got = await run(["ip", "-n", network.namespace, "-br", "addr"])
    assert f"{network.pool[0]}/32" in got.out
    assert network.identity == identity


async def test_replicas_that_come_and_go_do_not_change_the_hardware_address_that_others_answer_to(host: Host) -> None:
    facts = host.network.facts
    assert facts is not None
    file, name = Path("/sys/class/net", facts.bridge, "address"), f"lo{host.layout.id}"
    before = file.read_text()
    lowest = ["ip", "link", "add", name, "address", "02:00:00:00:00:01", "type", "veth", "peer", "name", f"{name}p"]
    try:
        assert (await run(lowest)).code == 0
        assert (await run(["ip", "link", "set", name, "master", facts.bridge])).code == 0
        assert file.read_text() == before
        assert before.strip() == host.network.hardware_address
    finally:
        await run(["ip", "link", "del", name])
    assert file.read_text() == before


async def test_the_proxy_moves_when_the_edge_was_made_anew(host: Host) -> None:
    network = host.network
    proxy = Proxy(host.layout, network, outside="127.0.0.1")
    await proxy.start()
    try:
        one = await host.serve("one")
        spec = ServiceSpec(
            "default", "web", ports=(ServicePort("http", 80),), backends=(Backend("one", one, {"http": 8080}, True),)
        )
        await proxy.sync([spec])
        await run(["ip", "netns", "del", network.namespace])
        await network.ensure()
        assert await proxy.sync([spec]) == ()
        address = proxy.address("default", "web")
        got = await run(["curl", "-s", "-m", "5", "--noproxy", "*", f"http://{address}/"])
        assert got.out == "one"
    finally:
        await proxy.stop()


async def test_nothing_is_left_after_remove(host: Host) -> None:
    facts = host.network.facts
    assert facts is not None
    await host.serve("one")
    await host.podman("rm", "-f", "-t", "0", f"one-{host.layout.id}")
    await host.network.remove()
    assert facts.bridge not in links()
    assert host.network.pin not in links()
    rules = [(await run(["iptables", "-w", "5", "-t", table, "-S"])).out for table in ("nat", "filter")]
    assert facts.subnet not in "".join(rules)
    again = await host.network.ensure()
    assert again.subnet == facts.subnet
