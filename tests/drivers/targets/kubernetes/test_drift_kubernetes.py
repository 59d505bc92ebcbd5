"""What is drift and what is left to others, on a real API server with the real autoscaler."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from cluster.play import Admin
from trueup.core.model import DriftRules, Health, Leave, Object, Place
from trueup.core.objects import make_object
from trueup.drivers.renderers.jq import Jq
from trueup.drivers.renderers.worker import Limits, Workers
from trueup.drivers.targets.kubernetes.client import APPLY, Call
from trueup.drivers.targets.kubernetes.target import Kubernetes
from trueup.ports import TargetDown

pytestmark = pytest.mark.integration
Open = Callable[..., Any]
LIMIT_S = 30.0
AUTOSCALER = "HorizontalPodAutoscaler"
WORKER = Path(__file__).parents[4] / ".cache/trueup-render"


def config(space: str, name: str, **data: str) -> Object:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": space}, "data": data}
    return make_object(body, Place("config.yaml", 1))


def web(space: str, image: str = "web:1", replicas: int | None = 10, **spec: Any) -> Object:
    labels = {"app": "web"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "web", "image": image}]}}
    stated = {} if replicas is None else {"replicas": replicas}
    body = {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": space},
        "spec": {"selector": {"matchLabels": labels}, "template": template, **stated, **spec},
    }  # fmt: skip
    return make_object(body, Place("web.yaml", 7))


def scaler(space: str, least: int) -> Object:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    body = {
        "apiVersion": "autoscaling/v2", "kind": AUTOSCALER,
        "metadata": {"name": "web", "namespace": space},
        "spec": {"scaleTargetRef": target, "minReplicas": least, "maxReplicas": 40},
    }  # fmt: skip
    return make_object(body, Place("scaler.yaml", 1))


def at(space: str, name: str = "web", plural: str = "deployments", root: str = "/apis/apps/v1") -> str:
    return f"{root}/namespaces/{space}/{plural}/{name}"


def of(space: str, name: str) -> str:
    return at(space, name, "configmaps", "/api/v1")


@asynccontextmanager
async def every_version(admin: Admin, space: str) -> AsyncIterator[list[int]]:
    """The replicas of each version of the Deployment, from now on."""
    found: list[int] = []
    begun = (await admin.get(at(space)))["metadata"]["resourceVersion"]

    async def collect() -> None:
        root = at(space).rpartition("/")[0]
        async for type, body in admin.client.watch(root, resourceVersion=begun):
            if type == "MODIFIED":
                found.append(body["spec"].get("replicas"))

    task = asyncio.create_task(collect())
    try:
        yield found
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def settled(target: Kubernetes, admin: Admin, application: str, space: str) -> list[str]:
    """The drifts told, once the target has surely seen and compared everything that was written before."""
    mark = config(space, f"mark-{application}", key="1")
    await target.apply(application, "c9", [mark])
    await admin.merge(of(space, mark.ref.name), {"data": {"key": "2"}})
    drifts = []
    async with asyncio.timeout(LIMIT_S):
        async for move in target.watch(0):
            if move.drift and move.ref.name == mark.ref.name:
                return drifts
            drifts += [move.drift] if move.drift else []
    raise AssertionError("the watch ended")


async def hashes(target: Kubernetes, application: str) -> dict[str, str]:
    return {o.ref.name: o.hash for o in (await target.read(application)).objects if o.ref.kind != AUTOSCALER}


# --- autoscalers -------------------------------------------------------------------------------------


async def test_an_autoscaler_added_to_ten_replicas_never_sees_one(target: Kubernetes, admin: Admin, space: str) -> None:
    await target.apply("hpa", "c1", [web(space)])
    async with every_version(admin, space) as versions:
        await target.apply("hpa", "c2", [web(space, "web:2", replicas=None), scaler(space, 2)])
        await target.apply("hpa", "c3", [web(space, "web:3", replicas=None), scaler(space, 12)])
        await admin.until(at(space), lambda body: body["spec"]["replicas"] == 12)
        await target.apply("hpa", "c4", [web(space, "web:4", replicas=None), scaler(space, 12)])
        live = await admin.until(
            at(space), lambda b: b["status"].get("observedGeneration") == b["metadata"]["generation"]
        )
    assert live["spec"]["template"]["spec"]["containers"][0]["image"] == "web:4"
    assert live["spec"]["replicas"] == 12
    assert len(versions) >= 4 and set(versions) == {10, 12}
    assert await settled(target, admin, "hpa", space) == []


async def test_replicas_that_git_states_are_the_autoscalers_once_it_set_them(
    target: Kubernetes, admin: Admin, space: str
) -> None:
    first = web(space)
    await target.apply("both", "c1", [first, scaler(space, 12)])
    await admin.until(at(space), lambda body: body["spec"]["replicas"] == 12)
    assert await settled(target, admin, "both", space) == []
    assert (await hashes(target, "both"))["web"] == first.hash
    async with every_version(admin, space) as versions:
        await target.apply("both", "c2", [web(space, "web:2", replicas=5)])
        await admin.until(at(space), lambda b: b["status"].get("observedGeneration") == b["metadata"]["generation"])
    assert set(versions) == {12}


async def test_replicas_set_by_a_person_are_drift_where_git_states_them(
    target: Kubernetes, admin: Admin, space: str
) -> None:
    await target.apply("person", "c1", [web(space)])
    await admin.merge(f"{at(space)}/scale", {"spec": {"replicas": 3}}, "kubectl")
    (drift,) = await settled(target, admin, "person", space)
    assert drift.startswith("deployment/web: spec.replicas by kubectl (Update")
    await target.apply("person", "c1", [web(space)])
    assert (await admin.get(at(space)))["spec"]["replicas"] == 10


# --- rules -------------------------------------------------------------------------------------------


async def test_a_pointer_leaves_a_field_as_others_set_it(target: Kubernetes, admin: Admin, space: str) -> None:
    await target.drift_rules("left", DriftRules((Leave(kind="ConfigMap", name="tuned", pointers=("/data/level",)),)))
    desired = config(space, "tuned", level="info", other="1")
    await target.apply("left", "c1", [desired])
    assert (await admin.get(of(space, "tuned")))["data"]["level"] == "info"  # a first apply states everything
    await admin.merge(of(space, "tuned"), {"data": {"level": "debug"}})
    assert await settled(target, admin, "left", space) == []
    await target.apply("left", "c2", [config(space, "tuned", level="warn", other="2")])
    assert (await admin.get(of(space, "tuned")))["data"] == {"level": "debug", "other": "2"}
    await target.apply("left", "c3", [config(space, "tuned", other="3")])
    assert (await admin.get(of(space, "tuned")))["data"] == {"level": "debug", "other": "3"}


async def test_a_field_only_we_hold_outlives_its_end_in_git(target: Kubernetes, admin: Admin, space: str) -> None:
    await target.drift_rules("ours", DriftRules((Leave(pointers=("/data/level",)),)))
    await target.apply("ours", "c1", [config(space, "kept", level="info", other="1")])
    await target.apply("ours", "c2", [config(space, "kept", other="2")])
    assert (await admin.get(of(space, "kept")))["data"] == {"level": "info", "other": "2"}


async def test_another_field_beside_one_that_is_left_is_drift(target: Kubernetes, admin: Admin, space: str) -> None:
    await target.drift_rules("beside", DriftRules((Leave(pointers=("/data/level",)),)))
    desired = config(space, "mixed", level="info", other="1")
    await target.apply("beside", "c1", [desired])
    await admin.merge(of(space, "mixed"), {"data": {"level": "debug", "other": "hacked"}})
    (drift,) = await settled(target, admin, "beside", space)
    assert drift.startswith("configmap/mixed: data.other by kubectl-edit (Update, ") and "level" not in drift
    await target.apply("beside", "c1", [desired])
    assert (await admin.get(of(space, "mixed")))["data"] == {"level": "debug", "other": "1"}


async def test_what_a_manager_holds_is_left_to_it(target: Kubernetes, admin: Admin, space: str) -> None:
    await target.drift_rules("managed", DriftRules((Leave(managers=("tuner",)),)))
    desired = config(space, "tuned", level="info")
    await target.apply("managed", "c1", [desired])
    await admin.merge(of(space, "tuned"), {"data": {"level": "debug"}}, "tuner")
    assert await settled(target, admin, "managed", space) == []
    await target.apply("managed", "c2", [config(space, "tuned", level="warn")])
    assert (await admin.get(of(space, "tuned")))["data"] == {"level": "debug"}
    await admin.merge(of(space, "tuned"), {"data": {"level": "hacked"}}, "somebody")
    await target.apply("managed", "c3", [config(space, "tuned", level="error")])
    assert (await admin.get(of(space, "tuned")))["data"] == {"level": "error"}


async def test_a_jq_expression_leaves_a_field_of_a_list_item(opened: Open, admin: Admin, space: str) -> None:
    if not WORKER.exists():
        pytest.skip("no render worker: `make render` builds it with Go 1.26")
    expression = '.spec.template.spec.containers[] | select(.name == "web") | .image'
    async with Workers(WORKER, size=1, limits=Limits(uid=65534)) as workers, opened(expressions=Jq(workers)) as target:
        await target.drift_rules("jq", DriftRules((Leave(group="apps", kind="Deployment", jq=(expression,)),)))
        await target.apply("jq", "c1", [web(space)])
        patch = {"spec": {"template": {"spec": {"containers": [{"name": "web", "image": "web:tuned"}]}}}}
        await admin.merge(at(space), patch)
        assert await settled(target, admin, "jq", space) == []
        await target.apply("jq", "c2", [web(space, "web:2", replicas=4)])
        live = await admin.get(at(space))
        assert (live["spec"]["replicas"], live["spec"]["template"]["spec"]["containers"][0]["image"]) == (
            4,
            "web:tuned",
        )


async def test_jq_without_a_worker_is_refused_by_name(target: Kubernetes, space: str) -> None:
    await target.drift_rules("nojq", DriftRules((Leave(jq=(".data",)),)))
    await target.apply("nojq", "c1", [config(space, "x", a="1")])
    with pytest.raises(TargetDown, match=r"configmap/x: the jq expression '.data' needs the render worker"):
        await target.apply("nojq", "c2", [config(space, "x", a="2")])


async def test_a_rule_taken_back_makes_it_drift_and_rules_outlive_a_restart(
    opened: Open, admin: Admin, space: str
) -> None:
    desired = config(space, "tuned", level="info")
    async with opened() as target:
        await target.drift_rules("back", DriftRules((Leave(pointers=("/data/level",)),)))
        await target.apply("back", "c1", [desired])
    await admin.merge(of(space, "tuned"), {"data": {"level": "debug"}})
    async with opened() as target:
        assert (await hashes(target, "back"))["tuned"] == desired.hash
        assert await settled(target, admin, "back", space) == []
        await target.drift_rules("back", DriftRules())
        until = asyncio.get_running_loop().time() + LIMIT_S
        while (await hashes(target, "back"))["tuned"] == desired.hash:
            assert asyncio.get_running_loop().time() < until
            await asyncio.sleep(0.05)  # a comparison that finds nothing has no event


async def test_drift_that_is_only_told_is_left(target: Kubernetes, admin: Admin, space: str) -> None:
    await target.drift_rules("told", DriftRules(repair=False))
    desired = [config(space, "edited", key="1"), config(space, "deleted", key="1")]
    await target.apply("told", "c1", desired)
    await admin.merge(of(space, "edited"), {"data": {"key": "hacked"}})
    await admin.delete(of(space, "deleted"))
    drifts = await settled(target, admin, "told", space)
    assert sorted(drift[:20] for drift in drifts) == ["configmap/deleted de", "configmap/edited: da"]
    held = await hashes(target, "told")
    assert (held["edited"], held["deleted"]) == (desired[0].hash, desired[1].hash)
    await target.apply("told", "c1", desired)
    assert (await admin.get(of(space, "edited")))["data"] == {"key": "hacked"}
    assert not await admin.there(of(space, "deleted"))
    judged = {j.ref.name: j for j in await target.judge("told")}
    assert judged["deleted"].health is Health.MISSING and "data.key by kubectl-edit" in judged["edited"].reason


async def test_drift_put_back_by_hand_is_no_drift_any_more(target: Kubernetes, admin: Admin, space: str) -> None:
    desired = config(space, "undone", key="1")
    await target.apply("undone", "c1", [desired])
    await admin.merge(of(space, "undone"), {"data": {"key": "2"}})
    assert len(await settled(target, admin, "undone", space)) == 1
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "undone"}, "data": {"key": "1"}}
    query = (("fieldManager", "person"), ("force", "true"))
    await admin.client.send(Call(method="PATCH", path=of(space, "undone"), body=body, content=APPLY, query=query))
    until = asyncio.get_running_loop().time() + LIMIT_S
    while (await hashes(target, "undone"))["undone"] != desired.hash:
        assert asyncio.get_running_loop().time() < until
        await asyncio.sleep(0.05)  # a comparison that finds nothing has no event
