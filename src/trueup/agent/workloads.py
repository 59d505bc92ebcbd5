"""One Deployment at work: carries out what `core.workload` decides. Never decides on its own."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets as randomness
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

import msgspec
from msgspec.structs import replace

from trueup.agent.pod import Pod, Stage
from trueup.agent.podman import EngineError, Listed
from trueup.agent.spec import LABEL_CONTAINER, LABEL_POD
from trueup.agent.store import (
    Held,
    PodRow,
    Rollout,
    Store,
    StoreError,
    Template,
    Write,
    drop_pod,
    drop_rollout,
    drop_template,
    put_pod,
    put_rollout,
    put_template,
)
from trueup.core.admission import reads, served
from trueup.core.health import WorkloadFacts
from trueup.core.kinds import Deployment, PodTemplate
from trueup.core.model import Ref
from trueup.core.workload import Create, Decision, Stop, decide, template_hash

log = logging.getLogger("trueup.agent")

LETTERS = "bcdfghjklmnpqrstvwxz2456789"  # as Kubernetes: no vowels, no look-alikes
RETRY_S = (0.5, 30.0)


class Workload:
    """A Deployment with its rollout and its pods. `held` None: it is being deleted.

    `lookup(kind, name)` gives the content of a ConfigMap or Secret in its namespace, None when absent;
    `retire(pod)` drains a pod; `wake()` asks for another pass."""

    def __init__(
        self,
        ref: Ref,
        store: Store,
        stage: Stage,
        lookup: Callable[[str, str], dict[str, str] | None],
        retire: Callable[[Pod], Awaitable[None]],
        wake: Callable[[], None],
    ) -> None:
        self.ref = ref
        self.held: Held | None = None
        self.deployment: Deployment | None = None
        self.rollout = Rollout()
        self.templates: dict[str, Template] = {}
        self.pods: dict[str, Pod] = {}
        self.current = ""
        self.settled = False
        self.look_again: datetime | None = None
        self._store, self._stage, self._lookup, self._retire, self._wake = store, stage, lookup, retire, wake
        self._ending: dict[str, asyncio.Task[None]] = {}
        self._saved: dict[str, PodRow] = {}
        self._saved_images: dict[str, int] = {}
        self._parsed: dict[str, PodTemplate] = {}
        self._lock = asyncio.Lock()

    def hold(self, held: Held | None) -> None:
        """Take a new desired body; None ends all pods. One that was deleted in between begins anew."""
        if self.held is None and held is not None:
            self.rollout, self.current = Rollout(), ""
        self.held = held
        body = served(held.body) if held is not None else None
        self.deployment = body if isinstance(body, Deployment) else None
        self.settled = False

    def reads(self, kind: str, name: str) -> bool:
        return self.deployment is not None and (kind, name) in reads(self.deployment.spec.template.spec)

    @property
    def empty(self) -> bool:
        return self.held is None and not self.pods and not self._ending

    def facts(self) -> WorkloadFacts:
        spec = self.deployment.spec if self.deployment is not None else None
        return WorkloadFacts(
            generation=self.held.generation if self.held is not None else 0,
            wanted=spec.replicas if spec is not None else 0,
            template=self.current,
            status=self.rollout.status,
            replicas=tuple(p.replica() for p in self.pods.values()),
            paused=spec.paused if spec is not None else False,
            proven=any(r.proven and r.template == self.current for r in self.rollout.revisions),
            settled=self.settled,
        )

    # --- after a restart

    def restore(
        self,
        rollout: Rollout,
        templates: dict[str, Template],
        rows: list[PodRow],
        listed: list[Listed],
        application: str,
        *,
        rebooted: bool,
    ) -> None:
        """Take over what a former agent left: running containers are adopted, ended ones made anew."""
        self.rollout, self.templates, self.current = rollout, templates, rollout.progress.template
        for row in rows:
            if row.template not in templates:
                log.warning("a pod without its template is ended pod=%s", row.name)
                continue
            known = replace(row, containers={}, ready=False) if rebooted else row
            pod = self._make(known, application)
            mine = {c.labels[LABEL_CONTAINER]: c for c in listed if _is_of(c, row.name)}
            if row.stopping:
                self._end(pod)
            else:
                pod.start(mine)

    # --- a pass

    async def reconcile(self) -> None:
        """One pass: decide, write down, act. Raises StoreError: then nothing was done."""
        async with self._lock:
            if self.deployment is None or self.held is None:
                await self._dissolve()
                return
            spec = self.deployment.spec
            self.current = self._template()
            decision = decide(
                spec,
                self.current,
                self.rollout.revisions,
                [p.replica() for p in self.pods.values()],
                self.rollout.progress,
                self.rollout.status,
                generation=self.held.generation,
                now=self._stage.now(),
            )
            stepped = decision.revisions != self.rollout.revisions
            await self._carry_out(decision)
            self.settled = True
            if stepped:
                self._wake()  # a rollout moves by steps: the next one waits for nothing but this one

    async def _carry_out(self, decision: Decision) -> None:
        rollout = Rollout(revisions=decision.revisions, progress=decision.progress, status=decision.status)
        new = [self._row(a.template) for a in decision.actions if isinstance(a, Create)]
        leaving = [self.pods[a.replica] for a in decision.actions if isinstance(a, Stop)]
        stopping = [put_pod(replace(p.row, stopping=True)) for p in leaving]
        await self._store.write([*self._changes(rollout), *(put_pod(row) for row in new), *stopping])
        self.rollout, self.look_again = rollout, decision.look_again
        for row in new:
            self._saved[row.name] = row
            assert self.held is not None
            self._make(row, self.held.application).start()
        self._leave(leaving)

    def _changes(self, rollout: Rollout) -> list[Write]:
        out: list[Write] = []
        if rollout != self.rollout:
            out.append(put_rollout(self.ref, rollout))
        for name, template in self.templates.items():
            if self._saved_images.get(name) != len(template.images):
                out.append(put_template(self.ref, name, template))
                self._saved_images[name] = len(template.images)
        kept = {r.template for r in rollout.revisions} | {p.row.template for p in self.pods.values()}
        for name in [n for n in self.templates if n not in kept]:
            del self.templates[name]
            self._parsed.pop(name, None)
            self._saved_images.pop(name, None)
            out.append(drop_template(self.ref, name))
        for pod in self.pods.values():
            if self._saved.get(pod.name) != pod.row:
                self._saved[pod.name] = pod.row
                out.append(put_pod(pod.row))
        return out

    async def _dissolve(self) -> None:
        leaving = [p for p in self.pods.values() if p.name not in self._ending]
        await self._store.write([put_pod(replace(p.row, stopping=True)) for p in leaving])
        self._leave(leaving)
        if self.empty:
            await self._store.write(drop_rollout(self.ref))

    # --- templates

    def _template(self) -> str:
        """The hash wanted now; its content is kept from its first use on."""
        assert self.deployment is not None and self.held is not None
        body = self.held.body["spec"]["template"]
        config = self._config(self.deployment)
        hashes = {
            (kind, name): _digest(config.get(f"{kind}/{name}"))
            for kind, name in reads(self.deployment.spec.template.spec)
        }
        wanted = template_hash(body, hashes)
        if wanted not in self.templates:
            self.templates[wanted] = Template(body=body, config=config)
        return wanted

    def _config(self, deployment: Deployment) -> dict[str, dict[str, str]]:
        """What the pods read. What has vanished stays as it was last read: its removal alone breaks no pod."""
        before = self.templates.get(self.current)
        out: dict[str, dict[str, str]] = {}
        for kind, name in reads(deployment.spec.template.spec):
            key = f"{kind}/{name}"
            found = self._lookup(kind, name)
            if found is None and before is not None:
                found = before.config.get(key)
            if found is not None:
                out[key] = found
        return out

    def _parse(self, template: str) -> PodTemplate:
        if template not in self._parsed:
            body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": self.ref.name}}
            spec = {"selector": {}, "template": self.templates[template].body}
            read = served({**body, "spec": spec})
            assert isinstance(read, Deployment)
            self._parsed[template] = read.spec.template
        return self._parsed[template]

    # --- pods

    def _row(self, template: str) -> PodRow:
        tail = "".join(randomness.choice(LETTERS) for _ in range(5))
        return PodRow(
            name=f"{self.ref.name[:46]}-{template}-{tail}",
            workload=self.ref,
            uid=randomness.token_hex(8),
            template=template,
            created=self._stage.now(),
        )

    def _make(self, row: PodRow, application: str) -> Pod:
        pod = Pod(self._stage, row, application, self.templates[row.template], self._parse(row.template))
        self.pods[row.name] = pod
        return pod

    def _leave(self, pods: Sequence[Pod]) -> None:
        for pod in pods:
            log.info("pod leaves pod=%s", pod.name)
            pod.row = replace(pod.row, stopping=True)
            self._end(pod)

    def _end(self, pod: Pod) -> None:
        if pod.name not in self._ending:
            self._ending[pod.name] = asyncio.create_task(self._ended(pod), name=f"end {pod.name}")

    async def _ended(self, pod: Pod) -> None:
        """End it however often it takes, then forget it."""
        pause, longest = RETRY_S
        while True:
            try:
                await pod.end(lambda: self._retire(pod))
                await self._store.write([drop_pod(pod.name)])
                break
            except* (EngineError, StoreError, OSError) as errors:
                log.warning("a pod could not be ended yet pod=%s error=%s", pod.name, errors.exceptions[0])
            await asyncio.sleep(pause)
            pause = min(pause * 2, longest)
        self.pods.pop(pod.name, None)
        self._saved.pop(pod.name, None)
        self._ending.pop(pod.name, None)
        self._wake()

    async def leave(self) -> None:
        """Stop looking after it; everything goes on running."""
        for task in self._ending.values():
            task.cancel()
        await asyncio.gather(*self._ending.values(), return_exceptions=True)
        await asyncio.gather(*(p.leave() for p in self.pods.values()))


def _is_of(listed: Listed, pod: str) -> bool:
    return listed.labels.get(LABEL_POD) == pod and LABEL_CONTAINER in listed.labels


def _digest(content: dict[str, str] | None) -> str:
    if content is None:
        return ""
    return hashlib.sha256(msgspec.json.encode(content, order="sorted")).hexdigest()
