"""What the benchmarks of this folder stand on: a real control plane, applications, and who used what CPU."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from cluster.control import Control, NotBuilt, binary
from trueup.core.kubeconfig import Access, resolve
from trueup.core.model import Json, Object, Place
from trueup.core.objects import make_object
from trueup.drivers.targets.kubernetes.client import Call, Client
from trueup.drivers.targets.kubernetes.target import Kubernetes, Settings

OBJECTS, ABREAST = 10, 8
PLURAL = {"ConfigMap": "configmaps", "ServiceAccount": "serviceaccounts", "Service": "services"}
TICK = os.sysconf("SC_CLK_TCK")


def application(space: str, number: int, filler: int = 0) -> list[Object]:
    """Eight ConfigMaps, a ServiceAccount and a Service; with `filler` so many bytes more in each ConfigMap."""
    made = []
    for at in range(OBJECTS):
        kind = "ServiceAccount" if at == 8 else "Service" if at == 9 else "ConfigMap"
        body: Json = {"apiVersion": "v1", "kind": kind, "metadata": {"name": f"a{number}-{at}", "namespace": space}}
        if kind == "ConfigMap":
            body["data"] = {"LEVEL": "info", "URL": "http://backend.default:80/api", "LIMIT": str(at)}
            if filler:
                body["data"]["FILLER"] = "x" * filler
        if kind == "Service":
            body["spec"] = {"selector": {"app": f"a{number}"}, "ports": [{"port": 80}]}
        made.append(make_object(body, Place("app.yaml", 1)))
    return made


def path_of(each: Object) -> str:
    return f"/api/v1/namespaces/{each.ref.namespace}/{PLURAL[each.ref.kind]}/{each.ref.name}"


async def apply(target: Kubernetes, applications: Sequence[list[Object]]) -> float:
    """Seconds for all; eight applications abreast, as the loop's workers are."""
    loop = asyncio.get_running_loop()
    rest: Iterator[tuple[int, list[Object]]] = iter(enumerate(applications))

    async def work() -> None:
        for number, objects in rest:
            await target.apply(f"app-{number}", "c1", objects)

    begun = loop.time()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(ABREAST):
            tasks.create_task(work())
    return loop.time() - begun


def access_to(kubeconfig: str) -> Access:
    return resolve([(kubeconfig, Path(kubeconfig).read_bytes())])


@asynccontextmanager
async def target_on(kubeconfig: str, records: str) -> AsyncIterator[Kubernetes]:
    """Without a Lease: its own two calls every 15 s are nobody's cost."""
    target = Kubernetes(Settings(access=access_to(kubeconfig), environ=os.environ, records=records, lease_s=0))
    await target.start()
    try:
        yield target
    finally:
        await target.close()


@asynccontextmanager
async def client_on(kubeconfig: str, *spaces: str) -> AsyncIterator[Client]:
    """A client with all rights; these namespaces are made first."""
    client = Client(access_to(kubeconfig), os.environ)
    try:
        for space in spaces:
            body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": space}}
            await client.send(Call(method="POST", path="/api/v1/namespaces", body=body))
        yield client
    finally:
        await client.close()


def cpu_of(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def peak_mb(pid: str = "self") -> float:
    """The largest resident memory that a process had."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def on_a_cluster(measure: Callable[[Control, str], Awaitable[dict[str, float]]]) -> dict[str, float]:
    """The figures of `measure(control, folder)`; none where no control plane can be built."""
    try:
        control = Control(binary())
    except NotBuilt as error:
        print(error)
        return {}
    try:
        control.start()
        with tempfile.TemporaryDirectory() as folder:
            found = asyncio.run(_measured(measure, control, folder))
    finally:
        control.stop()
    for name, value in found.items():
        print(f"  {name}: {value:,.3f}")
    print(f"  load of the last minute: {os.getloadavg()[0]:.1f}")
    return found


async def _measured(
    measure: Callable[[Control, str], Awaitable[dict[str, float]]], control: Control, folder: str
) -> dict[str, float]:
    return await measure(control, folder)
