"""Identity, hash and order of objects."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueup.core.bundle import make_bundle
from trueup.core.model import Place
from trueup.core.objects import (
    Malformed,
    annotation,
    body_hash,
    containers,
    dig,
    dotted,
    make_object,
    order,
    ref_of,
    undotted,
)


def body(kind: str = "ConfigMap", version: str = "v1", **metadata: Any) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": "a", **metadata}}


@pytest.mark.parametrize(
    ("given_body", "expected"),
    [
        (body(), ("", "ConfigMap", "default", "a")),
        (body(namespace="shop"), ("", "ConfigMap", "shop", "a")),
        (body("Deployment", "apps/v1"), ("apps", "Deployment", "default", "a")),
        (body("Namespace", namespace="ignored"), ("", "Namespace", "", "a")),
        (body("ClusterRole", "rbac.authorization.k8s.io/v1", name="system:node"),
         ("rbac.authorization.k8s.io", "ClusterRole", "", "system:node")),
    ],
)  # fmt: skip
def test_identity(given_body: dict[str, Any], expected: tuple[str, ...]) -> None:
    ref = ref_of(given_body)
    assert (ref.group, ref.kind, ref.namespace, ref.name) == expected


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        ([], ()), ("x", ()), ({}, ("apiVersion",)), (body(version="v1/v2/v3"), ("apiVersion",)),
        (body(kind="Config Map"), ("kind",)), ({"apiVersion": "v1", "kind": "A", "metadata": 3}, ("metadata",)),
        (body(name=None), ("metadata", "name")), (body(name=""), ("metadata", "name")),
        (body(name="a" * 254), ("metadata", "name")), (body(name="a/b"), ("metadata", "name")),
        (body(name="a:b"), ("metadata", "name")), (body(namespace="A"), ("metadata", "namespace")),
        (body(namespace=3), ("metadata", "namespace")), (body("ClusterRole", name="a/b"), ("metadata", "name")),
    ],
)  # fmt: skip
def test_what_is_no_object_says_where(wrong: Any, path: tuple[str, ...]) -> None:
    with pytest.raises(Malformed) as error:
        ref_of(wrong)
    assert error.value.path == path
    assert error.value.fix


def test_hashes_ignore_the_order_of_keys() -> None:
    assert body_hash({"a": 1, "b": [1, 2]}) == body_hash({"b": [1, 2], "a": 1}) != body_hash({"a": 1, "b": [2, 1]})


@given(st.permutations(["Namespace", "ConfigMap", "Service", "Deployment", "Ingress", "Unheard"]))
def test_a_bundle_is_ordered_by_need_whatever_it_is_given(kinds: list[str]) -> None:
    bundle = make_bundle("app", "c", [make_object(body(kind), Place("f", 1)) for kind in kinds])
    assert [o.ref.kind for o in bundle.objects] == [
        "Namespace", "ConfigMap", "Service", "Deployment", "Ingress", "Unheard",
    ]  # fmt: skip
    assert [order(o.ref) for o in bundle.objects] == sorted(order(o.ref) for o in bundle.objects)


def test_a_bundles_hash_covers_what_is_applied_and_nothing_else() -> None:
    here, there = (make_object(body(), Place(file, 1)) for file in ("a", "b"))
    other = make_object(body(namespace="x"), Place("a", 1))
    assert make_bundle("app", "c1", [here]).hash == make_bundle("app", "c2", [there]).hash
    assert make_bundle("app", "c1", [here]).hash != make_bundle("app", "c1", [other]).hash
    assert make_bundle("app", "c1", []).hash != make_bundle("app", "c1", [here]).hash


steps = st.lists(st.text("abcXYZ-_/", min_size=1, max_size=4) | st.integers(0, 20), min_size=1, max_size=6)


@given(steps)
def test_paths_survive_being_written(path: list[Any]) -> None:
    path = ["spec", *path]
    assert undotted(dotted(path)) == tuple(path)


def test_containers_of_odd_shapes_are_none() -> None:
    for odd in (None, 3, [], {}, {"kind": ["Pod"]}, {"kind": "Pod", "spec": 3},
                {"kind": "Pod", "spec": {"containers": 3}},
                {"kind": "Pod", "spec": {"containers": [3]}}):  # fmt: skip
        assert list(containers(odd)) == []
    assert dig({"a": [1]}, ("a", 1)) is None
    assert annotation(body(annotations={"x": 3}), "x") == ""
