"""HTTP answers as servers write them, in pieces of any size, and connections that end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from trueup.drivers.targets.kubernetes.wire import Broken, Wire

PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nRetry-After: 3\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n"
TRAILED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-End: 1\r\n\r\n"
INFORMED = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + PLAIN
EMPTY = b"HTTP/1.1 204 No Content\r\n\r\n"
LAST = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello"
TO_THE_END = b"HTTP/1.0 200 OK\r\n\r\nhello"

Served = list[bytes]


@asynccontextmanager
async def server(
    answer: bytes, step: int = 0, *, requests: int = 100
) -> AsyncIterator[tuple[Wire, Served, list[int], asyncio.Event]]:
    """Answers every request on a connection with these bytes, `step` at a time, and closes after so many."""
    asked: Served = []
    opened = [0]
    serving: list[asyncio.Task[None]] = []
    first = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened[0] += 1
        first.set()
        task = asyncio.current_task()
        assert task is not None
        serving.append(task)
        for _ in range(requests):
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, ConnectionError):
                break
            length = next((int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length:")), 0)
            asked.append(head + await reader.readexactly(length))
            for at in range(0, len(answer), step or len(answer) or 1):
                writer.write(answer[at : at + (step or len(answer))])
                await writer.drain()
                await asyncio.sleep(0)
            if answer in (LAST, TO_THE_END) or not answer:
                break
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    made = await asyncio.start_server(serve, "127.0.0.1", 0)
    wire = Wire(f"http://127.0.0.1:{made.sockets[0].getsockname()[1]}/at", None, "")
    try:
        yield wire, asked, opened, first
    finally:
        await wire.close()
        made.close()
        await asyncio.gather(*serving)


@pytest.mark.parametrize("step", [0, 1, 7])
@pytest.mark.parametrize(
    ("answer", "status", "body"),
    [
        (PLAIN, 200, b"hello"),
        (CHUNKED, 201, b"hello"),
        (TRAILED, 200, b"hello"),
        (INFORMED, 200, b"hello"),
        (EMPTY, 204, b""),
        (LAST, 200, b"hello"),
        (TO_THE_END, 200, b"hello"),
    ],
)
async def test_an_answer_in_any_pieces(answer: bytes, status: int, body: bytes, step: int) -> None:
    async with server(answer, step) as (wire, asked, opened, _):
        for _ in range(2):
            got = await wire.send("PATCH", "/x?a=1", [("Accept", "a/b")], b"{}")
            assert (got[0], got[2]) == (status, body)
        assert asked[0].startswith(b"PATCH /at/x?a=1 HTTP/1.1\r\nHost: 127.0.0.1:")
        assert asked[0].endswith(b"\r\nAccept: a/b\r\nContent-Length: 2\r\n\r\n{}")
        assert opened[0] == (2 if answer in (LAST, TO_THE_END) else 1)
    assert answer is not PLAIN or got[1]["retry-after"] == "3"


async def test_a_kept_connection_that_was_closed_is_replaced() -> None:
    async with server(PLAIN, requests=1) as (wire, asked, opened, _):
        for _ in range(3):
            assert (await wire.send("GET", "/", [], None))[2] == b"hello"
        assert (len(asked), opened[0]) == (3, 3)


@pytest.mark.parametrize("answer", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhalf"])
async def test_what_is_no_whole_answer_is_told(answer: bytes) -> None:
    async with server(answer, requests=1) as (wire, *_):
        with pytest.raises(Broken):
            await wire.send("GET", "/", [], None)


async def test_a_cancelled_request_leaves_no_answer_for_the_next() -> None:
    async with server(PLAIN) as (wire, _, _opened, first):
        asked = asyncio.create_task(wire.send("GET", "/", [], None))
        await first.wait()
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        assert (await wire.send("GET", "/", [], None))[2] == b"hello"


@pytest.mark.parametrize("given", [("/a b", "x"), ("/a\r\nX: y", "x"), ("/a", "x\r\nY: z")])
async def test_nothing_is_smuggled_into_a_request(given: tuple[str, str]) -> None:
    async with server(PLAIN) as (wire, asked, *_):
        with pytest.raises(ValueError, match="line break"):
            await wire.send("GET", given[0], [("X", given[1])], None)
        assert not asked
