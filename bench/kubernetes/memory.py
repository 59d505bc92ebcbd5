"""Peak memory of a process that watches objects of 6 KB in applications of 10: at 2,500, 5,000 and 10,000 of them.

A process of its own opens the target on what was applied before, and reads and judges all of it; its peak is read from
the kernel. `python bench/kubernetes/memory.py [OBJECTS …]`.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import ground

from cluster.control import Control

SIZES, BYTES = (2500, 5000, 10000), 6000


async def child(kubeconfig: str, records: str, count: int) -> None:
    async with ground.target_on(kubeconfig, records) as target:
        for number in range(count):
            await target.read(f"app-{number}")
            await target.judge(f"app-{number}")
    print(ground.peak_mb())


async def measure(control: Control, folder: str) -> dict[str, float]:
    sizes = [int(each) for each in sys.argv[1:] if each.isdecimal()] or list(SIZES)
    kubeconfig, records = str(control.kubeconfig), f"{folder}/r.db"
    found: dict[str, float] = {}
    async with ground.client_on(kubeconfig, "ours"):
        done = 0
        for size in sizes:
            count = size // ground.OBJECTS
            async with ground.target_on(kubeconfig, records) as target:
                for number in range(done, count, ground.ABREAST):
                    each = range(number, min(number + ground.ABREAST, count))
                    await asyncio.gather(
                        *(target.apply(f"app-{n}", "c1", ground.application("ours", n, BYTES)) for n in each)
                    )
            done = count
            argv = [sys.executable, __file__, "child", kubeconfig, records, str(count)]
            process = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
            said, _ = await process.communicate()
            found[f"peak MB at {size}"] = float(said)
    first, last = sizes[0], sizes[-1]
    growth = (found[f"peak MB at {last}"] - found[f"peak MB at {first}"]) / max(last - first, 1)
    return {**found, "KB for each object more": growth * 1024}


def main() -> dict[str, float]:
    return ground.on_a_cluster(measure)


if __name__ == "__main__":
    if sys.argv[1:2] == ["child"]:
        asyncio.run(child(sys.argv[2], sys.argv[3], int(sys.argv[4])))
    else:
        main()
