"""Tells proxy and DNS which replicas stand behind which Service. Never decides which replicas there are."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from trueup.agent.haproxy_cli import ProxyError
from trueup.agent.network import NetworkError
from trueup.agent.pod import Pod
from trueup.agent.proxy_model import Backend, PoolEmpty, ServicePort, ServiceRecord, ServiceSpec, Trouble
from trueup.core.kinds import Container, PodTemplate, Service
from trueup.core.kinds import ServicePort as StatedPort
from trueup.core.probing import port_number, probes

log = logging.getLogger("trueup.agent")

AFFINITY_S = 10_800  # Source: Kubernetes, sessionAffinityConfig.clientIP.timeoutSeconds
RETRY_S = (0.2, 10.0)
AGAIN_S = 5.0  # between two tries at a port that another program had taken


class Router(Protocol):
    """What carries requests; `agent.proxy.Proxy` is the real one."""

    async def sync(self, services: Sequence[ServiceSpec]) -> tuple[Trouble, ...]: ...

    async def drained(self, backend_id: str, timeout_s: float) -> bool: ...

    def address(self, namespace: str, name: str) -> str: ...

    def records(self) -> tuple[ServiceRecord, ...]: ...


class Edge:
    """Follows pods and Services: many changes at once are one sync."""

    def __init__(
        self,
        router: Router,
        desired: Callable[[], Sequence[ServiceSpec]],
        publish: Callable[[tuple[ServiceRecord, ...]], None],
        synced: Callable[[], None],
    ) -> None:
        self._router, self._desired, self._publish, self._synced = router, desired, publish, synced
        self._asked = 0
        self._done = 0
        self._wake = asyncio.Event()
        self._turn = asyncio.Condition()
        self.troubles: dict[str, str] = {}  # "namespace/name" → why a port is not served

    def touch(self) -> None:
        """Something changed; the next sync says it."""
        self._asked += 1
        self._wake.set()

    async def flushed(self, timeout_s: float) -> bool:
        """Wait until what is true now has been synced; False when the time was up."""
        self.touch()
        mine = self._asked
        try:
            async with asyncio.timeout(timeout_s), self._turn:
                await self._turn.wait_for(lambda: self._done >= mine)
        except TimeoutError:
            return False
        return True

    async def run(self) -> None:
        """Until cancelled. A failing proxy is tried again, ever more slowly; a port that was taken, now and then."""
        pause, longest = RETRY_S
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), AGAIN_S if self.troubles else None)
            self._wake.clear()
            mine = self._asked
            try:
                await self._sync()
                pause = RETRY_S[0]
            except (OSError, ProxyError, NetworkError, PoolEmpty) as error:
                log.warning("the proxy refused a sync error=%s", error)
                self._wake.set()
                await asyncio.sleep(pause)
                pause = min(pause * 2, longest)
                continue
            async with self._turn:
                self._done = mine
                self._turn.notify_all()

    async def _sync(self) -> None:
        troubles = await self._router.sync(self._desired())
        self.troubles = {t.service: t.message for t in troubles}
        self._publish(self._router.records())
        self._synced()


def service_spec(namespace: str, name: str, service: Service, pods: Sequence[Pod]) -> ServiceSpec:
    """The Service with the replicas that its selector picks."""
    chosen = [p for p in pods if matches(service, namespace, p)]
    template = chosen[0].template if chosen else None
    ports = tuple(_port(p, template) for p in service.spec.ports)
    return ServiceSpec(
        namespace=namespace,
        name=name,
        cluster_ip=service.spec.cluster_ip,
        ports=ports,
        type=service.spec.type,
        backends=tuple(_backend(p, service) for p in chosen if p.address),
        affinity_s=AFFINITY_S if service.spec.session_affinity == "ClientIP" else 0,
    )


def matches(service: Service, namespace: str, pod: Pod) -> bool:
    labels = pod.template.metadata.labels
    wanted = service.spec.selector
    return (
        bool(wanted) and pod.row.workload.namespace == namespace and all(labels.get(k) == v for k, v in wanted.items())
    )


def _port(port: StatedPort, template: PodTemplate | None) -> ServicePort:
    protocol = port.app_protocol or ("http" if template is not None and _speaks_http(port, template) else "")
    return ServicePort(port.name, port.port, port.protocol, protocol, port.node_port)


def _speaks_http(port: StatedPort, template: PodTemplate) -> bool:
    """A probe by plain HTTP on the same port proves it."""
    for container in template.spec.containers:
        number = _number(port, container)
        for probe in probes(container).values():
            get = probe.http_get
            if get is not None and get.scheme.upper() == "HTTP" and port_number(container, get.port) == number:
                return True
    return False


def _number(port: StatedPort, container: Container) -> int:
    return port_number(container, port.port if port.target_port is None else port.target_port)


def _backend(pod: Pod, service: Service) -> Backend:
    ports = {}
    for port in service.spec.ports:
        numbers = [_number(port, c) for c in pod.template.spec.containers]
        number = next((n for n in numbers if n), 0)
        if number:
            ports[port.name or str(port.port)] = number
    return Backend(
        id=pod.name,
        address=pod.address,
        ports=ports,
        ready=pod.ready_since is not None or pod.row.stopping,
        draining=pod.row.stopping,
        version=pod.row.template,
    )
