"""HAProxy as a daemon of its own: checked, started, found again, reloaded and stopped.

It is nobody's child, so that it outlives the agent and `trueup up`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import signal
import subprocess
from pathlib import Path

from trueup.agent.haproxy_cli import ProxyError, Silent, Workers, tell, workers
from trueup.agent.haproxy_config import Paths
from trueup.agent.network_run import run
from trueup.core.layout import Layout

START_S = 15.0
LOOK_S = 0.02
SOCKET_PATH = 95  # bytes; Linux allows 107, of which HAProxy takes up to 12 for the name of a temporary


def paths_of(layout: Layout) -> Paths:
    """HAProxy's files in a state folder. Sockets have short names, for the folder's own may be long."""

    def at(name: str) -> str:
        return str(Path(layout.agent, name))

    return Paths(
        config=at("haproxy.cfg"),
        master=at("ha-m.sock"),
        worker=at("ha-w.sock"),
        peers=at("ha-p.sock"),
        pid=at("haproxy.pid"),
        log=at("haproxy.log"),
        user=_user(),
    )


def too_long(layout: Layout) -> bool:
    """True when the state folder's path leaves no room for the name of a socket."""
    return len(os.fsencode(paths_of(layout).master)) > SOCKET_PATH


def _user() -> str:
    """Workers of a master that is root run as the package's own user."""
    if os.geteuid() != 0:
        return ""
    try:
        return pwd.getpwnam("haproxy").pw_name
    except KeyError:
        return ""


def write(paths: Paths, text: str) -> None:
    """Put the configuration in place, whole or not at all."""
    target = Path(paths.config)
    if read(paths) == text:
        return
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    new = target.with_suffix(".new")
    with new.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(target)


def read(paths: Paths) -> str:
    """The configuration in place, "" when there is none."""
    try:
        return Path(paths.config).read_text()
    except FileNotFoundError:
        return ""


async def alive(paths: Paths) -> Workers | None:
    """The running HAProxy of this folder, None when there is none. Raises ProxyError when it hangs."""
    try:
        found = await workers(paths.master)
    except Silent:
        return None
    return found if found.pids else None


async def start(paths: Paths) -> Workers:
    """Start HAProxy with the configuration in place; it serves when this returns. Raises ProxyError."""
    if len(os.fsencode(paths.master)) > SOCKET_PATH:
        raise ProxyError(f"the state folder's path is too long for a socket: {paths.master}; choose a shorter --state")
    await check(paths)
    await reap(paths)
    await asyncio.to_thread(_launch, paths)
    return await _until_started(paths)


def _launch(paths: Paths) -> None:
    argv = ["haproxy", "-W", "-S", f"{paths.master},mode,600", "-p", paths.pid, "-f", paths.config]
    with open(paths.log, "w") as log:  # only what it says when it starts and reloads
        subprocess.run(
            ["setsid", "--fork", *argv],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            timeout=START_S,
            check=True,
        )


async def check(paths: Paths) -> None:
    """Raises ProxyError when HAProxy refuses the configuration in place, or is not installed."""
    got = await run(["haproxy", "-c", "-q", "-f", paths.config])
    if got.code == 127:
        raise ProxyError("haproxy is not installed; try: apt-get install haproxy")
    if got.code != 0:
        raise ProxyError(f"HAProxy refuses {paths.config}: {got.err.strip()[-500:]}")


async def reload(paths: Paths) -> Workers:
    """Hand over to a new worker with the configuration in place; connections in flight stay with the old one.

    Raises ProxyError; the old worker then goes on serving."""
    await check(paths)
    before = await workers(paths.master)
    os.kill(before.master, signal.SIGUSR2)
    try:
        async with asyncio.timeout(START_S):
            while True:
                now = await alive(paths)
                if now is not None and now.failed > before.failed:
                    raise ProxyError(f"HAProxy could not take the new configuration over: {_complaint(paths)}")
                if now is not None and set(now.pids) - set(before.pids) and await _answers(paths, now.pids[0]):
                    return now
                await asyncio.sleep(LOOK_S)
    except TimeoutError as error:
        raise ProxyError(f"HAProxy did not reload within {START_S:g} s: {_complaint(paths)}") from error


async def stop(paths: Paths) -> None:
    """End HAProxy and all its workers, requests in flight included."""
    found = await alive(paths)
    if found is None:
        return
    gone = asyncio.create_task(ended(found.master))
    await asyncio.sleep(0)
    os.kill(found.master, signal.SIGTERM)
    try:
        await asyncio.wait_for(gone, START_S)
    except TimeoutError:
        os.kill(found.master, signal.SIGKILL)


async def ended(pid: int) -> None:
    """Return when the process has ended, without polling."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(handle, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(handle)
        os.close(handle)


async def _until_started(paths: Paths) -> Workers:
    try:
        async with asyncio.timeout(START_S):
            while True:
                found = await alive(paths)
                if found is not None and await _answers(paths, found.pids[0]):
                    return found
                if "[ALERT]" in Path(paths.log).read_text(errors="replace"):
                    raise ProxyError(f"HAProxy did not start: {_complaint(paths)}")
                await asyncio.sleep(LOOK_S)
    except TimeoutError as error:
        raise ProxyError(f"HAProxy did not start within {START_S:g} s: {_complaint(paths)}") from error


async def _answers(paths: Paths, worker: int) -> bool:
    try:
        return bool(await tell(paths.master, worker, ["show version"]))
    except ProxyError:
        return False


async def reap(paths: Paths) -> None:
    """End what a killed master left behind, so that its ports are free. Only processes of this very configuration."""
    left = await asyncio.to_thread(_leftovers, paths)
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    await asyncio.wait_for(asyncio.gather(*(ended(pid) for pid in left)), START_S)


def _leftovers(paths: Paths) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            argv = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if argv[0].endswith(b"haproxy") and paths.config.encode() in argv:
            found.append(int(folder.name))
    return found


def _complaint(paths: Paths) -> str:
    lines = Path(paths.log).read_text(errors="replace").splitlines()
    alerts = [line.partition(" : ")[2] for line in lines if line.startswith("[ALERT]")]
    return " ".join(alerts[-3:]) or f"it gave no reason in {paths.log}"
