"""Why something is not healthy, in a person's words, from real pods on a real node; and what they print."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from cluster.archive import busybox
from cluster.node import Cluster
from cluster.play import Admin
from trueup.core.kubeconfig import resolve
from trueup.core.model import Fault, Health, Judgement, Object, Place
from trueup.core.objects import make_object
from trueup.drivers.targets.kubernetes.client import Client
from trueup.drivers.targets.kubernetes.logs import logs
from trueup.drivers.targets.kubernetes.target import Kubernetes, Settings

pytestmark = pytest.mark.integration
LIMIT_S = 120.0
SERVE = "mkdir /www; echo good > /www/index.html; echo serving; exec httpd -f -p 8000 -h /www"
CRASH = (
    "echo 'Traceback (most recent call last):'; echo '  File \"/app/main.py\", line 3, in <module>';"
    "echo \"ModuleNotFoundError: No module named 'flask'\"; exit 1"
)
APPLICATION = "application/pods"


@pytest.fixture(scope="module")
def loaded(cluster: Cluster) -> Cluster:
    """With two images that its node need not pull."""
    cluster.load(busybox("localhost/serve:1", SERVE))
    cluster.load(busybox("localhost/crash:1", CRASH))
    return cluster


@pytest.fixture
async def admin(loaded: Cluster) -> AsyncIterator[Admin]:
    client = Client(resolve([(str(loaded.kubeconfig), loaded.kubeconfig.read_bytes())]), os.environ)
    yield Admin(client)
    await client.close()


@pytest.fixture
async def target(loaded: Cluster, tmp_path: Path) -> AsyncIterator[Kubernetes]:
    access = resolve([(str(loaded.kubeconfig), loaded.kubeconfig.read_bytes())])
    made = Kubernetes(Settings(access=access, environ=os.environ, records=str(tmp_path / "applied.db")))
    await made.start()
    yield made
    await made.close()


@pytest.fixture
async def space(admin: Admin) -> AsyncIterator[str]:
    name = f"t-{uuid.uuid4().hex[:10]}"
    await admin.create("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    await admin.until(f"/api/v1/namespaces/{name}/serviceaccounts/default", lambda body: True)
    yield name
    await admin.delete(f"/api/v1/namespaces/{name}")


def deployment(space: str, image: str = "localhost/serve:1", replicas: int = 1, **pod: Any) -> Object:
    labels = {"app": "web"}
    probe = {"httpGet": {"path": "/", "port": 8000}, "periodSeconds": 1}
    container = {"name": "web", "image": image, "readinessProbe": probe, **pod.pop("container", {})}
    spec = {"terminationGracePeriodSeconds": 0, "containers": [container], **pod}
    body = {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": space},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": labels}, "progressDeadlineSeconds": 600,
            "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }  # fmt: skip
    return make_object(body, Place("web.yaml", 7))


async def judged(target: Kubernetes, good: Callable[[Judgement], bool]) -> Judgement:
    """The only object's judgement once `good` says so."""
    last: tuple[Judgement, ...] = ()
    try:
        async with asyncio.timeout(LIMIT_S):
            while True:
                last = await target.judge(APPLICATION)
                if last and good(last[0]):
                    return last[0]
                await asyncio.sleep(0.1)  # a kubelet's work has no event here
    except TimeoutError as error:
        raise AssertionError(f"never judged so; the last: {last}") from error


async def until_healthy(target: Kubernetes) -> Judgement:
    return await judged(target, lambda j: j.health is Health.HEALTHY)


async def test_a_crash_of_the_new_pods_is_told_with_its_exit_and_the_exception(target: Kubernetes, space: str) -> None:
    await target.apply(APPLICATION, "c1", [deployment(space, replicas=3)])
    await until_healthy(target)
    await target.apply(APPLICATION, "c2", [deployment(space, "localhost/crash:1", replicas=3)])
    found = await judged(target, lambda j: j.health is Health.DEGRADED)
    assert found.fault is Fault.CHANGE, found
    assert "pod web-" in found.reason and "exit 1" in found.reason, found.reason
    assert found.reason.endswith("ModuleNotFoundError: No module named 'flask'"), found.reason
    assert any("Traceback" in line for line in found.excerpt), found.excerpt


