"""Speaks to one API server: requests that outlive overload and a lost connection, pages, watches.

Knows no kind of object. Source: Kubernetes API concepts (v1.36): paging, watches with bookmarks, Retry-After, Status.
"""

from __future__ import annotations

import asyncio
import random
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from functools import lru_cache
from urllib.parse import urlencode, urlsplit

import aiohttp
import orjson
from msgspec import Struct
from multidict import CIMultiDict

from trueup.core.kubeconfig import Access
from trueup.core.model import Json
from trueup.drivers.targets.kubernetes.credentials import Credentials, Given, impersonation, tls
from trueup.drivers.targets.kubernetes.wire import Wire
from trueup.ports import TargetDown

CALL_S = 35.0  # one try; the server gives up at 60, a webhook at 30
PATIENCE_S = 60.0  # all tries of one call together
WATCH_S = 290  # asked of the server
SILENCE_S = 150.0  # a bookmark comes about once a minute
PAGE = 500
JSON = "application/json"
APPLY = "application/apply-patch+yaml"
METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
AGAIN = frozenset({429, 500, 502, 503, 504})
PAUSE_S = (0.1, 5.0)
# A 500 that says what is wrong with the object, or with a webhook that has had its time.
FINAL = (b"typed patch object", b"duplicate entries", b"failed calling webhook")


class ApiError(Exception):
    """The server's refusal. `status` is HTTP's, `reason` and `message` those of its Status."""

    def __init__(self, status: int, reason: str, message: str, body: Json = None) -> None:
        super().__init__(message)
        self.status, self.reason, self.message = status, reason, message
        details = body.get("details") if isinstance(body, dict) else None
        self.details: Json = details if isinstance(details, dict) else {}


class Gone(ApiError):
    """The version a watch or a page asked from is no longer kept (410): list again."""


class Unreachable(TargetDown):
    """The server does not answer at all."""


class Account(Struct, frozen=True):
    """Whom a call acts as (impersonated); "" is ourselves."""

    user: str = ""
    groups: tuple[str, ...] = ()


OURSELVES = Account()


class Call(Struct, frozen=True, kw_only=True):
    """One request. `body` is JSON to be encoded, or bytes as they are; `patience_s` 0: one try."""

    method: str = "GET"
    path: str
    query: tuple[tuple[str, str], ...] = ()
    body: Json = None
    content: str = JSON
    accept: str = JSON
    account: Account = OURSELVES
    patience_s: float = PATIENCE_S
    fenced: bool = True  # a change waits for the fence


class Link(Struct, frozen=True):
    """What leads to the server. `session` is for watches, and for everything where there is a proxy."""

    session: aiohttp.ClientSession
    wire: Wire | None

    async def close(self) -> None:
        if self.wire is not None:
            await self.wire.close()
        await self.session.close()


