"""A client of Podman's own API on a Unix socket, and the service behind it. Never decides anything.

Source: Podman 4.3 libpod API. Every call has a deadline; following logs and events has none by nature.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

import aiohttp
from msgspec import Struct

from trueup.core.layout import CONTAINERS_CONF, Layout

CALL_S = 30.0
START_S = 60.0
PULL_S = 900.0
SERVICE_START_S = 20.0
BASE = "http://podman/v4.0.0/libpod"


class EngineError(Exception):
    """Podman refused or failed. `status` is HTTP's, 0 when it could not be reached."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class EngineDown(EngineError):
    """Podman's service does not answer; the agent starts it again."""


class Listed(Struct, frozen=True):
    """A container as the list shows it. `state`: created, running, paused, exited, stopped, …"""

    id: str
    name: str
    state: str
    exit_code: int
    labels: Mapping[str, str]


class Inspected(Struct, frozen=True):
    id: str
    running: bool
    exit_code: int
    out_of_memory: bool
    address: str


class ContainerEvent(Struct, frozen=True):
    action: str  # "died", "remove", "stop", "kill", "pause", "rename", …
    id: str
    name: str
    exit_code: int
    labels: Mapping[str, str]


class Podman:
    """The calls the agent needs. Use as an async context manager."""

    def __init__(self, socket: str) -> None:
        self._socket = socket
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Podman:
        connector = aiohttp.UnixConnector(path=self._socket, limit=64)
        self._session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None))
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        if self._session is not None:
            await self._session.close()

    async def ping(self) -> bool:
        try:
            await self._call("GET", "/_ping", timeout_s=2.0)
        except EngineError:
            return False
        return True

    # --- containers

    async def containers(self, label: str) -> tuple[Listed, ...]:
        found = await self._call(
            "GET", "/containers/json", params={"all": "true", "filters": json.dumps({"label": [label]})}
        )
        return tuple(
            Listed(c["Id"], c["Names"][0], c["State"], int(c.get("ExitCode") or 0), c.get("Labels") or {})
            for c in found or ()
        )

    async def inspect(self, container: str) -> Inspected:
        body = await self._call("GET", f"/containers/{container}/json")
        state, networks = body["State"], (body.get("NetworkSettings") or {}).get("Networks") or {}
        address = next((n["IPAddress"] for n in networks.values() if n.get("IPAddress")), "")
        return Inspected(
            body["Id"], bool(state["Running"]), int(state["ExitCode"]), bool(state.get("OOMKilled")), address
        )

    async def create(self, spec: Mapping[str, Any]) -> str:
        body = await self._call("POST", "/containers/create", body=spec, timeout_s=START_S)
        return str(body["Id"])

    async def start(self, container: str) -> None:
        await self._call("POST", f"/containers/{container}/start", timeout_s=START_S)

    async def stop(self, container: str, grace_s: float) -> None:
        """SIGTERM, then SIGKILL after `grace_s`; nothing when it is gone or has ended."""
        params = {"timeout": str(max(int(grace_s), 0)), "ignore": "true"}
        await self._call(
            "POST", f"/containers/{container}/stop", params=params, timeout_s=grace_s + CALL_S, absent=True
        )

    async def stop_as_made(self, container: str, longest_s: float) -> None:
        """As `stop`, with the grace that the container was made with."""
        params = {"ignore": "true"}
        await self._call("POST", f"/containers/{container}/stop", params=params, timeout_s=longest_s, absent=True)

    async def kill(self, container: str) -> None:
        await self._call("POST", f"/containers/{container}/kill", params={"signal": "KILL"}, absent=True)

    async def remove(self, container: str) -> None:
        params = {"force": "true", "v": "true", "timeout": "0"}
        await self._call("DELETE", f"/containers/{container}", params=params, timeout_s=START_S, absent=True)

    async def unpause(self, container: str) -> None:
        await self._call("POST", f"/containers/{container}/unpause", absent=True)

    async def rename(self, container: str, name: str) -> None:
        await self._call("POST", f"/containers/{container}/rename", params={"name": name}, absent=True)

    async def execute(self, container: str, argv: tuple[str, ...], timeout_s: float) -> tuple[int, str]:
        """Run a command inside: its exit code (124 when the time was up) and the last of its output."""
        body = {"Cmd": list(argv), "AttachStdout": True, "AttachStderr": True}
        made = await self._call("POST", f"/containers/{container}/exec", body=body)
        try:
            async with asyncio.timeout(timeout_s):
                raw = await self._raw("POST", f"/exec/{made['Id']}/start", {"Detach": False, "Tty": False})
        except TimeoutError:
            return 124, f"no answer within {timeout_s:g} s"
        state = await self._call("GET", f"/exec/{made['Id']}/json")
        return int(state.get("ExitCode") or 0), b"".join(_frames(raw)).decode(errors="replace")[-500:].strip()

    async def tail(self, container: str, lines: int) -> tuple[str, ...]:
        """The last log lines, oldest first; empty when the container is gone."""
        params = f"?stdout=true&stderr=true&follow=false&tail={lines}"
        try:
            async with asyncio.timeout(CALL_S):
                raw = await self._raw("GET", f"/containers/{container}/logs{params}", None)
        except (EngineError, TimeoutError):
            return ()
        return tuple(b"".join(_frames(raw)).decode(errors="replace").splitlines()[-lines:])

    async def logs(self, container: str, tail: int, follow: bool) -> AsyncIterator[bytes]:
        """Output as it comes. Ends with the container. Raises EngineError."""
        params = {"stdout": "true", "stderr": "true", "follow": str(follow).lower()}
        if tail >= 0:
            params["tail"] = str(tail)
        try:
            async with self._open().get(f"{BASE}/containers/{container}/logs", params=params) as response:
                if response.status >= 400:
                    raise EngineError(response.status, await _message(response))
                async for frame in _stream_frames(response.content):
                    yield frame
        except aiohttp.ClientError as error:
            raise EngineDown(0, f"Podman's service does not answer: {error}") from error

    async def events(self, label: str) -> AsyncIterator[ContainerEvent | None]:
        """None once the stream is open, then what happens to containers with this label. Raises EngineDown when it
        breaks. Never with `since`: Podman 4.3 then goes deaf when its event file is rotated (libpod/events/logfile.go,
        getTail: no reopening when it reads from the start); so look around once it is open."""
        params = {"stream": "true", "filters": json.dumps({"label": [label], "type": ["container"]})}
        try:
            async with self._open().get(f"{BASE}/events", params=params) as response:
                yield None
                async for line in response.content:
                    if line.strip():
                        yield _event(json.loads(line))
        except (aiohttp.ClientError, ValueError) as error:
            raise EngineDown(0, f"Podman's event stream broke: {error}") from error
        raise EngineDown(0, "Podman's event stream ended")

    # --- pods: containers that share an address

    async def make_pod(self, spec: Mapping[str, Any]) -> str:
        body = await self._call("POST", "/pods/create", body=spec, timeout_s=START_S)
        return str(body["Id"])

    async def start_pod(self, pod: str) -> str:
        """Start it; the id of the container that holds its address."""
        body = await self._call("GET", f"/pods/{pod}/json")
        infra = str(body["InfraContainerID"])
        await self.start(infra)
        return infra

    async def remove_pod(self, pod: str) -> None:
        await self._call("DELETE", f"/pods/{pod}", params={"force": "true"}, timeout_s=START_S, absent=True)

    # --- images

    async def image(self, reference: str) -> tuple[str, str] | None:
        """(image id, its user) of a local image, or None."""
        body = await self._call("GET", f"/images/{quote(reference, safe='')}/json", absent=True)
        return None if body is None else (str(body["Id"]), str(body.get("User") or ""))

    async def pull(self, reference: str, *, tls_verify: bool) -> str:
        """Pull; the image's id. Raises EngineError with the registry's words."""
        params = {"reference": reference, "tlsVerify": str(tls_verify).lower(), "quiet": "true"}
        try:
            async with asyncio.timeout(PULL_S):
                async with self._open().post(f"{BASE}/images/pull", params=params) as response:
                    text = await response.text()
        except (aiohttp.ClientError, OSError) as error:
            raise EngineDown(0, f"Podman's service does not answer: {error}") from error
        except TimeoutError as error:
            raise EngineError(0, f"no end after {PULL_S:g} s") from error
        reports = [json.loads(line) for line in text.splitlines() if line.strip().startswith("{")]
        wrong = next((str(r.get("error") or r.get("message")) for r in reports if r.get("error") or r.get("cause")), "")
        if response.status >= 400 or wrong:
            raise EngineError(response.status, wrong or text.strip()[:300])
        return str(next((r["id"] for r in reports if r.get("id")), ""))

    # --- the wire

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise EngineDown(0, "the client is closed")
        return self._session

    async def _call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: object = None,
        timeout_s: float = CALL_S,
        absent: bool = False,
    ) -> Any:
        """One call, its JSON answer. With `absent`, what is not there is None instead of an error."""
        try:
            async with asyncio.timeout(timeout_s):
                async with self._open().request(method, BASE + path, params=params, json=body) as response:
                    if response.status >= 400:
                        said = await _message(response)
                        if absent and (response.status == 404 or "no such " in said):
                            return None
                        raise EngineError(response.status, said)
                    data = await response.read()
        except (aiohttp.ClientError, OSError) as error:
            raise EngineDown(0, f"Podman's service does not answer: {error}") from error
        except TimeoutError as error:
            raise EngineError(0, f"Podman did not answer {method} {path} within {timeout_s:g} s") from error
        return json.loads(data) if data[:1] in (b"{", b"[") else None

    async def _raw(self, method: str, path: str, body: object) -> bytes:
        try:
            async with self._open().request(method, BASE + path, json=body) as response:
                if response.status >= 400:
                    raise EngineError(response.status, await _message(response))
                return await response.read()
        except aiohttp.ClientError as error:
            raise EngineDown(0, f"Podman's service does not answer: {error}") from error


