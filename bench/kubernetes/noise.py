"""CPU while others write the status of our objects all the time: 200 Services, health judged, from a second process.

Printed for the rate that this machine reached, and scaled to 1,000 events a second. `python bench/kubernetes/noise.py`.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import ground

from cluster.control import Control
from trueup.drivers.targets.kubernetes.client import Call

COUNT, SECONDS, WRITERS = 200, 12, 24
MERGE = "application/merge-patch+json"


async def write(kubeconfig: str, space: str, seconds: float, rate: float = 1e9) -> None:
    """Write statuses, at most `rate` a second; prints how many."""
    written = 0
    async with ground.client_on(kubeconfig) as client:
        begun = time.perf_counter()

        async def one() -> None:
            nonlocal written
            while time.perf_counter() - begun < seconds:
                written += 1
                path = f"/api/v1/namespaces/{space}/services/a{written % COUNT}-9/status"
                condition = {
                    "type": "Noise", "status": "True", "reason": "Bench", "message": str(written),
                    "lastTransitionTime": "2026-01-01T00:00:00Z",
                }  # fmt: skip
                body = {"status": {"conditions": [condition]}}
                await client.send(Call(method="PATCH", path=path, body=body, content=MERGE))
                if (ahead := written / rate - (time.perf_counter() - begun)) > 0:
                    await asyncio.sleep(ahead)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(WRITERS):
                tasks.create_task(one())
    print(written)


async def measure(control: Control, folder: str) -> dict[str, float]:
    kubeconfig = str(control.kubeconfig)
    async with ground.client_on(kubeconfig, "ours"), ground.target_on(kubeconfig, f"{folder}/r.db") as target:
        await ground.apply(target, [ground.application("ours", n) for n in range(COUNT)])
        target.client.calls.clear()
        argv = [sys.executable, __file__, "write", kubeconfig, str(SECONDS)]
        cpu, begun = time.process_time(), time.perf_counter()
        writer = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
        said, _ = await writer.communicate()
        cpu, took = time.process_time() - cpu, time.perf_counter() - begun
        calls = target.client.calls
        written = int(said)
        return {
            "events/s": written / took,
            "cpu per event us": cpu / written * 1e6,
            "cpu at 1,000/s": cpu / written * 1000,
            "GETs": calls["GET"],
            "patches": calls["PATCH"],
        }


def main() -> dict[str, float]:
    return ground.on_a_cluster(measure)


if __name__ == "__main__":
    if sys.argv[1:2] == ["write"]:
        asyncio.run(write(sys.argv[2], "ours", float(sys.argv[3]), float(sys.argv[4]) if sys.argv[4:] else 1e9))
    else:
        main()
