"""What only the file promises: it survives kills and full disks, is read beside its writer, and shows damage."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import resource
import sqlite3
import subprocess
import sys
import zlib
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trueup.core.events import Checkpoint, Draft, SourceMoved
from trueup.core.ledger import decode
from trueup.core.model import Principal
from trueup.core.proof import trailer_value
from trueup.ports import Conflict, LedgerFull
from trueup.store.keys import Signer
from trueup.store.memory import MemoryLedger
from trueup.store.sqlite import LedgerDamaged, SqliteLedger, open_ledger, open_readonly
from trueup.store.sqlite_records import ReadonlyRecords, RecordsDamaged, open_records
from trueup.store.writer import COMMITS_BEFORE_MOVING

ANN = Principal("git:ann@example.org", "push:abc")
SIGNER = Signer(b"s" * 32)
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class Clock:
    def now(self) -> datetime:
        return NOW

    def monotonic_s(self) -> float:
        return 0.0


def draft(after: str = "") -> Draft:
    return Draft(fact=SourceMoved(before="", after=after), by=ANN)


@contextlib.asynccontextmanager
async def opened(path: Path) -> AsyncIterator[SqliteLedger]:
    ledger = await open_ledger(str(path), clock=Clock(), signer=SIGNER)
    try:
        yield ledger
    finally:
        await ledger.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 400 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(place)], check=True)
    yield place
    subprocess.run(["umount", str(place)], check=True)


@contextlib.contextmanager
def files_no_longer_than(size_bytes: int) -> Iterator[None]:
    """Writing past this size fails, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class TestSurvival:
    async def test_goes_on_where_it_stopped(self, path: Path) -> None:
        async with opened(path) as ledger:
            first = await ledger.append("source/a", [draft("1")], expect=0)
        async with opened(path) as ledger:
            assert await ledger.read("source/a") == first
            with pytest.raises(Conflict):
                await ledger.append("source/a", [draft("2")], expect=0)
            second = await ledger.append("source/a", [draft("2")], expect=1)
            assert second[0].prev == first[0].hash
            assert (await ledger.verify({})).ok

    async def test_is_for_its_owner_only(self, path: Path) -> None:
        async with opened(path):
            assert path.stat().st_mode & 0o777 == 0o600

    async def test_what_was_acknowledged_is_there_after_kill_9(self, path: Path) -> None:
        acknowledged: dict[tuple[str, int], str] = {}
        script = Path(__file__).with_name("append_forever.py")
        for _ in range(3):
            wanted = random.randrange(1, 400)
            child = await asyncio.create_subprocess_exec(
                sys.executable, str(script), str(path), stdout=asyncio.subprocess.PIPE
            )
            assert child.stdout is not None
            async with asyncio.timeout(30):
                lines = [await child.stdout.readline() for _ in range(wanted)]
                child.kill()
                lines += [line async for line in child.stdout]
                await child.wait()
            for line in lines:
                if line.endswith(b"\n"):
                    stream, seq, digest = line.decode().split()
                    acknowledged[stream, int(seq)] = digest
        async with opened(path) as ledger:
            stored = {(entry.stream, entry.seq): entry.hash async for entry in ledger.entries()}
            found = await ledger.verify({})
        assert found.broken is None
        assert acknowledged.items() <= stored.items()
        # every append was of three events: all or nothing
        ends = {stream: max(seq for name, seq in stored if name == stream) for stream, _ in acknowledged}
        assert [end for end in ends.values() if end % 3] == []

    async def test_two_processes_writing_by_mistake_get_conflicts_not_broken_chains(self, path: Path) -> None:
        async with opened(path) as one, opened(path) as two:
            await one.append("source/a", [draft("1")], expect=0)
            await two.append("source/a", [draft("2")], expect=1)
            with pytest.raises(Conflict):
                await one.append("source/a", [draft("3")], expect=1)
            await one.append("source/a", [draft("3")], expect=2)
            assert (await two.verify({})).ok

    async def test_the_log_is_moved_into_the_file_in_a_pause(self, path: Path) -> None:
        async with opened(path) as ledger:
            size = path.stat().st_size
            for seq in range(COMMITS_BEFORE_MOVING):
                await ledger.append("source/a", [draft("x" * 500)], expect=seq)
            async with asyncio.timeout(20):
                while path.stat().st_size == size:  # noqa: ASYNC110 a thread moves it, and says so nowhere else
                    await asyncio.sleep(0.01)
            await ledger.append("source/a", [draft()], expect=COMMITS_BEFORE_MOVING)
            assert (await ledger.verify({})).events == COMMITS_BEFORE_MOVING + 1

    async def test_events_are_refused_after_closing(self, path: Path) -> None:
        async with opened(path) as ledger:
            pass
        with pytest.raises(LedgerFull, match="is closed"):
            await ledger.append("source/a", [draft()], expect=0)


