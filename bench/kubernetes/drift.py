"""Drift at 10,000 watched objects: 100 changes a second in a mix by a second process, statuses written by a third.

From when the change is sent to the first version after it that an independent watch shows as it was. What is told is
applied at once by the harness, as a pass of the loop would. A webhook's change stands as an edit under another
manager's name.
`python bench/kubernetes/drift.py [APPLICATIONS]`.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import ground

from cluster.control import Control
from trueup.core.model import Object
from trueup.drivers.targets.kubernetes.client import Call, Client
from trueup.drivers.targets.kubernetes.owned import PART_OF
from trueup.drivers.targets.kubernetes.target import Kubernetes

SECONDS, RATE, NOISE = 8, 100, 200
MERGE = "application/merge-patch+json"


async def sabotage(kubeconfig: str, count: int) -> None:
    """Change `RATE` objects a second, each once, and see them put back; prints {"kind of change": [seconds]}."""
    changed: dict[str, tuple[str, float]] = {}
    broken: set[str] = set()  # the watch has shown the change
    took: dict[str, list[float]] = {}
    done = asyncio.Event()

    async def look(client: Client, plural: str, begun: asyncio.Event) -> None:
        path = f"/api/v1/namespaces/ours/{plural}"
        version = (await client.get(path, limit="1"))["metadata"]["resourceVersion"]
        begun.set()
        async for type, body in client.watch(path, resourceVersion=version):
            name = body["metadata"].get("name", "")
            if name not in changed:
                continue
            if type == "DELETED" or not as_stated(body):
                broken.add(name)
                continue
            if name not in broken:
                continue  # a status, before the change
            broken.discard(name)
            what, at = changed.pop(name)
            took.setdefault(what, []).append(time.perf_counter() - at)
            if len(took_all(took)) == SECONDS * RATE:
                done.set()

    async with ground.client_on(kubeconfig) as client:
        begun = [asyncio.Event(), asyncio.Event()]
        watches = [
            asyncio.create_task(look(client, p, b)) for p, b in zip(("configmaps", "services"), begun, strict=True)
        ]
        for each in begun:
            await each.wait()
        start = time.perf_counter()
        async with asyncio.TaskGroup() as tasks:
            for number in range(SECONDS * RATE):
                await asyncio.sleep(max(0.0, number / RATE - (time.perf_counter() - start)))
                tasks.create_task(change(client, number, count, changed))
        await asyncio.wait([asyncio.create_task(done.wait())], timeout=60)
        for task in watches:
            task.cancel()
        await asyncio.gather(*watches, return_exceptions=True)
    print(json.dumps(took))


def took_all(took: dict[str, list[float]]) -> list[float]:
    return [each for listed in took.values() for each in listed]


def as_stated(body: dict[str, object]) -> bool:
    metadata, data, spec = body["metadata"], body.get("data"), body.get("spec")
    assert isinstance(metadata, dict)
    if PART_OF not in metadata.get("labels", {}):
        return False
    if isinstance(data, dict):
        return data.get("LEVEL") == "info"
    return isinstance(spec, dict) and spec["selector"] != {"app": "hacked"}


async def change(client: Client, number: int, count: int, changed: dict[str, tuple[str, float]]) -> None:
    what = ("deleted", "data edited", "label removed", "selector edited", "mutated under another name")[number % 5]
    name = f"a{number % count}-{9 if what == 'selector edited' else (number + number // count) % 8}"
    path = f"/api/v1/namespaces/ours/{'services' if what == 'selector edited' else 'configmaps'}/{name}"
    patches = {
        "data edited": {"data": {"LEVEL": "debug"}},
        "label removed": {"metadata": {"labels": {PART_OF: None}}},
        "selector edited": {"spec": {"selector": {"app": "hacked"}}},
        "mutated under another name": {"data": {"LEVEL": "mutated"}},
    }
    changed[name] = (what, time.perf_counter())
    if what == "deleted":
        await client.send(Call(method="DELETE", path=path))
    else:
        await client.send(
            Call(method="PATCH", path=path, body=patches[what], content=MERGE, query=(("fieldManager", what[:7]),))
        )


async def repair(target: Kubernetes, applications: list[list[Object]]) -> None:
    """What the loop does when it is told of drift."""
    busy: set[str] = set()
    again: set[str] = set()

    async def one(application: str) -> None:
        while True:
            again.discard(application)
            await target.apply(application, "c1", applications[int(application.partition("-")[2])])
            if application not in again:
                busy.discard(application)
                return

    async with asyncio.TaskGroup() as tasks:
        async for move in target.watch(target.last_move):
            if move.drift and move.application in busy:
                again.add(move.application)
            elif move.drift:
                busy.add(move.application)
                tasks.create_task(one(move.application))


async def measure(control: Control, folder: str) -> dict[str, float]:
    count = int(sys.argv[1]) if len(sys.argv) > 1 and sys.argv[1].isdecimal() else 1000
    kubeconfig = str(control.kubeconfig)
    applications = [ground.application("ours", n) for n in range(count)]
    async with ground.client_on(kubeconfig, "ours"), ground.target_on(kubeconfig, f"{folder}/r.db") as target:
        await ground.apply(target, applications)
        repairing = asyncio.create_task(repair(target, applications))
        target.client.calls.clear()
        noise = Path(__file__).with_name("noise.py")
        writer = await asyncio.create_subprocess_exec(
            sys.executable, str(noise), "write", kubeconfig, str(SECONDS), str(NOISE), stdout=asyncio.subprocess.PIPE
        )
        argv = [sys.executable, __file__, "sabotage", kubeconfig, str(count)]
        saboteur = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
        said, _ = await saboteur.communicate()
        await writer.communicate()
        repairing.cancel()
        await asyncio.gather(repairing, return_exceptions=True)
        calls = dict(target.client.calls)
    took = {what: sorted(each) for what, each in json.loads(said).items()}
    every = sorted(took_all(took))
    edits = SECONDS * RATE * 4 // 5
    return {
        "changes": SECONDS * RATE,
        "never put back": SECONDS * RATE - len(every),
        "p50 s": every[len(every) // 2],
        "p99 s": every[len(every) * 99 // 100],
        "worst s": every[-1],
        "GETs for each edit": calls.get("GET", 0) / edits,
        "patches for each change": calls.get("PATCH", 0) / (SECONDS * RATE),
        **{f"{what}, p99 s": each[len(each) * 99 // 100] for what, each in took.items()},
    }


def main() -> dict[str, float]:
    return ground.on_a_cluster(measure)


if __name__ == "__main__":
    if sys.argv[1:2] == ["sabotage"]:
        asyncio.run(sabotage(sys.argv[2], int(sys.argv[3])))
    else:
        main()
