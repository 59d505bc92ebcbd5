"""The first apply of 10,000 objects in 1,000 applications, on a real API server started for the purpose.

The measure is a client that does nothing but send the same bodies, prepared, as fast as the same API server takes them,
before and after in the same run. Only patches count, of objects and of their ApplySet parents. `python
bench/kubernetes/apply.py [APPLICATIONS]`.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import aiohttp
import orjson

sys.path.insert(0, str(Path(__file__).parent))

import ground

from cluster.control import TOKEN, Control
from trueup.core.model import Object
from trueup.drivers.targets.kubernetes.client import APPLY
from trueup.drivers.targets.kubernetes.target import AT_ONCE


async def saturate(control: Control, applications: Sequence[list[Object]]) -> float:
    """Seconds that a bare client needs for all the objects."""
    flat = [each for objects in applications for each in objects]
    rest = iter(
        [(f"{control.url}{ground.path_of(o)}?fieldManager=bare&force=true", orjson.dumps(o.body)) for o in flat]
    )
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": APPLY, "Accept": "application/json"}
    context = ssl.create_default_context(cafile=str(control.ca))

    async def send(session: aiohttp.ClientSession) -> None:
        for url, body in rest:
            async with session.patch(url, data=body) as response:
                await response.read()
                assert response.status in (200, 201), response.status

    connector = aiohttp.TCPConnector(ssl=context, limit=0)
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        begun = time.perf_counter()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(AT_ONCE):
                tasks.create_task(send(session))
        return time.perf_counter() - begun


async def measure(control: Control, folder: str) -> dict[str, float]:
    count = int(sys.argv[1]) if len(sys.argv) > 1 and sys.argv[1].isdecimal() else 1000
    half = count // 2
    kubeconfig, api = str(control.kubeconfig), control.parts["apiserver"].pid
    async with (
        ground.client_on(kubeconfig, "warm", "bare", "ours"),
        ground.target_on(kubeconfig, f"{folder}/r.db") as t,
    ):
        await saturate(control, [ground.application("warm", n) for n in range(50)])
        bare_s = await saturate(control, [ground.application("bare", n) for n in range(half)])
        applications = [ground.application("ours", n) for n in range(count)]
        t.client.calls.clear()
        cpu, served = time.process_time(), ground.cpu_of(api)
        ours_s = await ground.apply(t, applications)
        cpu, served = time.process_time() - cpu, ground.cpu_of(api) - served
        calls = dict(t.client.calls)
        bare_s += await saturate(control, [ground.application("bare", n) for n in range(half, 2 * half)])
    bare, ours = 2 * half * ground.OBJECTS / bare_s, calls["PATCH"] / ours_s
    return {
        "bare requests/s": bare,
        "requests/s": ours,
        "throughput": ours / bare,
        "seconds": ours_s,
        "cpu s": cpu,
        "api server's cpu s": served,
        "cpu": cpu / served,
        "parents each": (calls["PATCH"] - count * ground.OBJECTS) / count,
        "calls that are no patch": sum(calls.values()) - calls["PATCH"],
    }


def main() -> dict[str, float]:
    return ground.on_a_cluster(measure)


if __name__ == "__main__":
    main()
