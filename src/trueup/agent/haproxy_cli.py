"""HAProxy's command line, spoken through the master's socket to any worker, those that are leaving included."""

from __future__ import annotations

import asyncio
import csv
import io
import re
from collections.abc import Sequence

from msgspec import Struct

from trueup.agent.haproxy_config import NEXT, server_name
from trueup.agent.proxy_model import Backend, Listener

BATCH_BYTES = 8000  # half of what one line to the command line may hold
MAINT = 0b101  # srv_admin_state: forced by command, or "disabled" in the file


class ProxyError(Exception):
    """HAProxy did not do what was asked; the message says what and what to try."""


TRIES = 5  # of a command whose connection ended without an answer
PAUSE_S = 0.02


class Silent(ProxyError):
    """Nothing answers at the master's socket."""


class Workers(Struct, frozen=True):
    """Processes of one HAProxy. `pids` begins with the newest; `failed` counts reloads that did not work."""

    master: int
    pids: tuple[int, ...]
    failed: int


class Server(Struct, frozen=True):
    """One server as a worker has it."""

    listener: str
    name: str
    address: str
    port: int
    in_maint: bool


class View(Struct, frozen=True):
    """What one worker has."""

    listeners: frozenset[str]
    servers: tuple[Server, ...]


class Load(Struct, frozen=True):
    """What a worker counted for one server. Times in milliseconds, averaged over the last 1024 requests."""

    listener: str
    server: str
    current: int  # requests (http) or connections (tcp) in flight
    requests: int
    errors_5xx: int
    mean_ms: int


async def ask(socket: str, commands: Sequence[str], *, timeout_s: float = 5.0) -> str:
    """Send commands as one line and read all answers. Raises Silent, ProxyError.

    Each command is answered by a line at least: a connection that ends without a byte was dropped, and is asked again
    (every command of ours may be given twice)."""
    try:
        async with asyncio.timeout(timeout_s):
            said = ""
            for _ in range(TRIES):
                if said := await _once(socket, ";".join(commands) + "\n"):
                    break
                await asyncio.sleep(PAUSE_S)
            return said
    except TimeoutError as error:
        raise ProxyError(f"HAProxy did not answer at {socket} within {timeout_s:g} s") from error
    except OSError as error:
        raise Silent(f"no HAProxy answers at {socket}: {error.strerror}") from error


async def workers(socket: str) -> Workers:
    """Raises Silent, ProxyError."""
    return parse_workers(await ask(socket, ["show proc"]))


def parse_workers(text: str) -> Workers:
    """Source: HAProxy 2.6, Management Guide, 9.4.1 "show proc"."""
    master = re.search(r"^(\d+)\s+master\s+\d+(?:\s+\[failed: (\d+)\])?", text, re.MULTILINE)
    if not text.strip():
        raise Silent("HAProxy hung up: it is ending")
    if master is None:
        raise ProxyError(f"HAProxy's process list is not understood: {text.strip()[:200]!r}")
    found = re.findall(r"^(\d+)\s+worker\s+(\d+)", text, re.MULTILINE)
    pids = [int(pid) for pid, _ in sorted(found, key=lambda row: int(row[1]))]
    return Workers(int(master[1]), tuple(pids), int(master[2] or 0))


async def _once(socket: str, line: str) -> str:
    reader, writer = await asyncio.open_unix_connection(socket)
    try:
        writer.write(line.encode())
        writer.write_eof()
        return (await reader.read(-1)).decode(errors="replace")
    finally:
        writer.close()


async def tell(socket: str, worker: int, commands: Sequence[str]) -> str:
    """Send many commands to one worker, in as few lines as fit. Returns what it said."""
    said = []
    for batch in batches([f"@!{worker} {command}" for command in commands]):
        said.append(await ask(socket, batch))
    return "".join(said).strip()


def batches(commands: Sequence[str]) -> list[list[str]]:
    made: list[list[str]] = []
    size = BATCH_BYTES
    for command in commands:
        if size + len(command) + 1 > BATCH_BYTES:
            made.append([])
            size = 0
        made[-1].append(command)
        size += len(command) + 1
    return made


