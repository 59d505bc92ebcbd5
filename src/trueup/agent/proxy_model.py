"""What the proxy is asked to serve, as records, and the pure decisions on addresses and ports. Never does IO."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

NODE_PORTS = range(30000, 32768)  # Source: Kubernetes, Service, "type: NodePort"
HEADLESS = "None"


class ServicePort(Struct, frozen=True):
    """`app_protocol` is the Service's own, or "http" when a probe of the container proves it."""

    name: str
    port: int
    protocol: str = "TCP"
    app_protocol: str = ""
    node_port: int = 0  # 0: allocated when the type asks for one

    @property
    def key(self) -> str:
        """What names this port in `Backend.ports`: its name, or its number when it has none."""
        return self.name or str(self.port)


class Backend(Struct, frozen=True):
    """One replica. `id` is unique on the host; letters, digits, "_", "." and "-" only."""

    id: str
    address: str
    ports: Mapping[str, int]  # ServicePort.key → container port
    ready: bool
    draining: bool = False
    version: str = ""  # what metrics are told apart by: the template's hash

    @property
    def serves(self) -> bool:
        return self.ready and not self.draining


class ServiceSpec(Struct, frozen=True):
    """One Service with its replicas. `cluster_ip` "" is allocated, "None" is headless."""

    namespace: str
    name: str
    cluster_ip: str = ""
    ports: tuple[ServicePort, ...] = ()
    type: str = "ClusterIP"  # "ClusterIP" | "NodePort" | "LoadBalancer" | "ExternalName"
    backends: tuple[Backend, ...] = ()
    affinity_s: int = 0  # sessionAffinity ClientIP: its timeout; 0 for None
    publish_not_ready: bool = False  # publishNotReadyAddresses
    external_name: str = ""

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def has_address(self) -> bool:
        return self.cluster_ip != HEADLESS and self.type != "ExternalName"

    @property
    def is_outside(self) -> bool:
        return self.type in ("NodePort", "LoadBalancer")


class ServiceRecord(Struct, frozen=True):
    """What DNS answers for one Service."""

    namespace: str
    name: str
    addresses: tuple[str, ...]
    ports: tuple[tuple[str, str, int], ...] = ()  # name, "tcp" | "udp", port
    cname: str = ""


class Trouble(Struct, frozen=True):
    """One Service port that could not be served, while all others are."""

    service: str  # "namespace/name"
    port: int
    message: str


class Kept(Struct, frozen=True):
    """What the proxy remembers over restarts. Keys: "namespace/name", and that with "/port key" for node ports."""

    addresses: dict[str, str] = {}
    node_ports: dict[str, int] = {}
    services: tuple[ServiceSpec, ...] = ()


class Bind(Struct, frozen=True, order=True):
    address: str
    port: int
    namespace: str  # network namespace, "" for the host's own


class Listener(Struct, frozen=True):
    """One port of one Service as the proxy listens on it."""

    name: str  # "namespace:service:port key"
    service: str
    port: int
    mode: str  # "http" | "tcp"
    binds: tuple[Bind, ...]
    affinity_s: int
    backends: tuple[tuple[Backend, int], ...]  # with the container port


class PoolEmpty(Exception):
    """Every Service address is in use: too many Services for one host's subnet."""


def mode(port: ServicePort) -> str:
    """ "http" when requests can be told apart on this port, else "tcp" (TLS, HTTP/2 and gRPC pass through as they are).

    Source: Kubernetes, Service, "Application protocol"; the name is what Istio and GKE go by."""
    protocol = port.app_protocol.lower()
    if protocol:
        return "http" if protocol in ("http", "kubernetes.io/ws", "ws") else "tcp"
    return "http" if port.name == "http" or port.name.startswith("http-") else "tcp"


def allocate(kept: Kept, services: Sequence[ServiceSpec], pool: Sequence[str]) -> Kept:
    """Give every Service its address and node ports: the ones it had, else those it asks for, else free ones.

    A vanished Service keeps its address until the pool runs out. Raises PoolEmpty."""
    addresses = _addresses(kept, services, pool)
    node_ports = _node_ports(kept, services)
    return Kept(addresses=addresses, node_ports=node_ports, services=tuple(services))


