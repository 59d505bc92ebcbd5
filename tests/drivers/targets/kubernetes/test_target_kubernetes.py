"""The Kubernetes target on a real API server: apply, ownership, drift, health."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from cluster.play import Admin
from trueup.core.model import Health, Object, Place
from trueup.core.objects import make_object
from trueup.drivers.targets.kubernetes.owned import PART_OF
from trueup.drivers.targets.kubernetes.target import Kubernetes
from trueup.ports import Moved, ObjectInvalid, TargetDown

pytestmark = pytest.mark.integration
Open = Callable[..., Any]
LIMIT_S = 20.0


def config(space: str, name: str, value: str = "1", **metadata: Any) -> Object:
    body = {
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": space, **metadata},
        "data": {"key": value},
    }  # fmt: skip
    return make_object(body, Place("config.yaml", 1))


def web(space: str, image: str = "web:1", replicas: int = 2, **container: Any) -> Object:
    labels = {"app": "web"}
    spec = {"containers": [{"name": "web", "image": image, **container}]}
    body = {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": space},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }  # fmt: skip
    return make_object(body, Place("web.yaml", 7))


def path(space: str, name: str, plural: str = "configmaps", root: str = "/api/v1") -> str:
    return f"{root}/namespaces/{space}/{plural}/{name}"


async def drift_of(target: Kubernetes, name: str, after: int = 0) -> Moved:
    """The next move of this object that is no ordinary progress."""
    async with asyncio.timeout(LIMIT_S):
        async for move in target.watch(after):
            if move.drift and move.ref.name == name:
                return move
    raise AssertionError("the watch ended")


async def judged(target: Kubernetes, application: str, good: Callable[[Any], bool]) -> Any:
    """The only object's judgement once `good` says so."""
    until = asyncio.get_running_loop().time() + LIMIT_S
    while True:
        (found,) = await target.judge(application)
        if good(found):
            return found
        assert asyncio.get_running_loop().time() < until, found
        await asyncio.sleep(0.05)  # a controller's status has no event here


# --- apply and unchanged ---------------------------------------------------------------------------


async def test_a_pass_with_nothing_changed_makes_no_call(target: Kubernetes, space: str) -> None:
    objects = [config(space, f"same-{n}") for n in range(5)]
    await target.apply("same", "c1", objects)
    await target.read("same")
    target.client.calls.clear()
    await target.apply("same", "c2", objects)
    assert [o.hash for o in (await target.read("same")).objects] == [o.hash for o in objects]
    assert {j.health for j in await target.judge("same")} == {Health.HEALTHY}
    assert target.client.calls == {}


async def test_a_restart_applies_nothing_anew(opened: Open, space: str) -> None:
    objects = [config(space, "kept"), web(space)]
    async with opened() as first:
        await first.apply("kept", "c1", objects)
    async with opened() as second:
        await second.apply("kept", "c2", objects)
        assert {o.hash for o in (await second.read("kept")).objects} == {o.hash for o in objects}
        assert second.client.calls["PATCH"] == 0


async def test_labels_and_parent_are_an_applyset(target: Kubernetes, admin: Admin, space: str) -> None:
    await target.apply("set", "c1", [config(space, "member"), web(space)])
    member = await admin.get(path(space, "member"))
    listed = await admin.client.get(
        "/api/v1/namespaces/trueup-system/configmaps", labelSelector="applyset.kubernetes.io/id"
    )
    parents = {p["metadata"]["labels"]["applyset.kubernetes.io/id"]: p["metadata"] for p in listed["items"]}
    parent = parents[member["metadata"]["labels"][PART_OF]]
    assert parent["annotations"]["applyset.kubernetes.io/contains-group-kinds"] == "ConfigMap,Deployment.apps"
    assert parent["annotations"]["applyset.kubernetes.io/additional-namespaces"] == space
    assert parent["annotations"]["applyset.kubernetes.io/tooling"].startswith("trueup/v")


