"""Runs the git program: in a process group of its own, with a time limit, never asking anybody anything."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from trueup.ports import SourceError

_GRACE_S = 5.0  # time for git to take its lock files away


class Done(Struct, frozen=True):
    """How a run of git ended. `code` 124: the time was up."""

    code: int
    out: bytes
    err: str


class Program(Struct, frozen=True):
    """git in one repository. `held` are descriptors every child inherits (the lock that tells who is alive)."""

    folder: Path
    environment: Mapping[str, str]
    held: tuple[int, ...] = ()

    async def start(self, args: Sequence[str], env: Mapping[str, str], *, stderr: int = PIPE) -> Process:
        try:
            return await asyncio.create_subprocess_exec(
                "git",
                *args,
                stdin=PIPE,
                stdout=PIPE,
                stderr=stderr,
                cwd=self.folder,
                env={**self.environment, **env},
                start_new_session=True,
                pass_fds=self.held,
            )
        except FileNotFoundError as error:
            if error.filename != "git":
                raise
            raise SourceError("git is not installed here: run `apt-get install git`, or see `trueup doctor`") from error

    async def run(self, *args: str, timeout_s: float, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> Done:
        """Run to the end. Whatever happens, no process is left behind."""
        process = await self.start(args, env or {})
        try:
            async with asyncio.timeout(timeout_s):
                out, err = await process.communicate(stdin)
        except TimeoutError:
            return Done(code=124, out=b"", err=f"no answer within {timeout_s:g} s")
        finally:
            await end(process)
        return Done(code=process.returncode or 0, out=out, err=err.decode(errors="replace"))


async def end(process: Process) -> None:
    """End a process and all it started: asked first, then killed. Nothing if it has ended."""
    if process.returncode is not None:
        return
    try:
        _signal(process, signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GRACE_S):
                await process.communicate()
    finally:
        if process.returncode is None:
            _signal(process, signal.SIGKILL)
    await process.wait()


def _signal(process: Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)
