"""One `up` per state folder: a lock that the kernel drops with its holder, however that one ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType

import msgspec
from msgspec import Struct


class StateBusy(Exception):
    """Another process works on this state folder; the message names both."""


class Holder(Struct, frozen=True):
    """Who holds the lock. `started` is the process's start in clock ticks since boot, so that a number that was
    given to another process meanwhile is not taken for it."""

    pid: int
    started: int


class StateLock:
    """Held from `take` to `release`; a context manager too."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        self._fd = -1

    def take(self) -> None:
        """Raises StateBusy at once when another process holds it."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            raise StateBusy(self._busy()) from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, msgspec.json.encode(Holder(pid=os.getpid(), started=_started(os.getpid()))), 0)
        self._fd = fd

    def release(self) -> None:
        if self._fd >= 0:
            os.ftruncate(self._fd, 0)
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> StateLock:
        self.take()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _busy(self) -> str:
        found = holder(str(self.path))
        who = f"pid {found.pid}" if found else "another process"
        return (
            f"the state folder {self.path.parent} is in use by {who}: "
            "stop it with `trueup down` or Ctrl-C there, or give this one its own folder with --state"
        )


def holder(path: str) -> Holder | None:
    """The living process that holds the lock, or None. Only reads: it never gets in the way of one that starts."""
    try:
        found = msgspec.json.decode(Path(path).read_bytes(), type=Holder)
    except (OSError, msgspec.MsgspecError):
        return None
    return found if _started(found.pid) == found.started else None


def _started(pid: int) -> int:
    """Start of a process in clock ticks since boot, 0 when there is none. Source: proc(5), /proc/pid/stat field 22."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return 0
    return int(stat.rpartition(")")[2].split()[19])
