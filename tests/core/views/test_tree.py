"""What was applied to a cluster with what others made of it, down to pods."""

from __future__ import annotations

from typing import Any

from trueup.core.model import Ref
from trueup.core.views.tree import Branch, tree


def body(kind: str, name: str, owner: str = "", **more: Any) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name, "namespace": "shop", "uid": f"uid-{name}"}
    if owner:
        metadata["ownerReferences"] = [{"uid": f"uid-{owner}", "kind": "x", "name": owner, "controller": True}]
    versions = {"Pod": "v1", "ConfigMap": "v1", "EndpointSlice": "discovery.k8s.io/v1"}
    return {"apiVersion": versions.get(kind, "apps/v1"), "kind": kind, "metadata": metadata, **more}


def ref(kind: str, name: str) -> Ref:
    return Ref("host", "apps" if kind == "Deployment" else "", kind, "shop", name)


READY = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
PULL = {"containerStatuses": [{"name": "web", "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no"}}}]}


def test_pods_hang_below_the_replica_set_that_has_some() -> None:
    web = body("Deployment", "web", spec={"replicas": 2}, status={"replicas": 2, "readyReplicas": 1})
    others = [
        body("ReplicaSet", "web-1", "web", spec={"replicas": 0}),
        body("ReplicaSet", "web-2", "web", spec={"replicas": 2}, status={}),
        body("Pod", "web-2-b", "web-2", status={"phase": "Pending", **PULL}),
        body("Pod", "web-2-a", "web-2", status=READY),
        body("Pod", "foreign", "elsewhere", status=READY),
    ]
    (found,) = tree([(ref("Deployment", "web"), web)], others)
    (replicas,) = found.below
    assert replicas.object == "replicaset/web-2"
    assert [(pod.object, pod.health, pod.reason) for pod in replicas.below] == [
        ("pod/web-2-a", "healthy", ""),
        ("pod/web-2-b", "degraded", "ImagePullBackOff: no"),
    ]


def test_what_is_not_there_is_missing() -> None:
    assert tree([(ref("ConfigMap", "a"), None)], ()) == (Branch("configmap/a", "shop", "missing", "not there"),)


def test_objects_that_own_each_other_end() -> None:
    one, two = body("ReplicaSet", "a", "b", spec={"replicas": 1}), body("ReplicaSet", "b", "a", spec={"replicas": 1})
    (found,) = tree([(ref("ConfigMap", "a"), one)], [one, two])
    assert found.below[0].object == "replicaset/b" and found.below[0].below == ()
