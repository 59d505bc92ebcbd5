"""What every ledger and every store of records promises, run over each of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from trueup.core.events import Checkpoint, Draft, Erased, SourceDown, SourceMoved
from trueup.core.ledger import import_line
from trueup.core.model import Principal
from trueup.core.proof import trailer_value, verify
from trueup.ports import Conflict
from trueup.store.keys import Signer, checker
from trueup.store.memory import MemoryLedger, MemoryRecords
from trueup.store.sqlite import SqliteLedger, open_ledger
from trueup.store.sqlite_records import SqliteRecords, open_records

ANN = Principal("git:ann@example.org", "push:abc")
SIGNER = Signer(b"s" * 32)
SECRET = b"r" * 32


class Clock:
    def __init__(self) -> None:
        self.time = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time

    def monotonic_s(self) -> float:
        return self.time.timestamp()


def draft(number: int = 0) -> Draft:
    return Draft(fact=SourceMoved(before="", after=f"{number:040x}"), by=ANN, cause="source/a@1")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["memory", "sqlite"])
async def ledger(request: Any, tmp_path: Path, clock: Clock) -> AsyncIterator[MemoryLedger | SqliteLedger]:
    made: MemoryLedger | SqliteLedger
    if request.param == "memory":
        made = MemoryLedger(clock, SIGNER)
    else:
        made = await open_ledger(str(tmp_path / "ledger.db"), clock=clock, signer=SIGNER)
    yield made
    await made.close()


@pytest.fixture
async def records(
    ledger: MemoryLedger | SqliteLedger, tmp_path: Path, clock: Clock
) -> AsyncIterator[MemoryRecords | SqliteRecords]:
    made: MemoryRecords | SqliteRecords
    if isinstance(ledger, MemoryLedger):
        made = MemoryRecords(clock, SECRET, ledger)
    else:
        made = await open_records(str(tmp_path / "records.db"), clock=clock, secret=SECRET, ledger=ledger)
    yield made
    await made.close()


class TestAppend:
    async def test_numbers_chains_and_stamps_events(self, ledger: SqliteLedger, clock: Clock) -> None:
        first = await ledger.append("source/a", [draft(1), draft(2)], expect=0)
        second = await ledger.append("source/a", [draft(3)], expect=2)
        events = await ledger.read("source/a")
        assert events == first + second
        assert [event.seq for event in events] == [1, 2, 3]
        assert [event.prev for event in events] == ["", events[0].hash, events[1].hash]
        assert {event.time for event in events} == {clock.time}
        assert events[2].fact == SourceMoved(before="", after=f"{3:040x}")
        assert (events[2].by, events[2].cause, events[2].version) == (ANN, "source/a@1", 1)

    @pytest.mark.parametrize("expect", [0, 1, 3])
    async def test_refuses_a_writer_that_does_not_know_the_end(self, ledger: SqliteLedger, expect: int) -> None:
        await ledger.append("source/a", [draft(), draft()], expect=0)
        with pytest.raises(Conflict, match="source/a ends at 2, not at"):
            await ledger.append("source/a", [draft()], expect=expect)
        assert len(await ledger.read("source/a")) == 2

    async def test_lets_one_of_two_concurrent_writers_win(self, ledger: SqliteLedger) -> None:
        both = [ledger.append("source/a", [draft(number)], expect=0) for number in range(2)]
        results = await asyncio.gather(*both, return_exceptions=True)
        assert sorted(type(result).__name__ for result in results) == ["Conflict", "tuple"]
        assert len(await ledger.read("source/a")) == 1

    async def test_appends_to_many_streams_at_once(self, ledger: SqliteLedger) -> None:
        streams = [f"run/{number}" for number in range(300)]
        await asyncio.gather(*(ledger.append(stream, [draft(), draft()], expect=0) for stream in streams))
        assert {stream: seq for stream, (seq, _) in (await ledger.heads()).items()} == dict.fromkeys(streams, 2)

    async def test_keeps_nothing_of_an_append_that_cannot_be_written_as_json(self, ledger: SqliteLedger) -> None:
        bad = Draft(fact=SourceDown(reason="\ud800"), by=ANN)
        results = await asyncio.gather(
            ledger.append("source/a", [draft(), bad], expect=0),
            ledger.append("source/b", [draft()], expect=0),
            return_exceptions=True,
        )
        assert isinstance(results[0], UnicodeEncodeError)
        assert await ledger.read("source/a") == ()
        assert len(await ledger.read("source/b")) == 1

    async def test_appending_nothing_changes_nothing(self, ledger: SqliteLedger) -> None:
        assert await ledger.append("source/a", [], expect=0) == ()
        assert await ledger.heads() == {}

    async def test_time_never_goes_back_in_a_stream(self, ledger: SqliteLedger, clock: Clock) -> None:
        (first,) = await ledger.append("source/a", [draft()], expect=0)
        clock.time -= timedelta(days=3)
        (second,) = await ledger.append("source/a", [draft()], expect=1)
        (other,) = await ledger.append("source/b", [draft()], expect=0)
        assert second.time == first.time
        assert other.time == clock.time


class TestRead:
    async def test_reads_what_follows_a_seq(self, ledger: SqliteLedger) -> None:
        events = await ledger.append("source/a", [draft(number) for number in range(5)], expect=0)
        assert await ledger.read("source/a", 3) == events[3:]
        assert await ledger.read("source/a", 5) == ()
        assert await ledger.read("source/a", 9) == ()
        assert await ledger.read("source/unknown") == ()

    async def test_heads_can_be_asked_by_kind(self, ledger: SqliteLedger) -> None:
        await ledger.append("source/a", [draft()], expect=0)
        (last,) = await ledger.append("sources/b", [draft()], expect=0)
        await ledger.append("run/c", [draft()], expect=0)
        assert set(await ledger.heads("source")) == {"source/a"}
        assert await ledger.heads("sources") == {"sources/b": (1, last.hash)}
        assert set(await ledger.heads()) == {"source/a", "sources/b", "run/c"}

    async def test_a_follower_sees_what_is_appended_from_now_on_in_order(self, ledger: SqliteLedger) -> None:
        await ledger.append("source/a", [draft()], expect=0)
        follower = ledger.follow()
        events = await ledger.append("source/a", [draft(2), draft(3)], expect=1)
        more = await ledger.append("source/b", [draft(4)], expect=0)
        async with asyncio.timeout(10):
            assert [await anext(follower) for _ in range(3)] == [*events, *more]

    async def test_a_follower_sees_an_append_whose_writer_went_away(self, ledger: SqliteLedger) -> None:
        follower = ledger.follow()
        task = asyncio.ensure_future(ledger.append("source/a", [draft()], expect=0))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        await ledger.append("source/b", [draft()], expect=0)
        recorded = set(await ledger.heads())
        async with asyncio.timeout(10):
            seen = {(await anext(follower)).stream for _ in recorded}
        assert seen == recorded

    async def test_a_follower_ends_with_the_ledger(self, ledger: SqliteLedger) -> None:
        follower = ledger.follow()
        (event,) = await ledger.append("source/a", [draft()], expect=0)
        await ledger.close()
        async with asyncio.timeout(10):
            assert [each async for each in follower] == [event]


class TestProof:
    async def test_a_checkpoint_signs_all_heads(self, ledger: SqliteLedger) -> None:
        await ledger.append("source/a", [draft(), draft()], expect=0)
        await ledger.append("source/b", [draft()], expect=0)
        event = await ledger.checkpoint(anchor="c0ffee")
        assert event.stream == "ledger/0"
        assert isinstance(event.fact, Checkpoint)
        assert (event.fact.streams, event.fact.anchor) == (2, "c0ffee")
        found = await ledger.verify({trailer_value(event, SIGNER.sign): "beef"})
        assert found.ok
        assert (found.events, found.streams, found.chained) == (4, 3, 0)
        assert found.anchored is not None
        assert (found.anchored.anchor, found.anchored.events) == ("beef", 3)

    async def test_a_checkpoint_is_not_repeated_while_nothing_happens(self, ledger: SqliteLedger) -> None:
        await ledger.append("source/a", [draft()], expect=0)
        first = await ledger.checkpoint()
        follower = ledger.follow()
        assert await ledger.checkpoint() == first
        (event,) = await ledger.append("source/a", [draft()], expect=1)
        async with asyncio.timeout(10):
            assert await anext(follower) == event
        assert (await ledger.checkpoint()).seq == 2

    async def test_events_after_the_last_checkpoint_are_only_chained(self, ledger: SqliteLedger) -> None:
        await ledger.append("source/a", [draft()], expect=0)
        await ledger.checkpoint()
        await ledger.append("source/a", [draft(), draft()], expect=1)
        found = await ledger.verify({})
        assert (found.ok, found.chained, found.anchored) == (True, 2, None)
        assert found.signed is not None

    async def test_concurrent_appends_and_checkpoints_verify(self, ledger: SqliteLedger) -> None:
        async def write(stream: str) -> None:
            for seq in range(10):
                await ledger.append(stream, [draft(seq)], expect=seq)
                await ledger.checkpoint()

        await asyncio.gather(*(write(f"run/{number}") for number in range(10)))
        found = await ledger.verify({})
        assert found.broken is None
        assert found.streams == 11

    async def test_exports_lines_that_verify_elsewhere(self, ledger: SqliteLedger) -> None:
        events = await ledger.append("source/a", [draft(), draft()], expect=0)
        checkpoint = await ledger.checkpoint()
        lines: list[bytes] = []
        await ledger.export(lines.append)
        parsed = [json.loads(line) for line in lines]
        assert [line["hash"] for line in parsed] == [event.hash for event in (*events, checkpoint)]
        assert parsed[0]["fact"]["kind"] == "source.moved"
        found = verify([import_line(line) for line in lines], checker(SIGNER.public), {})
        assert (found.ok, found.events, found.chained) == (True, 3, 0)


class TestRecords:
    async def test_gives_back_what_was_put_under_a_key_that_depends_on_kind_and_data(
        self, records: SqliteRecords
    ) -> None:
        data = b"line\n" * 1000
        key = await records.put("log", data, stream="run/a")
        assert await records.put("log", data, stream="run/b") == key
        assert await records.put("plan", data) != key
        assert await records.put("log", b"") != key
        assert await records.get(key) == data
        assert await records.get("0" * 32) is None

    async def test_erases_with_a_tombstone(self, records: SqliteRecords, ledger: SqliteLedger) -> None:
        key = await records.put("log", b"ann@example.org")
        await records.erase(key, why="asked by Ann", by=ANN)
        assert await records.get(key) is None
        (event,) = await ledger.read("ledger/0")
        assert event.fact == Erased(record=key, why="asked by Ann")
        assert event.by == ANN

    async def test_what_is_put_again_after_its_tombstone_stays(self, records: SqliteRecords, clock: Clock) -> None:
        key = await records.put("log", b"text")
        await records.erase(key)
        clock.time += timedelta(seconds=1)
        await records.put("log", b"text")
        await records.retain(max_age_s=1e9, max_bytes=1 << 30, keep=set())
        assert await records.get(key) == b"text"

    async def test_retains_by_age_but_never_what_is_needed(self, records: SqliteRecords, clock: Clock) -> None:
        kept, old = [await records.put("log", data) for data in (b"kept", b"old")]
        touched = await records.put("log", b"touched")
        clock.time += timedelta(days=2)
        assert await records.put("log", b"touched") == touched
        young = await records.put("log", b"young")
        result = await records.retain(max_age_s=86400, max_bytes=1 << 30, keep={kept})
        assert result.removed == 1
        assert [await records.get(key) for key in (kept, old, touched, young)] == [b"kept", None, b"touched", b"young"]

    async def test_retains_by_size_oldest_first(self, records: SqliteRecords, clock: Clock) -> None:
        keys = []
        for number in range(5):
            keys.append(await records.put("log", bytes([number]) * 7))
            clock.time += timedelta(seconds=1)
        before = await records.retain(max_age_s=1e9, max_bytes=1 << 30, keep=set())
        each = before.left_bytes // 5
        result = await records.retain(max_age_s=1e9, max_bytes=each * 2, keep={keys[0]})
        assert (result.removed, result.left_bytes) == (3, each * 2)
        left = [await records.get(key) is not None for key in keys]
        assert left == [True, False, False, False, True]
