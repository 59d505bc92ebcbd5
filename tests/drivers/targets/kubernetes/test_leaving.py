"""The hand-over rule, case by case: what of a field left to others is still stated."""

from __future__ import annotations

from typing import Any

import pytest

from trueup.core.leave import concerning, leads, pointed, without
from trueup.core.model import Leave, Ref
from trueup.drivers.targets.kubernetes import leaving

K = 'k:{"name":"web"}'


def entry(fields: Any, manager: str = "trueup", operation: str = "Apply", **more: str) -> dict[str, Any]:
    return {"manager": manager, "operation": operation, "fieldsV1": fields, **more}


def body(spec: Any, *entries: Any) -> dict[str, Any]:
    return {"kind": "Deployment", "metadata": {"name": "web", "managedFields": list(entries)}, "spec": spec}


def desired(spec: Any) -> dict[str, Any]:
    return {"kind": "Deployment", "metadata": {"name": "web"}, "spec": spec}


OURS = {"f:spec": {"f:replicas": {}, "f:paused": {}}}
SCALED = entry({"f:spec": {"f:replicas": {}}}, "kube-controller-manager", "Update", subresource="scale")
IMAGE = {"f:spec": {"f:containers": {K: {".": {}, "f:name": {}, "f:image": {}}}}}
REPLICAS = leaving.REPLICAS
IMAGE_STEPS = ("f:spec", "f:containers", K, "f:image")


@pytest.mark.parametrize(
    ("wanted", "live", "left", "expect"),
    [
        pytest.param({"replicas": 10}, body({"replicas": 3}, SCALED), REPLICAS, {}, id="held by another: not stated"),
        pytest.param({"replicas": 5}, body({"replicas": 10}, entry(OURS)), REPLICAS, {"replicas": 10},
                     id="held by us alone: its live value, whatever Git says"),
        pytest.param({}, body({"replicas": 10}, entry(OURS)), REPLICAS, {"replicas": 10},
                     id="dropped from Git, held by us alone: still stated"),
        pytest.param({"replicas": 5}, body({"replicas": 10}, entry(OURS), SCALED), REPLICAS, {},
                     id="held by both: given up"),
        pytest.param({"replicas": 5}, body({}), REPLICAS, {}, id="taken away by somebody: left away"),
        pytest.param({"replicas": 5}, body({"replicas": 1}), REPLICAS, {}, id="a default that nobody holds"),
        pytest.param({"containers": [{"name": "web", "image": "web:2"}]},
                     body({"containers": [{"name": "x"}, {"name": "web", "image": "web:1"}]}, entry(IMAGE)),
                     IMAGE_STEPS, {"containers": [{"name": "web", "image": "web:1"}]},
                     id="of a list item, found by its key"),
        pytest.param({"containers": [{"name": "new", "image": "new:1"}]},
                     body({"containers": [{"name": "web", "image": "web:1"}]}, entry(IMAGE)),
                     IMAGE_STEPS, {"containers": [{"name": "new", "image": "new:1"}]},
                     id="an item that Git dropped is not held up by a field in it"),
        pytest.param({"containers": []}, body({"containers": [{"name": "web", "image": "web:1"}]}, entry(IMAGE)),
                     IMAGE_STEPS[:-1], {"containers": [{"name": "web", "image": "web:1"}]},
                     id="a whole item left to others stays stated while it is ours"),
        pytest.param({"args": ["a", "b"]}, body({"args": ["a", "c"]}, entry({"f:spec": {"f:args": {}}}),
                     entry({"f:spec": {"f:args": {}}}, "someone", "Update")), ("f:spec", "f:args", "i:1"),
                     {"args": ["a", "c"]}, id="a part of what is one value: stated as it is live"),
        pytest.param({"labels": {"a": "1"}},
                     body({"labels": {"a": "2", "b": "3"}}, entry({"f:spec": {"f:labels": {"f:a": {}}}}),
                          entry({"f:spec": {"f:labels": {"f:b": {}}}}, "someone", "Update")), ("f:spec", "f:labels"),
                     {"labels": {"a": "2"}}, id="a mapping that several hold: our part of it only"),
    ],
)  # fmt: skip
def test_what_is_still_stated(wanted: Any, live: Any, left: leaving.Steps, expect: Any) -> None:
    given = desired(wanted)
    assert leaving.stated(given, live, [left]) == desired(expect)
    assert given == desired(wanted)


