"""The bridge of one state folder and the addresses of its Services.

Containers stand on a Podman network; Service addresses stand in a network namespace of their own (the edge), plugged
into the same bridge, so that no listener of the host can be in their way and the bridge outlives its last container.
Never starts a container and never listens on anything itself.
"""

from __future__ import annotations

import asyncio
import ctypes
import ipaddress
import os
import socket
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Protocol

import msgspec
from msgspec import Struct

from trueup.agent.network_run import Ran, run
from trueup.core.layout import CONTAINERS_CONF, LABEL_STATE, Layout

POOLS = ("10.89.0.0/16", "10.90.0.0/16", "172.30.0.0/16", "192.168.192.0/18")
PREFIX = 22  # lower half: containers; upper half: Services
DNS_OPTIONS = ("ndots:5",)  # as Kubernetes gives a pod
CLONE_NEWNET = 0x40000000


class NetworkError(Exception):
    """The host's network could not be set up; the message says which command failed and what to try."""


class NetworkFacts(Struct, frozen=True):
    """What a container needs to know of its network. Addresses without prefix length, subnets with it."""

    name: str  # of the Podman network
    bridge: str  # its device
    subnet: str
    gateway: str
    services: str  # the part of the subnet that holds Service addresses
    dns: str  # where our DNS responder answers
    namespace: str  # the network namespace ("ip netns") that owns `dns` and the Service addresses
    options: tuple[str, ...] = DNS_OPTIONS

    def search(self, namespace: str) -> tuple[str, ...]:
        """The search domains of a container in a Kubernetes namespace.

        Source: Kubernetes, DNS for Services and Pods, "Pod's DNS Config"."""
        return (f"{namespace}.svc.cluster.local", "svc.cluster.local", "cluster.local")


class Addresses(Protocol):
    """Where Service addresses come from, and who makes them answer on this host."""

    @property
    def namespace(self) -> str:
        """Network namespace to listen in, "" for the host's own."""
        ...

    @property
    def pool(self) -> tuple[str, ...]:
        """Every address that may be given to a Service, in order."""
        ...

    @property
    def identity(self) -> str:
        """Changes when everything bound there was lost."""
        ...

    async def hold(self, addresses: Collection[str]) -> None:
        """Make exactly these addresses local; idempotent. Raises NetworkError."""
        ...


class Loopback:
    """Service addresses inside 127.0.0.0/8: for a host where nothing runs in containers. Needs no rights."""

    namespace = ""
    identity = "loopback"

    def __init__(self, subnet: str = "127.89.0.0/24") -> None:
        self.pool = tuple(str(host) for host in ipaddress.IPv4Network(subnet).hosts())

    async def hold(self, addresses: Collection[str]) -> None:
        """Nothing to do: Linux answers on all of 127.0.0.0/8."""


