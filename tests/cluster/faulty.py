"""A way to the API server that fails as networks and servers do: a plain HTTP proxy on loopback in front of it.

One request a connection. `dice` decides about each; `cut()` lets nothing through, neither new nor under way, without
closing anything; `mute()` lets the watches of now stand and delivers nothing of them ever again.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections import Counter
from collections.abc import Callable
from urllib.parse import urlsplit

Dice = Callable[[str, str], str]  # method, target → "" to let it through, "429", "500", "410", "lost", "half", "hang"

WORDS = {"429": "Too Many Requests", "500": "Internal Server Error", "410": "Gone"}


class Faulty:
    """Example: `async with Faulty(control.url, control.ca) as way: way.url`."""

    def __init__(self, server: str, ca: str) -> None:
        parts = urlsplit(server)
        self._host, self._port = parts.hostname or "", parts.port or 443
        self._context = ssl.create_default_context(cafile=ca)
        self._open = asyncio.Event()
        self._open.set()
        self._generation = 0
        self._never = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self.dice: Dice = lambda method, target: ""
        self.done: Counter[str] = Counter()  # faults made, by name
        self.url = ""

    async def __aenter__(self) -> Faulty:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def cut(self) -> None:
        self._open.clear()

    def mend(self) -> None:
        self._open.set()

    def mute(self) -> None:
        self._generation += 1

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._one(reader, writer)
        finally:
            self._tasks.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        length = next((int(line.partition(":")[2]) for line in lines if line.lower().startswith("content-length:")), 0)
        body = await reader.readexactly(length)
        await self._open.wait()
        fault = self.dice(method, target)
        if fault:
            self.done[fault] += 1
        if fault in WORDS:
            writer.write(_refusal(fault))
            await writer.drain()
            return
        if fault == "lost":
            return  # before the server heard of it
        if fault == "hang":
            await reader.read()  # until the other side has had enough
            return
        kept = [line for line in lines if line and not line.lower().startswith(("connection:", "accept-encoding:"))]
        asked = "\r\n".join([first, *kept, "Connection: close", "", ""]).encode("latin-1") + body
        await self._relay(asked, writer, watch="watch=1" in target, half=fault == "half")

    async def _relay(self, asked: bytes, writer: asyncio.StreamWriter, *, watch: bool, half: bool) -> None:
        generation = self._generation
        up, down = await asyncio.open_connection(self._host, self._port, ssl=self._context)
        try:
            down.write(asked)
            await down.drain()
            while data := await up.read(1 << 16):
                await self._open.wait()
                if watch and generation != self._generation:
                    await self._never.wait()
                if half:
                    return  # the server has done it, and nobody hears of it
                writer.write(data)
                await writer.drain()
        finally:
            down.close()
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                await down.wait_closed()


def _refusal(code: str) -> bytes:
    status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": int(code), "message": WORDS[code]}
    body = json.dumps({**status, "reason": {"410": "Expired"}.get(code, "InternalError")}).encode()
    more = "Retry-After: 1\r\n" if code == "429" else ""
    head = f"HTTP/1.1 {code} {WORDS[code]}\r\nContent-Type: application/json\r\n{more}Connection: close\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
