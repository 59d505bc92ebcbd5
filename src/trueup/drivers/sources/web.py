"""Files over http and https that a repository names: only from addresses that it may ask, only so large.

The connection is made to the very address that was looked at, so that a name that changes between two look-ups (DNS
rebinding) gains nothing; each redirect is looked at anew, and a login goes to its own host alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Mapping
from urllib.parse import urljoin, urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from msgspec import Struct

from trueup.core.logins import Logins
from trueup.core.reach import Allowed, blocked
from trueup.ports import RemoteRefused, SourceError

MAX_BYTES = 64 << 20
REDIRECTS = 5
MOVED = (301, 302, 303, 307, 308)


class Answer(Struct, frozen=True):
    """What came. `url` is where it came from in the end; header names are in lower case."""

    status: int
    url: str
    headers: Mapping[str, str]
    body: bytes


class Web:
    """`allowed` may be asked though it is within; `logins` by host. Use as a context, or call `close`."""

    def __init__(
        self, allowed: Allowed, logins: Logins, *, timeout_s: float = 60.0, max_bytes: int = MAX_BYTES
    ) -> None:
        self._allowed, self._logins = allowed, logins
        self._timeout_s, self._max_bytes = timeout_s, max_bytes
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def get(self, url: str, headers: Mapping[str, str] | None = None, *, login: bool = True) -> Answer:
        """Whatever the server says, redirects followed. `headers` go to the host of `url` alone, as does the login.

        Raises RemoteRefused for an address that may not be asked or that holds too much, SourceError for a network
        that fails."""
        first = urlsplit(url).netloc
        for _ in range(REDIRECTS + 1):
            own = urlsplit(url).netloc == first
            answer = await self._once(url, self._headers(url, headers or {}, login) if own else {})
            where = answer.headers.get("location", "")
            if answer.status not in MOVED or not where:
                return answer
            onward = urljoin(url, where)
            if url.startswith("https:") and not onward.startswith("https:"):
                raise RemoteRefused(f"{shown(url)} leads from https to plain {shown(onward)}, which is not followed")
            url = onward
        raise RemoteRefused(f"{shown(url)} leads from one address to the next without an end")

    def login_of(self, url: str) -> str:
        """What is sent as Authorization to this address; "" when no login is kept for it. Raises RemoteRefused."""
        parts = urlsplit(url)
        found = self._logins.of(parts.netloc.rpartition("@")[2], parts.path)
        if found is None:
            return ""
        if parts.scheme != "https" and not is_here(parts.hostname or ""):
            raise RemoteRefused(f"the login of {parts.hostname} is not sent over plain http: use its https address")
        return found.basic()

    def _headers(self, url: str, given: Mapping[str, str], login: bool) -> Mapping[str, str]:
        own = self.login_of(url) if login else ""
        return {**({"Authorization": own} if own else {}), **given}

    async def _once(self, url: str, headers: Mapping[str, str]) -> Answer:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise RemoteRefused(f"{shown(url)} is no http or https address")
        try:
            with contextlib.suppress(ValueError):  # a name: the resolver looks at its addresses
                check(parts.hostname, str(ipaddress.ip_address(parts.hostname)), self._allowed)
            async with (
                asyncio.timeout(self._timeout_s),
                self._opened().get(url, headers=headers, allow_redirects=False) as got,
            ):
                told = {name.lower(): value for name, value in got.headers.items()}
                return Answer(got.status, url, told, await self._body(url, got))
        except Blocked as error:
            raise RemoteRefused(str(error)) from None
        except TimeoutError:
            raise SourceError(f"{shown(url)} did not answer within {self._timeout_s:g} s. Do: try again.") from None
        except aiohttp.InvalidURL:
            raise RemoteRefused(f"{shown(url)} is no address: write its host as a name or an IP address") from None
        except (aiohttp.ClientError, OSError) as error:
            if isinstance(error.__cause__, Blocked):
                raise RemoteRefused(str(error.__cause__)) from None
            what = f"{shown(url)} cannot be reached ({type(error).__name__})"
            raise SourceError(f"{what}. Do: look at the network.") from None

    async def _body(self, url: str, got: aiohttp.ClientResponse) -> bytes:
        held = bytearray()
        async for piece in got.content.iter_chunked(1 << 16):
            held += piece
            if len(held) > self._max_bytes:
                raise RemoteRefused(f"{shown(url)} holds more than {self._max_bytes >> 20} MiB")
        return bytes(held)

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(resolver=_Resolver(self._allowed), use_dns_cache=False, limit=8)
            self._session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
        return self._session


class Blocked(OSError):
    """The address may not be asked; the message says why and how it may be."""


class _Resolver(AbstractResolver):
    """Names to addresses that may be asked; the connection is made to these."""

    def __init__(self, allowed: Allowed) -> None:
        self._allowed = allowed

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM, family=family)
        for *_, address in found:
            check(host, str(address[0]), self._allowed)
        return [
            ResolveResult(
                hostname=host, host=str(address[0]), port=port, family=kind, proto=proto, flags=socket.AI_NUMERICHOST
            )
            for kind, _, proto, _, address in found
        ]

    async def close(self) -> None:
        pass


async def addresses(host: str, port: int, allowed: Allowed) -> tuple[str, ...]:
    """The addresses of a host, each of which may be asked. Raises RemoteRefused, SourceError."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        what = f"{host} has no address ({error.strerror})"
        raise SourceError(f"{what}. Do: check the name and this machine's DNS.") from None
    try:
        for *_, address in found:
            check(host, str(address[0]), allowed)
    except Blocked as error:
        raise RemoteRefused(str(error)) from None
    return tuple(dict.fromkeys(str(address[0]) for *_, address in found))


def check(host: str, address: str, allowed: Allowed) -> None:
    """Raises Blocked."""
    why = "" if allowed.host(host) else blocked(address, allowed)
    if why:
        unless = f"unless TRUEUP_REMOTE_ALLOW names {host} or its network"
        raise Blocked(f"{host} is {address}, {why}: a repository may not ask it {unless}")


def shown(url: str) -> str:
    """Without what may be a secret in it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def is_here(host: str) -> bool:
    return host in ("localhost", "127.0.0.1", "::1")