class Network:
    """The Podman network `trueup-<layout.id>`, its bridge and its edge namespace."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._lock = asyncio.Lock()
        self._held: frozenset[str] = frozenset()
        self.name = f"trueup-{layout.id}"
        self.namespace = f"trueup-{layout.id}"
        self.hardware_address = ":".join(["02", "54", *(layout.id[at : at + 2] for at in range(0, 8, 2))])
        self.pin = f"tu{layout.id}"  # the bridge's end of the pair; the other end is called "edge"
        self.facts: NetworkFacts | None = None

    @property
    def pool(self) -> tuple[str, ...]:
        services = ipaddress.IPv4Network(self._known().services)
        return tuple(str(host) for host in list(services.hosts())[1:])

    @property
    def identity(self) -> str:
        return str(Path("/run/netns", self.namespace).stat().st_ino)

    async def ensure(self) -> NetworkFacts:
        """Create what is missing of network, bridge and edge; safe to call at any time, also after a reboot.

        Raises NetworkError."""
        async with self._lock:
            await asyncio.to_thread(_write_if_other, Path(self._layout.containers_conf), CONTAINERS_CONF)
            self.facts = await self._network()
            await self._bridge(self.facts)
            await self._edge(self.facts)
            await self._addresses(self.facts)
            return self.facts

    async def hold(self, addresses: Collection[str]) -> None:
        async with self._lock:
            self._held = frozenset(addresses)
            await self._addresses(self._known())

    async def remove(self) -> None:
        """Take away network, devices, namespace and the firewall rules that Podman leaves; containers must be gone.

        Raises NetworkError when a container still uses it."""
        async with self._lock:
            facts = await self._inspect()
            if facts is not None:
                _ask(await self._podman("network", "rm", self.name), f"remove the Podman network {self.name}")
            await run(["ip", "netns", "del", self.namespace])
            await run(["ip", "link", "del", self.pin])
            if facts is not None:
                await run(["ip", "link", "del", facts.bridge])
                await _forget_rules(facts.subnet)
            self.facts = None

    def listen(self, address: str, port: int, kind: socket.SocketKind) -> socket.socket:
        """A bound, non-blocking socket inside the edge namespace. Raises OSError."""
        return _bound_inside(self.namespace, address, port, kind)

    def _known(self) -> NetworkFacts:
        if self.facts is None:
            raise NetworkError(f"network {self.name} is not set up; call ensure() first")
        return self.facts

    async def _podman(self, *args: str) -> Ran:
        return await run(["env", f"CONTAINERS_CONF={self._layout.containers_conf}", "podman", *args])

    async def _inspect(self) -> NetworkFacts | None:
        got = await self._podman("network", "ls", "--format", "json", "--filter", f"name=^{self.name}$")
        _ask(got, "list Podman's networks")
        found = msgspec.json.decode(got.out or "[]", type=list[_PodmanNetwork])
        return next((self._facts(n.subnets[0].subnet, n.network_interface) for n in found if n.name == self.name), None)

    def _facts(self, subnet: str, bridge: str) -> NetworkFacts:
        whole = ipaddress.IPv4Network(subnet)
        services = list(whole.subnets(1))[1]
        return NetworkFacts(
            name=self.name,
            bridge=bridge,
            subnet=subnet,
            gateway=str(whole[1]),
            services=str(services),
            dns=str(services[1]),
            namespace=self.namespace,
        )

    async def _network(self) -> NetworkFacts:
        found = await self._inspect()
        if found is None:
            await self._create()
            found = await self._inspect()
        if found is None:
            raise NetworkError(f"Podman made the network {self.name} but does not list it; try: podman network ls")
        await asyncio.to_thread(self._remember, found.subnet)
        return found

    async def _create(self) -> None:
        said = "every candidate is taken"
        for subnet in await self._candidates():
            whole = ipaddress.IPv4Network(subnet)
            got = await self._podman(
                *("network", "create", "--disable-dns", "--label", f"{LABEL_STATE}={self._layout.id}"),
                *("--subnet", subnet, "--gateway", str(whole[1]), "--ip-range", str(next(whole.subnets(1)))),
                self.name,
            )
            if got.code == 0:
                return
            said = got.said
            if "subnet" not in said and "already used" not in said:
                break
        raise NetworkError(f"no Podman network could be created for this state folder: {said}")

    async def _candidates(self) -> list[str]:
        """Free subnets, the remembered one first. Two state folders begin at different places."""
        routes = await run(["ip", "-j", "-4", "route", "show", "table", "all"])
        _ask(routes, "read the host's routes (is iproute2 installed?)")
        others = await self._podman("network", "ls", "--format", "json")
        _ask(others, "list Podman's networks")
        used = {route["dst"] for route in msgspec.json.decode(routes.out) if route.get("dst", "default") != "default"}
        used |= {s.subnet for n in msgspec.json.decode(others.out, type=list[_PodmanNetwork]) for s in n.subnets}
        remembered = await asyncio.to_thread(self._remembered)
        return free_subnets(used, start=int(self._layout.id, 16), first=remembered)

    @property
    def _file(self) -> Path:
        return Path(self._layout.agent, "network.json")

    def _remembered(self) -> str:
        try:
            return str(msgspec.json.decode(self._file.read_bytes())["subnet"])
        except (FileNotFoundError, KeyError, msgspec.DecodeError):
            return ""

    def _remember(self, subnet: str) -> None:
        _write_if_other(self._file, msgspec.json.encode({"subnet": subnet}).decode())

    async def _bridge(self, facts: NetworkFacts) -> None:
        """Podman makes the device with the first container and takes it away with the last; ours stays.

        Its hardware address is set: left alone, a bridge takes the lowest of its ports', another one whenever a
        container comes or goes, and the containers that know the one before answer into nowhere for some seconds.
        Source: Linux, net/bridge, br_stp_recalculate_bridge_id."""
        if not Path("/sys/class/net", facts.bridge).exists():
            _ask(await run(["ip", "link", "add", facts.bridge, "type", "bridge"]), f"add the bridge {facts.bridge}")
        prefix = facts.subnet.partition("/")[2]
        lines = [
            f"link set {facts.bridge} address {self.hardware_address}",
            f"addr replace {facts.gateway}/{prefix} brd + dev {facts.bridge}",
            f"link set {facts.bridge} up",
        ]
        _ask(await run(["ip", "-batch", "-"], stdin="\n".join(lines) + "\n"), f"bring up {facts.bridge}")
        await asyncio.to_thread(_write_if_other, Path("/proc/sys/net/ipv4/ip_forward"), "1\n")

    async def _edge(self, facts: NetworkFacts) -> None:
        if not Path("/run/netns", self.namespace).exists():
            _ask(await run(["ip", "netns", "add", self.namespace]), f"add the network namespace {self.namespace}")
            await run(["ip", "link", "del", self.pin])
        if not Path("/sys/class/net", self.pin).exists():
            pair = ["ip", "link", "add", self.pin, "type", "veth", "peer", "name", "edge", "netns", self.namespace]
            _ask(await run(pair), "plug the edge into the bridge")
        _ask(
            await run(["ip", "link", "set", self.pin, "master", facts.bridge, "up"]), f"plug {self.pin} into the bridge"
        )
        prefix = facts.subnet.partition("/")[2]
        lines = [
            "link set lo up",
            f"addr replace {facts.dns}/{prefix} dev edge",
            "link set edge up",
            f"route replace default via {facts.gateway}",
        ]
        _ask(await self._inside(lines), "set up the edge")

    async def _addresses(self, facts: NetworkFacts) -> None:
        """Add and remove /32 addresses at the edge until exactly the held ones are there."""
        got = await run(["ip", "-n", self.namespace, "-j", "-4", "addr", "show", "dev", "edge"])
        _ask(got, "read the addresses of the edge")
        links = msgspec.json.decode(got.out, type=list[_Link])
        there = {a.local for link in links for a in link.addr_info if a.prefixlen == 32}
        lines = [f"addr add {address}/32 dev edge" for address in sorted(self._held - there)]
        lines += [f"addr del {address}/32 dev edge" for address in sorted(there - self._held)]
        if lines:
            _ask(await self._inside(lines), "set the Service addresses")

    async def _inside(self, lines: Iterable[str]) -> Ran:
        return await run(["ip", "-n", self.namespace, "-batch", "-"], stdin="\n".join(lines) + "\n")


class _Subnet(Struct):
    subnet: str


class _PodmanNetwork(Struct):
    name: str
    network_interface: str = ""
    subnets: list[_Subnet] = []


class _Address(Struct):
    local: str = ""
    prefixlen: int = 0


class _Link(Struct):
    addr_info: list[_Address] = []


def free_subnets(used: Iterable[str], *, start: int, first: str = "") -> list[str]:
    """Subnets of PREFIX bits that overlap none of `used` (CIDRs or addresses), `first` before the others if free."""
    taken = [ipaddress.IPv4Network(text, strict=False) for text in used if ":" not in text]
    pools = [list(ipaddress.IPv4Network(pool).subnets(new_prefix=PREFIX)) for pool in POOLS]
    turned = [net for pool in pools for net in pool[start % len(pool) :] + pool[: start % len(pool)]]
    free = [str(net) for net in turned if not any(net.overlaps(other) for other in taken)]
    return sorted(free, key=lambda net: net != first)


def _ask(got: Ran, what: str) -> None:
    if got.code != 0:
        raise NetworkError(f"could not {what}: {got.said} (root rights and iproute2 are needed; try: trueup doctor)")


def _write_if_other(path: Path, text: str) -> None:
    if path.exists() and path.read_text() == text:
        return
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.write_text(text)


async def _forget_rules(subnet: str) -> None:
    """netavark removes its rules with its last container only when it also removes the bridge, which ours outlives."""
    for table in ("nat", "filter"):
        got = await run(["iptables", "-w", "5", "-t", table, "-S"])
        for args in stale_rules(got.out, subnet):
            await run(["iptables", "-w", "5", "-t", table, *args])


def stale_rules(listing: str, subnet: str) -> list[list[str]]:
    """The iptables calls that undo every rule of `iptables -S` naming `subnet`, and the chains only they led to."""
    rules = [line.split() for line in listing.splitlines() if line.startswith("-A ") and subnet in line.split()]
    chains = sorted({rule[-1] for rule in rules if rule[-2] == "-j" and rule[-1].startswith("NETAVARK-")})
    calls = [["-D", *rule[1:]] for rule in rules if rule[1] not in chains]
    return calls + [[verb, chain] for chain in chains for verb in ("-F", "-X")]


def _bound_inside(namespace: str, address: str, port: int, kind: socket.SocketKind) -> socket.socket:
    """Only the calling thread changes namespace, and only between two system calls; no await stands between."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/thread-self/ns/net") as home, open(f"/run/netns/{namespace}") as inside:
        if libc.setns(inside.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"could not enter the network namespace {namespace}")
        try:
            made = socket.socket(socket.AF_INET, kind)
        finally:
            if libc.setns(home.fileno(), CLONE_NEWNET) != 0:
                os._exit(70)  # a thread lost in another namespace must not go on
    if kind == socket.SOCK_STREAM:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setblocking(False)
    try:
        made.bind((address, port))
    except OSError:
        made.close()
        raise
    return made
