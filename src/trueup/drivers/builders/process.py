"""Tools as child processes: output as it comes, an end by SIGTERM that lets them tidy up, none left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from trueup.ports import BuilderDown

PATIENCE_S = 10.0
KEEP_LINES = 200
LINE_BYTES = 64 * 1024


class Ended(Struct, frozen=True):
    code: int
    lines: tuple[str, ...]  # the last ones, standard output and error together

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


async def run(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    timeout_s: float,
    output: Callable[[bytes], None] | None = None,
    stdin: bytes = b"",
) -> Ended:
    """Run a tool to its end. It dies with us, and with the task that waits for it. Raises BuilderDown when it is not
    installed or takes longer than `timeout_s`."""
    if shutil.which(argv[0], path=env.get("PATH", os.defpath)) is None:
        raise BuilderDown(f"{argv[0]} is not installed: apt-get install {argv[0]}")
    process = await asyncio.create_subprocess_exec(
        *("setpriv", "--pdeathsig", "TERM", "--", *argv),
        env=dict(env),
        stdin=asyncio.subprocess.PIPE if stdin else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        lines = await asyncio.wait_for(_follow(process, output, stdin), timeout_s)
    except TimeoutError:
        await _end(process)
        raise BuilderDown(f"{argv[0]} {argv[1]} took more than {timeout_s:.0f} s and was ended") from None
    except BaseException:
        await asyncio.shield(_end(process))
        raise
    return Ended(process.returncode or 0, tuple(lines))


async def _follow(
    process: asyncio.subprocess.Process, output: Callable[[bytes], None] | None, stdin: bytes
) -> list[str]:
    if process.stdin is not None:
        process.stdin.write(stdin)
        process.stdin.close()
    assert process.stdout is not None
    kept: list[str] = []
    rest = b""
    while data := await process.stdout.read(LINE_BYTES):
        if output is not None:
            output(data)
        *whole, rest = (rest + data).split(b"\n")
        rest = rest[-LINE_BYTES:]
        kept = [*kept, *(line.decode(errors="replace").rstrip("\r") for line in whole)][-KEEP_LINES:]
    await process.wait()
    return [*kept, rest.decode(errors="replace")] if rest else kept


async def _end(process: asyncio.subprocess.Process) -> None:
    """SIGTERM lets buildah end its container and give back its layers; SIGKILL to the whole group comes after."""
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        await asyncio.wait_for(process.communicate(), PATIENCE_S)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.communicate()
