"""The agent: holds the desired objects of one host and makes them real. The parts do the work; this joins them.

Never reads Git, a ledger or a registry's index; what it is told to run, it runs, whoever else is there or not.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import platform
import secrets as randomness
import time
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from msgspec.structs import replace

from trueup.agent import spec as specs
from trueup.agent import wire
from trueup.agent.edge import Edge, matches, service_spec
from trueup.agent.haproxy_cli import ProxyError
from trueup.agent.images import Images, mirror_address
from trueup.agent.journal import Journal
from trueup.agent.network import Network, NetworkError, NetworkFacts
from trueup.agent.pod import STARTS_AT_ONCE, Pod, Stage
from trueup.agent.podman import ContainerEvent, EngineDown, EngineError, Listed, Podman, PodmanService
from trueup.agent.probes import Wheel
from trueup.agent.proxy import Proxy
from trueup.agent.proxy_model import HEADLESS, PoolEmpty, ServiceRecord, ServiceSpec
from trueup.agent.store import Held, PodRow, Store, StoreError, drop_object, drop_pod, put_object
from trueup.agent.volumes import Volumes
from trueup.agent.workloads import Workload
from trueup.core.admission import Refusal, admit, served
from trueup.core.health import Facts, Plain, ServiceFacts, assess
from trueup.core.kinds import ConfigMap, Secret, Service
from trueup.core.layout import LABEL_ROLE, LABEL_STATE, Layout
from trueup.core.model import Judgement, Live, LiveObject, Object, Ref
from trueup.core.pods import content, grace_s
from trueup.ports import Moved

log = logging.getLogger("trueup.agent")

RESYNC_S = 60.0
LOOKS_S = (0.3, 3.0)
CONFIG_S = 0.3  # a ConfigMap and the Deployment that reads it often come in two applies
ADOPT_S = 20.0
FLUSH_S = 10.0
DOWN_S = 120.0
BACK_S = (0.2, 10.0)
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Invalid(Exception):
    """Objects that cannot be held, one line each: "place: deployment/web: field: what is wrong, what to do"."""


class Steady:
    """The wall clock as it was at the start, carried on by the monotonic one: it never goes back."""

    def __init__(self) -> None:
        self._wall, self._mono = datetime.now(UTC), time.monotonic()

    def now(self) -> datetime:
        return self._wall + timedelta(seconds=time.monotonic() - self._mono)


class Agent:
    """`async with` podman and the rest set up by `agent.process`; `load`, then `run`."""

    def __init__(
        self,
        layout: Layout,
        store: Store,
        podman: Podman,
        service: PodmanService,
        network: Network,
        proxy: Proxy,
        publish: Callable[[tuple[ServiceRecord, ...]], None],
    ) -> None:
        self.layout, self.store, self.podman, self.proxy, self.network = layout, store, podman, proxy, network
        self.journal = Journal(store)
        self._service = service
        self._clock = Steady()
        self._label = f"{LABEL_STATE}={layout.id}"
        self.objects: dict[Ref, Held] = {}
        self.workloads: dict[Ref, Workload] = {}
        self._services: dict[Ref, Service] = {}
        self._judged: dict[Ref, tuple[str, str]] = {}
        self._dirty: set[Ref] = set()
        self._wake = asyncio.Event()
        self._apply_lock = asyncio.Lock()
        self._look = asyncio.Event()
        self.wheel = Wheel()
        self.edge = Edge(proxy, self._specs, publish, self._edge_synced)
        self.stage = Stage(
            podman=podman,
            images=Images(podman, lambda: mirror_address(layout)),
            volumes=Volumes(layout),
            wheel=self.wheel,
            state=layout.id,
            node=platform.node(),
            network=self._facts,
            now=self._clock.now,
            changed=self._pod_changed,
            drifted=self._pod_drifted,
            starts=asyncio.Semaphore(STARTS_AT_ONCE),
            ours=set(),
        )

    # --- the verbs of ports.Target

    def read(self, application: str) -> Live:
        mine = (h for h in self.objects.values() if h.application == application)
        return Live(tuple(LiveObject(h.ref, h.hash, h.body, h.uid, h.generation) for h in sorted(mine, key=_by_ref)))

    async def apply(
        self, application: str, candidate: str, objects: Sequence[Object], accepted: Sequence[str] = ()
    ) -> None:
        """All or nothing. Raises Invalid, StoreError."""
        async with self._apply_lock:
            held = self._admit(application, candidate, objects, accepted)
            changed = [h for h in held if self.objects.get(h.ref) != h]
            await self.store.write([put_object(h) for h in changed])
            moved = [h for h in changed if self._differs(h)]
            for item in changed:
                self._hold(item)
            await self._follow_up(moved)

    async def delete(self, application: str, refs: Sequence[Ref]) -> None:
        """What is not there, or is another application's, is left alone. Raises StoreError."""
        async with self._apply_lock:
            gone = [r for r in refs if r in self.objects and self.objects[r].application == application]
            await self.store.write([drop_object(r) for r in gone])
            for ref in gone:
                self._release(ref)
                self.journal.note(application, ref)
            self.edge.touch()
            self._touch()

    def judge(self, application: str) -> tuple[Judgement, ...]:
        mine = sorted((h for h in self.objects.values() if h.application == application), key=_by_ref)
        return tuple(self._judge(h) for h in mine)

    def watch(self, after: int) -> AsyncIterator[Moved]:
        return self.journal.follow(after)

    def pods(self) -> tuple[Pod, ...]:
        return tuple(p for w in self.workloads.values() for p in w.pods.values())

    def overview(self) -> wire.Overview:
        """Everything that runs, for people and for housekeeping."""
        services = [
            wire.ServiceView(r.namespace, r.name, self.proxy.address(r.namespace, r.name), self._ports(r, s))
            for r, s in sorted(self._services.items())
        ]
        return wire.Overview(tuple(_view(p) for p in self.pods()), tuple(services), self._service.starts)

    def _ports(self, ref: Ref, service: Service) -> tuple[tuple[str, int, int], ...]:
        outside = [self.proxy.node_port(ref.namespace, ref.name, p.name or str(p.port)) for p in service.spec.ports]
        return tuple((p.name, p.port, o) for p, o in zip(service.spec.ports, outside, strict=True))

    async def clear(self) -> int:
        """Forget every desired object and end every container of this state folder; how many there were.

        Not while `run` runs. Raises EngineError, StoreError."""
        await self.store.clear()
        await self._service.ensure()
        listed = await self.podman.containers(self._label)
        async with asyncio.TaskGroup() as group:
            for item in listed:
                group.create_task(self._end(item))
        for pod in self.pods():
            if pod.row.pod:
                await self.podman.remove_pod(pod.row.pod)
        await asyncio.to_thread(self.stage.volumes.keep_only, ())
        self.objects.clear()
        self.workloads.clear()
        self._services.clear()
        return len(listed)

    async def _end(self, item: Listed) -> None:
        if specs.LABEL_POD in item.labels and specs.LABEL_CONTAINER not in item.labels:
            return  # it goes with its pod
        if item.state == "running":
            await self.podman.stop_as_made(item.id, DOWN_S)
        await self.podman.remove(item.id)

    # --- objects

    def _admit(
        self, application: str, candidate: str, objects: Sequence[Object], accepted: Sequence[str]
    ) -> list[Held]:
        wrong: list[str] = []
        out: dict[Ref, Held] = {}
        for item in objects:
            before = self.objects.get(item.ref)
            if item.ref in out:
                wrong.append(f"{item.place}: {item.ref}: is stated twice: remove one")
            if before is not None and before.application != application:
                wrong.append(f"{item.place}: {item.ref}: belongs to {before.application}: give it another name")
                continue
            verdict = admit(item.body, before.body if before is not None else None, accepted)
            if isinstance(verdict, Refusal):
                wrong.append(f"{item.place}: {item.ref}: {verdict}")
                continue
            out[item.ref] = self._next(application, candidate, item, before, verdict.inert)
        if wrong:
            raise Invalid("\n".join(wrong))
        return list(out.values())

    def _next(
        self, application: str, candidate: str, item: Object, before: Held | None, inert: tuple[str, ...]
    ) -> Held:
        if before is not None and before.hash == item.hash:
            return replace(before, candidate=candidate, inert=inert)
        return Held(
            application=application,
            candidate=candidate,
            ref=item.ref,
            body=item.body,
            hash=item.hash,
            uid=before.uid if before is not None else randomness.token_hex(16),
            generation=before.generation + 1 if before is not None else 1,
            inert=inert,
        )

    def _differs(self, held: Held) -> bool:
        """Whether this is more than a new candidate's name on the same body. To be asked before `_hold`."""
        before = self.objects.get(held.ref)
        return before is None or before.hash != held.hash

    def _hold(self, held: Held) -> None:
        same = not self._differs(held)
        self.objects[held.ref] = held
        if same:
            return
        if held.ref.kind == "Deployment":
            self._workload(held.ref).hold(held)
        elif held.ref.kind == "Service":
            body = served(held.body)
            if isinstance(body, Service):
                self._services[held.ref] = body

    def _release(self, ref: Ref) -> None:
        self.objects.pop(ref, None)
        self._services.pop(ref, None)
        self._judged.pop(ref, None)
        workload = self.workloads.get(ref)
        if workload is not None:
            workload.hold(None)
            self._dirty.add(ref)

    async def _follow_up(self, moved: Sequence[Held]) -> None:
        """Look at once at the Deployments applied, a moment later at those that read what was applied."""
        direct = [h.ref for h in moved if h.ref in self.workloads]
        for ref in direct:
            await self.workloads[ref].reconcile()
            self._dirty.add(ref)
        readers = {w.ref for h in moved for w in self.workloads.values() if self._reads(w, h.ref)} - set(direct)
        for ref in readers:
            self.workloads[ref].settled = False
        if readers:
            asyncio.get_running_loop().call_later(CONFIG_S, self._touch, *readers)
        for held in moved:
            self.journal.note(held.application, held.ref)
        self.edge.touch()
        self._touch()

    def _reads(self, workload: Workload, ref: Ref) -> bool:
        return workload.ref.namespace == ref.namespace and workload.reads(ref.kind, ref.name)

    def _workload(self, ref: Ref) -> Workload:
        if ref not in self.workloads:
            self.workloads[ref] = Workload(
                ref,
                self.store,
                self.stage,
                lambda kind, name: self._content(ref.namespace, kind, name),
                self._retire,
                lambda: self._touch(ref),
            )
        return self.workloads[ref]

    def _content(self, namespace: str, kind: str, name: str) -> dict[str, str] | None:
        found = next(
            (h for r, h in self.objects.items() if (r.kind, r.namespace, r.name) == (kind, namespace, name)), None
        )
        body = served(found.body) if found is not None else None
        return content(body) if isinstance(body, ConfigMap | Secret) else None

    # --- health

    def _judge(self, held: Held) -> Judgement:
        return assess(held.ref, self._object_facts(held), held.inert)

    def _object_facts(self, held: Held) -> Facts:
        workload = self.workloads.get(held.ref)
        if workload is not None:
            return workload.facts()
        service = self._services.get(held.ref)
        if service is None:
            return Plain()
        ref, pods = held.ref, (p for p in self.pods() if not p.row.stopping)
        behind = [p for p in pods if matches(service, ref.namespace, p)]
        return ServiceFacts(
            address=self.proxy.address(ref.namespace, ref.name),
            ready=sum(p.ready_since is not None for p in behind),
            replicas=len(behind),
            headless=service.spec.cluster_ip == HEADLESS,
            trouble=self.edge.troubles.get(f"{ref.namespace}/{ref.name}", ""),
        )

    def _note_health(self, ref: Ref) -> None:
        held = self.objects.get(ref)
        if held is None:
            return
        judged = self._judge(held)
        seen = (judged.health.value, judged.reason)
        if self._judged.get(ref) != seen:
            self._judged[ref] = seen
            self.journal.note(held.application, ref)

    # --- what pods and proxy say

    def _pod_changed(self, pod: Pod) -> None:
        self.edge.touch()
        self._touch(pod.row.workload)

    def _pod_drifted(self, pod: Pod, what: str) -> None:
        log.info("repaired pod=%s what=%s", pod.name, what)
        self.journal.note(pod.application, pod.row.workload, what, repaired=True)
        self._touch(pod.row.workload)

    async def _retire(self, pod: Pod) -> None:
        """Take no new requests, let those in flight end."""
        if not pod.address:
            return
        grace = grace_s(pod.template.spec)
        if not await self.edge.flushed(max(grace, FLUSH_S)):
            log.warning("a pod ends although the proxy could not be told pod=%s", pod.name)
            return
        try:
            if not await self.proxy.drained(pod.name, grace):
                log.warning("requests still in flight after the grace pod=%s grace_s=%g", pod.name, grace)
        except (ProxyError, NetworkError, OSError) as error:
            log.warning("the proxy does not say what is in flight pod=%s error=%s", pod.name, error)

    def _specs(self) -> tuple[ServiceSpec, ...]:
        pods = self.pods()
        return tuple(service_spec(r.namespace, r.name, s, pods) for r, s in sorted(self._services.items()))

    def _edge_synced(self) -> None:
        for ref in self._services:
            self._note_health(ref)
        if self._services:
            self._touch()

    def _facts(self) -> NetworkFacts:
        if self.network.facts is None:
            raise EngineError(0, "the host's network is not set up yet")
        return self.network.facts

    def _touch(self, *refs: Ref) -> None:
        self._dirty.update(refs)
        self._wake.set()

    # --- life

    async def load(self) -> None:
        """Take up the last state: objects, rollouts, running containers. Raises StoreError, EngineError."""
        for held in await self.store.objects():
            self._hold(held)
        boot = await asyncio.to_thread(BOOT_ID.read_text)
        rebooted = await self.store.meta("boot") not in ("", boot)
        await self.store.set_meta("boot", boot)
        listed = [c for c in await self.podman.containers(self._label) if c.labels.get(LABEL_ROLE) == "replica"]
        rows = await self.store.pods()
        for ref in {row.workload for row in rows} | set(self.workloads):
            await self._restore(ref, [r for r in rows if r.workload == ref], listed, rebooted=rebooted)
        known = [p.name for p in self.pods()]
        await asyncio.to_thread(self.stage.volumes.keep_only, known)
        await self._sweep(listed)
        await self._adopted()
        self._dirty.update(self.workloads)
        self._wake.set()
        self.edge.touch()

    async def _restore(self, ref: Ref, rows: list[PodRow], listed: list[Listed], *, rebooted: bool) -> None:
        workload = self._workload(ref)
        rollout, templates = await self.store.rollout(ref)
        application = self.objects[ref].application if ref in self.objects else ""
        workload.restore(rollout, templates, rows, listed, application, rebooted=rebooted)
        lost = [r.name for r in rows if r.name not in workload.pods]
        await self.store.write([drop_pod(name) for name in lost])

    async def _adopted(self) -> None:
        try:
            async with asyncio.timeout(ADOPT_S):
                for pod in self.pods():
                    if not pod.row.stopping:
                        await pod.adopted.wait()
        except TimeoutError:
            log.warning("some containers could not be taken over yet")

    async def _sweep(self, listed: Sequence[Listed]) -> None:
        """Remove containers that carry our mark but belong to no pod."""
        known = {p.name for p in self.pods()}
        for item in listed:
            pod = item.labels.get(specs.LABEL_POD)
            if pod is not None and pod not in known and item.id not in self.stage.ours:
                log.warning("an orphan is removed container=%s", item.name)
                if specs.LABEL_CONTAINER in item.labels:
                    await self.podman.remove(item.id)
                else:
                    await self.podman.remove_pod(f"{pod}-pod")

    async def run(self) -> None:
        """Until cancelled; everything goes on running then."""
        try:
            async with asyncio.TaskGroup() as group:
                for work in (self.wheel.run, self.edge.run, self._passes, self._events, self._resyncs, self._guard):
                    group.create_task(work(), name=work.__name__)
        finally:
            await asyncio.gather(*(w.leave() for w in self.workloads.values()))

    async def _passes(self) -> None:
        pause, longest = BACK_S
        while True:
            await self._until_due()
            self._wake.clear()
            refs, self._dirty = self._dirty, set()
            try:
                for ref in sorted(refs):
                    await self._guarded_pass(ref)
                await self.journal.flush()
                pause = BACK_S[0]
            except StoreError as error:
                log.error("the agent's state could not be written error=%s", error)
                self._dirty |= refs
                self._wake.set()
                await asyncio.sleep(pause)
                pause = min(pause * 2, longest)

    async def _until_due(self) -> None:
        now = self._clock.now()
        due = {w.ref: w.look_again for w in self.workloads.values() if w.look_again is not None}
        first = min(due.values(), default=None)
        try:
            async with asyncio.timeout(None if first is None else max((first - now).total_seconds(), 0.0)):
                await self._wake.wait()
        except TimeoutError:
            pass
        now = self._clock.now()
        self._dirty.update(ref for ref, at in due.items() if at <= now)

    async def _guarded_pass(self, ref: Ref) -> None:
        """The one place that catches everything: one object's trouble leaves the others alone."""
        try:
            await self._pass(ref)
        except StoreError:
            raise
        except Exception:
            log.exception("a pass failed object=%s", ref)

    async def _pass(self, ref: Ref) -> None:
        workload = self.workloads.get(ref)
        if workload is None:
            return
        await workload.reconcile()
        self._note_health(ref)
        self.edge.touch()
        if workload.empty:
            del self.workloads[ref]

    async def _events(self) -> None:
        """Podman's events wake exactly the pod they concern; what a broken stream missed, a full look finds."""
        pause, longest = BACK_S
        while True:
            try:
                await self._service.ensure()
                async for event in self.podman.events(self._label):
                    pause = BACK_S[0]
                    if event is None:
                        self._look.set()
                    else:
                        self._hear(event)
            except (EngineError, OSError, TimeoutError) as error:
                log.warning("podman's events stopped error=%s", error)
            await asyncio.sleep(pause)
            pause = min(pause * 2, longest)

    def _hear(self, event: ContainerEvent) -> None:
        name = event.labels.get(specs.LABEL_POD, "")
        pod = next((p for p in self.pods() if p.name == name), None)
        if pod is not None and not pod.row.stopping:
            pod.heard(event)

    async def _resyncs(self) -> None:
        """A full look now and then, and twice after the event stream was opened: it may begin a moment late."""
        soon: tuple[float, ...] = ()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(soon[0] if soon else RESYNC_S):
                    await self._look.wait()
                    self._look.clear()
                    soon = LOOKS_S
                    continue
            soon = soon[1:]
            try:
                await self.resync()
            except (EngineError, NetworkError, ProxyError, PoolEmpty) as error:
                log.warning("a full look failed error=%s", error)

    async def resync(self) -> None:
        """Compare everything with what runs, for whatever an event failed to tell."""
        expected = {container for pod in self.pods() for container in pod.running}
        listed = await self.podman.containers(self._label)
        by_id = {c.id: c for c in listed}
        for pod in self.pods():
            pod.gone(expected, by_id)
        await self._sweep([c for c in listed if c.labels.get(LABEL_ROLE) == "replica"])
        self._touch(*self.workloads)

    async def _guard(self) -> None:
        """HAProxy is started again when it ends."""
        pause, longest = BACK_S
        while True:
            try:
                await self.proxy.ended()
                if await self.proxy.ensure():
                    log.warning("haproxy had ended and was started again")
                    pause = BACK_S[0]
            except (EngineDown, ProxyError, NetworkError, PoolEmpty, OSError) as error:
                log.error("haproxy does not start error=%s", error)
            await asyncio.sleep(pause)
            pause = min(pause * 2, longest)


def _by_ref(held: Held) -> Ref:
    return held.ref


def _view(pod: Pod) -> wire.PodView:
    replica = pod.replica()
    return wire.PodView(
        name=pod.name,
        application=pod.application,
        namespace=pod.row.workload.namespace,
        workload=str(pod.row.workload),
        template=pod.row.template,
        address=pod.address,
        ready=pod.ready_since is not None,
        stopping=pod.row.stopping,
        restarts=replica.restarts,
        waiting=replica.waiting.value,
        message=replica.message,
        images=tuple(c.image for c in pod.template.spec.containers),
        containers=tuple(r.id for r in pod.runs.values() if r.id),
    )
