"""What the containers of an application print: the last lines, then what follows. Only reads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from trueup.agent.pod import Pod, Run
from trueup.agent.podman import EngineError, Podman

QUEUE = 1000


async def logs(podman: Podman, pods: Sequence[Pod], tail: int, follow: bool) -> AsyncIterator[bytes]:
    """Lines of all containers of these pods, each begun with its pod's name when there are several."""
    sources = [(pod, run) for pod in pods for run in pod.runs.values()]
    several = len(sources) > 1
    queue: asyncio.Queue[bytes | None] = asyncio.Queue(QUEUE)
    tasks = [asyncio.create_task(_pump(podman, pod, run, tail, follow, several, queue)) for pod, run in sources]
    left = len(tasks)
    try:
        while left:
            piece = await queue.get()
            if piece is None:
                left -= 1
            else:
                yield piece
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _pump(
    podman: Podman, pod: Pod, run: Run, tail: int, follow: bool, several: bool, queue: asyncio.Queue[bytes | None]
) -> None:
    head = f"{pod.name} | ".encode() if several else b""
    rest = b""
    try:
        if not run.id or (not run.running and run.lines):
            for kept in run.lines[-tail:] if tail >= 0 else run.lines:
                await queue.put(head + kept.encode() + b"\n")
            return
        async for piece in podman.logs(run.id, tail, follow):
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                await queue.put(head + pod.masked(line) + b"\n")
    except EngineError as error:
        rest = f"[no logs: {error}]".encode()
    finally:
        if rest:
            await queue.put(head + pod.masked(rest) + b"\n")
        await queue.put(None)