async def test_the_count_of_ready_pods_begins_the_reason(target: Kubernetes, space: str) -> None:
    await target.apply(APPLICATION, "c1", [deployment(space, "localhost/crash:1", replicas=3)])
    found = await judged(target, lambda j: "CrashLoopBackOff" in j.reason and j.health is Health.DEGRADED)
    assert found.reason.startswith("0/3 ready; pod web-"), found.reason
    assert "CrashLoopBackOff: exit 1" in found.reason, found.reason


async def test_an_image_that_cannot_be_pulled_is_the_worlds_fault(target: Kubernetes, space: str) -> None:
    await target.apply(APPLICATION, "c1", [deployment(space)])
    await until_healthy(target)
    await target.apply(APPLICATION, "c2", [deployment(space, "127.0.0.1:9/nothing/here:1")])
    found = await judged(target, lambda j: "ImagePullBackOff" in j.reason)
    assert "127.0.0.1:9/nothing/here:1" in found.reason and found.fault is not Fault.CHANGE, found
    again = await judged(target, lambda j: "connection refused" in j.reason or "ErrImagePull" in j.reason)
    assert again.fault is not Fault.CHANGE, again


async def test_a_pod_that_fits_nowhere_is_told_with_the_schedulers_words(target: Kubernetes, space: str) -> None:
    wide = {"resources": {"requests": {"cpu": "1000"}}}
    await target.apply(APPLICATION, "c1", [deployment(space, container=wide)])
    found = await judged(target, lambda j: "Unschedulable" in j.reason)
    assert "Insufficient cpu" in found.reason and found.fault is not Fault.CHANGE, found
    await target.apply(APPLICATION, "c2", [deployment(space, nodeSelector={"disk": "ssd"})])
    found = await judged(target, lambda j: "node affinity/selector" in j.reason)
    assert found.fault is not Fault.CHANGE, found


async def test_a_quota_that_is_used_up_is_told_in_its_own_words(target: Kubernetes, admin: Admin, space: str) -> None:
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}, "spec": {"hard": {"pods": "1"}}}
    await admin.create(f"/api/v1/namespaces/{space}/resourcequotas", quota)
    await admin.until(f"/api/v1/namespaces/{space}/resourcequotas/few", lambda q: "used" in q.get("status", {}))
    await target.apply(APPLICATION, "c1", [deployment(space, replicas=2)])
    found = await judged(target, lambda j: "exceeded quota: few" in j.reason and "1/2 ready" in j.reason)
    assert found.fault is not Fault.CHANGE, found


async def test_a_policy_that_refuses_pods_is_told_in_its_own_words(
    target: Kubernetes, admin: Admin, space: str
) -> None:
    root = "/apis/admissionregistration.k8s.io/v1"
    only = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": space}}}
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    policy = {
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": space}, "spec": {
            "matchConstraints": {"resourceRules": [rule]},
            "validations": [{"expression": "'team' in object.metadata.labels", "message": "every pod names its team"}],
        },
    }  # fmt: skip
    binding = {
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": space},
        "spec": {"policyName": space, "validationActions": ["Deny"], "matchResources": only},
    }  # fmt: skip
    await admin.create(f"{root}/validatingadmissionpolicies", policy)
    await admin.create(f"{root}/validatingadmissionpolicybindings", binding)
    try:
        await asyncio.sleep(2)  # policies take effect without a sign of it
        await target.apply(APPLICATION, "c1", [deployment(space)])
        words = "every pod names its team"
        found = await judged(target, lambda j: words in j.reason and j.reason.startswith("0/1 ready"))
        assert found.fault is not Fault.CHANGE, found
    finally:
        await admin.delete(f"{root}/validatingadmissionpolicybindings/{space}")
        await admin.delete(f"{root}/validatingadmissionpolicies/{space}")


async def test_a_probe_that_never_passes_and_a_missing_config_are_told(target: Kubernetes, space: str) -> None:
    closed = {"readinessProbe": {"httpGet": {"path": "/absent", "port": 8000}, "periodSeconds": 1}}
    await target.apply(APPLICATION, "c1", [deployment(space, container=closed)])
    await judged(target, lambda j: "Readiness probe failed: HTTP probe failed with statuscode: 404" in j.reason)
    absent = {"envFrom": [{"configMapRef": {"name": "settings"}}]}
    await target.apply(APPLICATION, "c2", [deployment(space, container=absent)])
    found = await judged(target, lambda j: "CreateContainerConfigError" in j.reason)
    assert 'configmap "settings" not found' in found.reason, found.reason