class TestFullDisk:
    async def test_nothing_is_half_recorded_and_it_goes_on_when_there_is_room(self, path: Path) -> None:
        async with opened(path) as ledger:
            await ledger.append("source/a", [draft("1")], expect=0)
            room = max(path.stat().st_size, Path(f"{path}-wal").stat().st_size) + 30_000
            big = [draft("x" * 1000)] * 100
            with files_no_longer_than(room):
                with pytest.raises(LedgerFull, match=r"ledger\.db: .*nothing was recorded.*Make room"):
                    await ledger.append("source/a", big, expect=1)
                assert len(await ledger.read("source/a")) == 1
                # a small one still finds room, in one batch with one that does not
                results = await asyncio.gather(
                    ledger.append("source/a", big, expect=1),
                    ledger.append("source/b", [draft("2")], expect=0),
                    return_exceptions=True,
                )
                assert [type(result).__name__ for result in results] == ["LedgerFull", "tuple"]
            await ledger.append("source/a", big, expect=1)
            assert len(await ledger.read("source/a")) == 101
            await ledger.checkpoint()
            assert (await ledger.verify({})).ok
        async with opened(path) as again:
            assert (await again.verify({})).events == 103

    async def test_records_are_refused_too(self, tmp_path: Path, path: Path) -> None:
        async with opened(path) as ledger:
            place = str(tmp_path / "records.db")
            records = await open_records(place, clock=Clock(), secret=b"r", ledger=ledger)
            data = random.Random(1).randbytes(300_000)
            with files_no_longer_than(200_000):
                with pytest.raises(LedgerFull, match=r"records\.db"):
                    await records.put("log", data)
            key = await records.put("log", data)
            assert await records.get(key) == data
            await records.close()

    @pytest.mark.integration
    async def test_on_a_real_disk_that_is_full(self, disk: Path) -> None:
        ballast = disk / "ballast"
        async with opened(disk / "ledger.db") as ledger:
            await ledger.append("source/a", [draft("1")], expect=0)
            with pytest.raises(OSError, match="No space left"):
                ballast.write_bytes(bytes(1 << 20))
            seq = 1
            with pytest.raises(LedgerFull, match=r"disk is full|disk I/O"):
                for _ in range(1000):
                    await ledger.append("source/a", [draft("x" * 1000)], expect=seq)
                    seq += 1
            assert (await ledger.heads())["source/a"][0] == seq
            ballast.unlink()
            await ledger.append("source/a", [draft("2")], expect=seq)
            assert (await ledger.verify({})).ok


