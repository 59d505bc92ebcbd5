"""What both executors share: the file a step is started with, and reading a program's output within its time.

Variables go through a file that only the step reads, never through an argument list that others on the machine see.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from trueup.ports import Output, SandboxDown

CHUNK = 65536
ADMIN_S = 120.0
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Ended(Struct, frozen=True):
    """How a program of ours ended."""

    code: int
    said: str


def script(argv: Sequence[str], env: Mapping[str, str], cwd: str, started: str) -> str:
    """A POSIX shell script that becomes the step. It makes the file `started` first, as a sign of life."""
    odd = [f"{name}={value}" for name, value in sorted(env.items()) if not _NAME.fullmatch(name)]
    lines = [f"export {name}={shlex.quote(value)}" for name, value in sorted(env.items()) if _NAME.fullmatch(name)]
    words = ["env", *odd, *argv] if odd else list(argv)
    return "\n".join(
        [
            f": > {shlex.quote(started)}",
            *lines,
            _enter(cwd),
            "exec " + shlex.join(words),
            "",
        ]
    ).replace("\0", "")


def _enter(folder: str) -> str:
    message = shlex.quote(f"trueup: there is no folder {folder}: is it checked out?")
    return f"cd {shlex.quote(folder)} || {{ echo {message}; exit 1; }}"


def write_new(folder: Path, name: str, text: str, mode: int = 0o644) -> Path:
    """Create a file in a folder of ours; never through a link, never over a file. Raises SandboxDown."""
    path = folder / name
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(text.encode("utf-8", "surrogateescape"))
    except OSError as error:
        raise SandboxDown(f"cannot write {path}: {error.strerror}: free disk space under {folder}") from error
    return path


async def admin(argv: Sequence[str], env: Mapping[str, str], timeout_s: float = ADMIN_S, cwd: str = "/") -> Ended:
    """Run a tool of ours to its end, in `cwd`. Raises SandboxDown when it is missing or does not end."""
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            env=dict(env),
            cwd=cwd,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        raise SandboxDown(f"cannot start {argv[0]}: {error.strerror}: run `trueup doctor`") from error
    try:
        out, _ = await asyncio.wait_for(process.communicate(), timeout_s)
    except (TimeoutError, asyncio.CancelledError) as error:
        await end(process)
        if isinstance(error, asyncio.CancelledError):
            raise
        raise SandboxDown(
            f"`{shlex.join(argv[:3])} …` did not end within {timeout_s:.0f} s: is Podman stuck?"
        ) from error
    return Ended(process.returncode or 0, out.decode("utf-8", "replace").strip())


async def stream(process: asyncio.subprocess.Process, output: Output) -> int:
    """Pass on what a program prints until it ends; its exit code."""
    assert process.stdout is not None
    while data := await process.stdout.read(CHUNK):
        output(data)
        await asyncio.sleep(0)  # a flood must not starve everything else
    return await process.wait()


async def end(process: asyncio.subprocess.Process) -> None:
    """Kill a program of ours and wait for it, so that nothing of it stays."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    transport = getattr(process, "_transport", None)  # closes the pipe that a grandchild may hold open
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(asyncio.shield(process.wait()), 10.0)
    if transport is not None:
        transport.close()
