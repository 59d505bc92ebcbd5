"""Waves and hooks on the real API server: Jobs run once and are waited for, over a target and loop that are lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from cluster.play import Admin
from engine.hooked import HookedStudy
from engine.world import DEPLOYMENT, World
from trueup.core import events as ev
from trueup.core.candidate import Phase
from trueup.drivers.targets.kubernetes.target import Kubernetes
from trueup.engine.loop import Loop, Parts

pytestmark = pytest.mark.integration
LIMIT_S = 60.0
JOB = """\
apiVersion: batch/v1
kind: Job
metadata: {name: NAME, namespace: SPACE, annotations: {argocd.argoproj.io/hook: HOOK, note: "NOTE"}}
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      containers: [{name: main, image: example.org/tools:1}]
"""
SETTINGS = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings, namespace: SPACE}\ndata: {a: VALUE}\n"
WIDGETS = """\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.SPACE.example.org}
spec:
  group: SPACE.example.org
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget}
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]
"""
WIDGET = "apiVersion: SPACE.example.org/v1\nkind: Widget\nmetadata: {name: one, namespace: SPACE}\n"


def files(space: str, value: str = "one") -> dict[str, str]:
    web = DEPLOYMENT.replace(
        "{name: web}", f'{{name: web, namespace: {space}, annotations: {{argocd.argoproj.io/sync-wave: "1"}}}}', 1
    )
    made = {
        "config/a-web.yaml": web.replace("replicas: 3", "replicas: 1"),
        "config/migrate.yaml": JOB.replace("NAME", "migrate").replace("HOOK", "PreSync"),
        "config/smoke.yaml": JOB.replace("NAME", "smoke").replace("HOOK", "PostSync"),
        "config/settings.yaml": SETTINGS.replace("VALUE", value),
        "config/crd.yaml": WIDGETS,
        "config/b-widget.yaml": WIDGET,
        "app/main": "v1\n",
        "app/Dockerfile": "FROM scratch\n",
        "pipeline": "pass\n",
    }
    return {path: text.replace("SPACE", space) for path, text in made.items()}


class OrderWorld(World):
    """The loop with bundles and plans as they really are, over a cluster."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.cluster: Kubernetes | None = None
        self.study = HookedStudy(self.sources, lambda: None)

    def make_loop(self) -> Loop:
        assert self.cluster is not None
        return Loop(
            Parts(
                ledger=self.ledger, records=self.records, sources=self.sources, watched=self.watched,
                target_name="kubernetes", target=self.cluster, study=self.study, stating=self.study,
                planning=self.study, runs=self.runs, builds=self.builds, clock=self.clock, policy=self.policy,
                poll_s=3600,
            )
        )  # fmt: skip

    async def once(self, good: Callable[[], Any]) -> None:
        until = asyncio.get_running_loop().time() + LIMIT_S
        while not await good():
            assert self.loop is not None and self._task is not None
            if self._task.done():
                self._task.result()
            assert asyncio.get_running_loop().time() < until, (self.loop.problems, (await self.app()).current)
            await asyncio.sleep(0.05)  # the ledger of a loop that is restarted has no event here

    def push(self, given: dict[str, str], message: str) -> str:
        commit = self.person.push(given, message)
        self.look()
        return commit


