"""Asks a running `trueup up` through the socket in its state folder."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import msgspec

from trueup.api.paths import reachable
from trueup.api.records import Told
from trueup.core.events import Event
from trueup.core.ledger import decode, import_line
from trueup.core.requests import Reply, Request
from trueup.core.running import LogQuery, NoSuchLog, Now

ANSWER_S = 60.0
CONNECT_S = 5.0
_encode = msgspec.json.Encoder().encode
_told = msgspec.json.Decoder(Told)


class NotRunning(Exception):
    """No `trueup up` answers in this state folder."""


class Denied(Exception):
    """It runs, and does not let this user in; the message says who may."""


class Client:
    """One conversation. Made by `connect`."""

    def __init__(self, session: aiohttp.ClientSession, socket: str) -> None:
        self._session, self._socket = session, socket

    async def do(self, request: Request) -> Reply:
        """Raises NotRunning, Denied."""
        async with self._ask("POST", "/v1/do", data=_encode(request)) as response:
            return msgspec.json.decode(await response.read(), type=Reply)

    async def now(self) -> Now:
        """Raises NotRunning, Denied."""
        async with self._ask("GET", "/v1/now") as response:
            return msgspec.json.decode(await response.read(), type=Now)

    async def events(self, after: int = 0, *, follow: bool = False) -> AsyncIterator[tuple[int, Event]]:
        """Events after a position, each with its own; with `follow` until the other side ends.

        Raises NotRunning, Denied."""
        query = {"after": str(after), **({"follow": "1"} if follow else {})}
        async with self._ask("GET", "/v1/events", params=query, timeout=_forever(follow)) as response:
            async for line in _lines(response):
                told = _told.decode(line)
                yield told.position, decode(import_line(bytes(told.event) + b"\n"))

    async def logs(self, query: LogQuery) -> AsyncIterator[bytes]:
        """Bytes as they come. Raises NoSuchLog, NotRunning, Denied."""
        wanted = {k: str(v).lower() for k, v in msgspec.structs.asdict(query).items() if v}
        async with self._ask("GET", "/v1/logs", params=wanted, timeout=_forever(query.follow)) as response:
            if response.status == 404:
                raise NoSuchLog(msgspec.json.decode(await response.read(), type=Reply).message)
            async for chunk in response.content.iter_any():
                yield chunk

    @contextlib.asynccontextmanager
    async def _ask(self, method: str, path: str, **more: Any) -> AsyncIterator[aiohttp.ClientResponse]:
        try:
            async with self._session.request(method, f"http://trueup{path}", **more) as response:
                if response.status == 403:
                    raise Denied(msgspec.json.decode(await response.read(), type=Reply).message)
                yield response
        except PermissionError as error:
            raise Denied(f"{self._socket}: permission denied; run as the user who started trueup up") from error
        except (aiohttp.ClientError, FileNotFoundError, ConnectionError, TimeoutError) as error:
            if isinstance(error, aiohttp.ClientOSError) and error.errno == 13:
                raise Denied(f"{self._socket}: permission denied; run as the user who started trueup up") from error
            raise NotRunning(
                f"no `trueup up` answers at {self._socket}; start one, or name its folder with --state"
            ) from error


def _forever(follow: bool) -> aiohttp.ClientTimeout:
    # Following ends when a side ends it: what is watched has no time limit, connecting has.
    return aiohttp.ClientTimeout(total=None if follow else ANSWER_S, sock_connect=CONNECT_S)


async def _lines(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    rest = b""
    async for chunk in response.content.iter_any():
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line
    if rest:
        yield rest


@contextlib.asynccontextmanager
async def connect(socket: str) -> AsyncIterator[Client]:
    """A client for the socket at this path. Connects at the first question."""
    with reachable_or_missing(socket) as address:
        timeout = aiohttp.ClientTimeout(total=ANSWER_S, sock_connect=CONNECT_S)
        connector = aiohttp.UnixConnector(path=address)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            yield Client(session, socket)


@contextlib.contextmanager
def reachable_or_missing(socket: str) -> Iterator[str]:
    try:
        with reachable(socket) as address:
            yield address
    except FileNotFoundError as error:
        raise NotRunning(f"no `trueup up` answers at {socket}; start one, or name its folder with --state") from error
