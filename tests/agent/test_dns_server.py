"""The responder over real sockets on loopback, with a resolver of ours behind it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from dnslib import RCODE, RR, DNSRecord

from trueup.agent.dns import Dns, DnsError, host_resolvers
from trueup.agent.proxy_model import ServiceRecord


class Upstream(asyncio.DatagramProtocol):
    """A resolver that knows example.org; with `silent` it never answers."""

    def __init__(self, silent: bool) -> None:
        self.silent, self.asked = silent, 0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.asked += 1
        if not self.silent:
            reply = DNSRecord.parse(data).reply()
            reply.add_answer(*RR.fromZone("example.org 60 A 192.0.2.80"))
            self.transport.sendto(reply.pack(), addr)


async def upstream(*, silent: bool = False) -> tuple[Upstream, tuple[str, int]]:
    loop = asyncio.get_running_loop()
    transport, made = await loop.create_datagram_endpoint(lambda: Upstream(silent), local_addr=("127.0.0.1", 0))
    return made, transport.get_extra_info("sockname")


async def udp(dns: Dns, query: DNSRecord) -> DNSRecord:
    def exchange() -> bytes:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(10)
            client.connect((dns.address, dns.port))
            client.send(query.pack())
            return client.recv(65535)

    return DNSRecord.parse(await asyncio.to_thread(exchange))


async def tcp(dns: Dns, *queries: DNSRecord) -> list[DNSRecord]:
    reader, writer = await asyncio.open_connection(dns.address, dns.port)
    replies = []
    for query in queries:
        writer.write(len(query.pack()).to_bytes(2) + query.pack())
        replies.append(DNSRecord.parse(await reader.readexactly(int.from_bytes(await reader.readexactly(2)))))
    writer.close()
    await writer.wait_closed()
    return replies


@pytest.fixture
async def served() -> AsyncIterator[tuple[Dns, Upstream]]:
    above, where = await upstream()
    dns = Dns("127.0.0.1", port=0, resolvers=[where])
    await dns.start()
    dns.set([ServiceRecord("default", "web", ("10.89.2.2",))])
    yield dns, above
    await dns.stop()
    above.transport.close()


WEB = "web.default.svc.cluster.local"


async def test_answers_services_and_forwards_the_rest(served: tuple[Dns, Upstream]) -> None:
    dns, above = served
    query = DNSRecord.question(WEB)
    reply = await udp(dns, query)
    assert (reply.header.id, str(reply.rr[0].rdata)) == (query.header.id, "10.89.2.2")
    assert above.asked == 0
    query = DNSRecord.question("example.org")
    reply = await udp(dns, query)
    assert (reply.header.id, str(reply.rr[0].rdata), above.asked) == (query.header.id, "192.0.2.80", 1)


async def test_answers_over_tcp_many_on_one_connection(served: tuple[Dns, Upstream]) -> None:
    dns, _ = served
    replies = await tcp(dns, DNSRecord.question(WEB), DNSRecord.question("no." + WEB))
    assert [RCODE.get(reply.header.rcode) for reply in replies] == ["NOERROR", "NXDOMAIN"]


async def test_what_is_set_later_is_answered_at_once(served: tuple[Dns, Upstream]) -> None:
    dns, _ = served
    dns.set([ServiceRecord("default", "web", ("10.89.2.3",))])
    assert str((await udp(dns, DNSRecord.question(WEB))).rr[0].rdata) == "10.89.2.3"
    dns.set([])
    assert RCODE.get((await udp(dns, DNSRecord.question(WEB))).header.rcode) == "NXDOMAIN"


async def test_a_long_answer_is_cut_and_whole_over_tcp(served: tuple[Dns, Upstream]) -> None:
    dns, _ = served
    dns.set([ServiceRecord("default", "web", tuple(f"10.0.{n // 250}.{n % 250}" for n in range(300)))])
    short = await udp(dns, DNSRecord.question(WEB))
    assert (short.header.tc, len(short.rr)) == (1, 0)
    (whole,) = await tcp(dns, DNSRecord.question(WEB))
    assert len(whole.rr) == 300


async def test_a_resolver_that_is_down_fails_and_is_left_alone() -> None:
    above, where = await upstream(silent=True)
    dns = Dns("127.0.0.1", port=0, resolvers=[where])
    await dns.start()
    for _ in range(3):
        reply = await udp(dns, DNSRecord.question("example.org"))
        assert RCODE.get(reply.header.rcode) == "SERVFAIL"
    assert above.asked == 1
    await dns.stop()
    above.transport.close()


async def test_rubbish_is_ignored(served: tuple[Dns, Upstream]) -> None:
    dns, _ = served
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(b"\x00\x01rubbish", (dns.address, dns.port))
        client.sendto(b"", (dns.address, dns.port))
    assert (await udp(dns, DNSRecord.question(WEB))).rr


async def test_a_busy_port_is_named(served: tuple[Dns, Upstream]) -> None:
    dns, _ = served
    with pytest.raises(DnsError, match=rf"127\.0\.0\.1:{dns.port}: Address already in use; see what listens"):
        await Dns("127.0.0.1", port=dns.port).start()


def test_reads_the_resolvers_of_the_host() -> None:
    assert host_resolvers("# x\nsearch a b\nnameserver 10.0.0.2\nnameserver ::1\nnameserver\n") == ("10.0.0.2",)
