"""A real API server behind a way that fails, and one whose own parts fail: the end is the same, nothing is lost."""

from __future__ import annotations

import asyncio
import itertools
import random
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from cluster.control import TOKEN, Control, encoded
from cluster.faulty import Faulty
from cluster.play import Admin
from trueup.core.kubeconfig import Access, resolve
from trueup.core.model import Health, Object, Place
from trueup.core.objects import make_object
from trueup.drivers.targets.kubernetes.target import Kubernetes
from trueup.drivers.targets.kubernetes.watching import Pace
from trueup.ports import ObjectInvalid, TargetDown

pytestmark = pytest.mark.integration
Open = Callable[..., Any]
LIMIT_S = 60.0
QUICK = Pace(call_s=2.0, silence_s=2.0, resync_s=1800.0)


def config(space: str, name: str, value: str = "1") -> Object:
    metadata = {"name": name, "namespace": space}
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"key": value}}
    return make_object(body, Place("config.yaml", 1))


def at(space: str, name: str = "") -> str:
    return f"/api/v1/namespaces/{space}/configmaps" + (f"/{name}" if name else "")


@pytest.fixture
async def way(control: Control) -> AsyncIterator[Faulty]:
    async with Faulty(control.url, str(control.ca)) as made:
        yield made


def over(control: Control, way: Faulty) -> Access:
    """The cluster, reached over the faulty way."""
    given = control.config({"token": TOKEN})
    given["clusters"][0]["cluster"] = {"server": way.url}
    return resolve([("/tmp/faulty", orjson.dumps(given))])