async def test_env_stated_twice_is_applied_with_the_last_and_said(target: Kubernetes, admin: Admin, space: str) -> None:
    env = [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}, {"name": "A", "value": "3"}]
    await target.apply("twice", "c1", [web(space, env=env)])
    live = await admin.get(path(space, "web", "deployments", "/apis/apps/v1"))
    assert live["spec"]["template"]["spec"]["containers"][0]["env"] == [env[1], env[2]]
    assert {o.hash for o in (await target.read("twice")).objects} == {web(space, env=env).hash}


async def test_a_kind_that_does_not_exist_yet_blocks_nothing_else(target: Kubernetes, admin: Admin, space: str) -> None:
    body = {"apiVersion": "made.example/v1", "kind": "Widget", "metadata": {"name": "w", "namespace": space}}
    with pytest.raises(TargetDown, match=r"x.yaml:3: the cluster has no kind Widget in made.example/v1"):
        await target.apply("crd", "c1", [make_object(body, Place("x.yaml", 3)), config(space, "beside")])
    assert await admin.there(path(space, "beside"))


async def test_an_immutable_field_is_explained(target: Kubernetes, space: str) -> None:
    body = {**config(space, "frozen").body, "immutable": True}
    await target.apply("fixed", "c1", [make_object(body, Place("f.yaml", 1))])
    with pytest.raises(ObjectInvalid, match=r"f.yaml:9: configmap/frozen: .*immutable.*trueup.io/replace"):
        await target.apply("fixed", "c2", [make_object({**body, "data": {"key": "2"}}, Place("f.yaml", 9))])


async def test_what_cannot_change_is_made_anew_where_an_annotation_asks(
    target: Kubernetes, admin: Admin, space: str
) -> None:
    notes = {"annotations": {"argocd.argoproj.io/sync-options": "Replace=true"}}
    body = {**config(space, "anew", **notes).body, "immutable": True}
    await target.apply("anew", "c1", [make_object(body, Place("f.yaml", 1))])
    await target.apply("anew", "c2", [make_object({**body, "data": {"key": "2"}}, Place("f.yaml", 1))])
    assert (await admin.get(path(space, "anew")))["data"] == {"key": "2"}


async def test_what_asks_to_be_replaced_keeps_nothing_that_others_added(
    target: Kubernetes, admin: Admin, space: str
) -> None:
    notes = {"annotations": {"argocd.argoproj.io/sync-options": "Replace=true"}}
    await target.apply("whole", "c1", [config(space, "whole", **notes)])
    await admin.merge(path(space, "whole"), {"data": {"added": "by hand"}})
    changed = config(space, "whole", **notes)
    body = {**changed.body, "data": {"key": "2"}}
    await target.apply("whole", "c2", [make_object(body, Place("f.yaml", 1))])
    live = await admin.get(path(space, "whole"))
    assert live["data"] == {"key": "2"}
    await target.delete("whole", [changed.ref])
    assert not await admin.there(path(space, "whole"))


async def test_a_claim_is_never_made_anew_by_replace_alone(target: Kubernetes, admin: Admin, space: str) -> None:
    def claim(size: str) -> Object:
        spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "volumeName": size}
        notes = {"argocd.argoproj.io/sync-options": "Replace=true"}
        metadata = {"name": "data", "namespace": space, "annotations": notes}
        body = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec}
        return make_object(body, Place("claim.yaml", 3))

    await target.apply("claim", "c1", [claim("one")])
    uid = (await admin.get(path(space, "data", "persistentvolumeclaims")))["metadata"]["uid"]
    with pytest.raises(ObjectInvalid, match=r"claim.yaml:3: persistentvolumeclaim/data: .*immutable"):
        await target.apply("claim", "c2", [claim("two")])
    assert (await admin.get(path(space, "data", "persistentvolumeclaims")))["metadata"]["uid"] == uid


async def test_an_invalid_object_is_its_own_fault_with_its_line(target: Kubernetes, space: str) -> None:
    with pytest.raises(ObjectInvalid, match=r"web.yaml:7: deployment/web: .*spec.replicas"):
        await target.apply("bad", "c1", [web(space, replicas=-1)])


async def test_a_field_that_does_not_exist_is_the_objects_fault(target: Kubernetes, space: str) -> None:
    with pytest.raises(ObjectInvalid, match=r"config.yaml:1: configmap/typo: .*metadata.labelz"):
        await target.apply("typo", "c1", [config(space, "typo", labelz={})])


