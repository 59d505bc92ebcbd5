"""Run one command of the host with a time limit. Never a shell, never without a deadline."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from msgspec import Struct


class Ran(Struct, frozen=True):
    """How a command ended. `code` 127: not installed; 124: killed when its time was up."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """Its last line of complaint, for an error message."""
        lines = (self.err.strip() or self.out.strip()).splitlines()
        return lines[-1] if lines else f"exit {self.code}"


async def run(argv: Sequence[str], *, timeout_s: float = 30.0, stdin: str = "") -> Ran:
    """Run `argv` and wait for its end. Cancelling or the deadline kills it. Never raises for a bad exit."""
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except (FileNotFoundError, PermissionError) as error:
        return Ran(127, "", f"{argv[0]}: {error.strerror}")
    try:
        async with asyncio.timeout(timeout_s):
            out, err = await process.communicate(stdin.encode())
    except TimeoutError:
        return Ran(124, "", f"{argv[0]} did not end within {timeout_s:g} s")
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    return Ran(process.returncode or 0, out.decode(errors="replace"), err.decode(errors="replace"))
