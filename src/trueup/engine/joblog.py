"""A job's log: what its steps print, masked, with the time of each line, written as it comes and followed live.

The file is the log; followers read the file, so that a slow one costs nothing and one who comes late misses nothing.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from pathlib import Path

from trueup.core.mask import Masker

CAP_BYTES = 32 << 20
READ_BYTES = 65536


class JobLog:
    """One log being written. Use within `async with`; `write` takes raw output, never blocks and never raises."""

    def __init__(self, path: Path, masker: Masker, now: Callable[[], datetime], cap_bytes: int = CAP_BYTES) -> None:
        self.path = path
        self.masker = masker
        self._now = now
        self._cap = cap_bytes
        self._size = 0
        self._begins_line = True
        self._pending: list[bytes] = []
        self._dirty = asyncio.Event()
        self._moved = asyncio.Condition()
        self._ended = False
        self._writer: asyncio.Task[None] | None = None
        self.failed = ""  # why the file could not be written

    async def __aenter__(self) -> JobLog:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.unlink(missing_ok=True)
        self._writer = asyncio.create_task(self._write_on(), name=f"log {self.path.name}")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._accept(self.masker.flush())
        if not self._begins_line:
            self._pending.append(b"\n")
        self._ended = True
        self._dirty.set()
        if self._writer is not None:
            await asyncio.shield(self._writer)

    def write(self, data: bytes) -> None:
        self._accept(self.masker.feed(data))

    def say(self, text: str) -> None:
        """A line of ours; masked too, since it may quote a step."""
        for line in text.splitlines() or [""]:
            self._accept(self.masker.flush())
            if not self._begins_line:
                self._accept(b"\n")
            self._accept(self.masker.mask(line.encode("utf-8", "replace")) + b"\n")

    @property
    def full(self) -> bool:
        return self._size >= self._cap

    def _accept(self, shown: bytes) -> None:
        if not shown or self.full:
            return
        stamped = self._stamped(shown)
        if self._size + len(stamped) < self._cap:
            self._keep(stamped)
            return
        whole = stamped[: max(self._cap - self._size, 0)].rpartition(b"\n")
        limit = f"{self._cap >> 20} MiB" if self._cap >= 1 << 20 else f"{self._cap} bytes"
        self._keep(whole[0] + whole[1])
        self._begins_line = True
        self._keep(self._stamped(f"trueup: the log is longer than {limit}; the rest is not kept\n".encode()))
        self._size = self._cap

    def _keep(self, stamped: bytes) -> None:
        self._size += len(stamped)
        self._pending.append(stamped)
        self._dirty.set()

    def _stamped(self, shown: bytes) -> bytes:
        """With the time before each line that begins here."""
        now = self._now()
        prefix = f"{now:%Y-%m-%dT%H:%M:%S}.{now.microsecond // 1000:03d}Z ".encode()
        before = prefix if self._begins_line else b""
        self._begins_line = shown.endswith(b"\n")
        body = shown[:-1] if self._begins_line else shown
        return before + body.replace(b"\n", b"\n" + prefix) + (b"\n" if self._begins_line else b"")

    async def _write_on(self) -> None:
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            data, self._pending = b"".join(self._pending), []
            ended = self._ended
            if data and not self.failed:
                self.failed = await asyncio.to_thread(_append, self.path, data)
            async with self._moved:
                self._moved.notify_all()
            if ended and not self._pending:
                return

    async def wait(self) -> None:
        """Until something more was written, or the log has ended."""
        async with self._moved:
            if not self.ended:
                await self._moved.wait()

    @property
    def ended(self) -> bool:
        return self._writer is None or self._writer.done()


def _append(path: Path, data: bytes) -> str:
    try:
        with path.open("ab") as file:
            file.write(data)
    except OSError as error:
        return f"cannot write {path}: {error.strerror}"
    return ""


async def follow(path: Path, live: Callable[[], JobLog | None]) -> AsyncIterator[bytes]:
    """The log from its beginning, in pieces, until it has ended. `live` gives the log while it is written."""
    at = 0
    while True:
        log = live()
        ended = log is None or log.ended
        data = await asyncio.to_thread(_read_at, path, at)
        if data:
            at += len(data)
            yield data
        elif ended or log is None:
            return
        else:
            waiting = asyncio.ensure_future(log.wait())
            try:
                await asyncio.wait({waiting}, timeout=1.0)
            finally:
                waiting.cancel()
                await asyncio.gather(waiting, return_exceptions=True)


def _read_at(path: Path, at: int) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.pread(descriptor, READ_BYTES, at)
    finally:
        os.close(descriptor)