async def test_what_cannot_be_put_back_is_not_the_objects_fault(target: Kubernetes, admin: Admin, space: str) -> None:
    body = {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": space},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
    }  # fmt: skip
    desired = make_object(body, Place("service.yaml", 2))
    await target.apply("ports", "c1", [desired])
    await admin.merge(path(space, "web", "services"), {"spec": {"ports": [{"port": 81, "protocol": "TCP"}]}})
    await drift_of(target, "web")
    with pytest.raises(TargetDown, match=r"service.yaml:2: service/web: .*this very object was taken before"):
        await target.apply("ports", "c1", [desired])


async def test_quota_is_the_worlds_fault(target: Kubernetes, admin: Admin, space: str) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "q"},
        "spec": {"hard": {"configmaps": "1"}},
    }
    await admin.create(f"/api/v1/namespaces/{space}/resourcequotas", quota)
    await admin.until(
        path(space, "q", "resourcequotas"), lambda q: q.get("status", {}).get("used", {}).get("configmaps") == "1"
    )
    with pytest.raises(TargetDown, match="exceeded quota"):
        await target.apply("quota", "c1", [config(space, "one-too-many")])


async def test_duplicates_are_refused_with_both_places(target: Kubernetes, space: str) -> None:
    with pytest.raises(ObjectInvalid, match=r"stated twice, at config.yaml:1 and config.yaml:1"):
        await target.apply("dup", "c1", [config(space, "dup"), config(space, "dup", "2")])


# --- ownership ---------------------------------------------------------------------------------------


async def test_two_applications_cannot_hold_one_object(target: Kubernetes, admin: Admin, space: str) -> None:
    await target.apply("mine", "c1", [config(space, "shared")])
    with pytest.raises(ObjectInvalid, match="belongs to mine"):
        await target.apply("yours", "c1", [config(space, "shared", "2")])
    assert (await admin.get(path(space, "shared")))["data"] == {"key": "1"}


async def test_a_copy_with_our_label_is_never_deleted(target: Kubernetes, admin: Admin, space: str) -> None:
    await target.apply("copied", "c1", [config(space, "orig")])
    live = await admin.get(path(space, "orig"))
    metadata = {"name": "copy", "namespace": space, "labels": live["metadata"]["labels"]}
    await admin.create(f"/api/v1/namespaces/{space}/configmaps", {**live, "metadata": metadata})
    await target.delete("copied", [config(space, "copy").ref, config(space, "orig").ref])
    assert await admin.there(path(space, "copy"))
    assert not await admin.there(path(space, "orig"))


async def test_an_object_made_anew_by_somebody_is_not_deleted(target: Kubernetes, admin: Admin, space: str) -> None:
    await target.apply("anew", "c1", [config(space, "theirs")])
    live = await admin.get(path(space, "theirs"))
    await admin.delete(path(space, "theirs"))
    metadata = {"name": "theirs", "namespace": space, "labels": live["metadata"]["labels"]}
    await admin.create(f"/api/v1/namespaces/{space}/configmaps", {**live, "metadata": metadata})
    await target.delete("anew", [config(space, "theirs").ref])
    assert await admin.there(path(space, "theirs"))


async def test_with_the_record_lost_nothing_is_deleted(opened: Open, admin: Admin, space: str) -> None:
    async with opened("before") as target:
        await target.apply("lost", "c1", [config(space, "lost")])
    async with opened("after") as target:
        assert (await target.read("lost")).objects == ()
        await target.delete("lost", [config(space, "lost").ref])
        assert await admin.there(path(space, "lost"))


# --- drift -------------------------------------------------------------------------------------------


async def test_an_edited_field_is_named_with_who_did_it(target: Kubernetes, admin: Admin, space: str) -> None:
    desired = config(space, "edited")
    await target.apply("drift", "c1", [desired])
    await admin.merge(path(space, "edited"), {"data": {"key": "hacked"}})
    move = await drift_of(target, "edited")
    assert move.drift.startswith("configmap/edited: data.key by kubectl-edit (Update, ")
    assert [o.hash == desired.hash for o in (await target.read("drift")).objects] == [False]
    await target.apply("drift", "c1", [desired])
    assert (await admin.get(path(space, "edited")))["data"] == {"key": "1"}
    assert [o.hash for o in (await target.read("drift")).objects] == [desired.hash]


