"""The agent as a process: one per state folder, ended by SIGTERM, leaving everything it keeps running.

Never started twice: a lock on the state folder's agent tells."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import logging
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from aiohttp import web

from trueup.agent import wire
from trueup.agent.agent import Agent
from trueup.agent.api import application
from trueup.agent.atrest import KeyLost, key_of
from trueup.agent.dns import Dns, DnsError
from trueup.agent.haproxy_cli import ProxyError
from trueup.agent.network import Network, NetworkError
from trueup.agent.podman import EngineError, Podman, PodmanService
from trueup.agent.proxy import Proxy
from trueup.agent.store import Store, StoreError
from trueup.core.layout import Layout

log = logging.getLogger("trueup.agent")


class AlreadyRuns(Exception):
    """Another agent keeps this state folder."""


async def serve(layout: Layout) -> None:
    """Keep this host until SIGTERM or `down`. Raises AlreadyRuns, and whatever keeps it from starting."""
    folder = Path(layout.agent)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    keep_memory_closed()
    with _locked(folder / "lock"):
        async with _assembled(layout) as (agent, service):
            await _until_asked(agent, service)


_PR_SET_DUMPABLE = 4


def keep_memory_closed() -> None:
    """No core file of this process, and no other process reads its memory: Secrets are in it. Programs that it starts
    are not concerned. Source: prctl(2), PR_SET_DUMPABLE."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise AlreadyRuns(f"an agent already keeps {path.parent}") from error
        os.ftruncate(handle, 0)
        os.write(handle, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(handle)


@contextlib.asynccontextmanager
async def _assembled(layout: Layout) -> AsyncIterator[tuple[Agent, PodmanService]]:
    """Everything the agent stands on, started in order and closed again; what it started outside goes on."""
    async with contextlib.AsyncExitStack() as stack:
        store = Store(Path(layout.agent) / "agent.db", key_of(layout))
        await store.open()
        stack.push_async_callback(store.close)
        podman = await stack.enter_async_context(Podman(layout.podman_socket))
        service = PodmanService(layout, podman)
        await service.ensure()
        network = Network(layout)
        facts = await network.ensure()
        proxy = Proxy(layout, network)
        await proxy.start()
        dns = Dns(facts.dns, open_socket=network.listen)
        dns.set(proxy.records())
        await dns.start()
        stack.push_async_callback(dns.stop)
        agent = Agent(layout, store, podman, service, network, proxy, dns.set)
        await agent.load()
        yield agent, service


async def _until_asked(agent: Agent, service: PodmanService) -> None:
    """Run and answer, until a signal or `down` ends it."""
    end = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end.set)

    async def down(ask: wire.DownAsk) -> str:
        try:
            await _cancelled(keeping)
            return await take_down(agent, service, data=ask.data)
        finally:
            loop.call_later(ANSWER_S, end.set)

    keeping = asyncio.create_task(agent.run(), name="agent")
    keeping.add_done_callback(lambda task: None if task.cancelled() else end.set())
    runner = web.AppRunner(application(agent, down), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await _listen(runner, Path(agent.layout.agent_socket))
        log.info("the agent is ready state=%s", agent.layout.id)
        await end.wait()
    finally:
        await runner.cleanup()
        await _cancelled(keeping)
    if not keeping.cancelled() and keeping.exception() is not None:
        raise keeping.exception() or RuntimeError("the agent ended")


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _listen(runner: web.AppRunner, path: Path) -> None:
    """The socket appears under its name once it answers, readable by this user only."""
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    await web.UnixSite(runner, str(new)).start()
    new.chmod(0o600)
    new.rename(path)


async def take_down(agent: Agent, service: PodmanService, *, data: bool) -> str:
    """Stop and remove everything this state folder runs. `data` takes the agent's own memory too."""
    containers = await agent.clear()
    await agent.proxy.stop()
    try:
        await agent.network.remove()
        left = ""
    except NetworkError as error:
        left = f"; the network stays: {error}"
    await service.stop()
    if data:
        await asyncio.to_thread(shutil.rmtree, Path(agent.layout.agent) / "volumes", ignore_errors=True)
    return f"{containers} containers, their Services and their network are gone{left}"


STARTING = (KeyLost, EngineError, NetworkError, ProxyError, DnsError, StoreError, OSError)
ANSWER_S = 0.2  # so that `down` is answered before the socket closes
