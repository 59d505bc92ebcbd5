"""Which addresses on a network may be asked for what a repository names. Pure.

A repository says where its remote parts are, so an address within this machine or its network would let whoever may
push ask its services (the cloud's metadata, a database, a router) as if from inside.
Source: RFC 6890 and the IANA special-purpose registries, as `ipaddress` knows them; RFC 6052 and 3056 for addresses
that hold another one.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import TypeAlias

from msgspec import Struct

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_SHARED = ipaddress.ip_network("100.64.0.0/10")


class Allowed(Struct, frozen=True):
    """What may be asked all the same: hosts by name, addresses by network."""

    hosts: frozenset[str] = frozenset()
    networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()

    def host(self, name: str) -> bool:
        return name.lower() in self.hosts

    def address(self, address: Address) -> bool:
        return any(address.version == n.version and address in n for n in self.networks)


def allowed(text: str) -> Allowed:
    """From names, addresses and networks with commas between. Raises ValueError for what is none."""
    hosts: set[str] = set()
    networks = []
    for word in (part.strip() for part in text.split(",")):
        if not word:
            continue
        try:
            networks.append(ipaddress.ip_network(word, strict=False))
        except ValueError:
            if "/" in word or ":" in word:
                raise ValueError(f"{word!r} is no host name, address or network such as 10.0.0.0/8") from None
            hosts.add(word.lower())
    return Allowed(frozenset(hosts), tuple(networks))


def blocked(text: str, allowed: Allowed) -> str:
    """Why an address may not be asked; "" when it may. `text` is an IP address."""
    address = _innermost(ipaddress.ip_address(text.partition("%")[0]))
    if allowed.address(address) or allowed.address(ipaddress.ip_address(text.partition("%")[0])):
        return ""
    return _kind(address)


def first_blocked(addresses: Iterable[str], allowed: Allowed) -> str:
    """The reason of the first that may not be asked: one of several is enough, since any of them may be taken."""
    return next((f"{a} is {why}" for a in addresses if (why := blocked(a, allowed))), "")


def _innermost(address: Address) -> Address:
    """The IPv4 address within an IPv6 one: mapped, 6to4, or behind NAT64."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is not None:
            return inner
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _kind(address: Address) -> str:
    if address.is_loopback:
        return "this machine itself"
    if address.is_link_local:
        return "a link-local address, where clouds keep their credentials"
    if address.is_unspecified or address.is_multicast:
        return "no address of one machine"
    if address.is_private or (address.version == 4 and address in _SHARED):
        return "an address of a private network"
    return "" if address.is_global else "a reserved address"
