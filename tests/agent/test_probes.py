"""Probes against real sockets on loopback, and the wheel that asks them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from trueup.agent.probes import Wheel, http, tcp
from trueup.core.kinds import Header, HttpGet, Probe
from trueup.core.probing import Record, Role, dead, initial

LIMIT_S = 10.0


@contextlib.asynccontextmanager
async def server(answer: bytes) -> AsyncIterator[tuple[int, list[bytes]]]:
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            heard.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(answer)
            await writer.drain()
        writer.close()

    made = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with made:
        yield made.sockets[0].getsockname()[1], heard


@pytest.mark.parametrize(
    ("answer", "ok"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", True),
        (b"HTTP/1.1 302 Found\r\nLocation: /login\r\n\r\n", True),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", False),
        (b"HTTP/1.0 503 Busy\r\n\r\n", False),
        (b"220 smtp\r\n", False),
        (b"", False),
    ],
)
async def test_a_status_from_200_to_399_passes(answer: bytes, ok: bool) -> None:
    async with server(answer) as (port, heard):
        passed, why = await http("127.0.0.1", port, HttpGet(port=port, path="healthz"))
    assert passed is ok, why
    assert heard[0].startswith(b"GET /healthz HTTP/1.1\r\n")


async def test_stated_headers_win() -> None:
    get = HttpGet(port=1, http_headers=(Header(name="Host", value="example.org"), Header(name="X-Probe", value="1")))
    async with server(b"HTTP/1.1 200 OK\r\n\r\n") as (port, heard):
        await http("127.0.0.1", port, get)
    assert b"Host: example.org\r\n" in heard[0]
    assert b"X-Probe: 1\r\n" in heard[0]


async def test_a_closed_port_does_not_pass() -> None:
    async with server(b"") as (port, _):
        assert await tcp("127.0.0.1", port) == (True, "")
    with pytest.raises(OSError):
        await tcp("127.0.0.1", port)


@contextlib.asynccontextmanager
async def turning() -> AsyncIterator[Wheel]:
    wheel = Wheel()
    task = asyncio.create_task(wheel.run())
    try:
        async with asyncio.timeout(LIMIT_S):
            yield wheel
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_an_eager_probe_does_not_count_its_first_failures() -> None:
    answers = [(False, "not yet"), (True, "")]
    heard: list[tuple[bool, str]] = []
    done = asyncio.Event()

    async def ask() -> tuple[bool, str]:
        return answers.pop(0)

    def hear(ok: bool, why: str) -> None:
        heard.append((ok, why))
        done.set()

    async with turning() as wheel:
        wheel.add(Probe(period_seconds=60), ask, hear, eager=True)
        await done.wait()
    assert heard == [(True, "")]


async def test_a_probe_that_hangs_or_is_refused_fails() -> None:
    heard: dict[str, str] = {}
    done = asyncio.Event()

    def hear(name: str) -> object:
        def take(ok: bool, why: str) -> None:
            assert not ok
            heard[name] = why
            if len(heard) == 2:
                done.set()

        return take

    async def hang() -> tuple[bool, str]:
        await asyncio.Event().wait()
        return True, ""

    async def refuse() -> tuple[bool, str]:
        raise ConnectionRefusedError(111, "Connection refused")

    async with turning() as wheel:
        wheel.add(Probe(timeout_seconds=1), hang, hear("hang"), eager=False)  # type: ignore[arg-type]
        wheel.add(Probe(), refuse, hear("refuse"), eager=False)  # type: ignore[arg-type]
        await done.wait()
    assert heard == {"hang": "no answer within 1 s", "refuse": "Connection refused"}


async def test_a_stopped_probe_is_not_heard_again() -> None:
    asked = asyncio.Event()
    heard: list[bool] = []

    async def ask() -> tuple[bool, str]:
        asked.set()
        await asyncio.sleep(0)
        return True, ""

    async with turning() as wheel:
        entry = wheel.add(Probe(), ask, lambda ok, why: heard.append(ok), eager=False)
        await asked.wait()
        entry.stop()
        other = asyncio.Event()
        wheel.add(Probe(), ask, lambda ok, why: other.set(), eager=False)
        await other.wait()
    assert heard == []


def test_thresholds() -> None:
    probe = Probe(success_threshold=2, failure_threshold=3)
    record = initial(Role.READINESS)
    seen = []
    for ok in (True, True, False, False, True, False, False, False):
        record = record.heard(probe, ok, "down")
        seen.append(record.passing)
    assert seen == [False, True, True, True, True, True, True, False]
    assert record.message == "down"


@pytest.mark.parametrize(
    ("role", "answers", "ends"),
    [
        (Role.LIVENESS, [False, False], False),
        (Role.LIVENESS, [False, False, False], True),
        (Role.LIVENESS, [False, False, True, False], False),
        (Role.STARTUP, [False, False], False),
        (Role.STARTUP, [False, False, False], True),
        (Role.READINESS, [False] * 9, False),
    ],
)
def test_what_ends_a_container(role: Role, answers: list[bool], ends: bool) -> None:
    record: Record = initial(role)
    for ok in answers:
        record = record.heard(Probe(), ok)
    assert dead(role, Probe(), record) is ends