def test_a_path_is_found_whatever_the_order_of_items() -> None:
    fields = leaving.union(
        [{"f:spec": {"f:ports": {'k:{"protocol":"TCP","containerPort":80}': {"f:containerPort": {}}}}}]
    )
    one = {"spec": {"ports": [{"containerPort": 81}, {"containerPort": 80}]}}
    steps = leaving.steps_of(one, ("spec", "ports", 1), fields)
    assert steps == ("f:spec", "f:ports", 'k:{"containerPort":80,"protocol":"TCP"}')
    assert leaving.path_of({"spec": {"ports": [{"containerPort": 80, "protocol": "TCP"}]}}, steps) == (
        "spec",
        "ports",
        0,
    )
    assert leaving.path_of({"spec": {"ports": [{"containerPort": 80, "protocol": "UDP"}]}}, steps) == ()


def test_who_scaled_it() -> None:
    assert leaving.scaled_by(body({}, SCALED)) == "kube-controller-manager"
    assert leaving.scaled_by(body({}, {**SCALED, "subresource": ""}, entry(OURS))) == ""
    assert leaving.scaled_by(body({}, {**SCALED, "fieldsV1": {"f:status": {}}})) == ""


def test_what_managers_hold() -> None:
    live = body({"replicas": 3}, entry({"f:spec": {"f:replicas": {}, "f:gone": {}}}, "keda", "Update"))
    assert leaving.held_by(live, ["keda"]) == (REPLICAS,)
    assert leaving.held_by(live, ["other"]) == ()


@pytest.mark.parametrize(
    ("pointer", "path"),
    [
        ("/spec/replicas", ("spec", "replicas")),
        ("/metadata/annotations/a.b~1c", ("metadata", "annotations", "a.b/c")),
        ("/items/1/x~0y", ("items", 1, "x~y")),
        ("/items/7", ()),
        ("/nothing", ()),
        ("", ()),
    ],
)
def test_pointers(pointer: str, path: tuple[str | int, ...]) -> None:
    found = {"spec": {"replicas": 1}, "metadata": {"annotations": {"a.b/c": ""}}, "items": [1, {"x~y": 2}]}
    assert pointed(found, [pointer]) == ((path,) if path else ())


def test_only_paths_that_lead_somewhere() -> None:
    given = {"a": [1, {"b": None}], "c": "text"}
    assert all(leads(given, path) for path in [("a",), ("a", 1), ("a", 1, "b"), ("c",)])
    assert not any(
        leads(given, path) for path in [(), ("x",), ("a", 2), ("a", "b"), ("c", 0), ("a", 1, "b", "c"), (0,)]
    )


def test_without_leaves_the_original_alone() -> None:
    given = {"a": [1, 2, 3], "b": {"c": 1, "d": 2}}
    assert without(given, [("a", 0), ("a", 2), ("b", "c")]) == {"a": [2], "b": {"d": 2}}
    assert given == {"a": [1, 2, 3], "b": {"c": 1, "d": 2}}


def test_rules_name_objects() -> None:
    ref = Ref("c", "apps", "Deployment", "shop", "web")
    assert concerning([Leave()], ref)
    assert concerning([Leave(group="apps", kind="Deploy*", namespace="shop", name="web")], ref)
    for other in (Leave(group=""), Leave(kind="Service"), Leave(name="x"), Leave(namespace="x")):
        assert not concerning([other], ref)
