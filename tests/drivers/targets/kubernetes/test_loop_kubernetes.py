"""The loop with a real cluster as target: a push is applied, turns healthy and is written back; a bad one is undone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cluster.play import Admin
from engine.world import DEPLOYMENT, FIRST, World
from trueup.drivers.renderers.kept import Kept
from trueup.drivers.renderers.program import find
from trueup.drivers.renderers.worker import Workers
from trueup.drivers.targets.kubernetes.target import Kubernetes
from trueup.engine.loop import Loop, Parts
from trueup.engine.study import RepositoryStudy

pytestmark = pytest.mark.integration
LIMIT_S = 40.0


class ClusterWorld(World):
    """The same repository and loop; what runs, runs on this target."""

    def __init__(self, root: Path, cluster: Kubernetes) -> None:
        super().__init__(root)
        self.cluster = cluster

    def make_loop(self) -> Loop:
        return Loop(
            Parts(
                ledger=self.ledger, records=self.records, sources=self.sources, watched=self.watched,
                target_name="kubernetes", target=self.cluster, study=self.study, stating=self.study,
                planning=self.study, runs=self.runs, builds=self.builds, clock=self.clock, policy=self.policy,
                poll_s=3600,
            )
        )  # fmt: skip

    async def once(self, good: Callable[[], bool]) -> None:
        until = asyncio.get_running_loop().time() + LIMIT_S
        while not good():
            assert self.loop is not None and self._task is not None
            if self._task.done():
                self._task.result()
            assert asyncio.get_running_loop().time() < until, (self.loop.problems, self.person.subjects())
            await asyncio.sleep(0.05)  # the remote's head has no event here

    def push(self, files: dict[str, str], message: str) -> str:
        commit = self.person.push(files, message)
        self.look()
        return commit


def images(pods: list[Any]) -> set[str]:
    return {pod["spec"]["containers"][0]["image"] for pod in pods}


async def test_a_push_is_applied_turns_healthy_and_is_written_back_and_a_bad_one_is_undone(
    target: Kubernetes, admin: Admin, space: str, tmp_path: Path
) -> None:
    manifest = DEPLOYMENT.replace("{name: web}", f"{{name: web, namespace: {space}}}", 1)
    async with ClusterWorld(tmp_path, target) as world:
        world.push({**FIRST, "config/web.yaml": manifest}, "first")
        pods = await admin.pods(space, 3, app="web")
        (good,) = images(pods)
        assert "@sha256:" in good
        for pod in pods:
            await admin.turn_ready(pod)
        await world.once(lambda: world.person.subjects()[0].startswith("Record what runs"))
        assert good in world.person.show("config/web.yaml")

        bad = world.push({"app/main": "second\n"}, "break it")
        new = [p for p in await admin.pods(space, 4, app="web") if images([p]) != {good}]
        await admin.crash(new[0], "web")
        await world.once(lambda: world.person.subjects()[0].startswith(f'Undo {bad[:10]} "break it"'))
        await admin.pods(space, 3, app="web")
        path = f"/apis/apps/v1/namespaces/{space}/deployments/web"
        live = await admin.until(path, lambda d: d["status"].get("updatedReplicas") == 3)
        assert images([live["spec"]["template"]]) == {good}


async def test_an_overlay_is_applied_turns_healthy_and_is_written_back_into_its_images(
    target: Kubernetes, admin: Admin, space: str, tmp_path: Path
) -> None:
    program = find()
    if program is None:
        pytest.skip("no render worker: `make render` builds it with Go 1.26")
    overlay = f"namespace: {space}\nresources: [../base]\nimages:\n- name: example.org/acme/web\n  newTag: latest\n"
    files = {
        "k8s/base/kustomization.yaml": "resources: [web.yaml]\n",
        "k8s/base/web.yaml": DEPLOYMENT,
        "k8s/prod/kustomization.yaml": overlay,
        "app/main": "v1\n",
        "app/Dockerfile": "FROM scratch\n",
    }
    async with Workers(program, size=1) as workers:
        made = ClusterWorld(tmp_path, target)
        refs = dict.fromkeys(made.sources, "refs/heads/main")
        made.study = RepositoryStudy(  # type: ignore[assignment]  # the real one fills the same roles
            made.sources, dict.fromkeys(made.sources, "web"), refs, lambda *_: (), renderer=Kept(workers)
        )
        async with made as world:
            world.push(files, "first")
            pods = await admin.pods(space, 3, app="web")
            (running,) = images(pods)
            for pod in pods:
                await admin.turn_ready(pod)
            await world.once(lambda: world.person.subjects()[0].startswith("Record what runs"))
            digest = running.rpartition("@")[2]
            stated = world.person.show("k8s/prod/kustomization.yaml") + "\n"
            assert stated == overlay.replace("newTag: latest", f"newTag: v1\n  digest: {digest}")
            assert world.person.show("k8s/base/web.yaml") + "\n" == DEPLOYMENT
            path = f"/apis/apps/v1/namespaces/{space}/deployments/web"
            before = (await admin.until(path, lambda body: True))["metadata"]["generation"]
            await world.pushed({"notes": "x\n"}, "what Git states is what runs: nothing is touched")
            assert len((await world.source_state()).candidates) == 2
            assert (await admin.until(path, lambda body: True))["metadata"]["generation"] == before
