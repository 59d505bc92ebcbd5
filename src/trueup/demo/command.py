"""Runs programs for the play: never without a time limit, never through a shell."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct


class Failed(Exception):
    """The play cannot go on; the message says what was expected, what came, and where to look."""


class Ended(Struct, frozen=True):
    """How a program ended: exit code and everything it said."""

    code: int
    said: str

    @property
    def last(self) -> str:
        lines = self.said.strip().splitlines()
        return lines[-1] if lines else f"exit code {self.code}"


async def run(argv: Sequence[str], *, environ: Mapping[str, str], timeout_s: float, cwd: Path | None = None) -> Ended:
    """Run to its end; when the time is up it is killed with all it started. Raises Failed."""
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            env=dict(environ),
            cwd=cwd,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        raise Failed(f"{argv[0]} cannot be started: {error.strerror}") from error
    try:
        async with asyncio.timeout(timeout_s):
            said, _ = await process.communicate()
    except TimeoutError as error:
        raise Failed(f"{' '.join(argv)} did not end within {timeout_s:g} s") from error
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    return Ended(process.returncode or 0, said.decode(errors="replace"))


async def must(argv: Sequence[str], *, environ: Mapping[str, str], timeout_s: float, cwd: Path | None = None) -> str:
    """Its output. Raises Failed when it ends with anything but 0."""
    ended = await run(argv, environ=environ, timeout_s=timeout_s, cwd=cwd)
    if ended.code:
        raise Failed(f"{' '.join(argv)} ended with {ended.code}: {ended.last}")
    return ended.said
