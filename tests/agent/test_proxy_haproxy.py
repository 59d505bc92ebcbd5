"""The proxy on the real HAProxy, with Services and replicas on loopback addresses."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import AsyncIterator, Callable

import pytest

from trueup.agent import haproxy_cli
from trueup.agent.network import Loopback
from trueup.agent.proxy import Backend, Proxy, ServicePort, ServiceSpec
from trueup.core.layout import Layout

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(shutil.which("haproxy") is None, reason="haproxy is not installed: apt-get install haproxy"),
]
SUBNETS = itertools.count(1)


class Replica:
    """A server of one replica. A request to /slow is answered when `release` is set."""

    def __init__(self, id: str, version: str = "v1") -> None:
        self.id, self.version = id, version
        self.release = asyncio.Event()
        self.dying = False  # takes requests, ends the connection without a byte
        self.slow = 0
        self.served = 0
        self.port = 0

    async def start(self) -> Replica:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def stop(self) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.served += 1
                if self.dying:
                    break
                if head.startswith(b"GET /slow"):
                    self.slow += 1
                    await self.release.wait()
                body = self.id.encode()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
                await writer.drain()
                if b"connection: close" in head.lower():
                    break
        writer.close()

    def backend(self, *, ready: bool = True, draining: bool = False) -> Backend:
        return Backend(self.id, "127.0.0.1", {"http": self.port, "raw": self.port}, ready, draining, self.version)


class Client:
    """One keep-alive connection that never retries."""

    @classmethod
    async def connect(cls, address: str, port: int = 80) -> Client:
        self = cls()
        self.reader, self.writer = await asyncio.open_connection(address, port)
        return self

    async def get(self, path: str = "/", method: str = "GET") -> tuple[int, str]:
        self.writer.write(f"{method} {path} HTTP/1.1\r\nHost: web\r\nContent-Length: 0\r\n\r\n".encode())
        head = (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 10)).decode().lower()
        size = int(head.partition("content-length: ")[2].partition("\r\n")[0])
        return int(head.split(" ")[1]), (await self.reader.readexactly(size)).decode().strip()

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


async def get(address: str, port: int = 80) -> tuple[int, str]:
    client = await Client.connect(address, port)
    try:
        return await client.get()
    finally:
        await client.close()


async def until(holds: Callable[[], bool], timeout_s: float = 10) -> None:
    async with asyncio.timeout(timeout_s):
        while not holds():  # noqa: ASYNC110 - the condition is a counter of another task
            await asyncio.sleep(0.01)


def web(*backends: Backend, ports: tuple[ServicePort, ...] = (ServicePort("http", 80),), **more: object) -> ServiceSpec:
    return ServiceSpec("default", "web", ports=ports, backends=backends, **more)  # type: ignore[arg-type]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
async def layout() -> AsyncIterator[Layout]:
    with tempfile.TemporaryDirectory(prefix="tu") as root:
        yield Layout(root)


@pytest.fixture
async def proxy(layout: Layout) -> AsyncIterator[Proxy]:
    made = Proxy(layout, Loopback(f"127.91.{next(SUBNETS)}.0/28"), outside="127.0.0.1")
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def replicas() -> AsyncIterator[list[Replica]]:
    made = [await Replica(f"web-{n}", f"v{n}").start() for n in range(1, 4)]
    yield made
    for replica in made:
        replica.release.set()
        await replica.stop()


async def workers(layout: Layout) -> haproxy_cli.Workers:
    return await haproxy_cli.workers(layout.agent + "/ha-m.sock")


async def test_serves_ready_replicas_only_and_says_503_without_one(proxy: Proxy, replicas: list[Replica]) -> None:
    one, two, three = replicas
    await proxy.sync([web(one.backend(), two.backend(), three.backend(ready=False))])
    address = proxy.address("default", "web")
    assert {(await get(address))[1] for _ in range(6)} == {"web-1", "web-2"}
    await proxy.sync([web(one.backend(ready=False), two.backend(ready=False))])
    assert await get(address) == (503, "503 no ready replica of default/web answered on port 80")
    await proxy.sync([web(one.backend())])
    assert await get(address) == (200, "web-1")


async def test_changing_servers_needs_no_reload(proxy: Proxy, layout: Layout, replicas: list[Replica]) -> None:
    one, two, three = replicas
    await proxy.sync([web(one.backend())])
    before = (await workers(layout)).pids
    await proxy.sync([web(one.backend(), two.backend())])
    await proxy.sync([web(one.backend(draining=True), two.backend(), three.backend())])
    await proxy.sync([web(three.backend())])
    assert (await workers(layout)).pids == before
    assert await get(proxy.address("default", "web")) == (200, "web-3")
    view = await haproxy_cli.view(layout.agent + "/ha-m.sock", before[0])
    assert [server.name for server in view.servers] == ["web-3:v3"]


async def test_a_replica_that_moved_is_reached_at_its_new_port(proxy: Proxy, replicas: list[Replica]) -> None:
    one, two, _ = replicas
    await proxy.sync([web(one.backend())])
    moved = Backend(one.id, "127.0.0.1", {"http": two.port}, True, False, one.version)
    await proxy.sync([web(moved)])
    assert await get(proxy.address("default", "web")) == (200, "web-2")


async def test_drained_waits_for_the_request_in_flight(proxy: Proxy, replicas: list[Replica]) -> None:
    one, two, _ = replicas
    await proxy.sync([web(one.backend())])
    slow = await Client.connect(proxy.address("default", "web"))
    answer = asyncio.create_task(slow.get("/slow"))
    await until(lambda: one.slow == 1)
    await proxy.sync([web(one.backend(draining=True), two.backend())])
    assert not await proxy.drained("web-1", 0.3)
    assert await get(proxy.address("default", "web")) == (200, "web-2")
    one.release.set()
    assert await proxy.drained("web-1", 10)
    assert await answer == (200, "web-1")
    await slow.close()


async def test_keep_alive_clients_follow_a_swap_of_replicas(proxy: Proxy, replicas: list[Replica]) -> None:
    one, two, _ = replicas
    await proxy.sync([web(one.backend())])
    client = await Client.connect(proxy.address("default", "web"))
    assert await client.get() == (200, "web-1")
    await proxy.sync([web(one.backend(draining=True), two.backend())])
    assert await proxy.drained("web-1", 5)  # the client's idle connection pins nothing
    await one.stop()
    assert await client.get() == (200, "web-2")
    await proxy.sync([web(two.backend())])
    assert await client.get() == (200, "web-2")
    await client.close()


async def test_a_reload_keeps_idle_and_busy_clients(proxy: Proxy, layout: Layout, replicas: list[Replica]) -> None:
    one, two, three = replicas
    await proxy.sync([web(one.backend())])
    address = proxy.address("default", "web")
    idle, busy = await Client.connect(address), await Client.connect(address)
    assert await idle.get() == (200, "web-1")
    answer = asyncio.create_task(busy.get("/slow"))
    await until(lambda: one.slow == 1)
    before = (await workers(layout)).pids
    other = ServiceSpec("default", "other", ports=(ServicePort("http", 80),), backends=(three.backend(),))
    await proxy.sync([web(one.backend(draining=True), two.backend()), other])
    assert (await workers(layout)).pids[0] not in before
    assert await get(proxy.address("default", "other")) == (200, "web-3")
    assert not await proxy.drained("web-1", 0.3)  # in flight in the worker that is leaving
    assert await idle.get() == (200, "web-2")  # which hands over to its successor
    one.release.set()
    assert await answer == (200, "web-1")
    assert await proxy.drained("web-1", 10)
    await idle.close()
    await busy.close()


async def test_requests_during_reloads_are_all_answered(proxy: Proxy, replicas: list[Replica]) -> None:
    one, two, _ = replicas
    await proxy.sync([web(one.backend())])
    address, over = proxy.address("default", "web"), asyncio.Event()
    answers: list[int] = []

    async def press() -> None:
        while not over.is_set():
            answers.append((await get(address))[0])

    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(press())
        for n in range(3):
            other = ServiceSpec("default", f"other-{n}", ports=(ServicePort("http", 80),))
            await proxy.sync([web(one.backend(), two.backend()), other])
        over.set()
    assert set(answers) == {200}
    assert len(answers) > 10


async def test_comes_back_after_kill_9(proxy: Proxy, layout: Layout, replicas: list[Replica]) -> None:
    one, two, _ = replicas
    await proxy.sync([web(one.backend(), two.backend(draining=True))])
    address = proxy.address("default", "web")
    watch = asyncio.create_task(proxy.ended())
    found = await workers(layout)
    await asyncio.sleep(0)
    os.kill(found.master, signal.SIGKILL)
    await asyncio.wait_for(watch, 10)
    assert await proxy.ensure()
    assert not await proxy.ensure()
    assert {(await get(address))[1] for _ in range(3)} == {"web-1"}


async def test_comes_back_after_its_worker_was_killed(proxy: Proxy, layout: Layout, replicas: list[Replica]) -> None:
    await proxy.sync([web(replicas[0].backend())])
    found = await workers(layout)
    watch = asyncio.create_task(proxy.ended())
    await asyncio.sleep(0)
    os.kill(found.pids[0], signal.SIGKILL)
    await asyncio.wait_for(watch, 10)
    assert await proxy.ensure()
    assert await get(proxy.address("default", "web")) == (200, "web-1")


async def test_another_agent_adopts_the_running_proxy(proxy: Proxy, layout: Layout, replicas: list[Replica]) -> None:
    one, two, _ = replicas
    await proxy.sync([web(one.backend(), two.backend())])
    before, address = await workers(layout), proxy.address("default", "web")
    again = Proxy(layout, proxy._network, outside="127.0.0.1")
    await again.start()
    assert await workers(layout) == before
    assert again.address("default", "web") == address
    await again.sync([web(two.backend())])
    assert await get(address) == (200, "web-2")
    assert await workers(layout) == before


async def test_a_node_port_is_bound_outside_and_a_busy_one_named(proxy: Proxy, replicas: list[Replica]) -> None:
    node, taken = free_port(), replicas[2].port
    spec = web(
        replicas[0].backend(),
        ports=(ServicePort("http", 80, node_port=node), ServicePort("raw", 81, node_port=taken)),
        type="NodePort",
    )
    troubles = await proxy.sync([spec])
    assert await get("127.0.0.1", node) == (200, "web-1")
    assert [(t.service, t.port) for t in troubles] == [("default/web", taken)]
    assert f"port {taken} on 127.0.0.1 is taken by another program" in troubles[0].message
    assert await proxy.sync([spec]) == troubles
    assert await get(proxy.address("default", "web"), 81) == (200, "web-1")
    await replicas[2].stop()
    assert await proxy.sync([spec]) == ()
    assert await get("127.0.0.1", taken) == (200, "web-1")


async def test_client_affinity_survives_a_reload(proxy: Proxy, replicas: list[Replica]) -> None:
    backends = tuple(replica.backend() for replica in replicas)
    await proxy.sync([web(*backends, affinity_s=600)])
    address = proxy.address("default", "web")
    first = await get(address)
    assert {await get(address) for _ in range(6)} == {first}
    await proxy.sync([web(*backends, affinity_s=600), ServiceSpec("default", "b", ports=(ServicePort("http", 80),))])
    assert {await get(address) for _ in range(6)} == {first}
    rest = tuple(b for b in backends if b.id != first[1])
    await proxy.sync([web(*rest, affinity_s=600)])
    assert (await get(address))[1] in {b.id for b in rest}


async def test_a_dead_replica_costs_no_request(proxy: Proxy, replicas: list[Replica]) -> None:
    one, two, _ = replicas
    await proxy.sync([web(one.backend(), two.backend())])
    await one.stop()  # nobody told the proxy
    address = proxy.address("default", "web")
    assert {await get(address) for _ in range(4)} == {(200, "web-2")}


async def test_a_safe_request_in_flight_at_a_dying_replica_is_asked_of_another(
    proxy: Proxy, replicas: list[Replica]
) -> None:
    dying, other = replicas[:2]
    dying.dying = True
    await proxy.sync([web(dying.backend(), other.backend())])
    client = await Client.connect(proxy.address("default", "web"))
    try:
        assert [await client.get() for _ in range(6)] == [(200, other.id)] * 6
    finally:
        await client.close()
    assert dying.served > 0


async def test_a_request_that_may_have_been_processed_is_never_sent_again(
    proxy: Proxy, replicas: list[Replica]
) -> None:
    dying, other = replicas[:2]
    dying.dying = True
    await proxy.sync([web(dying.backend(), other.backend(ready=False))])
    client = await Client.connect(proxy.address("default", "web"))
    try:
        status, _ = await client.get(method="POST")
    finally:
        await client.close()
    assert status == 502
    assert (dying.served, other.served) == (1, 0)


async def test_counts_requests_per_version_over_reloads(proxy: Proxy, replicas: list[Replica]) -> None:
    one, two, _ = replicas
    await proxy.sync([web(one.backend())])
    address = proxy.address("default", "web")
    for _ in range(3):
        await get(address)
    await proxy.sync([web(one.backend()), ServiceSpec("default", "b", ports=(ServicePort("http", 80),))])
    for _ in range(2):
        await get(address)
    await proxy.sync([web(two.backend())])
    await get(address)
    counts = {stats.version: (stats.requests, stats.errors_5xx) for stats in await proxy.stats()}
    assert counts == {"v1": (5, 0), "v2": (1, 0)}


async def test_a_tcp_port_drains_by_connection(proxy: Proxy, replicas: list[Replica]) -> None:
    one, two, _ = replicas
    ports = (ServicePort("raw", 81),)
    await proxy.sync([web(one.backend(), ports=ports)])
    client = await Client.connect(proxy.address("default", "web"), 81)
    assert await client.get() == (200, "web-1")
    await proxy.sync([web(one.backend(draining=True), two.backend(), ports=ports)])
    assert await client.get() == (200, "web-1")
    assert not await proxy.drained("web-1", 0.2)
    await client.close()
    assert await proxy.drained("web-1", 10)