class TestReadonly:
    async def test_reads_beside_the_writer_and_sees_what_it_acknowledged(self, path: Path) -> None:
        async with opened(path) as ledger:
            events = await ledger.append("source/a", [draft("1"), draft("2")], expect=0)
            reader = open_readonly(str(path))
            assert await reader.read("source/a") == events
            (event,) = await ledger.append("source/b", [draft("3")], expect=0)
            assert await reader.heads("source") == {"source/a": (2, events[1].hash), "source/b": (1, event.hash)}
            page = await reader.page(after=2)
            assert [(position, decode(entry)) for position, entry in page] == [(3, event)]
            assert (await reader.verify(SIGNER.public, {})).events == 3
            await reader.close()

    async def test_reads_without_a_writer_and_changes_nothing(self, path: Path) -> None:
        async with opened(path) as ledger:
            events = await ledger.append("source/a", [draft("1")], expect=0)
        content = path.read_bytes()
        reader = open_readonly(str(path))
        assert await reader.read("source/a") == events
        lines: list[bytes] = []
        await reader.export(lines.append)
        await reader.close()
        assert len(lines) == 1
        assert path.read_bytes() == content

    async def test_a_long_reading_does_not_block_the_writer(self, path: Path) -> None:
        async with opened(path) as ledger:
            await ledger.append("source/a", [draft()] * 2500, expect=0)
            reader = open_readonly(str(path))
            entries = reader.entries()
            await anext(entries)
            await ledger.append("source/b", [draft()], expect=0)
            assert len([entry async for entry in entries]) == 2500
            await reader.close()

    async def test_a_ledger_that_is_just_being_made_is_empty_until_it_is_made(self, path: Path) -> None:
        made = sqlite3.connect(path)
        made.execute("PRAGMA journal_mode = WAL")
        made.close()
        reader = open_readonly(str(path))
        assert (await reader.page(), await reader.read("source/a"), await reader.heads()) == ((), (), {})
        async with opened(path) as ledger:
            await ledger.append("source/a", [draft("1")], expect=0)
            assert len(await reader.page()) == 1
        await reader.close()

    async def test_a_ledger_that_is_not_there_is_named(self, path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="there is no ledger yet; run `trueup up`"):
            open_readonly(str(path))
        assert not path.exists()


