"""What DNS answers for Services: pure, from records to replies.

Source: Kubernetes DNS-Based Service Discovery, schema 1.1.0; RFC 1035; RFC 2308 (name error and no data).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence

from dnslib import CNAME, NS, PTR, QTYPE, RCODE, RR, SOA, SRV, TXT, A, DNSRecord
from msgspec import Struct

from trueup.agent.proxy_model import ServiceRecord

DOMAIN = "cluster.local"
TTL_S = 5
FIXED: Mapping[str, str] = {f"dns-version.{DOMAIN}": "1.1.0"}


class Target(Struct, frozen=True):
    port: int
    host: str
    address: str


class Zone(Struct, frozen=True):
    """All names below `cluster.local`, in lower case and without the last dot."""

    addresses: Mapping[str, tuple[str, ...]]
    aliases: Mapping[str, str]
    services: Mapping[str, tuple[Target, ...]]  # SRV
    reverse: Mapping[str, str]
    names: frozenset[str]  # every name that exists, the ones in between included


def zone(records: Sequence[ServiceRecord]) -> Zone:
    """Lay out the names of these Services."""
    addresses: dict[str, tuple[str, ...]] = {}
    aliases: dict[str, str] = {}
    services: dict[str, tuple[Target, ...]] = {}
    for record in records:
        host = f"{record.name}.{record.namespace}.svc.{DOMAIN}"
        if record.cname:
            aliases[host] = record.cname.rstrip(".")
            continue
        addresses[host] = record.addresses
        for name, protocol, port in record.ports:
            if name:
                services[f"_{name}._{protocol}.{host}"] = _targets(host, record.addresses, port)
    for targets in services.values():
        addresses |= {t.host: (t.address,) for t in targets if t.host not in addresses}
    reverse = {_reversed(found[0]): host for host, found in addresses.items() if len(found) == 1}
    base = {DOMAIN, f"svc.{DOMAIN}"}
    return Zone(addresses, aliases, services, reverse, _all_names({*addresses, *aliases, *services, *FIXED, *base}))


def _targets(host: str, addresses: Sequence[str], port: int) -> tuple[Target, ...]:
    """One Service address is its own host; the replicas of a headless Service get a name each."""
    if len(addresses) == 1:
        return (Target(port, host, addresses[0]),)
    return tuple(Target(port, f"{address.replace('.', '-')}.{host}", address) for address in addresses)


def _reversed(address: str) -> str:
    return ipaddress.ip_address(address).reverse_pointer


def _all_names(leaves: set[str]) -> frozenset[str]:
    found = set()
    for leaf in leaves:
        while leaf != DOMAIN and leaf:
            found.add(leaf)
            leaf = leaf.partition(".")[2]
    return frozenset(found | {DOMAIN})


def answer(known: Zone, query: DNSRecord) -> DNSRecord | None:
    """Our reply, or None when the name is not ours to answer."""
    name = str(query.q.qname).rstrip(".").lower()
    kind = str(QTYPE.get(query.q.qtype))
    if name in known.reverse:
        rows = [RR(query.q.qname, QTYPE.PTR, rdata=PTR(known.reverse[name]), ttl=TTL_S)]
        return _reply(query, rows if kind in ("PTR", "ANY") else [])
    if name != DOMAIN and not name.endswith(f".{DOMAIN}"):
        return None
    if name not in known.names:
        return _reply(query, [], RCODE.NXDOMAIN)
    return _reply(query, _rows(known, query, name, kind))


def _rows(known: Zone, query: DNSRecord, name: str, kind: str) -> list[RR]:
    qname = query.q.qname
    if name in known.aliases:
        return [RR(qname, QTYPE.CNAME, rdata=CNAME(known.aliases[name]), ttl=TTL_S)]
    if kind == "A":
        return [RR(qname, QTYPE.A, rdata=A(address), ttl=TTL_S) for address in known.addresses.get(name, ())]
    if kind == "SRV":
        found = known.services.get(name, ())
        return [RR(qname, QTYPE.SRV, rdata=SRV(0, 100, t.port, t.host), ttl=TTL_S) for t in found]
    if kind == "TXT" and name in FIXED:
        return [RR(qname, QTYPE.TXT, rdata=TXT(FIXED[name]), ttl=TTL_S)]
    if kind == "SOA" and name == DOMAIN:
        return [_soa()]
    if kind == "NS" and name == DOMAIN:
        return [RR(DOMAIN, QTYPE.NS, rdata=NS(f"ns.dns.{DOMAIN}"), ttl=TTL_S)]
    return []


def _reply(query: DNSRecord, rows: Sequence[RR], code: int = RCODE.NOERROR) -> DNSRecord:
    """Name error and no data alike carry the SOA, so that resolvers forget them after the same few seconds."""
    reply = query.reply(ra=1, aa=1)
    reply.header.rcode = code
    reply.add_answer(*rows)
    if not rows:
        reply.add_auth(_soa())
    return reply


def _soa() -> RR:
    times = (1, 7200, 1800, 86400, TTL_S)
    return RR(DOMAIN, QTYPE.SOA, rdata=SOA(f"ns.dns.{DOMAIN}", f"hostmaster.{DOMAIN}", times), ttl=TTL_S)


def failure(query: DNSRecord) -> DNSRecord:
    """ "I could not find out", which a resolver takes as a reason to ask again later."""
    reply = query.reply(ra=1, aa=0)
    reply.header.rcode = RCODE.SERVFAIL
    return reply