class Kubelet:
    """Ends the pods of Jobs and turns the others ready, as fast as they come; `fails`: Jobs whose pods fail."""

    def __init__(self, admin: Admin, space: str) -> None:
        self.admin, self.space = admin, space
        self.fails: set[str] = set()
        self.keeps: set[str] = set()  # Jobs whose pods go on
        self.jobs: list[tuple[str, str]] = []  # name and uid of every Job that was ever made, in order

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Kubelet]:
        tasks = [asyncio.create_task(self._pods()), asyncio.create_task(self._jobs())]
        try:
            yield self
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def runs(self, name: str) -> int:
        return len({uid for job, uid in self.jobs if job == name})

    async def _jobs(self) -> None:
        while True:
            path = f"/apis/batch/v1/namespaces/{self.space}/jobs"
            async for type, body in self.admin.client.watch(path):
                if type == "ADDED":
                    self.jobs.append((body["metadata"]["name"], body["metadata"]["uid"]))

    async def _pods(self) -> None:
        while True:
            listed = await self.admin.get(f"/api/v1/namespaces/{self.space}/pods")
            for pod in listed["items"]:
                if (pod.get("status") or {}).get("phase") == "Pending" and not pod["metadata"].get("deletionTimestamp"):
                    await self._one(pod)
            await asyncio.sleep(0.1)  # the kubelet that this cluster does not have

    async def _one(self, pod: Any) -> None:
        job = (pod["metadata"].get("labels") or {}).get("batch.kubernetes.io/job-name")
        if job is None:
            await self.admin.turn_ready(pod)
        elif job not in self.keeps:
            code = 1 if job in self.fails else 0
            ended = {"exitCode": code, "reason": "Error" if code else "Completed"}
            ended |= {"message": "relation orders does not exist"} if code else {}
            state = {"name": "main", "image": "x", "imageID": "x", "ready": False, "restartCount": 0,
                     "state": {"terminated": ended}}  # fmt: skip
            await self.admin.bind(pod)
            await self.admin.report(pod, phase="Failed" if code else "Succeeded", containerStatuses=[state])


async def test_waves_and_hooks_in_their_order_and_a_failed_migration_is_undone(
    target: Kubernetes, admin: Admin, space: str, tmp_path: Path
) -> None:
    world = OrderWorld(tmp_path)
    world.cluster = target
    kubelet = Kubelet(admin, space)
    kubelet.keeps.add("migrate")
    async with world, kubelet.running():
        world.push(files(space), "first")
        path = f"/apis/batch/v1/namespaces/{space}/jobs/migrate"
        await admin.until(path, lambda job: job["status"].get("active") == 1)
        assert not await admin.there(f"/api/v1/namespaces/{space}/configmaps/settings")
        kubelet.keeps.clear()
        await world.once(lambda: healthy(world))
        times = {
            name: (await admin.get(at))["metadata"]["creationTimestamp"]
            for name, at in (
                ("migrate", path), ("settings", f"/api/v1/namespaces/{space}/configmaps/settings"),
                ("web", f"/apis/apps/v1/namespaces/{space}/deployments/web"),
                ("smoke", f"/apis/batch/v1/namespaces/{space}/jobs/smoke"),
            )
        }  # fmt: skip
        assert list(times.values()) == sorted(times.values())
        assert await admin.there(f"/apis/{space}.example.org/v1/namespaces/{space}/widgets/one")
        assert (kubelet.runs("migrate"), kubelet.runs("smoke")) == (1, 1)

        kubelet.fails.add("migrate")
        bad = world.push({"config/settings.yaml": files(space, "two")["config/settings.yaml"]}, "change a setting")
        await world.once(lambda: told(world, ev.SyncCondemned))
        kubelet.fails.clear()
        (condemned,) = await world.facts(ev.SyncCondemned)
        assert isinstance(condemned, ev.SyncCondemned)
        assert condemned.reason.startswith("PreSync hook failed: job/migrate: BackoffLimitExceeded: ")
        assert "exit 1: relation orders does not exist" in condemned.reason
        await world.once(lambda: subject(world, f"Undo {bad[:10]}"))
        settings = await admin.get(f"/api/v1/namespaces/{space}/configmaps/settings")
        assert settings["data"] == {"a": "one"}


async def healthy(world: OrderWorld) -> bool:
    app = await world.app()
    return app.current is not None and app.current.phase is Phase.HEALTHY


async def gone(admin: Admin, path: str) -> bool:
    return not await admin.there(path)


async def told(world: OrderWorld, kind: type[ev.Fact]) -> bool:
    return bool(await world.facts(kind))


async def subject(world: OrderWorld, words: str) -> bool:
    return world.person.subjects()[0].startswith(words)


