"""Requests to one server over kept connections: HTTP/1.1 with as little work for each as there can be.

Knows nothing of Kubernetes, follows no redirect, speaks to no proxy; see docs/decisions/0009.
Source: RFC 9112 (message framing: Content-Length, chunked, until the connection closes).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias, cast
from urllib.parse import urlsplit

Answer: TypeAlias = tuple[int, Mapping[str, str], bytes]  # status, headers by name in lower case, body

HEAD_BYTES = 256 << 10
END = b"\r\n\r\n"


class Broken(ConnectionError):
    """The connection ended, or the other side speaks no HTTP. `unanswered`: before a byte of an answer."""

    def __init__(self, message: str, unanswered: bool) -> None:
        super().__init__(message)
        self.unanswered = unanswered


class Wire:
    """Example: `wire = Wire("https://10.0.0.1:6443", context, "")`; `await wire.send("GET", "/version", (), None)`."""

    def __init__(self, server: str, context: ssl.SSLContext | None, server_name: str) -> None:
        parts = urlsplit(server)
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._prefix = parts.path.rstrip("/")
        self._shown = parts.netloc.rpartition("@")[2]
        self._context, self._name = context, (server_name or self._host) if context else None
        self._idle: list[_Connection] = []
        self._closed = False

    async def close(self) -> None:
        """Requests under way end as they would; their connections are not kept."""
        self._closed = True
        idle, self._idle = self._idle, []
        for each in idle:
            each.close()
        await asyncio.gather(*(each.lost for each in idle))

    async def send(self, method: str, path: str, headers: Sequence[tuple[str, str]], body: bytes | None) -> Answer:
        """One request. A kept connection that was closed meanwhile is replaced by another. Raises OSError."""
        request = self._written(method, path, headers, body)
        while True:
            kept = bool(self._idle)
            connection = self._idle.pop() if kept else await self._connect()
            try:
                answer = await connection.exchange(request)
            except Broken as error:
                if kept and error.unanswered:
                    continue
                raise
            if connection.reusable and not self._closed:
                self._idle.append(connection)
            else:
                connection.close()
            return answer

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        _, made = await loop.create_connection(
            lambda: _Connection(self._gone), self._host, self._port, ssl=self._context, server_hostname=self._name
        )  # fmt: skip
        return made

    def _gone(self, connection: _Connection) -> None:
        if connection in self._idle:
            self._idle.remove(connection)

    def _written(self, method: str, path: str, headers: Sequence[tuple[str, str]], body: bytes | None) -> bytes:
        given = (("Host", self._shown), *headers)
        lines = "".join(f"{name}: {value}\r\n" for name, value in given)
        if lines.count("\n") != len(given) or lines.count("\r") != len(given) or any(c in path for c in " \r\n"):
            raise ValueError("a line break in a header, or a space in a path")
        length = f"Content-Length: {len(body)}\r\n" if body is not None else ""
        head = f"{method} {self._prefix}{path} HTTP/1.1\r\n{lines}{length}\r\n".encode("latin-1")
        return head + body if body else head


class _Connection(asyncio.Protocol):
    """One exchange at a time."""

    def __init__(self, gone: Callable[[_Connection], None]) -> None:
        self._gone = gone
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[Answer] | None = None
        self._reader: _Reader | None = None
        self.reusable = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    async def exchange(self, request: bytes) -> Answer:
        if self._transport is None or self._transport.is_closing():
            raise Broken("the connection was closed", unanswered=True)
        self._reader = _Reader(request.startswith(b"HEAD"))
        self._waiter = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        try:
            return await self._waiter
        except BaseException:
            self.close()
            raise
        finally:
            self._waiter = self._reader = None

    def close(self) -> None:
        self.reusable = False
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        reader, waiter = self._reader, self._waiter
        if reader is None or waiter is None or waiter.done():
            self.close()  # nothing was asked
            return
        try:
            answer = reader.feed(data)
        except ValueError as error:
            waiter.set_exception(Broken(f"no HTTP answer: {error}", unanswered=False))
            return
        if answer is not None:
            self.reusable = not reader.last
            waiter.set_result(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        self.reusable = False
        if not self.lost.done():
            self.lost.set_result(None)
        self._gone(self)
        reader, waiter = self._reader, self._waiter
        if reader is None or waiter is None or waiter.done():
            return
        answer = reader.end()
        if answer is not None:
            waiter.set_result(answer)
        else:
            waiter.set_exception(Broken(str(exc or "the server closed the connection"), not reader.begun))


class _Reader:
    """Collects one answer. `last`: the connection ends with it."""

    def __init__(self, bodyless: bool) -> None:
        self._bodyless = bodyless
        self._data = bytearray()
        self._status, self._headers = 0, dict[str, str]()
        self._at = 0  # where the body begins, or the next chunk
        self._length = -1  # of the body; -1: chunked or until the end
        self._chunks: list[bytes] | None = None
        self.last = self.begun = False

    def feed(self, data: bytes) -> Answer | None:
        """The answer once it is whole. Raises ValueError."""
        self.begun = True
        self._data += data
        while not self._status:
            end = self._data.find(END)
            if end < 0:
                if len(self._data) > HEAD_BYTES:
                    raise ValueError("its headers are too long")
                return None
            self._head(bytes(self._data[:end]).decode("latin-1"))
            del self._data[: end + 4]
        if self._chunks is not None:
            return self._chunked(self._chunks)
        if 0 <= self._length <= len(self._data):
            return self._status, self._headers, bytes(self._data[: self._length])
        return None

    def end(self) -> Answer | None:
        """The connection closed: the answer, if that is how its body ends."""
        if self._status and self._length < 0 and self._chunks is None:
            return self._status, self._headers, bytes(self._data)
        return None

    def _head(self, text: str) -> None:
        first, *lines = text.split("\r\n")
        version, _, rest = first.partition(" ")
        if not version.startswith("HTTP/1.") or not rest[:3].isdigit():
            raise ValueError(f"it begins with {first[:40]!r}")
        status = int(rest[:3])
        if status < 200:
            return  # informational: the answer follows
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        self._status, self._headers = status, headers
        self.last = version == "HTTP/1.0" or headers.get("connection", "").lower() == "close"
        if self._bodyless or status in (204, 304):
            self._length = 0
        elif "chunked" in headers.get("transfer-encoding", "").lower():
            self._chunks = []
        elif "content-length" in headers:
            self._length = int(headers["content-length"])
        else:
            self.last = True

    def _chunked(self, chunks: list[bytes]) -> Answer | None:
        data = self._data
        while True:
            end = data.find(b"\r\n", self._at)
            if end < 0:
                break
            size = int(bytes(data[self._at : end]).partition(b";")[0], 16)
            if size == 0:
                if data.find(END, end) != end and data.find(END, end + 2) < 0:
                    break  # trailers are still to come
                return self._status, self._headers, b"".join(chunks)
            if len(data) < end + 2 + size + 2:
                break
            chunks.append(bytes(data[end + 2 : end + 2 + size]))
            self._at = end + 2 + size + 2
        return None
