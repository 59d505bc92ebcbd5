"""A cold start on a cluster with 1,000 applications of 10 objects, and a full pass with nothing changed.

The measure of the start is a bare paged list of the same kinds in the same representation by the same client, in the
same run. `python bench/kubernetes/calm.py [APPLICATIONS]`.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import ground

from cluster.control import Control
from trueup.core.model import Health
from trueup.drivers.targets.kubernetes.client import JSON, METADATA_LIST, Client
from trueup.drivers.targets.kubernetes.owned import PART_OF
from trueup.drivers.targets.kubernetes.target import Kubernetes

KINDS = (("configmaps", METADATA_LIST), ("serviceaccounts", METADATA_LIST), ("services", JSON))


async def listed(client: Client) -> tuple[float, int]:
    """Seconds and objects."""
    begun = time.perf_counter()

    async def one(plural: str, accept: str) -> int:
        return len([1 async for _ in client.pages(f"/api/v1/{plural}", accept, labelSelector=PART_OF)])

    counts = await asyncio.gather(*(one(*kind) for kind in KINDS))
    return time.perf_counter() - begun, sum(counts)


async def judged(target: Kubernetes, count: int) -> int:
    """How many objects of the applications are healthy."""
    found = 0
    for number in range(count):
        found += sum(j.health is Health.HEALTHY for j in await target.judge(f"app-{number}"))
    return found


async def measure(control: Control, folder: str) -> dict[str, float]:
    count = int(sys.argv[1]) if len(sys.argv) > 1 and sys.argv[1].isdecimal() else 1000
    kubeconfig, records = str(control.kubeconfig), f"{folder}/r.db"
    applications = [ground.application("ours", n) for n in range(count)]
    async with ground.client_on(kubeconfig, "ours") as client:
        async with ground.target_on(kubeconfig, records) as target:
            await ground.apply(target, applications)
            assert await judged(target, count) == count * ground.OBJECTS
        await listed(client)  # warm
        first_s, objects = await listed(client)
        begun = time.perf_counter()
        async with ground.target_on(kubeconfig, records) as target:
            healthy = await judged(target, count)
            cold_s = time.perf_counter() - begun
            patches = target.client.calls["PATCH"]
            target.client.calls.clear()
            cpu = time.process_time()
            for number, each in enumerate(applications):
                await target.apply(f"app-{number}", "c2", each)
                await target.read(f"app-{number}")
                await target.judge(f"app-{number}")
            cpu = time.process_time() - cpu
            calls = sum(target.client.calls.values())
        second_s, _ = await listed(client)
    assert healthy == objects == count * ground.OBJECTS, (healthy, objects)
    bare_s = (first_s + second_s) / 2
    return {
        "bare list s": bare_s,
        "cold start s": cold_s,
        "cold start": cold_s / bare_s,
        "patches at start": patches,
        "calls of a pass": calls,
        "pass cpu s": cpu,
    }


def main() -> dict[str, float]:
    return ground.on_a_cluster(measure)


if __name__ == "__main__":
    main()