class Client:
    """Of one cluster. Example: `client = Client(access, os.environ)`; `await client.get("/version")`; `close()`."""

    def __init__(self, access: Access, environ: Mapping[str, str], call_s: float = CALL_S) -> None:
        self.access, self._call_s = access, call_s
        self.calls: Counter[str] = Counter()  # by verb, every try counted
        self.fence: Callable[[float], Awaitable[None]] | None = (
            None  # asked before every change; see `lease.Lease.need`
        )
        self._credentials = Credentials(access, environ)
        self._proxy = access.proxy or proxy_for(access.server, environ)
        self._link: Link | None = None
        self._before: Link | None = None  # watches that were opened over it go on to their end
        self._given: Given | None = None
        self._opening = asyncio.Lock()

    async def close(self) -> None:
        links, self._link, self._before = (self._link, self._before), None, None
        for link in links:
            if link is not None:
                await link.close()

    async def get(self, path: str, accept: str = JSON, **query: str) -> Json:
        """Raises ApiError, TargetDown."""
        return await self.send(Call(path=path, accept=accept, query=tuple(query.items())))

    async def send(self, call: Call) -> Json:
        """The answer's body, read as JSON; see `raw`."""
        return orjson.loads(await self.raw(call))

    async def raw(self, call: Call) -> bytes:
        """The answer's body. Overload and lost connections are tried again for a while: every call we make means the
        same the second time. Raises ApiError, Gone, TargetDown."""
        data = call.body if call.body is None or isinstance(call.body, bytes) else orjson.dumps(call.body)
        loop = asyncio.get_running_loop()
        until, pause = loop.time() + call.patience_s, PAUSE_S[0]
        known = True
        while True:
            wait_s, error = pause, ""
            if self.fence is not None and call.fenced and call.method != "GET":
                await self.fence(self._call_s)
            try:
                async with asyncio.timeout(self._call_s):
                    status, headers, answer = await self._once(call, data)
                if status < 300:
                    return answer
                if status == 401 and known:
                    known = False
                    self._credentials.refused()
                    continue
                if status not in AGAIN or loop.time() > until or any(words in answer for words in FINAL):
                    raise _refusal(status, answer)
                wait_s = max(pause, _retry_after(headers))
            except (aiohttp.ClientError, OSError, TimeoutError) as lost:
                await self._forget(lost)
                error = str(lost) or type(lost).__name__
            if error and loop.time() + wait_s > until:
                raise Unreachable(f"{self.access.server} does not answer: {error}; is the cluster up?")
            await asyncio.sleep(min(wait_s, 30.0) * random.uniform(0.8, 1.2))
            pause = min(pause * 2, PAUSE_S[1])

    async def pages(self, path: str, accept: str = JSON, **query: str) -> AsyncIterator[tuple[Json, str]]:
        """Every item of a list with the list's version. Raises ApiError, Gone, TargetDown."""
        async for items, version in self.lists(path, accept, **query):
            for item in items:
                yield item, version

    async def lists(self, path: str, accept: str = JSON, **query: str) -> AsyncIterator[tuple[list[Json], str]]:
        """Every page of a list with the list's version; at least one. Raises ApiError, Gone, TargetDown."""
        asked = {"limit": str(PAGE), **query}
        while True:
            answer = await self.get(path, accept, **asked)
            yield answer.get("items") or [], answer["metadata"]["resourceVersion"]
            following = answer["metadata"].get("continue")
            if not following:
                return
            asked = {**asked, "continue": following}

    async def watch(
        self, path: str, accept: str = JSON, silence_s: float = SILENCE_S, **query: str
    ) -> AsyncIterator[tuple[str, Json]]:
        """(type, object) of each event until the server ends the stream; first ("OPEN", no object) once it stands.

        Raises ApiError, Gone, TargetDown."""
        asked = {"watch": "1", "allowWatchBookmarks": "true", "timeoutSeconds": str(WATCH_S), **query}
        self.calls["WATCH"] += 1
        async for line in self._stream(path, asked, accept, silence_s):
            if line is None:
                yield "OPEN", {"metadata": {}}
                continue
            if not line.strip():
                continue
            event = orjson.loads(line)
            if event["type"] == "ERROR":
                raise _status_refusal(event["object"])
            yield event["type"], event["object"]

    async def lines(
        self, path: str, query: Mapping[str, str], accept: str = "*/*", *, silence_s: float | None = None
    ) -> AsyncIterator[bytes]:
        """The lines of a stream until the server ends it. Raises ApiError, Gone, TargetDown."""
        async for line in self._stream(path, query, accept, silence_s):
            if line is not None:
                yield line

    async def _stream(
        self, path: str, query: Mapping[str, str], accept: str, silence_s: float | None
    ) -> AsyncIterator[bytes | None]:
        """None once the stream stands, then its lines."""
        try:
            link, headers = await self._ready(Call(path=path, accept=accept))
            timeout = aiohttp.ClientTimeout(total=None, connect=self._call_s, sock_read=silence_s)
            async with link.session.get(
                self.access.server + path, params=query, headers=CIMultiDict(headers), timeout=timeout,
                proxy=self._proxy or None, server_hostname=self.access.server_name or None,
            ) as response:  # fmt: skip
                if response.status >= 300:
                    if response.status == 401:
                        self._credentials.refused()
                    raise _refusal(response.status, await response.read())
                yield None
                async for line in _lines(response.content):
                    yield line
        except (aiohttp.ClientError, OSError, TimeoutError) as lost:
            await self._forget(lost)
            raise Unreachable(
                f"{self.access.server}: the stream of {path} broke: {lost or type(lost).__name__}"
            ) from lost

    # --- the wire

    async def _once(self, call: Call, data: bytes | None) -> tuple[int, Mapping[str, str], bytes]:
        link, headers = await self._ready(call, data)
        self.calls[call.method] += 1
        if link.wire is not None:
            path = f"{call.path}?{_encoded(call.query)}" if call.query else call.path
            return await link.wire.send(call.method, path, headers, data)
        async with link.session.request(
            call.method, self.access.server + call.path, params=call.query or None, data=data,
            headers=CIMultiDict(headers), proxy=self._proxy, server_hostname=self.access.server_name or None,
        ) as response:  # fmt: skip
            given = {name.lower(): value for name, value in response.headers.items()}
            return response.status, given, await response.read()

    async def _ready(self, call: Call, data: bytes | None = None) -> tuple[Link, list[tuple[str, str]]]:
        given = await self._credentials.now()
        link = await self._open(given)
        headers = [("Accept", call.accept)]
        if data is not None:
            headers.append(("Content-Type", call.content))
        if given.authorization:
            headers.append(("Authorization", given.authorization))
        if call.account.user:
            headers.append(("Impersonate-User", call.account.user))
            headers += [("Impersonate-Group", group) for group in call.account.groups]
        else:
            headers += impersonation(self.access.user)
        return link, headers

    async def _open(self, given: Given) -> Link:
        """Connections made with these certificates; others once they changed."""
        if self._link is not None and self._given is given:
            return self._link
        async with self._opening:
            old = self._given
            same = old is not None and (old.certificate, old.key) == (given.certificate, given.key)
            if self._link is None or not same:
                context = await tls(self.access, given)
                connector = aiohttp.TCPConnector(limit=0, limit_per_host=0, ssl=context if context else True)
                session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None))
                wire = None if self._proxy else Wire(self.access.server, context, self.access.server_name)
                over, self._before, self._link = self._before, self._link, Link(session, wire)
                if over is not None:
                    await over.close()
            self._given = given
            return self._link

    async def _forget(self, lost: BaseException) -> None:
        """A new certificate authority or certificate may stand in the files: read them anew."""
        if isinstance(lost, (aiohttp.ClientSSLError, ssl.SSLError)):
            self._given = None


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Lines of any length: an object may have megabytes."""
    rest: list[bytes] = []
    async for chunk in content.iter_any():
        first, *more = chunk.split(b"\n")
        rest.append(first)
        for line in more:
            yield b"".join(rest)
            rest = [line]
    if last := b"".join(rest):
        yield last


def _refusal(status: int, answer: bytes) -> Exception:
    try:
        body = orjson.loads(answer)
    except orjson.JSONDecodeError:
        body = {"message": answer.decode(errors="replace")[:300]}
    return _status_refusal({"code": status, **body} if isinstance(body, dict) else {"code": status})


def _status_refusal(body: Json) -> Exception:
    status, message = int(body.get("code") or 0), str(body.get("message") or body.get("reason") or "no reason given")
    kind = Gone if status == 410 else ApiError
    return kind(status, str(body.get("reason") or ""), message, body)


@lru_cache(maxsize=64)
def _encoded(query: tuple[tuple[str, str], ...]) -> str:
    """Every patch has the same query."""
    return urlencode(query)


def _retry_after(headers: Mapping[str, str]) -> float:
    text = headers.get("retry-after", "")
    return float(text) if text.isdigit() else 0.0


def proxy_for(server: str, environ: Mapping[str, str]) -> str:
    """The proxy that the environment names for this server; "" for none.

    Source: Go net/http ProxyFromEnvironment, which kubectl uses; addresses of this machine are never proxied."""
    parts = urlsplit(server)
    name = f"{parts.scheme}_proxy"
    proxy = environ.get(name.upper()) or environ.get(name) or ""
    host = parts.hostname or ""
    if not proxy or host == "localhost" or host.startswith("127.") or host == "::1":
        return ""
    left_out = environ.get("NO_PROXY") or environ.get("no_proxy") or ""
    return "" if _left_out(host, [n.strip() for n in left_out.split(",")]) else proxy


def _left_out(host: str, names: Sequence[str]) -> bool:
    return any(n == "*" or (n and (host == n.lstrip(".") or host.endswith("." + n.lstrip(".")))) for n in names)