def _addresses(kept: Kept, services: Sequence[ServiceSpec], pool: Sequence[str]) -> dict[str, str]:
    wanted = {service.key: service.cluster_ip for service in services if service.has_address}
    usable = set(pool)
    addresses = {key: address for key, address in kept.addresses.items() if address in usable}
    for key, asked in wanted.items():
        holder = next((other for other, address in addresses.items() if address == asked), None)
        if asked in usable and (holder is None or holder not in wanted):
            addresses.pop(holder or "", None)
            addresses[key] = asked
    free = iter([address for address in pool if address not in set(addresses.values())])
    for key in wanted:
        if key not in addresses:
            addresses[key] = next(free, "") or _recycle(addresses, wanted)
    return addresses


def _recycle(addresses: dict[str, str], wanted: Mapping[str, str]) -> str:
    gone = next((key for key in addresses if key not in wanted), None)
    if gone is None:
        raise PoolEmpty(f"all {len(addresses)} Service addresses are in use; remove Services or use another host")
    return addresses.pop(gone)


def _node_ports(kept: Kept, services: Iterable[ServiceSpec]) -> dict[str, int]:
    asked = {f"{s.key}/{p.key}": p.node_port for s in services if s.is_outside for p in s.ports}
    ports = {key: port for key, port in asked.items() if port}
    for key in asked:
        had = kept.node_ports.get(key, 0)
        if key not in ports and had and had not in ports.values():
            ports[key] = had
    free = iter([number for number in NODE_PORTS if number not in set(ports.values())])
    return ports | {key: next(free, 0) for key in asked if key not in ports}


def listeners(kept: Kept, *, outside: str, namespace: str) -> tuple[list[Listener], list[Trouble]]:
    """Every listener that the kept Services ask for, in a stable order, and what cannot be served."""
    made: list[Listener] = []
    troubles: list[Trouble] = []
    taken: set[tuple[str, int]] = set()
    for service in sorted(kept.services, key=lambda s: s.key):
        for port in service.ports if service.has_address else ():
            if port.protocol != "TCP":
                troubles.append(Trouble(service.key, port.port, _NOT_TCP.format(port.protocol, port.port, service.key)))
                continue
            binds, clash = _binds(kept, service, port, outside, namespace, taken)
            troubles += clash
            made.append(_listener(service, port, binds))
    return made, troubles


_NOT_TCP = "{} port {} of Service {} is not proxied on this host; make the Service headless (clusterIP: None)"
_CLASH = "port {} of Service {} is already another Service's on {}; give it another nodePort or port"


def _binds(
    kept: Kept, service: ServiceSpec, port: ServicePort, outside: str, namespace: str, taken: set[tuple[str, int]]
) -> tuple[tuple[Bind, ...], list[Trouble]]:
    binds = [Bind(kept.addresses[service.key], port.port, namespace)]
    troubles: list[Trouble] = []
    numbers = [kept.node_ports.get(f"{service.key}/{port.key}", 0)] if service.is_outside else []
    numbers += [port.port] if service.type == "LoadBalancer" else []
    for number in dict.fromkeys(n for n in numbers if n):
        if (outside, number) in taken:
            troubles.append(Trouble(service.key, number, _CLASH.format(number, service.key, outside)))
        else:
            taken.add((outside, number))
            binds.append(Bind(outside, number, ""))
    return tuple(binds), troubles


def _listener(service: ServiceSpec, port: ServicePort, binds: tuple[Bind, ...]) -> Listener:
    return Listener(
        name=f"{service.namespace}:{service.name}:{port.key}",
        service=service.key,
        port=port.port,
        mode=mode(port),
        binds=binds,
        affinity_s=service.affinity_s,
        backends=tuple(
            (b, b.ports[port.key]) for b in sorted(service.backends, key=lambda b: b.id) if port.key in b.ports
        ),
    )


def records(kept: Kept) -> tuple[ServiceRecord, ...]:
    """What DNS is to answer for the kept Services."""
    return tuple(_record(kept, service) for service in kept.services)


def _record(kept: Kept, service: ServiceSpec) -> ServiceRecord:
    if service.type == "ExternalName":
        return ServiceRecord(service.namespace, service.name, (), cname=service.external_name)
    if service.has_address:
        addresses: tuple[str, ...] = (kept.addresses[service.key],)
    else:
        addresses = tuple(sorted({b.address for b in service.backends if b.serves or service.publish_not_ready}))
    ports = tuple((p.name, p.protocol.lower(), p.port) for p in service.ports)
    return ServiceRecord(service.namespace, service.name, addresses, ports)
