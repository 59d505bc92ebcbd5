"""A pool of render workers: processes that turn trees into objects with the reference libraries.

A worker does one render at a time, within limits, and gets nothing but what it asks for of the one tree it was given.
One that dies or runs out of time costs its own render; another is started in its place.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

from trueup.core.health.rules import Rule, Said
from trueup.core.model import Json, Place
from trueup.core.render import Asked, Output, changed
from trueup.drivers.renderers import protocol
from trueup.drivers.renderers.program import ABSENT
from trueup.ports import Blobs, Given, RendererDown, RenderFailed

__all__ = ["Blobs", "Given", "Limits", "RenderFailed", "RendererDown", "Worker", "Workers", "start"]

T = TypeVar("T")

START_S = 20.0
DEATH_S = 5.0  # from the end of its output to the end of the process
SAID_BYTES = 64 << 10


class _Killed(RenderFailed):
    """Somebody killed the worker: the kernel for want of memory, or a person."""


class Limits(Struct, frozen=True, kw_only=True):
    """What one worker may use. `time_s` is for one render, waiting for contents included."""

    memory_bytes: int = 1 << 30
    time_s: float = 60.0
    uid: int = 0  # the user a worker becomes when Trueup is root; 0: stay


class Workers:
    """At most `size` processes, started when they are needed. Use as a context, or call `close`.

    Without a program every render raises RendererDown with what to do."""

    def __init__(self, program: Path | None, *, size: int = 2, limits: Limits | None = None) -> None:
        self._program, self._limits = program, limits or Limits()
        self._turns = asyncio.Semaphore(size)
        self._identity = ""
        self._idle: list[Worker] = []
        self._busy: set[Worker] = set()

    async def __aenter__(self) -> Workers:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def render(self, asked: Asked, given: Given) -> Output:
        """What `asked` gives from this tree. Raises RenderFailed, RendererDown, and whatever `given.blobs` raises."""
        return await self._with_one(lambda worker: worker.render(asked, given, self._limits))

    async def judge(self, rules: Sequence[Rule], inputs: Sequence[tuple[int, Json]]) -> tuple[Said, ...]:
        """What these rules of health say, by (number of the rule, object). Raises RenderFailed, RendererDown."""
        return await self._with_one(lambda worker: worker.judge(rules, inputs, self._limits))

    async def paths(self, programs: Sequence[str], body: Json) -> tuple[tuple[str | int, ...], ...]:
        """Where these jq path expressions lead in `body`. Raises RenderFailed, RendererDown."""
        return await self._with_one(lambda worker: worker.paths(programs, body, self._limits))

    async def _with_one(self, work: Callable[[Worker], Awaitable[T]]) -> T:
        async with self._turns:
            worker = self._idle.pop() if self._idle else await start(self._program, self._limits)
            self._busy.add(worker)
            try:
                try:
                    output = await work(worker)
                except _Killed:  # by whom cannot be told: a machine without memory is no fault of the repository
                    self._busy.discard(worker)
                    worker = await start(self._program, self._limits)
                    self._busy.add(worker)
                    output = await work(worker)
            except RenderFailed:
                await self._back(worker)
                raise
            except BaseException:
                await worker.end()
                raise
            else:
                await self._back(worker)
            finally:
                self._busy.discard(worker)
        return output

    async def versions(self) -> Mapping[str, str]:
        """Module → version of the libraries in this worker. Raises RendererDown."""
        async with self._turns:
            worker = self._idle.pop() if self._idle else await start(self._program, self._limits)
            await self._back(worker)
        return worker.hello.versions

    async def identity(self) -> str:
        """The digest of the program: another build of it may give something else. Raises RendererDown."""
        if not self._identity:
            self._identity = await asyncio.to_thread(_digest, self._program)
        return self._identity

    async def _back(self, worker: Worker) -> None:
        if worker.alive:
            self._idle.append(worker)
        else:
            await worker.end()

    async def close(self) -> None:
        for worker in (*self._idle, *self._busy):
            await worker.end()
        self._idle.clear()


class Worker:
    """One process."""

    def __init__(self, process: asyncio.subprocess.Process, hello: protocol.Hello, said: asyncio.Task[bytes]) -> None:
        self.hello, self._process, self._said = hello, process, said
        self._lost = False

    @property
    def alive(self) -> bool:
        return not self._lost and self._process.returncode is None

    @property
    def pid(self) -> int:
        return self._process.pid

    async def render(self, asked: Asked, given: Given, limits: Limits) -> Output:
        done = await self._ask(protocol.request(asked, given.name), asked.path, given, limits)
        output = done.output()
        if (wrong := changed(output.trace, given.folders)) is not None:
            self._lost = True
            raise RendererDown(f"the render worker says it read {wrong}, which is not in the tree: report this")
        return output

    async def judge(
        self, rules: Sequence[Rule], inputs: Sequence[tuple[int, Json]], limits: Limits
    ) -> tuple[Said, ...]:
        return (await self._ask(protocol.health(rules, inputs), "", None, limits)).judged

    async def paths(self, programs: Sequence[str], body: Json, limits: Limits) -> tuple[tuple[str | int, ...], ...]:
        return (await self._ask(protocol.jq(programs, body), "", None, limits)).paths

    async def _ask(self, request: bytes, path: str, given: Given | None, limits: Limits) -> protocol.Done:
        """One request to its end. `path` is what a fault is about when it names no file itself."""
        try:
            async with asyncio.timeout(limits.time_s):
                done = await self._talk(request, given)
        except TimeoutError:
            self._lost = True
            await self.end()
            raise RenderFailed(
                Place(path), f"rendering took more than {limits.time_s:g} s and was stopped",
                "Look for a loop or a recursion without an end.",
            ) from None  # fmt: skip
        except (asyncio.IncompleteReadError, ConnectionError, BrokenPipeError):
            self._lost = True
            raise await self._death(Place(path), limits) from None
        if done.fault is not None:
            fault = done.fault
            raise RenderFailed(Place(fault.file or path or ".", fault.line), fault.message, fault.fix)
        return done

    async def _talk(self, request: bytes, given: Given | None) -> protocol.Done:
        reader, writer = self._process.stdout, self._process.stdin
        assert reader is not None and writer is not None
        writer.write(protocol.frame(request))
        await writer.drain()
        while True:
            try:
                answer = _decode(await protocol.receive(reader))
            except (ValueError, msgspec.DecodeError) as error:
                self._lost = True
                raise RendererDown(f"the render worker speaks nonsense ({error}): rebuild it with `make`") from error
            if answer.done is not None:
                return answer.done
            if answer.ask is not None and given is not None:
                writer.write(protocol.frame(await _give(answer.ask, given)))
                await writer.drain()

    async def _death(self, at: Place, limits: Limits) -> RenderFailed:
        """What to say of a worker that died."""
        fault = RenderFailed(at, *await self._why(limits))
        return _Killed(at, fault.message, fault.fix) if self._process.returncode == -9 else fault

    async def _why(self, limits: Limits) -> tuple[str, str]:
        """What a dead worker died of, without a line of its stack."""
        with contextlib.suppress(TimeoutError):  # a kill now would take its exit code away from asyncio
            await asyncio.wait_for(self._process.wait(), DEATH_S)
        await self.end()
        said = (await self._said).decode("utf-8", "replace")
        if "out of memory" in said or "cannot allocate memory" in said or self._process.returncode == -9:
            mib = limits.memory_bytes >> 20
            return f"rendering needed more than {mib} MiB of memory", "Look for output without an end."
        if "stack exceeds" in said or "stack overflow" in said:
            return "rendering recursed without an end", "Look for a template or file that includes itself."
        return f"the renderer ended in the middle (code {self._process.returncode})", "Please report this input."

    async def end(self) -> None:
        """Kill the process and wait for it."""
        self._lost = True
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
        if self._process.stdin is not None:
            self._process.stdin.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), 10.0)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._said), 10.0)


def _digest(program: Path | None) -> str:
    if program is None:
        raise RendererDown(ABSENT)
    try:
        with program.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise RendererDown(f"cannot read {program}: {error.strerror}: build it with `make render`") from error


_decode = msgspec.json.Decoder(protocol.Answer).decode


async def _give(ask: protocol.Ask, given: Given) -> bytes:
    if ask.op == "list":
        return protocol.entries(given.folders.listing(ask.list))
    if ask.op == "below":
        return protocol.entries(given.folders.below(ask.below))
    found = await given.blobs(ask.blobs)
    missing = [oid for oid in ask.blobs if oid not in found]
    if missing:
        return protocol.fault("its content could not be read from Git")
    return protocol.blobs({oid: found[oid] for oid in ask.blobs})


async def start(program: Path | None, limits: Limits) -> Worker:
    """A worker that said hello. Raises RendererDown."""
    if program is None:
        raise RendererDown(ABSENT)
    argv = [str(program), f"--memory={limits.memory_bytes}"]
    if limits.uid and os.geteuid() == 0:
        argv.append(f"--uid={limits.uid}")
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={"GOTRACEBACK": "none", "GOMAXPROCS": "2"},
            cwd="/",
            start_new_session=True,
            limit=1 << 20,
        )
    except OSError as error:
        raise RendererDown(f"cannot start {program}: {error.strerror}: build it with `make render`") from error
    assert process.stdout is not None and process.stderr is not None
    said = asyncio.create_task(_said(process.stderr))
    try:
        first = await asyncio.wait_for(protocol.receive(process.stdout), START_S)
        hello = msgspec.json.decode(first, type=protocol.Hello)
        if hello.protocol != protocol.VERSION:
            raise ValueError(f"it speaks protocol {hello.protocol}, not {protocol.VERSION}")
    except (TimeoutError, asyncio.IncompleteReadError, ValueError) as error:
        await Worker(process, protocol.Hello(0, False, {}), said).end()
        words = (await said).decode("utf-8", "replace").strip().splitlines()
        reason = words[0] if words else str(error) or "it said nothing"
        raise RendererDown(f"{program} does not start: {reason}: rebuild it with `make render`") from error
    except BaseException:
        await Worker(process, protocol.Hello(0, False, {}), said).end()
        raise
    return Worker(process, hello, said)


async def _said(stream: asyncio.StreamReader) -> bytes:
    """The beginning of what it says on stderr; the rest is read and dropped, so that it never blocks."""
    kept = b""
    while data := await stream.read(1 << 16):
        kept += data[: max(0, SAID_BYTES - len(kept))]
    return kept
