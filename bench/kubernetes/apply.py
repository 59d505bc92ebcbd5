"""First apply, a pass with nothing changed, and drift, on a real API server started for the purpose.

The measure is a client that does nothing but send the same bodies, prepared, as fast as the same API server takes them,
in the same run. Goals (docs/kubernetes.md): at least 80% of its requests a second, parents included; no call and no
patch when nothing changed. Run: `python bench/kubernetes/apply.py [APPLICATIONS]`.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import aiohttp
import orjson

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from cluster.control import TOKEN, Control, NotBuilt, binary
from trueup.core.kubeconfig import resolve
from trueup.core.model import Object, Place
from trueup.core.objects import make_object
from trueup.drivers.targets.kubernetes.client import APPLY, Call, Client
from trueup.drivers.targets.kubernetes.target import AT_ONCE, Kubernetes, Settings

OBJECTS, ABREAST, DRIFTS = 10, 8, 30
TICK = os.sysconf("SC_CLK_TCK")


def application(space: str, number: int) -> list[Object]:
    """Eight ConfigMaps, a ServiceAccount and a Service."""
    made = []
    for at in range(OBJECTS):
        kind = "ServiceAccount" if at == 8 else "Service" if at == 9 else "ConfigMap"
        body = {"apiVersion": "v1", "kind": kind, "metadata": {"name": f"a{number}-{at}", "namespace": space}}
        if kind == "ConfigMap":
            body["data"] = {"LEVEL": "info", "URL": "http://backend.default:80/api", "LIMIT": str(at)}
        if kind == "Service":
            body["spec"] = {"selector": {"app": f"a{number}"}, "ports": [{"port": 80}]}
        made.append(make_object(body, Place("app.yaml", 1)))
    return made


async def saturate(control: Control, applications: Sequence[list[Object]]) -> float:
    """Seconds that a bare client needs for all the objects."""
    plural = {"ConfigMap": "configmaps", "ServiceAccount": "serviceaccounts", "Service": "services"}
    ready = [
        (f"{control.url}/api/v1/namespaces/{o.ref.namespace}/{plural[o.ref.kind]}/{o.ref.name}"
         "?fieldManager=bare&force=true", orjson.dumps(o.body))
        for each in applications for o in each
    ]  # fmt: skip
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": APPLY, "Accept": "application/json"}
    context = ssl.create_default_context(cafile=str(control.ca))
    rest = iter(ready)

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


async def apply(target: Kubernetes, applications: Sequence[list[Object]]) -> float:
    rest = iter(enumerate(applications))

    async def work() -> None:
        for number, objects in rest:
            await target.apply(f"app-{number}", "c1", objects)

    begun = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(ABREAST):
            tasks.create_task(work())
    return time.perf_counter() - begun


async def drift(target: Kubernetes, client: Client, applications: Sequence[list[Object]]) -> list[float]:
    """From an edit's answer to the drift told, one at a time."""
    took = []
    for number in range(min(DRIFTS, len(applications))):
        object = applications[number][0]
        path = f"/api/v1/namespaces/{object.ref.namespace}/configmaps/{object.ref.name}"
        seq = target.last_move
        body = {"data": {"LEVEL": "debug"}}
        await client.send(Call(method="PATCH", path=path, body=body, content="application/merge-patch+json"))
        begun = time.perf_counter()
        async for move in target.watch(seq):
            if move.drift and move.ref.name == object.ref.name:
                break
        await target.apply(f"app-{number}", "c1", [object])
        took.append(time.perf_counter() - begun)
    return took


def server_cpu(control: Control) -> float:
    fields = Path(f"/proc/{control.parts['apiserver'].pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


async def measure(control: Control, count: int, records: str) -> None:
    access = resolve([(str(control.kubeconfig), control.kubeconfig.read_bytes())])
    client = Client(access, os.environ)
    for space in ("warm", "bare", "ours"):
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": space}}
        await client.send(Call(method="POST", path="/api/v1/namespaces", body=body))
    await saturate(control, [application("warm", n) for n in range(20)])
    bare_s = await saturate(control, [application("bare", n) for n in range(count)])
    target = Kubernetes(Settings(access=access, environ=os.environ, records=records))
    await target.start()
    applications = [application("ours", n) for n in range(count)]
    target.client.calls.clear()
    cpu, api = time.process_time(), server_cpu(control)
    ours_s = await apply(target, applications)
    cpu, api = time.process_time() - cpu, server_cpu(control) - api
    calls = sum(target.client.calls.values())
    bare, ours = count * OBJECTS / bare_s, calls / ours_s
    print(f"first apply of {count * OBJECTS} objects in {count} applications, parents included:")
    print(f"  bare client {bare:.0f} requests/s, trueup {ours:.0f} requests/s: ratio {ours / bare:.2f} (goal 0.80)")
    print(f"  trueup's CPU {cpu:.1f} s, the API server's {api:.1f} s: ratio {cpu / api:.2f} (goal 0.40)")
    target.client.calls.clear()
    cpu = time.process_time()
    for number, objects in enumerate(applications):
        await target.apply(f"app-{number}", "c2", objects)
        await target.read(f"app-{number}")
        await target.judge(f"app-{number}")
    cpu = time.process_time() - cpu
    print(f"a pass with nothing changed: {sum(target.client.calls.values())} calls (goal 0), {cpu:.2f} s of CPU")
    took = sorted(await drift(target, client, applications))
    print(f"an edited field, told and repaired: p50 {median(took) * 1000:.0f} ms, worst {took[-1] * 1000:.0f} ms")
    await target.close()
    await client.close()


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    try:
        control = Control(binary())
    except NotBuilt as error:
        sys.exit(str(error))
    try:
        control.start()
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(measure(control, count, f"{folder}/records.db"))
    finally:
        control.stop()


if __name__ == "__main__":
    main()
