"""What a cluster does to those who live on it: restarts, missing rights, vanished kinds, other people's copies."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from cluster.control import Control, encoded
from cluster.play import Admin
from trueup.core.kubeconfig import Access, resolve
from trueup.core.model import Bundle, Health, Object, Place
from trueup.core.objects import make_object
from trueup.core.plan import plan
from trueup.drivers.targets.kubernetes.owned import PART_OF
from trueup.drivers.targets.kubernetes.target import Kubernetes
from trueup.ports import TargetDown

pytestmark = pytest.mark.integration
Open = Callable[..., Any]
LIMIT_S = 30.0


def thing(version: str, kind: str, space: str, name: str, **body: Any) -> Object:
    metadata = {"name": name, "namespace": space} if space else {"name": name}
    return make_object({"apiVersion": version, "kind": kind, "metadata": metadata, **body}, Place("app.yaml", 1))


def config(space: str, name: str, value: str = "1") -> Object:
    return thing("v1", "ConfigMap", space, name, data={"key": value})


async def limited(control: Control, admin: Admin, space: str, rules: list[Any]) -> Access:
    """The way in of an account that has these rights in one namespace, and no others."""
    user = f"limited-{space}"
    root = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{space}"
    version, subject = "rbac.authorization.k8s.io/v1", {"kind": "User", "name": user}
    metadata = {"name": "limited"}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "limited"}
    await admin.create(f"{root}/roles", {"apiVersion": version, "kind": "Role", "metadata": metadata, "rules": rules})
    binding = {"apiVersion": version, "kind": "RoleBinding", "metadata": metadata}
    await admin.create(f"{root}/rolebindings", {**binding, "roleRef": role, "subjects": [subject]})
    certificate, key = control.certificate(user)
    given = {"client-certificate-data": encoded(certificate), "client-key-data": encoded(key)}
    return resolve([("/tmp/limited", orjson.dumps(control.config(given)))])


def rule(*resources: str, group: str = "") -> dict[str, Any]:
    verbs = ["get", "list", "watch", "create", "patch", "delete"]
    return {"apiGroups": [group], "resources": list(resources), "verbs": verbs}


async def drifts(target: Kubernetes, name: str) -> str:
    async with asyncio.timeout(LIMIT_S):
        async for move in target.watch(0):
            if move.drift and move.ref.name == name:
                return move.drift
    raise AssertionError("the watch ended")


async def test_an_api_server_that_is_killed_and_comes_back(
    control: Control, target: Kubernetes, admin: Admin, space: str
) -> None:
    desired = config(space, "lasting")
    await target.apply("restart", "c1", [desired])
    control.kill("apiserver")
    applying = asyncio.create_task(target.apply("restart", "c2", [config(space, "later")]))
    assert [j.health for j in await target.judge("restart")] == [Health.HEALTHY]  # as last seen
    control.run_apiserver()
    await asyncio.to_thread(control.await_apiserver)
    await applying
    await admin.merge(f"/api/v1/namespaces/{space}/configmaps/lasting", {"data": {"key": "hacked"}})
    assert "data.key by kubectl-edit" in await drifts(target, "lasting")
    await target.apply("restart", "c2", [desired])
    assert (await admin.get(f"/api/v1/namespaces/{space}/configmaps/lasting"))["data"] == {"key": "1"}


async def test_one_namespace_is_enough(control: Control, opened: Open, admin: Admin, space: str) -> None:
    access = await limited(control, admin, space, [rule("configmaps")])
    async with opened(access=access, namespaces=(space,), home=space) as target:
        desired = config(space, "small")
        await target.apply("small", "c1", [desired])
        assert [o.hash for o in (await target.read("small")).objects] == [desired.hash]
        await admin.delete(f"/api/v1/namespaces/{space}/configmaps/small")
        assert await drifts(target, "small") == "configmap/small deleted by hand"


async def test_a_forbidden_kind_is_unread_and_nothing_is_pruned(
    control: Control, opened: Open, admin: Admin, space: str
) -> None:
    objects = [config(space, "seen"), thing("v1", "Secret", space, "unseen", stringData={"a": "b"})]
    async with opened(home=space) as whole:
        await whole.apply("rights", "c1", objects)
    access = await limited(control, admin, space, [rule("configmaps")])
    async with opened(access=access, namespaces=(space,), home=space) as target:
        live = await target.read("rights")
        assert [u.what for u in live.unread] == ["Secret"] and "forbidden" in live.unread[0].reason
        planned = plan(Bundle("rights", "c2", (), ""), live)
        assert planned.changes == () and "nothing is deleted until it can" in planned.held[0].reason
        with pytest.raises(TargetDown, match=r"secret/more: .*forbidden.*give Trueup's account this right"):
            await target.apply("rights", "c2", [thing("v1", "Secret", space, "more")])


async def test_slices_with_a_copied_label_are_not_ours(target: Kubernetes, admin: Admin, space: str) -> None:
    service = thing("v1", "Service", space, "web", spec={"selector": {"app": "web"}, "ports": [{"port": 80}]})
    await target.apply("slices", "c1", [service])
    root = f"/apis/discovery.k8s.io/v1/namespaces/{space}/endpointslices"
    listed = await admin.until(root, lambda body: bool(body["items"]))
    slice = listed["items"][0]["metadata"]
    assert PART_OF in slice["labels"]  # Kubernetes copies a Service's labels
    assert [o.ref.kind for o in (await target.read("slices")).objects] == ["Service"]
    await target.delete("slices", [thing("discovery.k8s.io/v1", "EndpointSlice", space, slice["name"]).ref])
    assert await admin.there(f"{root}/{slice['name']}")


WIDGETS: dict[str, Any] = {
    "group": "made.example",
    "scope": "Namespaced",
    "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
    "versions": [
        {
            "name": "v1", "served": True, "storage": True, "subresources": {"status": {}},
            "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
        }
    ],
}  # fmt: skip


async def until_applied(target: Kubernetes, objects: list[Object]) -> None:
    until = asyncio.get_running_loop().time() + LIMIT_S
    while True:
        try:
            return await target.apply("widgets", "c1", objects)
        except TargetDown:
            assert asyncio.get_running_loop().time() < until
            await asyncio.sleep(0.2)  # discovery's news has no event here


async def test_a_definition_that_comes_and_goes(target: Kubernetes, admin: Admin, space: str) -> None:
    crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    crd = thing("apiextensions.k8s.io/v1", "CustomResourceDefinition", "", "widgets.made.example", spec=WIDGETS)
    widget = thing("made.example/v1", "Widget", space, "w", spec={"size": 1})
    await until_applied(target, [crd, widget])
    judged = {j.ref.kind: (j.health, j.reason) for j in await target.judge("widgets")}
    assert judged["Widget"] == (Health.PROGRESSING, "its controller has said nothing yet")
    await admin.merge(
        f"/apis/made.example/v1/namespaces/{space}/widgets/w/status",
        {"status": {"conditions": [{"type": "Ready", "status": "True"}]}},
    )
    until = asyncio.get_running_loop().time() + LIMIT_S
    while {j.health for j in await target.judge("widgets") if j.ref.kind == "Widget"} != {Health.HEALTHY}:
        assert asyncio.get_running_loop().time() < until
        await asyncio.sleep(0.05)  # a status has no event here
    await admin.delete(f"{crds}/widgets.made.example")
    assert await drifts(target, "w") == "widget/w deleted by hand"
    live = await target.read("widgets")
    assert (live.unread, "Widget" in {o.ref.kind for o in live.objects}) == ((), False)
