"""The manifests under deploy/ give exactly the rights that a rollout needs, on the real API server."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from cluster.control import Control
from cluster.play import Admin
from trueup.core.kubeconfig import resolve
from trueup.core.model import Health, Object, Place
from trueup.core.objects import make_object
from trueup.core.yamldoc import documents
from trueup.drivers.targets.kubernetes import facts
from trueup.drivers.targets.kubernetes.client import ApiError, Call
from trueup.drivers.targets.kubernetes.facts import Right
from trueup.drivers.targets.kubernetes.target import Kubernetes, Settings
from trueup.ports import TargetDown

pytestmark = pytest.mark.integration
DEPLOY = Path(__file__).resolve().parents[4] / "deploy"
PLURALS = {
    "Namespace": "/api/v1/namespaces", "ServiceAccount": "/api/v1/namespaces/{}/serviceaccounts",
    "Role": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles",
    "RoleBinding": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings",
    "ClusterRole": "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
}  # fmt: skip
LIMIT_S = 20.0


async def install(admin: Admin, file: str, replace: Callable[[str], str] = lambda text: text) -> None:
    """As `kubectl apply -f deploy/<file>` does."""
    for doc in documents(replace((DEPLOY / file).read_text()).encode(), file):
        body = doc.body
        path = PLURALS[body["kind"]].format(body["metadata"].get("namespace", ""))
        try:
            await admin.create(path, body)
        except ApiError as error:
            assert error.status == 409, error


@asynccontextmanager
async def as_account(
    control: Control, admin: Admin, namespace: str, folder: Path, **settings: Any
) -> AsyncIterator[Kubernetes]:
    """A target that acts with the token of the service account `trueup` of a namespace."""
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/trueup/token"
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
    token = (await admin.client.send(Call(method="POST", path=path, body=asked)))["status"]["token"]
    file = folder / "kubeconfig"
    file.write_text(json.dumps(control.config({"token": token}, namespace=namespace)))
    access = resolve([(str(file), file.read_bytes())])
    made = Kubernetes(Settings(access=access, environ=os.environ, records=str(folder / "applied.db"), **settings))
    await made.start()
    try:
        yield made
    finally:
        await made.close()


def objects(space: str) -> list[Object]:
    """One of each kind that the manifests name."""
    labels, metadata = {"app": "web"}, {"namespace": space}
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "web", "image": "web:1"}]}}
    job = {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "web", "image": "web:1"}]}}}
    selector = {"matchLabels": labels}
    bodies: list[dict[str, Any]] = [
        {"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "b"}},
        {"apiVersion": "v1", "kind": "Secret", "stringData": {"a": "b"}},
        {"apiVersion": "v1", "kind": "ServiceAccount"},
        {"apiVersion": "v1", "kind": "Service", "spec": {"selector": labels, "ports": [{"port": 80}]}},
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}},
        {"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"selector": selector, "template": pod}},
        {"apiVersion": "apps/v1", "kind": "StatefulSet", "spec": {
            "serviceName": "web", "selector": selector, "template": pod}},
        {"apiVersion": "apps/v1", "kind": "DaemonSet", "spec": {"selector": selector, "template": pod}},
        {"apiVersion": "batch/v1", "kind": "Job", "spec": job},
        {"apiVersion": "batch/v1", "kind": "CronJob", "spec": {"schedule": "0 0 * * *", "jobTemplate": {"spec": job}}},
        {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "spec": {"podSelector": {}}},
        {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "spec": {
            "defaultBackend": {"service": {"name": "web", "port": {"number": 80}}}}},
        {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "spec": {
            "maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}}},
        {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "spec": {"selector": selector, "minAvailable": 1}},
    ]  # fmt: skip
    return [
        make_object({**body, "metadata": {**metadata, "name": f"web-{n}" if n != 5 else "web"}}, Place("web.yaml", n))
        for n, body in enumerate(bodies)
    ]


async def rolls_out(target: Kubernetes, admin: Admin, space: str) -> None:
    """Every verb of the target, on every kind."""
    wanted = objects(space)
    await target.apply("application/rights", "c1", wanted)
    live = await target.read("application/rights")
    assert not live.unread and len(live.objects) == len(wanted)
    async with asyncio.timeout(LIMIT_S):
        while True:
            judged = {str(j.ref): j for j in await target.judge("application/rights")}
            if "pod web-" in judged["deployment/web"].reason:  # pods, ReplicaSets and events may be listed
                break
            await asyncio.sleep(0.1)  # the controllers' work has no event here
    assert judged["configmap/web-0"].health is Health.HEALTHY
    await target.delete("application/rights", [o.ref for o in wanted])
    assert not (await target.read("application/rights")).objects
    assert not await admin.there(f"/api/v1/namespaces/{space}/configmaps/web-0")


async def test_one_namespace_needs_rights_in_it_alone(
    control: Control, admin: Admin, space: str, tmp_path: Path
) -> None:
    await install(admin, "namespaced.yaml", lambda text: text.replace("shop", space))
    async with as_account(control, admin, space, tmp_path, namespaces=(space,), home=space) as target:
        await rolls_out(target, admin, space)
        assert await facts.identity(target.client) == control.url
        over = [Right("list", "configmaps"), Right("get", "secrets", "default"), Right("create", "pods", space)]
        over += [Right("create", "roles.rbac.authorization.k8s.io", space), Right("get", "nodes")]
        assert await facts.lacking(target.client, over) == tuple(over)
        elsewhere = make_object(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "namespace": "default"}},
            Place("x.yaml", 1),
        )
        with pytest.raises(TargetDown, match=r"forbidden|could not be listed"):
            await target.apply("application/rights", "c2", [elsewhere])


async def test_a_whole_cluster_needs_these_rights_and_no_more(
    control: Control, admin: Admin, space: str, tmp_path: Path
) -> None:
    await install(admin, "cluster.yaml")
    async with as_account(control, admin, "trueup-system", tmp_path) as target:
        await rolls_out(target, admin, space)
        assert await facts.identity(target.client) != control.url
        there = (await admin.get("/api/v1/nodes"))["items"]  # other tests may have made some
        assert [node.name for node in await facts.nodes(target.client)] == [node["metadata"]["name"] for node in there]
        over = [Right("create", "clusterroles.rbac.authorization.k8s.io"), Right("create", "pods", space)]
        over += [Right("delete", "nodes"), Right("create", "pods/exec", space), Right("update", "deployments.apps")]
        assert await facts.lacking(target.client, over) == tuple(over)