async def until(good: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while True:
            if await good():
                return
            await asyncio.sleep(0.05)  # what is awaited has no event here


async def applied(target: Kubernetes, application: str, objects: list[Object]) -> None:
    """As the loop does: what the world refuses is tried again."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            try:
                return await target.apply(application, "c1", objects)
            except TargetDown:
                await asyncio.sleep(0.1)  # the loop's delay


async def data_of(admin: Admin, space: str) -> dict[str, str]:
    listed = await admin.get(at(space))
    return {
        b["metadata"]["name"]: b["data"]["key"] for b in listed["items"] if b["metadata"]["name"] != "kube-root-ca.crt"
    }


async def test_answers_that_fail_in_turn_change_nothing_in_the_end(
    control: Control, opened: Open, way: Faulty, admin: Admin, space: str
) -> None:
    chance, asked = random.Random(4), itertools.count()
    faults = ["429", "500", "410", "lost", "half", "hang"]
    turns = itertools.cycle(chance.sample(faults, len(faults)))
    way.dice = lambda method, target: next(turns) if next(asked) % 4 == 3 else ""
    async with opened(access=over(control, way), pace=QUICK) as target:
        for value in ("1", "2"):
            await applied(target, "random", [config(space, f"c{n}", value) for n in range(20)])
        await admin.merge(at(space, "c3"), {"data": {"key": "hacked"}})
        await admin.delete(at(space, "c4"))
        wanted = {f"c{n}": "2" for n in range(20)}

        async def back() -> bool:
            await applied(target, "random", [config(space, f"c{n}", "2") for n in range(20)])
            return await data_of(admin, space) == wanted

        await until(back)
        assert set(way.done) == set(faults)
        way.dice = lambda method, target: ""
        await until(lambda: healthy(target, "random", 20))


async def healthy(target: Kubernetes, application: str, count: int) -> bool:
    found = [j.health for j in await target.judge(application)]
    return found == [Health.HEALTHY] * count


async def test_a_partition_ends_with_what_was_missed(
    control: Control, opened: Open, way: Faulty, admin: Admin, space: str
) -> None:
    desired = [config(space, "kept"), config(space, "deleted")]
    async with opened(access=over(control, way), pace=QUICK) as target:
        await target.apply("cut", "c1", desired)
        way.cut()
        await admin.merge(at(space, "kept"), {"data": {"key": "hacked"}})
        await admin.delete(at(space, "deleted"))

        async def unread() -> bool:
            return bool((await target.read("cut")).unread)

        await until(unread)
        assert {o.hash for o in (await target.read("cut")).objects} == {o.hash for o in desired}  # as last seen
        way.mend()

        async def back() -> bool:
            await applied(target, "cut", desired)
            return await data_of(admin, space) == {"kept": "1", "deleted": "1"}

        await until(back)
        assert not (await target.read("cut")).unread


async def test_a_watch_that_delivers_nothing_is_found_by_the_resync(
    control: Control, opened: Open, way: Faulty, admin: Admin, space: str
) -> None:
    pace = Pace(silence_s=150.0, resync_s=2.0)
    async with opened(access=over(control, way), pace=pace) as target:
        await target.apply("silent", "c1", [config(space, "one"), config(space, "two")])
        way.mute()
        await admin.delete(at(space, "one"))
        await admin.merge(at(space, "two"), {"data": {"key": "hacked"}})

        async def found() -> bool:
            return {o.hash for o in (await target.read("silent")).objects} == {f"drift:{config(space, 'two').hash}"}

        await until(found)


async def test_etcd_restored_to_an_older_state(control: Control, opened: Open, admin: Admin, space: str) -> None:
    backup, etcd = control.root / "backup", control.root / "etcd"
    early, late = config(space, "early"), config(space, "late")
    async with opened(pace=QUICK) as target:
        await target.apply("restored", "c1", [early])
        await stopped(control)
        await asyncio.to_thread(shutil.copytree, etcd, backup)
        await started(control)
        await applied(target, "restored", [config(space, "early", "2"), late])
        for n in range(5):
            await admin.create(at(space), {"metadata": {"name": f"other-{n}"}, "data": {"key": "x"}})
        await stopped(control)
        await asyncio.to_thread(swap, etcd, backup)
        await started(control)
        assert await data_of(admin, space) == {"early": "1"}

        async def back() -> bool:
            await applied(target, "restored", [config(space, "early", "2"), late])
            return await data_of(admin, space) == {"early": "2", "late": "1"}

        await until(back)
        await admin.merge(at(space, "late"), {"data": {"key": "hacked"}})

        async def again() -> bool:
            await applied(target, "restored", [config(space, "early", "2"), late])
            return (await data_of(admin, space))["late"] == "1"

        await until(again)  # versions that were seen once before are news all the same


async def stopped(control: Control) -> None:
    for part in ("apiserver", "etcd"):
        await asyncio.to_thread(control.kill, part)


async def started(control: Control) -> None:
    control.start_etcd()
    control.run_apiserver()
    await asyncio.to_thread(control.await_apiserver)


def swap(etcd: Path, backup: Path) -> None:
    shutil.rmtree(etcd)
    shutil.move(backup, etcd)


async def test_a_namespace_stuck_in_terminating_holds_and_ends(target: Kubernetes, admin: Admin, space: str) -> None:
    root = f"/api/v1/namespaces/{space}"
    holder = {"metadata": {"name": "holder", "finalizers": ["made.example/stuck"]}, "data": {}}
    await admin.create(at(space), holder)
    await target.apply("stuck", "c1", [config(space, "one")])
    await admin.delete(root)
    await admin.until(root, lambda body: body["status"]["phase"] == "Terminating")
    with pytest.raises(TargetDown, match="namespace is being deleted; it is applied once that has ended"):
        await target.apply("stuck", "c2", [config(space, "two")])
    await admin.merge(at(space, "holder"), {"metadata": {"finalizers": None}})

    async def gone() -> bool:
        return not await admin.there(root)

    await until(gone)
    await admin.create("/api/v1/namespaces", {"metadata": {"name": space}})
    await applied(target, "stuck", [config(space, "one"), config(space, "two")])
    assert set(await data_of(admin, space)) == {"one", "two"}


HOOKS = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"


async def webhook(admin: Admin, space: str, url: str, ca: bytes, policy: str) -> str:
    name = f"hook-{space}"
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["*"], "resources": ["configmaps"], "scope": "*"}
    selector = {"matchLabels": {"kubernetes.io/metadata.name": space}}
    hook = {
        "name": "hook.made.example", "clientConfig": {"url": url, "caBundle": encoded(ca)}, "rules": [rule],
        "failurePolicy": policy, "sideEffects": "None", "admissionReviewVersions": ["v1"], "timeoutSeconds": 1,
        "namespaceSelector": selector,
    }  # fmt: skip
    await admin.create(HOOKS, {"metadata": {"name": name}, "webhooks": [hook]})
    return f"{HOOKS}/{name}"


async def test_a_webhook_that_hangs_is_the_worlds_fault_and_ends(
    control: Control, opened: Open, admin: Admin, space: str
) -> None:
    hanging: list[asyncio.StreamWriter] = []

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hanging.append(writer)
        await reader.read()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    hook = await webhook(admin, space, url, control.ca.read_bytes(), "Fail")
    async with opened(pace=Pace(call_s=5.0)) as target:
        try:
            with pytest.raises(TargetDown, match=r"config.yaml:1: configmap/one: .*hook.made.example"):
                async with asyncio.timeout(LIMIT_S):
                    await hooked(target, space)
        finally:
            await admin.delete(hook)
            server.close()
            for writer in hanging:
                writer.close()
                await writer.wait_closed()
        await applied(target, "hook", [config(space, "one")])
        assert await data_of(admin, space) == {"one": "1"}


async def hooked(target: Kubernetes, space: str) -> None:
    """Until the API server knows the webhook; then its refusal."""
    for n in range(1000):
        await target.apply("hook", "c1", [config(space, "one", str(n))])


async def test_a_policy_that_refuses_is_the_objects_fault(target: Kubernetes, admin: Admin, space: str) -> None:
    root, name = "/apis/admissionregistration.k8s.io/v1", f"policy-{space}"
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"], "resources": ["configmaps"]}
    refused = {"expression": "!object.metadata.name.startsWith('bad')", "message": "no bad names here"}
    spec = {"matchConstraints": {"resourceRules": [rule]}, "validations": [refused], "failurePolicy": "Fail"}
    selector = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": space}}}
    await admin.create(f"{root}/validatingadmissionpolicies", {"metadata": {"name": name}, "spec": spec})
    binding = {"policyName": name, "validationActions": ["Deny"], "matchResources": selector}
    await admin.create(f"{root}/validatingadmissionpolicybindings", {"metadata": {"name": name}, "spec": binding})

    async def told() -> bool:
        try:
            await target.apply("policy", "c1", [config(space, "bad")])
        except ObjectInvalid as error:
            assert "no bad names here" in str(error)
            return True
        await target.delete("policy", [config(space, "bad").ref])
        return False

    try:
        await until(told)
        await target.apply("policy", "c2", [config(space, "good")])
    finally:
        await admin.delete(f"{root}/validatingadmissionpolicybindings/{name}")
        await admin.delete(f"{root}/validatingadmissionpolicies/{name}")


async def test_a_client_certificate_that_rotates_under_it(
    control: Control, opened: Open, admin: Admin, space: str, tmp_path: Path
) -> None:
    def write(valid_s: int) -> None:
        certificate, key = control.certificate("rotating", ("system:masters",), valid_s)
        (tmp_path / "tls.crt").write_bytes(certificate)
        (tmp_path / "tls.key").write_bytes(key)

    write(4)
    given = control.config({"client-certificate": str(tmp_path / "tls.crt"), "client-key": str(tmp_path / "tls.key")})
    access = resolve([(str(tmp_path / "config"), orjson.dumps(given))])
    async with opened(access=access) as target:
        await target.apply("rotating", "c1", [config(space, "one")])
        write(3600)
        await asyncio.sleep(5)  # the first certificate's end has no event
        await applied(target, "rotating", [config(space, "two")])
        await admin.merge(at(space, "one"), {"data": {"key": "hacked"}})

        async def found() -> bool:
            return any(o.hash.startswith("drift:") for o in (await target.read("rotating")).objects)

        await until(found)