async def test_a_pod_that_takes_time_to_leave_is_waited_for_before_the_hook_is_made_anew(
    target: Kubernetes, admin: Admin, space: str, tmp_path: Path
) -> None:
    pod = (
        "apiVersion: v1\nkind: Pod\n"
        f"metadata: {{name: check, namespace: {space}, annotations: {{argocd.argoproj.io/hook: PreSync}}, "
        "finalizers: [example.org/hold]}\n"
        "spec: {restartPolicy: Never, containers: [{name: main, image: example.org/tools:1}]}\n"
    )
    path = f"/api/v1/namespaces/{space}/pods/check"
    plain = {"app/main": "v1\n", "app/Dockerfile": "FROM scratch\n", "config/pod.yaml": pod, "pipeline": "pass\n"}
    world = OrderWorld(tmp_path)
    world.cluster = target
    async with world:
        settings = SETTINGS.replace("SPACE", space)
        world.push({**plain, "config/s.yaml": settings}, "first")
        first = await admin.until(path, lambda body: True)
        await admin.bind(first)
        await admin.report(first, phase="Succeeded")
        await world.once(lambda: healthy(world))
        world.push({"config/s.yaml": settings.replace("VALUE", "two")}, "second")
        await admin.until(path, lambda body: bool(body["metadata"].get("deletionTimestamp")))
        await asyncio.sleep(0.5)
        now = await admin.get(f"/api/v1/namespaces/{space}/configmaps/settings")
        assert now["data"] == {"a": "VALUE"}
        await admin.merge(path, {"metadata": {"finalizers": None}})
        second = await admin.until(path, lambda body: body["metadata"]["uid"] != first["metadata"]["uid"])
        await admin.bind(second)
        await admin.report(second, phase="Succeeded")
        await admin.until(f"/api/v1/namespaces/{space}/configmaps/settings", lambda body: body["data"] == {"a": "two"})


async def test_a_job_that_removes_itself_has_succeeded_all_the_same(
    target: Kubernetes, admin: Admin, space: str, tmp_path: Path
) -> None:
    world = OrderWorld(tmp_path)
    world.cluster = target
    kubelet = Kubelet(admin, space)
    given = files(space)
    at = "config/migrate.yaml"
    given[at] = given[at].replace("backoffLimit: 0", "backoffLimit: 0\n  ttlSecondsAfterFinished: 1")
    async with world, kubelet.running():
        world.push(given, "first")
        await world.once(lambda: healthy(world))
        await world.once(lambda: gone(admin, f"/apis/batch/v1/namespaces/{space}/jobs/migrate"))
        world.push({"config/settings.yaml": files(space, "two")["config/settings.yaml"]}, "second")
        await admin.until(f"/api/v1/namespaces/{space}/configmaps/settings", lambda body: body["data"] == {"a": "two"})
        assert kubelet.runs("migrate") == 2
        assert not await world.facts(ev.SyncHeld)


async def test_lost_after_every_event_of_a_sync_no_hook_runs_twice(
    opened: Callable[..., Any], admin: Admin, space: str, tmp_path: Path
) -> None:
    """The loop and the target are dropped after each event in turn, and others take over from disk and ledger."""
    world = OrderWorld(tmp_path)
    kubelet = Kubelet(admin, space)
    lost = 0
    world.person.push(files(space), "first")
    async with kubelet.running():
        while True:
            async with opened() as target:
                world.cluster = target
                told = asyncio.create_task(next_event(world))
                await world.start()
                world.look()
                async with asyncio.timeout(LIMIT_S):
                    done = await told
                await world.stop()
            if await world.facts(ev.SyncHealthy):  # it may have come before the stop
                break
            lost += 1
            assert lost < 60, done
    assert lost >= 5  # started, hooks started, created, ended, applied, …
    assert (kubelet.runs("migrate"), kubelet.runs("smoke")) == (1, 1)
    assert len(await world.facts(ev.SyncStarted)) == 1
    for source in world.sources.values():
        await source.close()  # type: ignore[union-attr]


async def next_event(world: OrderWorld) -> ev.Fact:
    """The next that is told of the application."""
    async for event in world.ledger.follow():
        if event.stream == world.application and not isinstance(event.fact, ev.ApplicationRegistered | ev.Drifted):
            return event.fact
    raise AssertionError("the ledger ended")