async def _message(response: aiohttp.ClientResponse) -> str:
    text = await response.text()
    try:
        body = json.loads(text)
    except ValueError:
        return text.strip()[:500]
    return str(body.get("cause") or "") if not body.get("message") else str(body["message"])


def _event(body: Mapping[str, Any]) -> ContainerEvent:
    attributes = dict(body["Actor"]["Attributes"])
    code = attributes.pop("containerExitCode", "0")
    return ContainerEvent(
        str(body["Action"]), str(body["Actor"]["ID"]), attributes.get("name", ""), int(code), attributes
    )


def _frames(raw: bytes) -> list[bytes]:
    """The payloads of a multiplexed stream (an 8-byte header before each); a plain stream is one payload."""
    out, at = [], 0
    while at + 8 <= len(raw) and raw[at] in (0, 1, 2) and raw[at + 1 : at + 4] == b"\0\0\0":
        size = int.from_bytes(raw[at + 4 : at + 8], "big")
        out.append(raw[at + 8 : at + 8 + size])
        at += 8 + size
    return out if at else [raw]


async def _stream_frames(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    while True:
        try:
            header = await content.readexactly(8)
            yield await content.readexactly(int.from_bytes(header[4:8], "big"))
        except asyncio.IncompleteReadError as end:
            if end.partial:
                yield end.partial
            return


class PodmanService:
    """`podman system service` as a process of its own: it outlives the agent, and the agent starts it again."""

    def __init__(self, layout: Layout, podman: Podman) -> None:
        self._layout, self._podman = layout, podman
        self._lock = asyncio.Lock()
        self.starts = 0  # by this agent

    async def ensure(self) -> None:
        """Return once it answers. Raises EngineDown."""
        async with self._lock:
            if await self._podman.ping():
                return
            await asyncio.to_thread(self._prepare)
            await self._spawn()
            async with asyncio.timeout(SERVICE_START_S):
                while not await self._podman.ping():  # noqa: ASYNC110 - another process's socket has no event
                    await asyncio.sleep(0.05)

    async def stop(self) -> None:
        """End the service; containers go on."""
        pid = await asyncio.to_thread(self._pid)
        if pid:
            os.kill(pid, signal.SIGTERM)

    def _pid(self) -> int:
        """The service's process, if that is still the one we started; 0 otherwise."""
        try:
            pid = int((Path(self._layout.agent) / "podman.pid").read_text())
            words = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError):
            return 0
        return pid if self._layout.podman_socket.encode() in words else 0

    def _prepare(self) -> None:
        conf = Path(self._layout.containers_conf)
        if not conf.exists() or conf.read_text() != CONTAINERS_CONF:
            conf.write_text(CONTAINERS_CONF)
        Path(self._layout.podman_socket).unlink(missing_ok=True)

    async def _spawn(self) -> None:
        self.starts += 1
        log = os.open(f"{self._layout.agent}/podman.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            process = await asyncio.create_subprocess_exec(
                *("podman", "system", "service", "--time", "0", f"unix://{self._layout.podman_socket}"),
                env={**os.environ, "CONTAINERS_CONF": self._layout.containers_conf},
                cwd=self._layout.agent,  # conmon leaves a file "oom" where Podman was started
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        except OSError as error:
            raise EngineDown(0, f"podman could not be started ({error}); try: apt-get install podman") from error
        finally:
            os.close(log)
        await asyncio.to_thread((Path(self._layout.agent) / "podman.pid").write_text, str(process.pid))
