"""The proxy in front of every Service: keeps HAProxy in step with the Services and replicas it is told of.

It decides which replica gets requests and never which replica runs; it never restarts HAProxy to change a server.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Sequence
from pathlib import Path

import msgspec

from trueup.agent import haproxy_cli as cli
from trueup.agent import haproxy_process as process
from trueup.agent.haproxy_cli import ProxyError
from trueup.agent.haproxy_config import bound, ground, mark, render, server_prefix
from trueup.agent.network import Addresses
from trueup.agent.proxy_model import (
    Backend,
    Bind,
    Kept,
    Listener,
    ServicePort,
    ServiceRecord,
    ServiceSpec,
    Trouble,
    allocate,
    listeners,
    records,
)
from trueup.agent.proxy_stats import Totals, VersionStats, add
from trueup.core.layout import Layout

__all__ = [
    "Backend",
    "Proxy",
    "ProxyError",
    "ServicePort",
    "ServiceRecord",
    "ServiceSpec",
    "Trouble",
    "VersionStats",
]

TRIES = 3
DRAIN_LOOK_S = (0.02, 0.25)  # first and longest pause between two looks


class Proxy:
    """HAProxy of one state folder. `outside` is where NodePort and LoadBalancer Services are bound."""

    def __init__(self, layout: Layout, network: Addresses, *, outside: str = "0.0.0.0") -> None:
        self._network = network
        self._outside = outside
        self._paths = process.paths_of(layout)
        self._file = Path(layout.agent, "proxy.json")
        self._lock = asyncio.Lock()
        self._kept = Kept()
        self._totals = Totals()

    async def start(self) -> None:
        """Serve what was served last, by the HAProxy that still runs or by a new one. Raises ProxyError, NetworkError.

        The network must be set up before."""
        async with self._lock:
            self._kept = await asyncio.to_thread(_load, self._file)
            await self._apply(self._kept.services)

    async def ensure(self) -> bool:
        """Start HAProxy again if it has ended; True when it had."""
        async with self._lock:
            if await process.alive(self._paths) is not None:
                return False
            await self._apply(self._kept.services)
            return True

    async def ended(self) -> None:
        """Return when HAProxy has ended (at once when none runs): then call `ensure`. Costs nothing while waiting."""
        found = await process.alive(self._paths)
        if found is not None:
            await process.ended(found.master)

    async def sync(self, services: Sequence[ServiceSpec]) -> tuple[Trouble, ...]:
        """Serve exactly these Services: idempotent, and without a reload unless a port or a Service came or went.

        A port that cannot be served is returned, all others are. Raises ProxyError, NetworkError, PoolEmpty."""
        async with self._lock:
            return await self._apply(services)

    async def drained(self, backend_id: str, timeout_s: float) -> bool:
        """Wait until no request is in flight at this backend in any worker; False when the time was up.

        It must have been synced as draining (or left out) before. Two looks must agree, for a request may be on its
        way to a server in the instant that it is closed."""
        pause, longest = DRAIN_LOOK_S
        calm = 0
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    calm = calm + 1 if await self._in_flight(backend_id) == 0 else 0
                    if calm == 2:
                        return True
                    await asyncio.sleep(pause)
                    pause = min(pause * 1.5, longest) if calm == 0 else DRAIN_LOOK_S[0]
        except TimeoutError:
            return False

    def address(self, namespace: str, name: str) -> str:
        """The Service's address, "" when it has none (headless, or not synced yet)."""
        return self._kept.addresses.get(f"{namespace}/{name}", "")

    def node_port(self, namespace: str, name: str, port_key: str) -> int:
        """The port on the host of a NodePort or LoadBalancer Service's port, 0 when it has none."""
        return self._kept.node_ports.get(f"{namespace}/{name}/{port_key}", 0)

    def records(self) -> tuple[ServiceRecord, ...]:
        """What `Dns.set` is to be given after a sync."""
        return records(self._kept)

    async def stats(self) -> tuple[VersionStats, ...]:
        """Totals per Service and version since this object was made; empty while HAProxy is down."""
        async with self._lock:
            await self._count()
            return tuple(self._totals.sums[key] for key in sorted(self._totals.sums))

    async def stop(self) -> None:
        """End HAProxy and give its addresses back; what it served is remembered. Requests in flight are lost."""
        async with self._lock:
            await process.stop(self._paths)
            await self._network.hold(())

    async def _apply(self, services: Sequence[ServiceSpec]) -> tuple[Trouble, ...]:
        kept = allocate(self._kept, services, self._network.pool)
        old = await self._bound()
        desired, troubles = listeners(kept, outside=self._outside, namespace=self._network.namespace)
        held = {kept.addresses[s.key] for s in services if s.has_address}
        await self._network.hold(held | {bind.address for bind in old if bind.namespace == self._network.namespace})
        desired, busy = _without_busy(desired, old)
        await asyncio.to_thread(_save, self._file, kept)
        self._kept = kept
        await self._serve(desired)
        await self._network.hold(held)
        return (*troubles, *busy)

    async def _bound(self) -> frozenset[Bind]:
        """What the running HAProxy listens on; nothing when none runs, and then nothing of an earlier one either."""
        if await process.alive(self._paths) is not None:
            return bound(await asyncio.to_thread(process.read, self._paths))
        await process.reap(self._paths)
        return frozenset()

    async def _serve(self, desired: list[Listener]) -> None:
        """The file first, so that whatever restarts HAProxy from here on begins with what is desired."""
        identity = self._network.identity
        before = await asyncio.to_thread(process.read, self._paths)
        await asyncio.to_thread(process.write, self._paths, render(desired, self._paths, identity))
        has = await self._mark()
        if has and not has.endswith(ground(identity)):
            await process.stop(self._paths)
            has = ""
        if not has:
            await process.start(self._paths)
        elif has != mark(desired, identity):
            await self._count()
            await self._reload(before)
        await self._servers(desired)

    async def _reload(self, before: str) -> None:
        try:
            await process.reload(self._paths)
        except ProxyError:
            await asyncio.to_thread(process.write, self._paths, before)  # what is served is what stands there
            raise

    async def _mark(self) -> str:
        """What the running HAProxy was started with, "" when none runs."""
        found = await process.alive(self._paths)
        return await cli.description(self._paths.master, found.pids[0]) if found is not None else ""

    async def _servers(self, desired: list[Listener]) -> None:
        """Only the newest worker is told: the ones before it send new requests on to it."""
        master = self._paths.master
        newest = (await cli.workers(master)).pids[0]
        for _ in range(TRIES):
            view = await cli.view(master, newest)
            commands = cli.changes(desired, view)
            if not commands:
                return await self._remove(newest, cli.removals(desired, view))
            said = await cli.tell(master, newest, commands)
        raise ProxyError(f"HAProxy does not take its servers: {said[:300]}")

    async def _remove(self, worker: int, commands: Sequence[str]) -> None:
        if commands:
            await self._count()  # a deleted server takes its counters along
            await cli.tell(self._paths.master, worker, commands)

    async def _in_flight(self, backend_id: str) -> int:
        prefix = server_prefix(backend_id)
        try:
            look = await self._look()
        except cli.Silent:
            return 0 if await process.alive(self._paths) is None else 1
        except ProxyError:
            return 1  # not told: unread is not empty, and the next look knows more
        return sum(load.current for rows in look.values() for load in rows if load.server.startswith(prefix))

    async def _count(self) -> None:
        try:
            self._totals = add(self._totals, await self._look())
        except cli.Silent:
            self._totals = add(self._totals, {})
        except ProxyError:
            pass  # the next look counts what this one missed

    async def _look(self) -> dict[int, list[cli.Load]]:
        found = await cli.workers(self._paths.master)
        return {pid: await cli.loads(self._paths.master, pid) for pid in found.pids}


