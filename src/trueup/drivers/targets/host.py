"""One machine as a target: speaks to the agent's socket, and starts the agent when it does not answer.

Source of the verbs: `trueup.agent.wire`, version 1. Never touches Podman itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sys
from collections.abc import AsyncIterator, Sequence
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import msgspec
from msgspec import Struct

from trueup.core.layout import Layout
from trueup.core.model import Judgement, Live, Object, Ref
from trueup.core.running import NoSuchLog
from trueup.ports import Moved, ObjectInvalid, TargetDown

START_S = 60.0
CALL_S = 60.0
HELLO_S = 5.0
DOWN_S = 180.0
SILENCE_S = 45.0  # the agent says something at least every 15
RETRY_S = (0.2, 5.0)
BASE = "http://agent/v1"
RUNS_ALREADY = 3  # exit code of an agent that found another one: that one will answer


class Hello(Struct, frozen=True):
    version: int
    pid: int
    state: str
    program: str


class Pod(Struct, frozen=True):
    """One replica as it runs now."""

    name: str
    application: str
    namespace: str
    workload: str  # "deployment/web"
    template: str
    address: str
    ready: bool
    stopping: bool
    restarts: int
    waiting: str
    message: str
    images: tuple[str, ...]  # as the manifests name them
    containers: tuple[str, ...]  # Podman's ids


class Served(Struct, frozen=True):
    """One Service as it is reached: `ports` = (name, port, port on this machine or 0)."""

    namespace: str
    name: str
    address: str
    ports: tuple[tuple[str, int, int], ...]


class Overview(Struct, frozen=True):
    pods: tuple[Pod, ...]
    services: tuple[Served, ...]
    podman_starts: int


class Host:
    """`accepted` are the refused parts of Kubernetes that trueup.yaml accepts by name.

    Example: `host = Host(layout)`; `await host.ensure()`; then the verbs of `ports.Target`; `await host.close()`."""

    def __init__(self, layout: Layout, accepted: Sequence[str] = (), python: str = sys.executable) -> None:
        self.layout, self._accepted, self._python = layout, tuple(accepted), python
        self._session: aiohttp.ClientSession | None = None
        self._starting = asyncio.Lock()

    async def close(self) -> None:
        """Let go of the socket; the agent and all it keeps go on."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    # --- the agent's life

    async def ensure(self) -> None:
        """Return once an agent of this program answers; start it if need be. Raises TargetDown."""
        async with self._starting:
            hello = await self.hello()
            if hello is not None and hello.program == installed("trueup"):
                return
            if hello is not None:
                await self._replace(hello.pid)
            await self._start()

    async def hello(self) -> Hello | None:
        """Who answers on the socket; None when nobody does."""
        try:
            async with asyncio.timeout(HELLO_S):
                async with self._open().get(f"{BASE}/hello") as response:
                    return msgspec.json.decode(await response.read(), type=Hello)
        except (aiohttp.ClientError, OSError, TimeoutError, msgspec.DecodeError):
            return None

    async def down(self, *, data: bool = False) -> str:
        """Stop and remove everything this state folder runs, and the agent; one line says what. Raises TargetDown."""
        await self.ensure()
        answer = await self._call("POST", "/down", {"data": data}, timeout_s=DOWN_S)
        await self.close()
        return answer.decode()

    async def overview(self) -> Overview:
        """Pods and Services as they are. Raises TargetDown."""
        return msgspec.json.decode(await self._call("GET", "/overview"), type=Overview)

    # --- ports.Target

    async def read(self, application: str) -> Live:
        return msgspec.json.decode(await self._call("GET", f"/applications/{_id(application)}/live"), type=Live)

    async def apply(
        self, application: str, candidate: str, objects: Sequence[Object], accepted: Sequence[str] = ()
    ) -> None:
        body = {"candidate": candidate, "objects": tuple(objects), "accepted": (*self._accepted, *accepted)}
        await self._call("POST", f"/applications/{_id(application)}/apply", body)

    async def delete(self, application: str, refs: Sequence[Ref]) -> None:
        await self._call("POST", f"/applications/{_id(application)}/delete", {"refs": tuple(refs)})

    async def judge(self, application: str) -> tuple[Judgement, ...]:
        answer = await self._call("GET", f"/applications/{_id(application)}/judge")
        return msgspec.json.decode(answer, type=tuple[Judgement, ...])

    async def watch(self, after: int = 0) -> AsyncIterator[Moved]:
        """For ever: over restarts of the agent too, and nothing is lost or told twice."""
        pause, longest = RETRY_S
        while True:
            try:
                async for line in self._lines(f"/watch?after={after}"):
                    pause = RETRY_S[0]
                    if line.strip():
                        move = msgspec.json.decode(line, type=Moved)
                        after = move.seq
                        yield move
            except (aiohttp.ClientError, OSError, TimeoutError):
                with contextlib.suppress(TargetDown):  # told by whoever asks for something next
                    await self.ensure()
            await asyncio.sleep(pause)
            pause = min(pause * 2, longest)

    async def logs(
        self, application: str, ref: str = "", *, follow: bool = False, tail: int = -1
    ) -> AsyncIterator[bytes]:
        """Lines of the containers of "deployment/web", of a pod by its name, or of all.

        Raises TargetDown, NoSuchLog."""
        query = f"ref={ref}&follow={str(follow).lower()}&tail={tail}"
        try:
            async for line in self._lines(f"/applications/{_id(application)}/logs?{query}", quiet=True):
                yield line
        except LookupError as error:
            raise NoSuchLog(f"nothing called {ref!r} runs here; {error}") from error
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise TargetDown(f"the agent's socket broke while reading logs: {error}; ask again") from error

    # --- starting

    async def _start(self) -> None:
        folder = Path(self.layout.agent)
        await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True, mode=0o700)
        begun = await asyncio.to_thread(self._log_size)
        pid = await asyncio.to_thread(self._spawn)
        try:
            async with asyncio.timeout(START_S):
                while await self.hello() is None:
                    if _exit_code(pid) not in (None, RUNS_ALREADY):
                        raise TargetDown(f"the agent did not start: {await asyncio.to_thread(self._words, begun)}")
                    await asyncio.sleep(0.1)  # another process's socket has no event
        except TimeoutError as error:
            words = await asyncio.to_thread(self._words, begun)
            raise TargetDown(f"the agent did not answer within {START_S:g} s: {words}") from error

    def _spawn(self) -> int:
        """Detached: it outlives this process, so nothing here keeps a handle on it but its id."""
        argv = [self._python, "-m", "trueup.agent", "--state", self.layout.root]
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ]
        try:
            return os.posix_spawn(self._python, argv, os.environ, file_actions=actions, setsid=True)
        except OSError as error:
            raise TargetDown(f"the agent could not be started by {self._python}: {error.strerror}") from error

    async def _replace(self, pid: int) -> None:
        """Another version answers: let it go; the containers stay."""
        os.kill(pid, 15)
        async with asyncio.timeout(START_S):
            while await self.hello() is not None:  # noqa: ASYNC110 - another process's socket has no event
                await asyncio.sleep(0.1)

    @property
    def _log(self) -> str:
        return f"{self.layout.agent}/agent.log"

    def _log_size(self) -> int:
        return Path(self._log).stat().st_size if Path(self._log).exists() else 0

    def _words(self, begun: int) -> str:
        """The last line that this agent wrote."""
        with open(self._log, "rb") as file:
            file.seek(begun)
            lines = file.read().decode(errors="replace").strip().splitlines()
        return f"{_LOGGED.sub('', lines[-1]) if lines else 'it said nothing'} (see {self._log})"

    # --- the wire

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            connector = aiohttp.UnixConnector(path=self.layout.agent_socket, limit=16)
            self._session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None))
        return self._session

    async def _call(self, method: str, path: str, body: Any = None, *, timeout_s: float = CALL_S) -> bytes:
        """One call, once more when the agent had to be started. Raises ObjectInvalid, TargetDown."""
        data = None if body is None else msgspec.json.encode(body)
        for last in (False, True):
            try:
                async with asyncio.timeout(timeout_s):
                    async with self._open().request(method, BASE + path, data=data) as response:
                        return await self._answer(response)
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                if last or isinstance(error, TimeoutError):
                    raise TargetDown(f"the agent does not answer on {self.layout.agent_socket}: {error}") from error
            await self.ensure()
        raise AssertionError("unreachable")

    async def _answer(self, response: aiohttp.ClientResponse) -> bytes:
        data = await response.read()
        if response.status == 422:
            raise ObjectInvalid(data.decode())
        if response.status >= 400:
            raise TargetDown(f"the agent refused {response.url.path} ({response.status}): {data.decode()[:500]}")
        return data

    async def _lines(self, path: str, *, quiet: bool = False) -> AsyncIterator[bytes]:
        timeout = aiohttp.ClientTimeout(total=None, sock_read=None if quiet else SILENCE_S)
        async with self._open().get(BASE + path, timeout=timeout) as response:
            if response.status == 404:
                raise LookupError(await response.text())
            if response.status >= 400:
                raise TargetDown(f"the agent refused {path} ({response.status}): {(await response.text())[:500]}")
            async for line in response.content:
                yield line


_LOGGED = re.compile(r"^\S+ \S+ [A-Z]+ (the agent cannot start: )?")  # what its log puts before the words


def _id(application: str) -> str:
    """An application's id as one part of a path."""
    return quote(application, safe="")


def _exit_code(pid: int) -> int | None:
    """How a child of ours ended, None while it runs; RUNS_ALREADY when somebody else has taken note of its end."""
    try:
        done, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return RUNS_ALREADY
    return os.waitstatus_to_exitcode(status) if done else None