async def test_a_field_that_git_does_not_state_is_no_drift(target: Kubernetes, admin: Admin, space: str) -> None:
    desired = config(space, "added")
    await target.apply("added", "c1", [desired, config(space, "edited")])
    await admin.merge(path(space, "added"), {"data": {"more": "2"}, "metadata": {"labels": {"team": "a"}}})
    await admin.merge(path(space, "edited"), {"data": {"key": "hacked"}})
    await drift_of(target, "edited")  # the watch is past both
    assert {o.ref.name: o.hash for o in (await target.read("added")).objects}["added"] == desired.hash


async def test_a_removed_label_and_a_deletion_are_seen(target: Kubernetes, admin: Admin, space: str) -> None:
    await target.apply("gone", "c1", [config(space, "unlabelled"), config(space, "deleted")])
    await admin.delete(path(space, "deleted"))
    assert (await drift_of(target, "deleted")).drift == "configmap/deleted deleted by hand"
    await admin.merge(path(space, "unlabelled"), {"metadata": {"labels": {PART_OF: None}}})
    await drift_of(target, "unlabelled")
    assert (await target.read("gone")).objects == ()
    await target.apply("gone", "c1", [config(space, "unlabelled"), config(space, "deleted")])
    assert await admin.there(path(space, "deleted"))
    assert PART_OF in (await admin.get(path(space, "unlabelled")))["metadata"]["labels"]


async def test_what_was_deleted_while_nobody_looked_is_missed(opened: Open, admin: Admin, space: str) -> None:
    async with opened() as target:
        await target.apply("away", "c1", [config(space, "stays"), config(space, "leaves")])
    await admin.delete(path(space, "leaves"))
    async with opened() as target:
        assert [o.ref.name for o in (await target.read("away")).objects] == ["stays"]


# --- health ------------------------------------------------------------------------------------------


async def test_a_deployment_turns_healthy_with_its_pods(target: Kubernetes, admin: Admin, space: str) -> None:
    await target.apply("web", "c1", [web(space)])
    assert (await target.judge("web"))[0].health is Health.PROGRESSING
    waiting = await judged(target, "web", lambda j: "Unschedulable" in j.reason)
    assert waiting.health is Health.PROGRESSING
    for pod in await admin.pods(space, 2, app="web"):
        await admin.turn_ready(pod)
    healthy = await judged(target, "web", lambda j: j.health is Health.HEALTHY)
    assert healthy.reason == "2/2 ready"


async def test_a_crash_loop_of_a_change_is_the_changes_fault(target: Kubernetes, admin: Admin, space: str) -> None:
    await target.apply("crash", "c1", [web(space)])
    for pod in await admin.pods(space, 2, app="web"):
        await admin.turn_ready(pod)
    await judged(target, "crash", lambda j: j.health is Health.HEALTHY)
    await target.apply("crash", "c2", [web(space, "web:2")])
    pods = await admin.pods(space, 3, app="web")
    (new,) = [p for p in pods if p["spec"]["containers"][0]["image"] == "web:2"]
    await admin.crash(new, "web")
    ill = await judged(target, "crash", lambda j: j.health is Health.DEGRADED)
    assert ill.fault.value == "change"
    assert f"pod {new['metadata']['name']} CrashLoopBackOff: exit 1: ModuleNotFoundError" in ill.reason


async def test_what_is_let_go_of_stays_and_is_nobodys(target: Kubernetes, admin: Admin, space: str) -> None:
    kept = config(space, "let-go")
    await target.apply("let-go", "c1", [kept])
    await target.release("let-go", [kept.ref])
    live = await admin.get(path(space, "let-go"))
    assert live["data"] == {"key": "1"}
    assert PART_OF not in (live["metadata"].get("labels") or {})
    assert not (await target.read("let-go")).objects
    await target.apply("another", "c2", [config(space, "let-go", "2")])
    assert (await admin.get(path(space, "let-go")))["data"] == {"key": "2"}