async def view(socket: str, worker: int) -> View:
    listeners = (await tell(socket, worker, ["show backend"])).split()
    servers = parse_servers(await tell(socket, worker, ["show servers state"]))
    return View(frozenset(listeners), tuple(servers))


def parse_servers(text: str) -> list[Server]:
    """Source: HAProxy 2.6, Management Guide, "show servers state"."""
    lines = [line for line in text.splitlines() if line and line != "1"]
    if not lines or not lines[0].startswith("# "):
        return []
    names = lines[0][2:].split()
    rows = [dict(zip(names, line.split(" "), strict=False)) for line in lines[1:]]
    return [
        Server(r["be_name"], r["srv_name"], r["srv_addr"], int(r["srv_port"]), bool(int(r["srv_admin_state"]) & MAINT))
        for r in rows
        if not r["be_name"].startswith(NEXT)
    ]


async def loads(socket: str, worker: int) -> list[Load]:
    """What each server of a worker does. Raises Silent, and ProxyError when the worker said nothing of it."""
    text = await tell(socket, worker, ["show stat -1 4 -1"])
    if "svname" not in text.partition("\n")[0]:
        raise ProxyError(f"HAProxy's process {worker} did not say what is in flight: {text[:80]!r}")
    return parse_loads(text)


def parse_loads(text: str) -> list[Load]:
    """Source: HAProxy 2.6, Management Guide, 9.1 "CSV format"."""
    rows = csv.DictReader(io.StringIO(text.lstrip("# ")))
    return [_load(row) for row in rows if row.get("svname") and not row["pxname"].startswith(NEXT)]


def _load(row: dict[str, str]) -> Load:
    replies = [int(row[f"hrsp_{family}"] or 0) for family in ("1xx", "2xx", "3xx", "4xx", "5xx", "other")]
    is_http = row["mode"] == "http"
    return Load(
        listener=row["pxname"],
        server=row["svname"],
        current=int(row["scur"] or 0) + int(row["qcur"] or 0),
        requests=sum(replies) if is_http else int(row["stot"] or 0),
        errors_5xx=int(row["hrsp_5xx"] or 0) if is_http else int(row["econ"] or 0),
        mean_ms=int(row["ttime"] or 0),
    )


async def description(socket: str, worker: int) -> str:
    """The structure's hash that this worker was started with."""
    found = re.search(r"^description: (\S+)", await tell(socket, worker, ["show info"]), re.MULTILINE)
    return found[1] if found else ""


def changes(listeners: Sequence[Listener], view: View) -> list[str]:
    """The commands that bring a worker's servers to what is desired; none when they already are.

    Servers no longer desired get no new requests at once; they are deleted by `removals` once idle. Listeners that the
    worker does not have are left to a reload."""
    have = {(server.listener, server.name): server for server in view.servers}
    desired = [
        (li.name, backend, port) for li in listeners if li.name in view.listeners for backend, port in li.backends
    ]
    commands: list[str] = []
    for listener, backend, port in desired:
        name = server_name(backend)
        commands += _bring(f"{listener}/{name}", have.get((listener, name)), backend, port)
    wanted = {(listener, server_name(backend)) for listener, backend, _ in desired}
    gone = [server for key, server in have.items() if key not in wanted and not server.in_maint]
    return commands + [f"set server {server.listener}/{server.name} state maint" for server in gone]


def _bring(path: str, have: Server | None, backend: Backend, port: int) -> list[str]:
    if have is None:
        made = [f"add server {path} {backend.address}:{port}"]  # a server is born in maintenance
        return [*made, f"set server {path} state ready"] if backend.serves else made
    commands = []
    if (have.address, have.port) != (backend.address, port):
        commands.append(f"set server {path} addr {backend.address} port {port}")
    if have.in_maint == backend.serves:
        commands.append(f"set server {path} state {'ready' if backend.serves else 'maint'}")
    return commands


def removals(listeners: Sequence[Listener], view: View) -> list[str]:
    """The commands that delete servers in maintenance which nobody wants; HAProxy refuses while one is in use."""
    wanted = {(li.name, server_name(backend)) for li in listeners for backend, _ in li.backends}
    gone = [s for s in view.servers if (s.listener, s.name) not in wanted and s.in_maint]
    return [f"del server {server.listener}/{server.name}" for server in gone]
