"""The socket of a running `trueup up`: a real unix socket, the real ledger file, a small application behind it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from trueup.api.client import Client, Denied, NotRunning, connect
from trueup.api.server import serve
from trueup.core import events as ev
from trueup.core.model import Health, Judgement, Principal, Ref
from trueup.core.requests import Pause, Reply, Request, Sync
from trueup.core.running import LogQuery, NoSuchLog, Now
from trueup.store.keys import open_keys
from trueup.store.sqlite import SqliteLedger, open_ledger, open_readonly

WEB = Ref("host", "apps", "Deployment", "default", "web")


class Wall:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic_s(self) -> float:
        return asyncio.get_running_loop().time()


class Serving:
    def __init__(self) -> None:
        self.asked: list[tuple[Request, Principal]] = []
        self.left = asyncio.Event()

    async def perform(self, request: Request, by: Principal) -> Reply:
        self.asked.append((request, by))
        return Reply(True, "done", "source/1")

    async def now(self) -> Now:
        return Now({"application/a": (Judgement(WEB, Health.HEALTHY, "3/3 ready"),)}, {}, os.getpid())

    async def logs(self, query: LogQuery) -> AsyncGenerator[bytes, None]:
        if query.run == "run/none":
            raise NoSuchLog("no run of this name; the newest is run/1")
        try:
            while query.run == "run/endless":
                yield b"again\n" * 1000
        finally:
            self.left.set()
        yield b"one\n"
        yield b"two\n" if query.follow else b""


@contextlib.asynccontextmanager
async def running(folder: Path) -> AsyncIterator[tuple[Client, Serving, SqliteLedger]]:
    keys = open_keys(str(folder / "keys"))
    ledger = await open_ledger(str(folder / "ledger.db"), clock=Wall(), signer=keys.signer)
    reader, serving, socket = open_readonly(str(folder / "ledger.db")), Serving(), str(folder / "up.sock")
    try:
        async with serve(socket, serving, reader, ledger), connect(socket) as client:
            yield client, serving, ledger
    finally:
        await reader.close()
        await ledger.close()


async def say(ledger: SqliteLedger, seq: int, reason: str) -> None:
    draft = ev.Draft(fact=ev.SourceDown(reason), by=Principal("trueup", "test"))
    await ledger.append("source/1", [draft], expect=seq)


async def test_a_request_arrives_whole_with_the_name_that_the_kernel_gives(tmp_path: Path) -> None:
    pause = Pause("shop", datetime(2026, 3, 2, tzinfo=UTC), "freeze")
    async with running(tmp_path) as (client, serving, _):
        assert await client.do(pause) == Reply(True, "done", "source/1")
        assert (await client.do(Sync())).ok
    (asked, by), _ = serving.asked
    assert asked == pause
    assert by.name.startswith(f"uid:{os.getuid()} (") and by.authority == "socket"


async def test_what_only_the_running_process_knows(tmp_path: Path) -> None:
    async with running(tmp_path) as (client, _, _):
        now = await client.now()
    assert now.judgements["application/a"][0].reason == "3/3 ready"


async def test_events_go_on_from_a_position_and_follow_loses_none(tmp_path: Path) -> None:
    async with running(tmp_path) as (client, _, ledger):
        await say(ledger, 0, "first")
        await say(ledger, 1, "second")
        past = [told async for told in client.events()]
        assert [(e.stream, e.seq) for _, e in past] == [("source/1", 1), ("source/1", 2)]
        assert [e.seq async for _, e in client.events(past[0][0])] == [2]
        news = aiter(client.events(past[1][0], follow=True))
        waiting = asyncio.ensure_future(anext(news))
        await say(ledger, 2, "third")
        async with asyncio.timeout(10):
            _, event = await waiting
        assert event.fact == ev.SourceDown("third")


async def test_a_follower_ends_when_the_other_side_stops(tmp_path: Path) -> None:
    async with running(tmp_path) as (client, _, ledger):
        await say(ledger, 0, "first")
        news = aiter(client.events(follow=True))
        await anext(news)
        await ledger.close()
        async with asyncio.timeout(10):
            assert [e async for e in news] == []


async def test_logs_stream_and_an_unknown_run_is_named(tmp_path: Path) -> None:
    async with running(tmp_path) as (client, _, _):
        assert b"".join([part async for part in client.logs(LogQuery(run="run/1", follow=True))]) == b"one\ntwo\n"
        with pytest.raises(NoSuchLog, match="the newest is run/1"):
            _ = [part async for part in client.logs(LogQuery(run="run/none"))]


async def test_whoever_has_seen_enough_of_a_log_leaves_no_word_behind(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(tmp_path) as (client, serving, _):
        async with connect(str(tmp_path / "up.sock")) as other:
            async for _part in other.logs(LogQuery(run="run/endless")):
                break
        await asyncio.wait_for(serving.left.wait(), 10)
        assert (await client.do(Sync())).ok
    assert not caplog.records, caplog.text


async def test_a_folder_without_a_running_trueup_says_what_to_do(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        async with connect(str(folder / "up.sock")) as client:
            with pytest.raises(NotRunning, match="start one, or name its folder with --state"):
                await client.now()


async def test_a_state_folder_with_a_long_path_is_reached(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    async with running(folder) as (client, _, _):
        assert (await client.now()).pid == os.getpid()


async def test_the_socket_is_for_its_owner_and_goes_when_the_server_stops(tmp_path: Path) -> None:
    (tmp_path / "up.sock").touch()  # left behind by a killed process
    async with running(tmp_path):
        assert (tmp_path / "up.sock").stat().st_mode & 0o777 == 0o600
    assert not (tmp_path / "up.sock").exists()


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become another user")
async def test_another_user_is_refused_by_name(tmp_path: Path) -> None:
    async with running(tmp_path) as (_, serving, _):
        for folder in itertools.takewhile(lambda folder: folder != Path(tempfile.gettempdir()), tmp_path.parents):
            folder.chmod(0o755)
        tmp_path.chmod(0o755)
        (tmp_path / "up.sock").chmod(0o666)
        os.seteuid(65534)
        try:
            async with connect(str(tmp_path / "up.sock")) as client:
                with pytest.raises(Denied, match="uid 65534 may not speak with this trueup"):
                    await client.do(Sync())
        finally:
            os.seteuid(0)
    assert serving.asked == []


async def test_a_request_of_a_newer_trueup_is_refused_in_words(tmp_path: Path) -> None:
    async with running(tmp_path) as (client, _, _):
        async with client._ask("POST", "/v1/do", data=b'{"verb":"levitate"}') as response:
            assert response.status == 400
            assert "is the other trueup newer?" in await response.text()