class TestDamage:
    @pytest.mark.parametrize(
        ("statement", "where", "what"),
        [
            ('UPDATE events SET body = replace(body, \'"after":"1"\', \'"after":"9"\')', "/", "wrong type"),
            (
                'UPDATE events SET body = CAST(replace(body, \'"after":"1"\', \'"after":"9"\') AS BLOB)',
                "source/a@2",
                "was changed",
            ),
            ("DELETE FROM events WHERE seq = 2", "source/a@3", "event 2 was due here"),
            ("DELETE FROM events WHERE stream = 2", "ledger/0@1", "events were removed"),
            ("DELETE FROM streams WHERE id = 2", "?@1", "it was written as source/b@1"),
            ("UPDATE streams SET name = 'source/c' WHERE id = 2", "source/c@1", "it was written as source/b@1"),
            ("UPDATE events SET hash = zeroblob(32) WHERE seq = 3", "source/a@3", "was changed"),
            ("UPDATE events SET seq = seq + 10 WHERE seq > 1", "source/a@12", "event 2 was due here"),
            ("DELETE FROM events WHERE position = 5", "ledger/0@1", "commit beef carries this checkpoint"),
        ],
    )
    async def test_is_found_and_named(self, path: Path, statement: str, where: str, what: str) -> None:
        async with opened(path) as ledger:
            await ledger.append("source/a", [draft(str(number)) for number in range(3)], expect=0)
            await ledger.append("source/b", [draft()], expect=0)
            anchors = {trailer_value(await ledger.checkpoint(), SIGNER.sign): "beef"}
            assert (await ledger.verify(anchors)).ok
        with contextlib.closing(sqlite3.connect(path)) as connection, connection:
            connection.execute(statement)
        reader = open_readonly(str(path))
        found = (await reader.verify(SIGNER.public, anchors)).broken
        await reader.close()
        assert found is not None
        assert where in found.where
        assert what in found.what

    async def test_a_byte_changed_in_the_file_is_found_or_does_no_harm(self, path: Path) -> None:
        async with opened(path) as ledger:
            await ledger.append("source/a", [draft(str(number)) for number in range(20)], expect=0)
            anchors = {trailer_value(await ledger.checkpoint(), SIGNER.sign): "beef"}
            stored = [entry async for entry in ledger.entries()]
        content = path.read_bytes()
        chance = random.Random(7)
        found = 0
        for _ in range(60):
            changed = bytearray(content)
            changed[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
            path.write_bytes(changed)
            reader = open_readonly(str(path))
            result = await reader.verify(SIGNER.public, anchors)
            if result.ok:
                assert [entry async for entry in reader.entries()] == stored
            found += not result.ok
            await reader.close()
        assert found

    @pytest.mark.parametrize("content", [b"no database at all" * 100, b"SQLite format 3\0" + b"\xff" * 4096])
    async def test_a_file_that_is_none_is_refused_and_left(self, path: Path, content: bytes) -> None:
        path.write_bytes(content)
        with pytest.raises(LedgerDamaged, match=r"ledger\.db"):
            await open_ledger(str(path), clock=Clock(), signer=SIGNER)
        assert path.read_bytes() == content
        reader = open_readonly(str(path))
        with pytest.raises(LedgerDamaged, match="trueup ledger verify"):
            await reader.heads()
        assert not (await reader.verify(SIGNER.public, {})).ok
        await reader.close()

    async def test_another_programs_database_and_a_newer_schema_are_refused(self, path: Path, tmp_path: Path) -> None:
        with contextlib.closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("CREATE TABLE t (x)")
        with pytest.raises(LedgerDamaged, match="another program"):
            await open_ledger(str(path), clock=Clock(), signer=SIGNER)
        newer = tmp_path / "newer.db"
        async with opened(newer):
            pass
        with contextlib.closing(sqlite3.connect(newer)) as connection, connection:
            connection.execute("PRAGMA user_version = 9")
        with pytest.raises(LedgerDamaged, match="newer trueup"):
            await open_ledger(str(newer), clock=Clock(), signer=SIGNER)


class TestRecordsFile:
    async def test_nothing_of_an_erased_record_stays_on_the_disk(self, tmp_path: Path) -> None:
        ledger = MemoryLedger(Clock(), SIGNER)
        records = await open_records(str(tmp_path / "records.db"), clock=Clock(), secret=b"r", ledger=ledger)
        key = await records.put("log", random.Random(2).randbytes(20_000))  # does not compress
        stored = self.stored(tmp_path)
        size = self.size(tmp_path)
        assert stored[:64] in self.content(tmp_path)
        await records.erase(key, why="asked")
        left = self.content(tmp_path)
        assert [at for at in range(0, len(stored), 64) if stored[at : at + 64] in left] == []
        assert self.size(tmp_path) < size - 15_000
        await records.close()

    async def test_an_erasure_cut_short_by_a_crash_is_finished(self, tmp_path: Path) -> None:
        ledger = MemoryLedger(Clock(), SIGNER)
        place = str(tmp_path / "records.db")
        records = await open_records(place, clock=Clock(), secret=b"r", ledger=ledger)
        key, other = await records.put("log", b"one"), await records.put("log", b"two")
        copy = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
        await records.erase(key)
        await records.close()
        for name, content in copy.items():
            if not name.endswith("-shm"):
                (tmp_path / name).write_bytes(content)
        records = await open_records(place, clock=Clock(), secret=b"r", ledger=ledger)
        assert await records.get(key) == b"one"
        await records.retain(max_age_s=1e9, max_bytes=1 << 30, keep=set())
        assert [await records.get(each) for each in (key, other)] == [None, b"two"]
        await records.close()

    async def test_a_copy_of_the_file_does_not_tell_what_a_bundle_holds(self, tmp_path: Path) -> None:
        ledger = MemoryLedger(Clock(), SIGNER)
        place = str(tmp_path / "records.db")
        records = await open_records(place, clock=Clock(), secret=b"r", ledger=ledger)
        key = await records.put("bundle", b"kind: Secret, password: hunter2")
        await records.close()
        stored = self.stored(tmp_path)
        assert b"hunter2" not in self.content(tmp_path)
        with pytest.raises(zlib.error):
            zlib.decompress(stored)
        reader, stranger = ReadonlyRecords(place, b"r"), ReadonlyRecords(place, b"another key")
        assert await reader.get(key) == b"kind: Secret, password: hunter2"
        assert await stranger.get(key) is None
        await reader.close()
        await stranger.close()

    async def test_records_of_a_version_that_did_not_seal_are_read(self, tmp_path: Path) -> None:
        place = str(tmp_path / "records.db")
        records = await open_records(place, clock=Clock(), secret=b"r", ledger=MemoryLedger(Clock(), SIGNER))
        rows = [("a" * 32, "log", "", 0.0, 5, 0, b"plain"), ("b" * 32, "log", "", 0.0, 9, 1, zlib.compress(b"packed"))]
        with contextlib.closing(sqlite3.connect(place)) as connection, connection:
            connection.executemany("INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        assert [await records.get(key) for key in ("a" * 32, "b" * 32)] == [b"plain", b"packed"]
        await records.close()

    async def test_long_text_is_kept_compressed(self, tmp_path: Path) -> None:
        ledger = MemoryLedger(Clock(), SIGNER)
        records = await open_records(str(tmp_path / "records.db"), clock=Clock(), secret=b"r", ledger=ledger)
        await records.put("log", b"the same line again\n" * 50_000)
        assert self.size(tmp_path) < 200_000
        await records.close()

    async def test_a_file_that_is_none_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "records.db").write_bytes(b"no database" * 100)
        with pytest.raises(RecordsDamaged, match="logs and plans in it are lost"):
            await open_records(
                str(tmp_path / "records.db"), clock=Clock(), secret=b"r", ledger=MemoryLedger(Clock(), SIGNER)
            )

    def content(self, folder: Path) -> bytes:
        return b"".join(file.read_bytes() for file in folder.iterdir())

    def stored(self, folder: Path) -> bytes:
        """What the file holds of its only record."""
        with contextlib.closing(sqlite3.connect(folder / "records.db")) as connection:
            return bytes(connection.execute("SELECT data FROM records").fetchone()[0])

    def size(self, folder: Path) -> int:
        return sum(file.stat().st_size for file in folder.iterdir() if not file.name.endswith("-shm"))


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["source/a", "run/b", "checkpoint"]), st.integers(0, 4), st.integers(0, 3)),
        max_size=12,
    )
)
def test_memory_and_sqlite_agree(steps: list[tuple[str, int, int]]) -> None:
    async def play() -> None:
        name = f"/dev/shm/trueup-agree-{os.getpid()}.db"
        try:
            async with opened(Path(name)) as file:
                memory = MemoryLedger(Clock(), SIGNER)
                for step in steps:
                    assert await outcome(memory, step) == await outcome(file, step)
                assert [entry async for entry in memory.entries()] == [entry async for entry in file.entries()]
                assert await memory.heads() == await file.heads()
                assert await memory.verify({}) == await file.verify({})
                assert (await file.verify({})).ok
        finally:
            for suffix in ("", "-wal", "-shm"):
                Path(name + suffix).unlink(missing_ok=True)

    async def outcome(ledger: MemoryLedger | SqliteLedger, step: tuple[str, int, int]) -> object:
        stream, expect, count = step
        if stream == "checkpoint":
            event = await ledger.checkpoint()
            assert isinstance(event.fact, Checkpoint)
            return event
        try:
            return await ledger.append(stream, [draft(str(number)) for number in range(count)], expect=expect)
        except Conflict as error:
            return str(error)

    asyncio.run(play())
