"""The names of Services, answered to containers; every other name is asked of the host's own resolvers.

It answers from memory and decides nothing. Source: Kubernetes DNS-Based Service Discovery, schema 1.1.0; RFC 2308.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from dnslib import DNSRecord
from dnslib.dns import DNSError

from trueup.agent.dns_answers import Zone, answer, failure, zone
from trueup.agent.proxy_model import ServiceRecord

FORWARD_S = 2.0  # for one resolver; a stub resolver itself gives up after 5
REST_S = 10.0  # how long a resolver that did not answer is left alone
DATAGRAM_BYTES = 1232  # Source: DNS Flag Day 2020
TCP_IDLE_S = 10.0
AT_ONCE = 256

Open = Callable[[str, int, socket.SocketKind], socket.socket]


class DnsError(Exception):
    """The responder could not listen; the message says where and what to try."""


def plain_socket(address: str, port: int, kind: socket.SocketKind) -> socket.socket:
    """A bound, non-blocking socket in the host's own namespace (`Network.listen` gives one in the edge's)."""
    made = socket.socket(socket.AF_INET, kind)
    if kind == socket.SOCK_STREAM:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setblocking(False)
    try:
        made.bind((address, port))
    except OSError:
        made.close()
        raise
    return made


def host_resolvers(text: str) -> tuple[str, ...]:
    """The IPv4 name servers of a resolv.conf."""
    lines = [line.split() for line in text.splitlines()]
    return tuple(words[1] for words in lines if len(words) > 1 and words[0] == "nameserver" and ":" not in words[1])


class Dns:
    """A responder at one address, over UDP and TCP. `open_socket` binds: pass `Network.listen` for containers."""

    def __init__(
        self,
        address: str,
        *,
        port: int = 53,
        open_socket: Open = plain_socket,
        resolvers: Sequence[tuple[str, int]] | None = None,
    ) -> None:
        self.address, self.port = address, port
        self._open = open_socket
        self._resolvers = resolvers
        self._resting: dict[tuple[str, int], float] = {}
        self._zone: Zone = zone(())
        self._tasks: set[asyncio.Task[None]] = set()
        self._udp: asyncio.DatagramTransport | None = None
        self._tcp: asyncio.Server | None = None

    def set(self, records: Sequence[ServiceRecord]) -> None:
        """Answer exactly these Services from now on."""
        self._zone = zone(records)

    async def start(self) -> None:
        """Listen. Raises DnsError."""
        loop = asyncio.get_running_loop()
        with contextlib.ExitStack() as opened:
            udp, tcp = self._both(opened)
            self._udp, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self._datagram), sock=udp)
            self._tcp = await asyncio.start_server(self._stream, sock=tcp)
            opened.pop_all()

    def _both(self, opened: contextlib.ExitStack) -> tuple[socket.socket, socket.socket]:
        """One port for both, where it is free to choose by what TCP leaves; `opened` closes them when either fails."""
        try:
            tcp = opened.enter_context(self._open(self.address, self.port, socket.SOCK_STREAM))
            self.port = tcp.getsockname()[1]
            return opened.enter_context(self._open(self.address, self.port, socket.SOCK_DGRAM)), tcp
        except OSError as error:
            raise DnsError(
                f"names cannot be answered at {self.address}:{self.port}: {error.strerror}; "
                f"see what listens there: ss -lnup 'sport = :{self.port}'"
            ) from error

    async def stop(self) -> None:
        if self._udp is not None:
            self._udp.close()
        if self._tcp is not None:
            self._tcp.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _datagram(self, data: bytes, sender: tuple[str, int]) -> None:
        ours = self._ours(data)
        if ours is not None:
            self._send(_fit(data, ours), sender)
        elif len(self._tasks) < AT_ONCE:
            self._run(self._forward_datagram(data, sender))

    def _send(self, reply: bytes, receiver: tuple[str, int]) -> None:
        if self._udp is not None and reply:
            self._udp.sendto(reply, receiver)

    async def _forward_datagram(self, data: bytes, sender: tuple[str, int]) -> None:
        self._send(await self._forward(data, _ask_udp), sender)

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                async with asyncio.timeout(TCP_IDLE_S):
                    data = await reader.readexactly(int.from_bytes(await reader.readexactly(2)))
                    ours = self._ours(data)
                    reply = await self._forward(data, _ask_tcp) if ours is None else ours
                    writer.write(len(reply).to_bytes(2) + reply)
                    await writer.drain()
        writer.close()

    def _ours(self, data: bytes) -> bytes | None:
        """Our answer; None when it is another's to give; b"" when nothing can be said to it."""
        try:
            query = DNSRecord.parse(data)
        except (DNSError, ValueError, IndexError):
            return b""
        if query.header.qr or not query.questions:
            return b""
        reply = answer(self._zone, query)
        return None if reply is None else bytes(reply.pack())

    async def _forward(self, data: bytes, ask: Callable[[tuple[str, int], bytes], Coroutine[Any, Any, bytes]]) -> bytes:
        loop = asyncio.get_running_loop()
        for resolver in await self._upstream():
            if self._resting.get(resolver, 0.0) > loop.time():
                continue
            try:
                async with asyncio.timeout(FORWARD_S):
                    return await ask(resolver, data)
            except (OSError, TimeoutError, asyncio.IncompleteReadError):
                self._resting[resolver] = loop.time() + REST_S
        return bytes(failure(DNSRecord.parse(data)).pack())

    async def _upstream(self) -> Sequence[tuple[str, int]]:
        if self._resolvers is not None:
            return self._resolvers
        try:
            text = await asyncio.to_thread(Path("/etc/resolv.conf").read_text)
        except OSError:
            return ()
        return [(address, 53) for address in host_resolvers(text) if address != self.address]


def _fit(query: bytes, reply: bytes) -> bytes:
    """A reply too long for a datagram says so, and the resolver asks again over TCP."""
    if len(reply) <= DATAGRAM_BYTES:
        return reply
    short = DNSRecord.parse(query).reply(ra=1, aa=1)
    short.header.tc = 1
    return bytes(short.pack())


async def _ask_udp(resolver: tuple[str, int], data: bytes) -> bytes:
    """Ask from a port of its own with an id of its own, so that nobody can slip in an answer."""
    loop = asyncio.get_running_loop()
    own = random.SystemRandom().randbytes(2)
    got: asyncio.Future[bytes] = loop.create_future()

    def take(reply: bytes, _: tuple[str, int]) -> None:
        if reply[:2] == own and not got.done():
            got.set_result(data[:2] + reply[2:])

    transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(take, got), remote_addr=resolver)
    try:
        transport.sendto(own + data[2:])
        return await got
    finally:
        transport.close()


async def _ask_tcp(resolver: tuple[str, int], data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(*resolver)
    try:
        writer.write(len(data).to_bytes(2) + data)
        return await reader.readexactly(int.from_bytes(await reader.readexactly(2)))
    finally:
        writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(
        self, take: Callable[[bytes, tuple[str, int]], None], failed: asyncio.Future[bytes] | None = None
    ) -> None:
        self._take, self._failed = take, failed

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        self._take(data, addr)

    def error_received(self, exc: Exception) -> None:
        if self._failed is not None and not self._failed.done():
            self._failed.set_exception(exc)
