"""Names to answers, without a socket."""

from __future__ import annotations

import pytest
from dnslib import QTYPE, RCODE, DNSRecord

from trueup.agent.dns_answers import TTL_S, answer, zone
from trueup.agent.proxy_model import ServiceRecord

ZONE = zone(
    (
        ServiceRecord("default", "web", ("10.89.2.2",), (("http", "tcp", 80), ("", "tcp", 81))),
        ServiceRecord("default", "db", ("10.89.0.7", "10.89.0.9"), (("sql", "tcp", 5432),)),
        ServiceRecord("default", "none-ready", ()),
        ServiceRecord("shop", "mail", (), cname="smtp.example.org."),
    )
)


def ask(name: str, kind: str = "A") -> tuple[str, list[str]] | None:
    reply = answer(ZONE, DNSRecord.question(name, kind))
    if reply is None:
        return None
    again = DNSRecord.parse(reply.pack())
    assert all(row.ttl == TTL_S for row in (*again.rr, *again.auth))
    return str(RCODE.get(again.header.rcode)), [f"{QTYPE.get(row.rtype)} {row.rdata}" for row in again.rr]


@pytest.mark.parametrize(
    ("name", "kind", "expect"),
    [
        ("web.default.svc.cluster.local", "A", ("NOERROR", ["A 10.89.2.2"])),
        ("WEB.Default.svc.Cluster.local", "A", ("NOERROR", ["A 10.89.2.2"])),
        ("web.default.svc.cluster.local", "AAAA", ("NOERROR", [])),
        ("db.default.svc.cluster.local", "A", ("NOERROR", ["A 10.89.0.7", "A 10.89.0.9"])),
        ("none-ready.default.svc.cluster.local", "A", ("NOERROR", [])),
        ("mail.shop.svc.cluster.local", "A", ("NOERROR", ["CNAME smtp.example.org."])),
        (
            "_http._tcp.web.default.svc.cluster.local",
            "SRV",
            ("NOERROR", ["SRV 0 100 80 web.default.svc.cluster.local."]),
        ),
        (
            "_sql._tcp.db.default.svc.cluster.local",
            "SRV",
            (
                "NOERROR",
                [
                    "SRV 0 100 5432 10-89-0-7.db.default.svc.cluster.local.",
                    "SRV 0 100 5432 10-89-0-9.db.default.svc.cluster.local.",
                ],
            ),
        ),
        ("10-89-0-9.db.default.svc.cluster.local", "A", ("NOERROR", ["A 10.89.0.9"])),
        ("default.svc.cluster.local", "A", ("NOERROR", [])),
        ("_tcp.web.default.svc.cluster.local", "A", ("NOERROR", [])),
        ("nobody.default.svc.cluster.local", "A", ("NXDOMAIN", [])),
        ("www.example.org.default.svc.cluster.local", "A", ("NXDOMAIN", [])),
        ("web.other.svc.cluster.local", "A", ("NXDOMAIN", [])),
        ("2.2.89.10.in-addr.arpa", "PTR", ("NOERROR", ["PTR web.default.svc.cluster.local."])),
        ("9.0.89.10.in-addr.arpa", "PTR", ("NOERROR", ["PTR 10-89-0-9.db.default.svc.cluster.local."])),
        ("www.example.org", "A", None),
        ("notcluster.local", "A", None),
        ("1.1.1.1.in-addr.arpa", "PTR", None),
    ],
)
def test_answers(name: str, kind: str, expect: tuple[str, list[str]] | None) -> None:
    assert ask(name, kind) == expect


def test_no_data_and_name_error_carry_the_zone_s_soa() -> None:
    for name in ("nobody.default.svc.cluster.local", "none-ready.default.svc.cluster.local"):
        reply = answer(ZONE, DNSRecord.question(name))
        assert reply is not None
        assert [QTYPE.get(row.rtype) for row in reply.auth] == ["SOA"]
