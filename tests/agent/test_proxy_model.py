"""Which address and port each Service gets, and what listens where."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueup.agent.proxy_model import (
    Backend,
    Bind,
    Kept,
    PoolEmpty,
    ServicePort,
    ServiceSpec,
    allocate,
    listeners,
    mode,
    records,
)

POOL = ("10.0.0.1", "10.0.0.2", "10.0.0.3")
HTTP = (ServicePort("http", 80),)


def service(name: str, **more: object) -> ServiceSpec:
    return ServiceSpec("default", name, **{"ports": HTTP, **more})  # type: ignore[arg-type]


def test_an_address_stays_over_restarts_and_order() -> None:
    first = allocate(Kept(), [service("a"), service("b")], POOL)
    again = allocate(first, [service("b"), service("a"), service("c")], POOL)
    assert again.addresses == {"default/a": "10.0.0.1", "default/b": "10.0.0.2", "default/c": "10.0.0.3"}


def test_a_vanished_service_keeps_its_address_until_the_pool_runs_out() -> None:
    kept = allocate(Kept(), [service("a"), service("b")], POOL)
    kept = allocate(kept, [service("b")], POOL)
    assert allocate(kept, [service("a"), service("b")], POOL).addresses["default/a"] == "10.0.0.1"
    kept = allocate(kept, [service("b"), service("c"), service("d")], POOL)
    assert kept.addresses["default/d"] == "10.0.0.1"
    with pytest.raises(PoolEmpty, match="all 3 Service addresses are in use"):
        allocate(kept, [service(name) for name in "bcde"], POOL)


def test_an_asked_for_address_is_given_only_from_the_pool() -> None:
    kept = allocate(Kept(), [service("a", cluster_ip="10.0.0.3"), service("b", cluster_ip="10.96.0.1")], POOL)
    assert kept.addresses == {"default/a": "10.0.0.3", "default/b": "10.0.0.1"}


def test_an_asked_for_address_is_taken_from_a_vanished_service_only() -> None:
    kept = allocate(Kept(), [service("a"), service("b")], POOL)
    kept = allocate(
        kept, [service("b"), service("c", cluster_ip="10.0.0.1"), service("d", cluster_ip="10.0.0.2")], POOL
    )
    assert kept.addresses == {"default/b": "10.0.0.2", "default/c": "10.0.0.1", "default/d": "10.0.0.3"}


def test_headless_and_external_services_have_no_address_and_no_listener() -> None:
    ready = Backend("x", "10.0.1.1", {"http": 8080}, True)
    late = Backend("y", "10.0.1.2", {"http": 8080}, False)
    bare = service("bare", cluster_ip="None", backends=(ready, late))
    early = service("early", cluster_ip="None", backends=(ready, late), publish_not_ready=True)
    outer = service("outer", type="ExternalName", external_name="example.org")
    kept = allocate(Kept(), [bare, early, outer], POOL)
    assert kept.addresses == {}
    assert listeners(kept, outside="0.0.0.0", namespace="") == ([], [])
    found = {record.name: (record.addresses, record.cname) for record in records(kept)}
    assert found == {
        "bare": (("10.0.1.1",), ""),
        "early": (("10.0.1.1", "10.0.1.2"), ""),
        "outer": ((), "example.org"),
    }


def test_node_ports_are_given_kept_and_never_shared() -> None:
    a, b = service("a", type="NodePort"), service("b", type="LoadBalancer")
    kept = allocate(Kept(), [a, b], POOL)
    assert kept.node_ports == {"default/a/http": 30000, "default/b/http": 30001}
    asked = service("c", type="NodePort", ports=(ServicePort("http", 80, node_port=30000),))
    kept = allocate(kept, [asked, b, a], POOL)
    assert kept.node_ports["default/c/http"] == 30000
    assert len(set(kept.node_ports.values())) == 3
    assert kept.node_ports["default/b/http"] == 30001


def test_a_load_balancer_listens_outside_on_its_port_and_its_node_port() -> None:
    kept = allocate(Kept(), [service("a", type="LoadBalancer")], POOL)
    (listener,), troubles = listeners(kept, outside="127.0.0.1", namespace="edge")
    assert listener.binds == (
        Bind("10.0.0.1", 80, "edge"),
        Bind("127.0.0.1", 30000, ""),
        Bind("127.0.0.1", 80, ""),
    )
    assert troubles == []


def test_a_port_outside_belongs_to_one_service_and_the_other_is_named() -> None:
    kept = allocate(Kept(), [service("a", type="LoadBalancer"), service("b", type="LoadBalancer")], POOL)
    made, troubles = listeners(kept, outside="0.0.0.0", namespace="")
    assert [len(listener.binds) for listener in made] == [3, 2]
    assert [(t.service, t.port) for t in troubles] == [("default/b", 80)]


def test_udp_is_named_with_the_way_out() -> None:
    kept = allocate(Kept(), [service("a", ports=(ServicePort("dns", 53, protocol="UDP"),))], POOL)
    made, (trouble,) = listeners(kept, outside="0.0.0.0", namespace="")
    assert made == []
    assert "make the Service headless" in trouble.message


def test_a_port_that_a_replica_does_not_have_is_not_sent_to_it() -> None:
    old = Backend("old", "10.0.1.1", {"http": 8080}, True)
    new = Backend("new", "10.0.1.2", {"http": 9090, "admin": 9091}, True)
    ports = (ServicePort("http", 80), ServicePort("admin", 81))
    kept = allocate(Kept(), [service("a", ports=ports, backends=(old, new))], POOL)
    made, _ = listeners(kept, outside="0.0.0.0", namespace="")
    found = {listener.name: [(b.id, port) for b, port in listener.backends] for listener in made}
    assert found == {"default:a:http": [("new", 9090), ("old", 8080)], "default:a:admin": [("new", 9091)]}


@pytest.mark.parametrize(
    ("name", "app_protocol", "expect"),
    [
        ("http", "", "http"),
        ("http-web", "", "http"),
        ("", "http", "http"),
        ("web", "HTTP", "http"),
        ("web", "kubernetes.io/ws", "http"),
        ("web", "", "tcp"),
        ("https", "", "tcp"),
        ("http2", "", "tcp"),
        ("http", "https", "tcp"),
        ("http", "kubernetes.io/h2c", "tcp"),
        ("grpc", "grpc", "tcp"),
    ],
)
def test_what_counts_as_http(name: str, app_protocol: str, expect: str) -> None:
    assert mode(ServicePort(name, 80, app_protocol=app_protocol)) == expect


NAMES = st.lists(st.sampled_from("abcdefgh"), max_size=8, unique=True)


@given(st.lists(NAMES, max_size=6))
def test_no_two_services_ever_share_an_address_or_port(rounds: list[list[str]]) -> None:
    pool = [f"10.0.0.{n}" for n in range(1, 9)]
    kept = Kept()
    for names in rounds:
        before = kept
        kept = allocate(kept, [service(name, type="NodePort") for name in names], pool)
        live = [kept.addresses[f"default/{name}"] for name in names]
        ports = [kept.node_ports[f"default/{name}/http"] for name in names]
        assert len(set(live)) == len(names) == len(set(ports))
        stayed = {s.key for s in before.services} & {f"default/{name}" for name in names}
        assert all(kept.addresses[key] == before.addresses[key] for key in stayed)
        assert all(kept.node_ports[f"{key}/http"] == before.node_ports[f"{key}/http"] for key in stayed)
