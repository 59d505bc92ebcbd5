"""The play of `trueup demo` on a Kubernetes of its own, with real pods: `make demo-kubernetes`. Ends by itself.

Everything in it is real: the cluster is tests/cluster, its node pulls from a registry that Trueup pushes to, and the
requests go to the Service's own address. Each is made over a connection of its own: behind a Service nobody tells a
client that the pod it is connected to is about to go, so a connection used again can break by no fault of a rollout.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console

from cluster.control import free_port
from cluster.node import Cluster, NotBuilt, ready_to_build
from servers.registry import registry
from trueup.core.kubeconfig import resolve
from trueup.core.layout import Layout
from trueup.core.views.timeline import Moment, Tone, took
from trueup.demo import acts, sight
from trueup.demo.acts import Scene
from trueup.demo.command import Failed
from trueup.demo.loop import Loop
from trueup.demo.person import Person
from trueup.demo.play import interrupted, perform, sum_up, ticking, until
from trueup.demo.telling import Telling
from trueup.demo.traffic import Traffic
from trueup.drivers.targets.host import Overview, Served
from trueup.drivers.targets.kubernetes.client import ApiError, Call, Client
from trueup.ports import TargetDown

APP = "python-app"
MANIFEST = "config/kubernetes-deployment.yaml"
MERGE = "application/merge-patch+json"
REPAIR_S = 60.0
# Requests go by the cluster's own network: what it drops (seen: 4 of 5,302, long before any rollout) is told, with why
CARRIED = 0.999
# What a pod needs behind a Service so that no request is lost: to serve on until nobody is sent to it any more
CONTAINER = "        - name: python-app\n"
PRESTOP = f"{CONTAINER}          lifecycle: {{preStop: {{sleep: {{seconds: 5}}}}}}\n"


class ClusterLoop(Loop):
    """A real `trueup up --target kubernetes`; replicas and Service as the API server tells them."""

    def __init__(
        self, layout: Layout, person: Person, environ: Mapping[str, str], tell: Callable[[Moment], None],
        cluster: Cluster, address: str,
    ) -> None:  # fmt: skip
        super().__init__(layout, person.remote, sys.executable, environ, tell)
        self._cluster, self._address = cluster, address
        access = resolve([(str(cluster.kubeconfig), cluster.kubeconfig.read_bytes())])
        self.client = Client(access, environ)

    @property
    def words(self) -> str:
        where = f"--target kubernetes --kubeconfig {self._cluster.kubeconfig}"
        return f"{super().words} {where} --image-registry http://{self._address}"

    async def get(self, path: str) -> Any:
        try:
            return await self.client.get(path)
        except ApiError as error:
            if error.status == 404:
                return None
            raise Failed(f"the API server: {error}") from error
        except TargetDown as error:
            raise Failed(str(error)) from error

    async def service(self) -> Served | None:
        body = await self.get(f"/api/v1/namespaces/default/services/{APP}")
        if body is None:
            return None
        ports = tuple((p.get("name", ""), p["port"], 0) for p in body["spec"]["ports"])
        return Served("default", APP, body["spec"]["clusterIP"], ports)

    async def ready(self, count: int, *, without: str = "") -> Overview | None:
        pods = (await self.get("/api/v1/namespaces/default/pods") or {}).get("items", [])
        alive = [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]
        good = [pod for pod in alive if _is_ready(pod)]
        return Overview((), (), 0) if len(alive) == len(good) == count else None

    async def scale(self, replicas: int) -> None:
        """As `kubectl edit` does it."""
        path, query = f"/apis/apps/v1/namespaces/default/deployments/{APP}", (("fieldManager", "kubectl-edit"),)
        body = {"spec": {"replicas": replicas}}
        await self.client.send(Call(method="PATCH", path=path, body=body, content=MERGE, query=query))

    async def stop(self) -> None:
        await super().stop()
        await self.client.close()


def _is_ready(pod: Any) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


async def edited(scene: Scene) -> str:
    """Somebody scales the Deployment by hand → named, put back."""
    loop = scene.loop
    assert isinstance(loop, ClusterLoop)
    began_s, drifts = scene.tell.elapsed_s(), sight.drifts(loop.known)
    scene.tell.say("somebody scales the Deployment by hand: kubectl edit, replicas: 1")
    await loop.scale(1)
    what = await loop.until("the edit in the ledger", lambda known: sight.drift(known, drifts), REPAIR_S, lambda _: "")
    path = f"/apis/apps/v1/namespaces/default/deployments/{APP}"

    async def back() -> bool | None:
        return (await loop.get(path))["spec"]["replicas"] == acts.REPLICAS or None

    await loop.until_asked("the replicas as Git states them", back, REPAIR_S)
    seconds = scene.tell.elapsed_s() - began_s
    scene.tell.say(f"put back, {took(seconds)} later: {what}", Tone.GOOD)
    await loop.until_asked(f"{acts.REPLICAS} ready replicas", lambda: loop.ready(acts.REPLICAS), REPAIR_S)
    return f"{what}; put back after {took(seconds)}"


ACTS: tuple[tuple[str, Callable[[Scene], Awaitable[str]]], ...] = (
    ("Act 1: the first push", acts.first),
    ("Act 2: a second push, under load", acts.second),
    ("Act 3: a push that is green in its tests and crashes at its start", acts.broken),
    ("Act 4: somebody scales the Deployment by hand", edited),
)


async def play(tell: Telling, environ: Mapping[str, str]) -> None:
    """Raises Failed."""
    tell.say("the demo on Kubernetes: everything here is real: API server, kubelet, pods, Git, tests, images, requests")
    async with _stage(tell) as (folder, cluster, address):
        person = Person(folder, environ)
        await person.begin()
        manifest = person.clone / MANIFEST
        manifest.write_text(manifest.read_text().replace(CONTAINER, PRESTOP, 1))
        loop = ClusterLoop(Layout(str(folder / "state")), person, environ, tell.moment, cluster, address)
        scene = Scene(person, loop, Traffic(reuse=False), tell, carried=CARRIED)
        try:
            with interrupted() as stop:
                if not await until(stop, _whole(scene)):
                    raise Failed("stopped before its end")
        except Failed:
            tell.lines(["", f"the last lines of {loop.log}:", *(f"  {line}" for line in loop.last_lines())])
            raise
        finally:
            tell.close()
            await scene.traffic.stop()
            await loop.stop()
            ended = await loop.trueup("down", "--cluster", "--data", "--yes", timeout_s=120)
            tell.say(ended.last if ended.code == 0 else f"trueup down ended with {ended.code}: {ended.said}")


async def _whole(scene: Scene) -> None:
    scene.tell.say(f"an empty remote: {scene.person.remote}; Ann's clone of it: {scene.person.clone}")
    scene.tell.say(f"the loop, in a process of its own: {scene.loop.words}")
    await scene.loop.start()
    scene.tell.open()
    async with ticking(scene):
        done = [await perform(scene, title, act) for title, act in ACTS]
        await scene.traffic.stop()
    scene.tell.close()
    await sum_up(scene, done)


@contextlib.asynccontextmanager
async def _stage(tell: Telling) -> AsyncIterator[tuple[Path, Cluster, str]]:
    """A folder, a cluster and a registry that its node pulls from; nothing of them stays."""
    folder = Path(tempfile.mkdtemp(prefix="trueup-demo-", dir="/var/tmp"))
    folder.chmod(0o711)  # the steps of pipelines run under other uids, in workspaces below it
    try:
        cluster = Cluster(*ready_to_build())
    except NotBuilt as error:
        shutil.rmtree(folder)
        raise Failed(str(error)) from error
    try:
        began_s = tell.elapsed_s()
        cluster.start()  # in this thread: the parts end with the one that started them
        version = orjson.loads(cluster.get("/version"))["gitVersion"]
        tell.say(f"Kubernetes {version} with one node is ready after {took(tell.elapsed_s() - began_s)}")
        address = f"{cluster.space.host}:{free_port()}"
        with registry(folder / "registry", address):
            cluster.trust(address)
            yield folder, cluster, address
    finally:
        cluster.stop()
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        tell.say("the cluster is gone")


def main() -> int:
    tell = Telling(Console(highlight=False))
    try:
        asyncio.run(play(tell, dict(os.environ)))
    except Failed as error:
        tell.say(str(error), Tone.BAD)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
