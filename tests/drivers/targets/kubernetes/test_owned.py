"""managedFields as servers write them: what is ours, what it holds now, who took it."""

from __future__ import annotations

from typing import Any

from trueup.core.model import Place
from trueup.core.objects import make_object
from trueup.drivers.targets.kubernetes import owned
from trueup.drivers.targets.kubernetes.client import ApiError, proxy_for
from trueup.drivers.targets.kubernetes.prepare import prepared
from trueup.drivers.targets.kubernetes.refusals import refused
from trueup.ports import ObjectInvalid

PORT = 'k:{"containerPort":80,"protocol":"TCP"}'
FIELDS: Any = {
    "f:metadata": {"f:labels": {f"f:{owned.PART_OF}": {}}},
    "f:spec": {
        "f:replicas": {},
        "f:containers": {'k:{"name":"a"}': {".": {}, "f:image": {}, "f:name": {}, "f:ports": {PORT: {"f:name": {}}}}},
        "f:empty": {},
        "f:finalizers": {'v:"x/y"': {}},
    },
}


def live(manager: str = owned.MANAGER, fields: Any = FIELDS, **metadata: Any) -> Any:
    entry = {"manager": manager, "operation": "Apply", "time": "t1", "fieldsV1": fields}
    labels = {owned.PART_OF: "set", "theirs": "1"}
    containers = [
        {"name": "b", "image": "b:1"},
        {"name": "a", "image": "a:1", "imagePullPolicy": "Always", "ports": [{"containerPort": 80, "name": "http"}]},
    ]
    spec = {"replicas": 3, "containers": containers, "empty": {}, "more": 1, "finalizers": ["q/r", "x/y"]}
    return {"metadata": {"name": "w", "uid": "u", "labels": labels, "managedFields": [entry], **metadata}, "spec": spec}


def test_only_what_was_applied_is_taken() -> None:
    assert owned.values(live(), FIELDS) == {
        "metadata": {"labels": {owned.PART_OF: "set"}},
        "spec": {
            "replicas": 3,
            "containers": [{"name": "a", "image": "a:1", "ports": [{"name": "http"}]}],
            "empty": {},
            "finalizers": ["x/y"],
        },
    }


def test_an_entry_is_ours_by_manager_and_operation() -> None:
    assert owned.entry(live("kubectl")) == {}
    body = live()
    body["metadata"]["managedFields"][0]["operation"] = "Update"
    assert owned.mark(body) == ""


def test_the_mark_moves_with_fields_and_time_only() -> None:
    body = live()
    before = owned.mark(body)
    body["spec"]["replicas"] = 9
    assert owned.mark(body) == before
    body["metadata"]["managedFields"][0]["time"] = "t2"
    assert owned.mark(body) != before


def test_who_took_a_field_is_named() -> None:
    body = live(fields={**FIELDS, "f:spec": {**FIELDS["f:spec"], "f:replicas": None}})
    del body["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]["f:replicas"]
    taken = {"manager": "hpa", "operation": "Update", "time": "t2", "fieldsV1": {"f:spec": {"f:replicas": {}}}}
    body["metadata"]["managedFields"].append(taken)
    assert [str(c) for c in owned.culprits(body, FIELDS)] == ["spec.replicas by hpa (Update, t2)"]


def test_paths_are_as_people_write_them() -> None:
    assert "spec.containers[a].ports[80,TCP].name" in set(owned.paths(FIELDS))


def test_three_signs_must_agree() -> None:
    assert owned.why_not_ours(live(), "set", "u") == ""
    assert "is not this application's" in owned.why_not_ours(live(), "other", "u")
    assert "not the object that we applied" in owned.why_not_ours(live(), "set", "u2")
    assert "was not applied by us" in owned.why_not_ours(live("kubectl"), "set", "u")
    owner = [{"kind": "Service", "name": "web", "controller": True}]
    assert owned.why_not_ours(live(ownerReferences=owner), "set", "u") == "Service/web controls it"


def test_the_id_of_an_applyset_is_as_the_proposal_says() -> None:
    """Computed with `printf name.ns.ConfigMap. | sha256sum | xxd -r -p | base64url`, without padding."""
    found = owned.applyset_id("name", "ns")
    assert found.startswith("applyset-") and found.endswith("-v1") and len(found) == 9 + 43 + 3
    assert found == "applyset-42YS2ob3sik94RyWjkwp4PH1yZS6H5k6StaopNs0l5I-v1"


def test_what_is_desired_is_left_as_it_is() -> None:
    containers = [{"name": "a", "ports": [{"containerPort": 80, "name": "x"}, {"containerPort": 80, "name": "y"}]}]
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "uid": "u"},
        "spec": {"containers": containers},
    }
    object = make_object(body, Place("p.yaml", 1))
    made, notes = prepared(object, "set", True)
    assert made["spec"]["containers"][0]["ports"] == [{"containerPort": 80, "name": "y"}]
    assert made["metadata"] == {"name": "p", "labels": {owned.PART_OF: "set"}, "namespace": "default"}
    assert notes == ("spec.containers[0].ports: 80/TCP is stated twice, the last one counts",)
    assert len(containers[0]["ports"]) == 2 and object.body is body


def test_a_webhooks_words_are_kept() -> None:
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}}
    error = ApiError(403, "Forbidden", 'admission webhook "policy.example" denied the request: no root')
    told = refused(make_object(body, Place("p.yaml", 4)), error)
    assert isinstance(told, ObjectInvalid)
    assert str(told) == "p.yaml:4: pod/p: webhook policy.example refuses it: no root"


def test_the_environments_proxy_and_its_exceptions() -> None:
    environ = {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "a.example,.b.example"}
    assert proxy_for("https://c.example", environ) == "http://p:1"
    assert proxy_for("https://x.b.example", environ) == proxy_for("https://a.example", environ) == ""
    assert proxy_for("https://127.0.0.1:6443", environ) == ""