async def test_a_container_over_its_memory_is_told(target: Kubernetes, space: str) -> None:
    # a variable that grows: busybox's shell is one process
    greedy = {
        "command": ["/bin/sh", "-c", "x=xxxxxxxxxxxxxxxx; while true; do x=$x$x; done"],
        "resources": {"limits": {"memory": "16Mi"}},
    }  # fmt: skip
    await target.apply(APPLICATION, "c1", [deployment(space, container=greedy)])
    found = await judged(target, lambda j: "OOMKilled" in j.reason)
    assert "more memory than its limit" in found.reason, found.reason


async def test_a_job_that_fails_and_an_init_container_are_told_with_their_logs(target: Kubernetes, space: str) -> None:
    container = {"name": "migrate", "image": "localhost/crash:1"}
    body = {
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "migrate", "namespace": space},
        "spec": {"backoffLimit": 0, "template": {"spec": {"restartPolicy": "Never", "containers": [container]}}},
    }  # fmt: skip
    await target.apply(APPLICATION, "c1", [make_object(body, Place("job.yaml", 1))])
    found = await judged(target, lambda j: j.health is Health.DEGRADED)
    assert "exit 1" in found.reason and "No module named 'flask'" in found.reason, found.reason
    await target.delete(APPLICATION, [found.ref])
    await target.apply(APPLICATION, "c2", [deployment(space, initContainers=[{**container, "name": "prepare"}])])
    found = await judged(target, lambda j: j.health is Health.DEGRADED)
    assert found.fault is Fault.CHANGE and "No module named 'flask'" in found.reason, found


async def test_a_claim_that_nobody_fills_is_told_with_the_schedulers_words(target: Kubernetes, space: str) -> None:
    labels = {"app": "db"}
    mount = {"name": "data", "mountPath": "/data"}
    container = {"name": "db", "image": "localhost/serve:1", "volumeMounts": [mount]}
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    body = {
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db", "namespace": space},
        "spec": {
            "serviceName": "db", "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
            "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": claim}],
        },
    }  # fmt: skip
    await target.apply(APPLICATION, "c1", [make_object(body, Place("db.yaml", 1))])
    found = await judged(target, lambda j: "Unschedulable" in j.reason)
    assert "pod db-0" in found.reason and "PersistentVolumeClaims" in found.reason, found.reason
    assert found.fault is not Fault.CHANGE, found


async def test_a_volume_that_cannot_be_mounted_is_told_in_the_kubelets_words(target: Kubernetes, space: str) -> None:
    volume = {"name": "keys", "secret": {"secretName": "absent"}}
    mounted = {"volumeMounts": [{"name": "keys", "mountPath": "/keys"}]}
    await target.apply(APPLICATION, "c1", [deployment(space, volumes=[volume], container=mounted)])
    found = await judged(target, lambda j: "MountVolume" in j.reason)
    assert 'secret "absent" not found' in found.reason, found.reason


async def test_logs_come_by_owner_by_pod_and_follow_new_pods(target: Kubernetes, space: str) -> None:
    await target.apply(APPLICATION, "c1", [deployment(space, replicas=2)])
    await until_healthy(target)
    refs = [record.ref for record in target.records.applied.values()]
    every = [line async for line in logs(target.client, refs)]
    assert len(every) == 2 and all(line.endswith(b" | serving\n") for line in every), every
    pod = every[0].split(b" | ")[0].decode()
    assert [line async for line in logs(target.client, refs, pod)] == [b"serving\n"]
    assert sorted([line async for line in logs(target.client, refs, "deployment/web")]) == sorted(every)

    seen: list[bytes] = []
    follow = logs(target.client, refs, "deployment/web", follow=True)
    async with asyncio.timeout(LIMIT_S):
        async for line in follow:
            seen.append(line)
            if len(seen) == 2:
                await target.apply(APPLICATION, "c2", [deployment(space, replicas=3)])
            if len(seen) == 3:
                break
        await follow.aclose()
    assert len({line.split(b" | ")[0] for line in seen}) == 3, seen