_BUSY = "port {} on {} is taken by another program (see: ss -ltnp 'sport = :{}'); stop it or choose another port for {}"


def _without_busy(desired: list[Listener], old: frozenset[Bind]) -> tuple[list[Listener], list[Trouble]]:
    """Leave out what another program listens on: HAProxy would either refuse as a whole or share the port with it."""
    made: list[Listener] = []
    troubles: list[Trouble] = []
    for listener in desired:
        busy = [bind for bind in listener.binds if bind not in old and not bind.namespace and _taken(bind)]
        for bind in busy:
            message = _BUSY.format(bind.port, bind.address, bind.port, f"Service {listener.service}")
            troubles.append(Trouble(listener.service, bind.port, message))
        binds = tuple(bind for bind in listener.binds if bind not in busy)
        if binds:
            made.append(msgspec.structs.replace(listener, binds=binds))
    return made, troubles


def _taken(bind: Bind) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((bind.address, bind.port))
            probe.listen(1)
        except OSError:
            return True
    return False


def _load(file: Path) -> Kept:
    try:
        return msgspec.json.decode(file.read_bytes(), type=Kept)
    except FileNotFoundError:
        return Kept()


def _save(file: Path, kept: Kept) -> None:
    """Write only what changed, whole or not at all."""
    data = msgspec.json.encode(kept)
    if file.exists() and file.read_bytes() == data:
        return
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    new = file.with_suffix(".new")
    with new.open("wb") as handle:
        handle.write(data)
        handle.flush()
        os.fsync(handle.fileno())
    new.replace(file)
