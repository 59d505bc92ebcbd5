"""Asks containers how they are: one task for all probes, raw sockets, nothing kept open. Never decides what follows.

Source: Kubernetes, "Configure Liveness, Readiness and Startup Probes"; kubelet pkg/probe.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import math
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from msgspec import Struct

from trueup.core.kinds import HttpGet, Probe

TICK_S = 0.25  # due times are rounded up to it, so that probes share their wake-ups
Answer: TypeAlias = tuple[bool, str]  # did it pass; if not, why
Ask: TypeAlias = Callable[[], Awaitable[Answer]]
Heard: TypeAlias = Callable[[bool, str], None]


class Entry(Struct, eq=False):
    """One probe of one running container. `stop` takes it off the wheel."""

    probe: Probe
    ask: Ask
    heard: Heard
    period_s: float
    eager_s: float  # until the first success: the next pause, doubling up to the period; such failures do not count
    stopped: bool = False

    def stop(self) -> None:
        self.stopped = True


class Wheel:
    """Runs every probe when it is due; a probe never overlaps itself."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Entry]] = []
        self._order = itertools.count()
        self._wake = asyncio.Event()
        self._asking: set[asyncio.Task[None]] = set()

    def add(self, probe: Probe, ask: Ask, heard: Heard, *, eager: bool) -> Entry:
        """`eager`: ask often in the first period, so that a replica is seen ready when it is, not a period later."""
        period_s = float(probe.period_seconds)
        entry = Entry(probe, ask, heard, period_s, TICK_S if eager else period_s)
        self._push(entry, float(probe.initial_delay_seconds))
        return entry

    async def run(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                self._wake.clear()
                for entry in self._due(loop.time()):
                    task = asyncio.create_task(self._ask(entry))
                    self._asking.add(task)
                    task.add_done_callback(self._asking.discard)
                await self._pause(loop.time())
        finally:
            for task in tuple(self._asking):
                task.cancel()
            await asyncio.gather(*self._asking, return_exceptions=True)

    def _push(self, entry: Entry, delay_s: float) -> None:
        at = math.ceil((asyncio.get_running_loop().time() + delay_s) / TICK_S) * TICK_S
        heapq.heappush(self._heap, (at, next(self._order), entry))
        if self._heap[0][2] is entry:
            self._wake.set()

    def _due(self, now: float) -> list[Entry]:
        out = []
        while self._heap and self._heap[0][0] <= now:
            entry = heapq.heappop(self._heap)[2]
            if not entry.stopped:
                out.append(entry)
        return out

    async def _pause(self, now: float) -> None:
        if not self._heap:
            await self._wake.wait()
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(self._heap[0][0] - now, 0.0)):
                await self._wake.wait()

    async def _ask(self, entry: Entry) -> None:
        started = asyncio.get_running_loop().time()
        limit = float(entry.probe.timeout_seconds)
        try:
            async with asyncio.timeout(limit):
                ok, why = await entry.ask()
        except TimeoutError:
            ok, why = False, f"no answer within {limit:g} s"
        except OSError as error:
            ok, why = False, error.strerror or str(error)
        if entry.stopped:
            return
        if not ok and entry.eager_s < entry.period_s:
            self._push(entry, entry.eager_s)
            entry.eager_s *= 2
            return
        entry.eager_s = entry.period_s
        entry.heard(ok, why)
        took = asyncio.get_running_loop().time() - started
        self._push(entry, max(entry.period_s - took, 0.0))


async def tcp(host: str, port: int) -> Answer:
    """A connection that is accepted passes."""
    with _socket() as sock:
        await asyncio.get_running_loop().sock_connect(sock, (host, port))
    return True, ""


async def http(host: str, port: int, get: HttpGet) -> Answer:
    """A status from 200 to 399 passes."""
    request = _request(get, host, port)
    line = await (_https(host, port, request) if get.scheme.upper() == "HTTPS" else _http(host, port, request))
    parts = line.split(b" ", 2)
    if len(parts) < 2 or not parts[1][:3].isdigit():
        return False, f"GET {get.path} on port {port}: the answer is not HTTP"
    status = int(parts[1][:3])
    return 200 <= status < 400, f"GET {get.path} on port {port}: {status}"


def _socket() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setblocking(False)
    return sock


def _request(get: HttpGet, host: str, port: int) -> bytes:
    headers = {"Host": f"{get.host or host}:{port}", "User-Agent": "kube-probe/1.31", "Accept": "*/*"}
    headers |= {h.name: h.value for h in get.http_headers}
    headers["Connection"] = "close"
    path = get.path if get.path.startswith("/") else f"/{get.path}"
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode()


async def _http(host: str, port: int, request: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    with _socket() as sock:
        await loop.sock_connect(sock, (host, port))
        await loop.sock_sendall(sock, request)
        got = b""
        while b"\r\n" not in got and len(got) < 512:
            piece = await loop.sock_recv(sock, 512)
            if not piece:
                break
            got += piece
    return got.split(b"\r\n", 1)[0]


async def _https(host: str, port: int, request: bytes) -> bytes:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # as kubelet: a pod's own certificate
    reader, writer = await asyncio.open_connection(host, port, ssl=context)
    try:
        writer.write(request)
        return (await reader.readline()).rstrip(b"\r\n")
    finally:
        writer.close()
