"""Two Trueups on one real cluster: one acts, and one that was frozen past its Lease acts no more."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from cluster.control import Control
from cluster.play import Admin
from trueup.core.model import Object, Place
from trueup.core.objects import make_object
from trueup.drivers.targets.kubernetes.lease import NotHeld
from trueup.drivers.targets.kubernetes.target import Kubernetes
from trueup.drivers.targets.kubernetes.watching import Pace

pytestmark = pytest.mark.integration
Open = Callable[..., Any]
LIMIT_S = 40.0
LEASE_S, CALL_S = 6.0, 1.0
SECOND = Path(__file__).parents[3] / "cluster/second.py"


def who(space: str, by: str) -> Object:
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "who", "namespace": space},
        "data": {"by": by},
    }
    return make_object(body, Place("who.yaml", 1))


@asynccontextmanager
async def second(control: Control, space: str, records: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    argv = [sys.executable, str(SECOND), str(control.kubeconfig), str(records), space, space, str(LEASE_S), str(CALL_S)]
    process = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        await process.wait()


async def said(process: asyncio.subprocess.Process, words: str, more: str = "") -> str:
    assert process.stdout is not None
    async with asyncio.timeout(LIMIT_S):
        while line := (await process.stdout.readline()).decode():
            if line.startswith(words) and more in line:
                return line
    raise AssertionError(f"it never said {words!r} with {more!r}")


async def takes_over(target: Kubernetes, space: str) -> int:
    """Apply once the lease is ours; how often it was refused before."""
    refused = 0
    async with asyncio.timeout(LIMIT_S):
        while True:
            try:
                await target.apply("who", "c1", [who(space, "first")])
            except NotHeld as error:
                assert f"{space}/trueup" in str(error)
                refused += 1
                await asyncio.sleep(0.1)  # a lease that runs out has no event
            else:
                return refused


async def test_one_frozen_past_its_lease_acts_no_more_once_thawed(
    control: Control, opened: Open, admin: Admin, space: str, tmp_path: Path
) -> None:
    path = f"/api/v1/namespaces/{space}/configmaps/who"
    async with second(control, space, tmp_path / "second.db") as other:
        await said(other, "acting")
        async with opened(home=space, lease_s=LEASE_S, pace=Pace(call_s=CALL_S)) as target:
            with pytest.raises(NotHeld, match=r"nothing is changed on .*holds its Lease"):
                await target.apply("who", "c1", [who(space, "first")])
            os.kill(other.pid, signal.SIGSTOP)
            assert await takes_over(target, space) > 0
            version = (await admin.get(path))["metadata"]["resourceVersion"]
            os.kill(other.pid, signal.SIGCONT)
            assert target.lease is not None
            assert "has not been asked" not in await said(other, "held off")
            await said(other, "held off", target.lease.identity)
            assert target.lease.left_s() > CALL_S
            writes = await written_since(admin, space, version)
            assert writes.count("second") <= 1  # the request in flight
            await target.apply("who", "c2", [who(space, "still first")])
            assert (await admin.get(path))["data"] == {"by": "still first"}
        await said(other, "acting")  # given back at the end, taken at once


async def written_since(admin: Admin, space: str, version: str) -> list[str]:
    """By whom the object was written after this version, up to now."""
    marker = {"metadata": {"name": "marker"}, "data": {"by": "end"}}
    await admin.create(f"/api/v1/namespaces/{space}/configmaps", marker)
    writes = []
    async with asyncio.timeout(LIMIT_S):
        async for type, body in admin.client.watch(f"/api/v1/namespaces/{space}/configmaps", resourceVersion=version):
            if type == "ADDED" and body["metadata"]["name"] == "marker":
                return writes
            if body["metadata"].get("name") == "who":
                writes.append(body["data"]["by"])
    raise AssertionError("the watch ended")


async def test_a_lease_that_cannot_be_renewed_stops_all_changes(opened: Open, admin: Admin, space: str) -> None:
    async with opened(home=space, lease_s=LEASE_S, pace=Pace(call_s=CALL_S)) as target:
        await target.apply("who", "c1", [who(space, "1")])
        lease = f"/apis/coordination.k8s.io/v1/namespaces/{space}/leases/trueup"
        held = await admin.get(lease)
        assert held["spec"]["holderIdentity"] == target.lease.identity
        assert held["spec"]["leaseDurationSeconds"] == LEASE_S
        await admin.merge(lease, {"spec": {"holderIdentity": "somebody", "renewTime": "2000-01-01T00:00:00.000000Z"}})
        with pytest.raises(NotHeld, match="somebody holds its Lease"):
            async with asyncio.timeout(LIMIT_S):
                for n in range(10000):
                    await target.apply("who", "c1", [who(space, f"{n}")])
        assert len((await target.read("who")).objects) == 1  # reading goes on
        assert await takes_over(target, space) > 0  # whatever the others' clock says
