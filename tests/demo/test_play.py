"""The play's parts that need no container: what Ann pushes, the load, and what the ledger says of an act."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from stories import tell as story
from trueup.core.views.chronicle import Chronicle, read
from trueup.demo import machine, sight
from trueup.demo.command import Failed, run
from trueup.demo.person import BROKEN, CODE, FIRST, SECOND, Edit, Person, Push, example
from trueup.demo.play import interrupted
from trueup.demo.telling import Telling, clock, counted
from trueup.demo.traffic import Count, Traffic

ENVIRON = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}


async def test_ann_pushes_three_times_and_only_the_last_lacks_its_file(tmp_path: Path) -> None:
    ann = Person(tmp_path, ENVIRON)
    await ann.begin()
    first = await ann.push(FIRST)
    assert await ann.branch_head() == first
    second = await ann.push(SECOND)
    assert 'VERSION = "2.0.0"' in await ann.on_branch(CODE)
    assert "GREETING: HELLO" in await ann.on_branch("config/kubernetes-deployment.yaml")
    await ann.push(BROKEN)
    words = [sys.executable, "-c", "import importlib; importlib.import_module('your-application')"]
    bare = await run(words, environ=ENVIRON, timeout_s=20, cwd=ann.clone / "app")
    assert bare.code == 1 and "No such file or directory: '/etc/python-app/flags.json'" in bare.last
    assert [line.partition(" Ann Example")[2].strip() for line in await ann.history()] == [
        BROKEN.subject,
        SECOND.subject,
        FIRST.subject,
    ]
    assert await ann.subject(second) == SECOND.subject


async def test_the_broken_push_is_green_in_its_own_tests(tmp_path: Path) -> None:
    ann = Person(tmp_path, ENVIRON)
    await ann.begin()
    for push in (FIRST, SECOND, BROKEN):
        await ann.push(push)
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "app"]
    ended = await run(words, environ=ENVIRON, timeout_s=60, cwd=ann.clone)
    assert ended.code == 0, ended.said
    assert " passed" in ended.last


async def test_ann_pushes_on_top_of_what_was_pushed_meanwhile(tmp_path: Path) -> None:
    ann = Person(tmp_path, ENVIRON)
    await ann.begin()
    await ann.push(FIRST)
    other = tmp_path / "other"
    git = ["git", "-c", "user.name=Bob", "-c", "user.email=bob@example.org"]
    assert (await run([*git, "clone", "-q", str(ann.remote), str(other)], environ=ENVIRON, timeout_s=20)).code == 0
    (other / "NOTES").write_text("x\n")
    for words in (["add", "NOTES"], ["commit", "-qm", "Notes"], ["push", "-q", "origin", "main"]):
        assert (await run([*git, *words], environ=ENVIRON, timeout_s=20, cwd=other)).code == 0
    await ann.push(SECOND)
    assert len(await ann.history()) == 3
    assert await ann.on_branch("NOTES") == "x\n"


async def test_an_example_that_has_changed_is_named(tmp_path: Path) -> None:
    ann = Person(tmp_path, ENVIRON)
    await ann.begin()
    with pytest.raises(Failed, match=r"README\.md of the example does not hold 'no such text' any more"):
        await ann.push(Push("x", "1", (Edit("README.md", "no such text", "y"),)))


def test_the_example_is_found_beside_the_checkout() -> None:
    assert (example() / "config/kubernetes-deployment.yaml").is_file()
    assert (example() / ".github/workflows/deploy.yml").is_file()


async def until(ready: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while True:
            if ready():
                return
            await asyncio.sleep(0.01)


def alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and ") Z " not in stat.read_text()


# --- the load ------------------------------------------------------------------------------------


class Server:
    """Answers as the example does; `version` may change, `broken` ends connections without an answer."""

    def __init__(self) -> None:
        self.version, self.broken = "1.0.0", False

    async def __aenter__(self) -> Server:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while not self.broken:
                head = await reader.readuntil(b"\r\n\r\n")
                body = f"Hello from version {self.version} on here\n".encode()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
                await writer.drain()
                if b"Connection: close" in head:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()


async def reach(traffic: Traffic, answered: int) -> Count:
    await until(lambda: traffic.count().answered >= answered or traffic.count().lost > 0)
    return traffic.count()


async def test_the_load_counts_answers_by_version_and_loses_none() -> None:
    async with Server() as server:
        traffic = Traffic()
        traffic.start(server.url)
        first = await reach(traffic, 40)
        server.version = "2.0.0"
        await reach(traffic, first.answered + 60)
        await traffic.stop()
        total = traffic.count()
    assert total.sent == total.answered and total.lost == 0
    assert dict(total.versions).keys() == {"1.0.0", "2.0.0"}
    fresh = total.since(first)
    assert fresh.sent == total.sent - first.sent
    assert dict(fresh.versions)["2.0.0"] == dict(total.versions)["2.0.0"]
    assert traffic.reasons() == ()
    assert traffic.p99_ms() > 0


async def test_a_lost_request_is_counted_with_its_reason() -> None:
    async with Server() as server:
        server.broken = True
        traffic = Traffic()
        traffic.start(server.url)
        await until(lambda: traffic.count().lost > 0)
        await traffic.stop()
    total = traffic.count()
    assert total.lost == total.sent - total.answered > 0
    assert any("×" in reason for reason in traffic.reasons())


# --- what the ledger says ------------------------------------------------------------------------


def test_a_ledger_with_an_undo_is_read_as_the_acts_read_it() -> None:
    known = read(story("undone"))
    bad = next(c for a in known.applications.values() for c in a.condemned)
    commit = known.candidates[bad].commit
    good = next(c.commit for c in known.candidates.values() if c.id == next(iter(known.applications.values())).good[0])
    assert sight.condemned(known, commit)
    assert sight.condemned(known, good) is None
    assert sight.undone(known, commit)
    assert sight.undone(known, good) is None
    assert sight.healthy(known, good) == good
    assert sight.healthy(known, commit) is None
    assert sight.refused(known, good) == "it turned healthy"
    assert sight.refused(known, commit) == ""


def test_nothing_is_seen_in_an_empty_ledger() -> None:
    empty = Chronicle()
    assert sight.healthy(empty, "x") is sight.settled(empty) is sight.condemned(empty, "x") is None
    assert sight.written(empty, "write-back") is sight.undone(empty, "x") is sight.drift(empty, 0) is None
    assert sight.bad(empty, "x") == sight.refused(empty, "x") == sight.write_trouble(empty) == ""


def test_a_refused_write_is_trouble() -> None:
    assert sight.write_trouble(read(story("refused")))


# --- telling, and the machine --------------------------------------------------------------------


def test_lines_in_a_pipe_are_plain_and_timed() -> None:
    out = io.StringIO()
    tell = Telling(Console(file=out, width=40, no_color=True, highlight=False))
    tell.open()
    tell.act("Act 1")
    tell.say("a line that is longer than a narrow terminal and stays one line all the same")
    tell.status(Count(3, 3, 0))
    tell.close()
    assert out.getvalue().splitlines() == [
        "",
        "Act 1",
        "0:00 ▸ a line that is longer than a narrow terminal and stays one line all the same",
    ]


def test_words_for_counts_and_times() -> None:
    assert counted(Count()) == "no requests yet"
    told = counted(Count(12345, 12345, 0, (("1.0.0", 12000), ("2.0.0", 345))))
    assert told == "12,345 requests sent, 0 lost; answered by version 1.0.0: 12,000, version 2.0.0: 345"
    assert clock(65.9) == "1:05"


async def test_a_program_that_does_not_end_is_killed_with_all_it_started(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    words = ["sh", "-c", f"sleep 600 & echo $! > {note}; wait"]
    with pytest.raises(Failed, match=r"did not end within 1 s"):
        await run(words, environ=ENVIRON, timeout_s=1)
    child = int(note.read_text())
    await until(lambda: not alive(child))


async def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(Failed, match="no-such-program cannot be started: No such file or directory"):
        await run(["no-such-program"], environ=ENVIRON, timeout_s=5)


def test_packages_start_no_daemons_while_they_are_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "POLICY", tmp_path / "policy-rc.d")
    with machine.no_daemons():
        assert os.access(tmp_path / "policy-rc.d", os.X_OK)
    assert list(tmp_path.iterdir()) == []


async def test_ctrl_c_is_heard_once_and_the_next_one_is_the_systems() -> None:
    before = signal.getsignal(signal.SIGINT)
    with interrupted() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.wait_for(stop.wait(), 5)
        assert signal.getsignal(signal.SIGINT) in (before, signal.default_int_handler)
