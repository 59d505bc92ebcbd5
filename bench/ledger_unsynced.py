"""Lose everything that was never synced, as a power cut does, and look for what had been acknowledged.

A writer runs under a preloaded library (ledger_unsynced.c) that notes each write and sync of its folder. The notes
are played back: at each sync the files are rebuilt as the disk may hold them at worst just before the next one
(nothing unsynced; and any part of it, in sectors), and the ledger is opened from them.
"""

from __future__ import annotations

import asyncio
import os
import random
import struct
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from trueup.core.events import Draft, JobStarted
from trueup.core.model import Principal
from trueup.store.keys import Signer
from trueup.store.sqlite import open_ledger, open_readonly
from trueup.store.writer import PAUSE_S

SOURCE = Path(__file__).with_name("ledger_unsynced.c")
SECTOR = 512
STREAMS = 8
HEADER = struct.Struct("=cHQQ")
SIGNER = Signer(b"s" * 32)


@dataclass(frozen=True)
class Note:
    op: str  # c created, w written at, a appended, t truncated to, s synced, u unlinked
    path: str
    offset: int
    length: int
    data: bytes


@dataclass
class File:
    """A file as the program sees it, and as the disk holds it for certain."""

    seen: bytearray = field(default_factory=bytearray)
    durable: bytes = b""
    unsynced: list[tuple[int, bytes]] = field(default_factory=list)
    entered: bool = False  # the folder's entry for it was synced


@dataclass
class Loss:
    """What was found: `lost` acknowledged events, `broken` files whose chains did not verify."""

    cuts: int = 0
    acknowledged: int = 0
    lost: int = 0
    broken: int = 0


def record(folder: Path, rounds: int) -> Path:
    """Run a writer under the library; the notes it left."""
    library, notes, state = folder / "unsynced.so", folder / "notes", folder / "state"
    state.mkdir()
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, SOURCE, "-ldl", "-pthread"], check=True)
    env = os.environ | {"LD_PRELOAD": str(library), "UNSYNCED_FOLDER": str(state), "UNSYNCED_NOTES": str(notes)}
    subprocess.run([sys.executable, __file__, str(state), str(rounds)], check=True, env=env, timeout=120)
    return notes


def read(notes: Path) -> Iterator[Note]:
    content, at = notes.read_bytes(), 0
    while at < len(content):
        op, path_size, offset, length = HEADER.unpack_from(content, at)
        at += HEADER.size
        path = content[at : at + path_size].decode()
        at += path_size
        data = content[at : at + length] if op in b"wa" else b""
        at += len(data)
        yield Note(op.decode(), path, offset, length, data)


def deaf(notes: Iterable[Note]) -> Iterator[Note]:
    """The same as if the log had never been synced: a proof that losses would be seen."""
    return (note for note in notes if not (note.op == "s" and note.path.endswith("-wal")))


def play(notes: Iterable[Note], scratch: Path) -> Loss:
    """Cut the power after each sync and count what is missing."""
    loss, files, acknowledged = Loss(), {}, set()
    chance = random.Random(1)
    ready = False
    for note in notes:
        if note.path.endswith("/acks"):
            if note.op == "a":
                acknowledged |= set(note.data.decode().split("\n")) - {""}
            continue
        if note.op == "s" and ready:  # the worst moment: just before the disk knows more
            cut(files, acknowledged, scratch, loss, chance)
        take(files, note)
        ready = ready or bool(acknowledged)
    cut(files, acknowledged, scratch, loss, chance)
    loss.acknowledged = len(acknowledged)
    return loss


def take(files: dict[str, File], note: Note) -> None:
    match note.op:
        case "c":
            files[note.path] = File()
        case "u":
            files.pop(note.path, None)
        case "s" if note.path in files:
            file = files[note.path]
            file.durable, file.unsynced = bytes(file.seen), []
        case "s":  # a folder
            for file in files.values():
                file.entered = True
        case "t":
            file = files[note.path]
            file.seen = file.seen[: note.offset].ljust(note.offset, b"\0")
        case "w":
            file = files[note.path]
            file.seen = file.seen.ljust(note.offset, b"\0")
            file.seen[note.offset : note.offset + note.length] = note.data
            file.unsynced.append((note.offset, note.data))


def cut(files: dict[str, File], acknowledged: set[str], scratch: Path, loss: Loss, chance: random.Random) -> None:
    for share in (0.0, 0.5):
        for old in scratch.iterdir():
            old.unlink()
        for path, file in files.items():
            if file.entered and not path.endswith("-shm"):  # the -shm is memory: gone with the power
                (scratch / Path(path).name).write_bytes(survived(file, share, chance))
        loss.cuts += 1
        stored, ok = asyncio.run(content(scratch / "ledger.db"))
        loss.lost += len(acknowledged - stored)
        loss.broken += not ok


def survived(file: File, share: float, chance: random.Random) -> bytes:
    """What was synced, and each sector of the rest with this probability."""
    held = bytearray(file.durable)
    for offset, data in file.unsynced if share else []:
        for at in range(0, len(data), SECTOR):
            if chance.random() < share:
                sector = data[at : at + SECTOR]
                held = held.ljust(offset + at, b"\0")
                held[offset + at : offset + at + len(sector)] = sector
    return bytes(held)


async def content(path: Path) -> tuple[set[str], bool]:
    reader = open_readonly(str(path))
    try:
        found = await reader.verify(SIGNER.public, {})
        stored = {f"{entry.stream} {entry.seq} {entry.hash}" async for entry in reader.entries()} if found.ok else set()
        return stored, found.ok
    finally:
        await reader.close()


# --- the writer, in a process of its own -------------------------------------------------------------


class Clock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic_s(self) -> float:
        return 0.0


async def write(folder: Path, rounds: int) -> None:
    ledger = await open_ledger(str(folder / "ledger.db"), clock=Clock(), signer=SIGNER)
    acks = os.open(folder / "acks", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    async def stream(name: str) -> None:
        seq = 0
        for number in range(rounds):
            if number == rounds - 20:
                await asyncio.sleep(4 * PAUSE_S)  # a pause, in which the log is moved into the file
            fact = JobStarted(job="x" * 600, executor="container")
            for event in await ledger.append(name, [Draft(fact=fact, by=Principal("n", "a"))] * 2, expect=seq):
                os.write(acks, f"{event.stream} {event.seq} {event.hash}\n".encode())
                seq = event.seq

    await asyncio.gather(*(stream(f"run/{number}") for number in range(STREAMS)))
    event = await ledger.checkpoint()
    os.write(acks, f"{event.stream} {event.seq} {event.hash}\n".encode())
    os._exit(0)  # without closing: nothing is tidied up


if __name__ == "__main__":
    asyncio.run(write(Path(sys.argv[1]), int(sys.argv[2])))
