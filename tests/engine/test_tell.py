"""What a forge and a webhook hear of a good push, a bad one and its undo."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from msgspec.structs import replace

from engine.world import DEPLOYMENT, FIRST, World
from trueup.core.candidate import ApplicationState, CandidateState
from trueup.core.events import CandidateRed
from trueup.drivers.sources.memory import MemoryRemote
from trueup.engine.book import Book
from trueup.engine.tell import Teller
from trueup.ports import SourceError


class Forge:
    def __init__(self, fail: int = 0) -> None:
        self.said: list[tuple[str, str, str]] = []
        self.fail = fail

    async def report(self, commit: str, state: str, reason: str) -> None:
        if self.fail:
            self.fail -= 1
            raise SourceError("502")
        self.said.append((commit, state, reason))


class Inbox:
    def __init__(self) -> None:
        self.mail: list[Mapping[str, str]] = []

    async def send(self, title: str, body: Mapping[str, str]) -> None:
        self.mail.append({"title": title, **body})


async def test_failure_and_recovery_are_told_once_each(tmp_path: Path) -> None:
    remote = MemoryRemote()
    async with World(tmp_path, remotes=[remote]) as world:
        forge, inbox = Forge(), Inbox()
        assert world.loop is not None
        teller = asyncio.create_task(Teller(world.loop.book, {world.source: forge}, inbox, "default").run())
        try:
            good = remote.push(FIRST, "first")
            await world.settle()
            bad = remote.push({"app/main": "crash\n"}, "break it")
            await world.settle()
            await world.until(lambda: len(inbox.mail) == 2)
            await world.until(lambda: (bad, "failure") in {(c, s) for c, s, _ in forge.said})
            assert [m["event"] for m in inbox.mail] == ["failure", "recovery"]
            assert "CrashLoopBackOff" in inbox.mail[0]["reason"]
            assert inbox.mail[0]["commit"] == bad
            last = {commit: state for commit, state, _ in forge.said}
            assert last[good] == "success" and last[bad] == "failure"
            reason = next(r for c, s, r in forge.said if c == bad and s == "failure")
            assert "CrashLoopBackOff" in reason
        finally:
            teller.cancel()
            await asyncio.gather(teller, return_exceptions=True)


async def test_a_red_push_is_a_failure_with_its_reason(tmp_path: Path) -> None:
    remote = MemoryRemote()
    async with World(tmp_path, remotes=[remote]) as world:
        forge, inbox = Forge(), Inbox()
        assert world.loop is not None
        teller = asyncio.create_task(Teller(world.loop.book, {world.source: forge}, inbox, "default").run())
        try:
            remote.push(FIRST, "first")
            await world.settle()
            red = remote.push({"pipeline": "fail\n"}, "red")
            await world.settle()
            await world.until(lambda: len(inbox.mail) == 1)
            await world.until(lambda: any(c == red and s == "failure" for c, s, _ in forge.said))
            assert inbox.mail[0]["reason"] == "pipeline says fail"
        finally:
            teller.cancel()
            await asyncio.gather(teller, return_exceptions=True)


async def test_a_run_that_a_newer_one_ended_alarms_nobody(tmp_path: Path) -> None:
    remote = MemoryRemote()
    async with World(tmp_path, remotes=[remote]) as world:
        forge, inbox = Forge(), Inbox()
        assert world.loop is not None
        good = remote.push(FIRST, "first")
        await world.settle()
        candidate = next(reversed((await world.loop.book.source(world.source)).candidates))
        teller = Teller(world.loop.book, {world.source: forge}, inbox, "default")
        old = (await world.loop.book.ledger.read(candidate))[-1]
        await teller.take(replace(old, fact=CandidateRed("superseded by the run for 0123456789")))
        assert inbox.mail == []
        await teller.take(replace(old, fact=CandidateRed("tests failed")))
        assert [(m["event"], m["commit"]) for m in inbox.mail] == [("failure", good)]


class Early(Book):
    """A book as a follower finds it that is quicker than the one who appends: without the newest events."""

    async def candidate(self, id: str) -> CandidateState:
        return CandidateState(id)

    async def application(self, id: str) -> ApplicationState:
        return replace(await super().application(id), seq=0, current=None)


async def test_a_follower_quicker_than_the_book_still_tells_red_with_its_reason(tmp_path: Path) -> None:
    remote = MemoryRemote()
    async with World(tmp_path, remotes=[remote]) as world:
        assert world.loop is not None
        forge, inbox = Forge(), Inbox()
        early = Early(world.loop.book.ledger)
        teller = asyncio.create_task(Teller(early, {world.source: forge}, inbox, "default").run())
        try:
            red = remote.push({**FIRST, "pipeline": "fail\n"}, "red")
            await world.settle()
            await world.until(lambda: (red, "failure", "pipeline says fail") in forge.said)
        finally:
            teller.cancel()
            await asyncio.gather(teller, return_exceptions=True)


async def test_after_a_restart_the_newest_commit_is_told_once_more(tmp_path: Path) -> None:
    remote = MemoryRemote()
    async with World(tmp_path, remotes=[remote]) as world:

        async def told(expected: tuple[str, str, str]) -> None:
            assert world.loop is not None
            forge = Forge()
            teller = asyncio.create_task(Teller(world.loop.book, {world.source: forge}, None, "default").run())
            try:
                await world.until(lambda: forge.said == [expected])
            finally:
                teller.cancel()
                await asyncio.gather(teller, return_exceptions=True)

        good = remote.push(FIRST, "first")
        await world.settle()
        for _ in range(2):
            await told((good, "success", "runs and is healthy"))
        red = remote.push({"pipeline": "fail\n"}, "red")
        await world.settle()
        await told((red, "failure", "pipeline says fail"))


async def test_code_hears_how_the_repository_that_deploys_it_fares(tmp_path: Path) -> None:
    code, config = MemoryRemote(), MemoryRemote()
    async with World(tmp_path, split=True, remotes=[code, config]) as world:
        forge = Forge()
        assert world.loop is not None
        states = dict.fromkeys(world.watched, forge)
        teller = asyncio.create_task(Teller(world.loop.book, states, None, "default").run())
        try:
            config.push({"config/web.yaml": DEPLOYMENT}, "configuration")
            good = code.push({k: v for k, v in FIRST.items() if not k.startswith("config")}, "first")
            await world.settle()
            await world.until(lambda: (good, "success", "runs and is healthy") in forge.said)
            bad = code.push({"app/main": "crash\n"}, "break it")
            await world.settle()
            await world.until(lambda: any(c == bad and s == "failure" for c, s, _ in forge.said))
            assert "CrashLoopBackOff" in next(r for c, s, r in forge.said if c == bad and s == "failure")
        finally:
            teller.cancel()
            await asyncio.gather(teller, return_exceptions=True)
        after = Forge()
        again = asyncio.create_task(Teller(world.loop.book, dict.fromkeys(world.watched, after), None, "default").run())
        try:
            await world.until(lambda: any(c == bad and s == "failure" for c, s, _ in after.said))
        finally:
            again.cancel()
            await asyncio.gather(again, return_exceptions=True)
