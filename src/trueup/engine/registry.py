"""The embedded registry: Debian's docker-registry on loopback, a process of its own that outlives `trueup up`.

It holds what Trueup built under the name each image has elsewhere (`core.reference.mirror_name`), so that a
rollback needs nothing from outside. It asks no password and listens on loopback only; what runs is pinned by digest,
so a stranger on this machine who moves a tag changes nothing. Never touches a registry that it did not start.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import random
import secrets
import shutil
import signal
import socket
from collections.abc import AsyncIterator, Collection
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import msgspec
from msgspec import Struct

from trueup.core.layout import Layout
from trueup.ports import BuilderDown

PROGRAM = "docker-registry"
HOST = "127.0.0.1"
PORTS = range(20000, 30000)
START_S = 15.0
STOP_S = 10.0
ASK_S = 5.0
COLLECT_S = 600.0

_CONFIG = """\
version: 0.1
log:
  level: warn
  accesslog:
    disabled: true
storage:
  filesystem:
    rootdirectory: {data}
  delete:
    enabled: true
  maintenance:
    readonly:
      enabled: {readonly}
http:
  addr: {address}
  headers:
    X-Content-Type-Options: [nosniff]
"""


class RegistryDown(BuilderDown):
    """The embedded registry does not start or answer; the message says why and what to try."""


class Stored(Struct, frozen=True):
    """One manifest that the registry holds."""

    repository: str  # the mirror path: "ghcr.io/acme/app"
    digest: str
    tags: tuple[str, ...]
    time: datetime  # when it was last pushed


class _Part(Struct, frozen=True):
    digest: str
    size: int


class _Manifest(Struct, frozen=True):
    """Source: OCI image specification 1.1, "Image Manifest Specification"."""

    config: _Part | None = None
    layers: tuple[_Part, ...] = ()


class Registry:
    """Start, find again, stop and clean the registry of one state folder."""

    def __init__(self, layout: Layout, program: str = PROGRAM) -> None:
        self._folder = Path(layout.registry)
        self._program = program
        self._writers = 0
        self._changed = asyncio.Condition()
        self._closed = False

    # --- life ------------------------------------------------------------------------------------

    async def start(self) -> str:
        """Answer "127.0.0.1:port" of the running registry; start it when it is not. Raises RegistryDown."""
        self._folder.mkdir(parents=True, exist_ok=True)
        async with _locked(self._folder / "lock"):
            address = self._address()
            if address and self._pid() and await _answers(address):
                return address
            await self._end()
            return await self._begin(readonly=False)

    async def address(self) -> str | None:
        """The address of the registry when it runs and answers."""
        address = self._address()
        return address if address and self._pid() and await _answers(address) else None

    def known_address(self) -> str | None:
        """Where it was last seen running, without asking it."""
        return self._address() if self._pid() else None

    def addresses(self) -> tuple[str, ...]:
        """Every address it ever had, newest last: images carry the one of their day in their names."""
        try:
            ports = (self._folder / "ports").read_text().split()
        except OSError:
            ports = []
        last = self._address()
        return tuple(dict.fromkeys([*(f"{HOST}:{port}" for port in ports), *([last] if last else [])]))

    async def stop(self) -> None:
        """End the process; what it holds stays on disk."""
        if self._folder.is_dir():
            async with _locked(self._folder / "lock"):
                await self._end()

    def pid(self) -> int | None:
        """The process id of the running registry, for measuring."""
        return self._pid()

    def _address(self) -> str | None:
        port = _read_number(self._folder / "port")
        return f"{HOST}:{port}" if port else None

    def _pid(self) -> int | None:
        """Its process id, if that process is still the one we started (ids are used again after a reboot)."""
        pid = _read_number(self._folder / "pid")
        return pid if pid and _is_ours(pid, self._config) else None

    @property
    def _config(self) -> Path:
        return self._folder / "config.yml"

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    async def _begin(self, *, readonly: bool) -> str:
        if shutil.which(self._program) is None:
            raise RegistryDown(f"{self._program} is not installed: apt-get install docker-registry")
        port = _free_port(_read_number(self._folder / "port"))
        address = f"{HOST}:{port}"
        try:
            self._data.mkdir(parents=True, exist_ok=True)
            _write(self._config, self._configuration(address, readonly))
            self._remember(port)
            pid = await self._spawn()
            _write(self._folder / "pid", str(pid))
        except OSError as e:
            raise RegistryDown(f"the registry in {self._folder} cannot be written: {e.strerror or e}") from e
        deadline = asyncio.get_running_loop().time() + START_S
        while asyncio.get_running_loop().time() < deadline:
            if await _answers(address):
                return address
            if not _runs(pid):
                break
            await asyncio.sleep(0.02)
        raise RegistryDown(f"the registry did not start on {address}: {self._last_words()}")

    def _remember(self, port: int) -> None:
        known = [address.rpartition(":")[2] for address in self.addresses()]
        _write(self._folder / "ports", "".join(f"{each}\n" for each in dict.fromkeys([*known, str(port)])))
        _write(self._folder / "port", str(port))

    def _configuration(self, address: str, readonly: bool) -> str:
        secret = self._folder / "secret"
        if not secret.exists():
            _write(secret, secrets.token_hex(32))
        text = _CONFIG.format(data=self._data, readonly=str(readonly).lower(), address=address)
        return text + f"  secret: {secret.read_text()}\n"

    async def _spawn(self) -> int:
        """Start it as nobody's child, so that it outlives us without a word; its process id."""
        shell = await asyncio.create_subprocess_exec(
            "/bin/sh",
            "-c",
            '"$1" serve "$2" </dev/null >>"$3" 2>&1 & echo $!',
            "sh",
            self._program,
            str(self._config),
            str(self._folder / "registry.log"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
            cwd="/",
            env={"PATH": os.defpath, "HOME": str(self._folder), "OTEL_TRACES_EXPORTER": "none"},
        )
        said, _ = await asyncio.wait_for(shell.communicate(), START_S)
        return int(said)

    async def _end(self) -> None:
        """Stop what serves this folder, also a process whose id was lost with a folder that was wiped."""
        for pid in await asyncio.to_thread(_serving, self._config):
            await _stop_process(pid, self._config)
        with contextlib.suppress(FileNotFoundError):
            (self._folder / "pid").unlink()

    def _last_words(self) -> str:
        try:
            lines = (self._folder / "registry.log").read_text(errors="replace").splitlines()
        except OSError:
            return "it left no log"
        return lines[-1][:300] if lines else "it said nothing"

    # --- what it holds ---------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def writing(self) -> AsyncIterator[str]:
        """Hold while pushing: cleaning waits until nobody pushes, and nobody pushes while it cleans."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self._closed)
            self._writers += 1
        try:
            yield await self.start()
        finally:
            async with self._changed:
                self._writers -= 1
                self._changed.notify_all()

    def stored(self) -> tuple[Stored, ...]:
        """Every manifest on disk, by repository and digest."""
        root = self._data / "docker/registry/v2/repositories"
        found: list[Stored] = []
        for manifests in sorted(root.rglob("_manifests")):
            repository = str(manifests.parent.relative_to(root))
            tags = _tags(manifests)
            for link in sorted(manifests.glob("revisions/sha256/*/link")):
                digest = link.read_text().strip()
                time = datetime.fromtimestamp(link.stat().st_mtime, UTC)
                found.append(Stored(repository, digest, tags.get(digest, ()), time))
        return tuple(found)

    def blobs(self, digest: str) -> dict[str, int]:
        """Blob → bytes of everything that a manifest needs, itself included; empty when it cannot be read."""
        try:
            data = self._blob(digest).read_bytes()
            manifest = msgspec.json.decode(data, type=_Manifest)
        except (OSError, msgspec.MsgspecError):
            return {}
        parts = [*manifest.layers, *([manifest.config] if manifest.config else [])]
        return {digest: len(data), **{part.digest: part.size for part in parts}}

    def _blob(self, digest: str) -> Path:
        algorithm, _, name = digest.partition(":")
        return self._data / "docker/registry/v2/blobs" / algorithm / name[:2] / name / "data"

    def size_bytes(self) -> int:
        """Bytes that blobs take on disk."""
        return sum(file.stat().st_size for file in (self._data / "docker/registry/v2/blobs").rglob("data"))

    async def collect(self, drop: Collection[tuple[str, str]]) -> int:
        """Remove these (repository, digest) and the blobs that nothing else needs; the bytes won.

        Pulls go on but for two short restarts: blobs are removed while the registry is read-only, since a push in
        between could lose a layer. Source: docker-registry documentation, "Garbage collection", 2.8.
        Raises RegistryDown."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self._closed and self._writers == 0)
            self._closed = True
        try:
            address = await self.start()
            for repository, digest in drop:
                await _delete(address, repository, digest)
            return await self._sweep()
        finally:
            async with self._changed:
                self._closed = False
                self._changed.notify_all()

    async def _sweep(self) -> int:
        before = self.size_bytes()
        async with _locked(self._folder / "lock"):
            await self._end()
            await self._begin(readonly=True)
            try:
                if (self._data / "docker/registry/v2/repositories").is_dir():
                    await self._garbage_collect()
            finally:
                await self._end()
                await self._begin(readonly=False)
        return max(0, before - self.size_bytes())

    async def _garbage_collect(self) -> None:
        process = await asyncio.create_subprocess_exec(
            self._program,
            "garbage-collect",
            str(self._config),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            said, _ = await asyncio.wait_for(process.communicate(), COLLECT_S)
        except BaseException:
            process.kill()
            await process.wait()
            raise
        if process.returncode:
            last = said.decode(errors="replace").strip().splitlines()[-1:] or ["no message"]
            raise RegistryDown(f"the registry's garbage collection failed: {last[0][:300]}")


def _tags(manifests: Path) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for link in sorted(manifests.glob("tags/*/current/link")):
        digest = link.read_text().strip()
        found[digest] = (*found.get(digest, ()), link.parent.parent.name)
    return found


async def _answers(address: str) -> bool:
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ASK_S)) as http:
            async with http.get(f"http://{address}/v2/") as answer:
                return answer.status == 200
    except (aiohttp.ClientError, TimeoutError, OSError):
        return False


async def _delete(address: str, repository: str, digest: str) -> None:
    url = f"http://{address}/v2/{repository}/manifests/{digest}"
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ASK_S)) as http:
            async with http.delete(url) as answer:
                if answer.status not in (202, 404):
                    raise RegistryDown(f"the registry kept {repository}@{digest}: HTTP {answer.status}")
    except (aiohttp.ClientError, TimeoutError, OSError) as e:
        raise RegistryDown(f"the registry did not answer while removing {repository}: {e or 'time was up'}") from e


@contextlib.asynccontextmanager
async def _locked(path: Path) -> AsyncIterator[None]:
    """One starter at a time, across tasks and processes. Raises RegistryDown when another holds on for too long."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        deadline = asyncio.get_running_loop().time() + COLLECT_S
        while not _lock(file):
            if asyncio.get_running_loop().time() > deadline:
                raise RegistryDown(f"another process holds {path}: see `fuser {path}`")
            await asyncio.sleep(0.02)
        yield
    finally:
        os.close(file)


def _lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _runs(pid: int) -> bool:
    """Whether the process lives; a zombie does not (it has no command line)."""
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except OSError:
        return False


async def _stop_process(pid: int, config: Path) -> None:
    loop = asyncio.get_running_loop()
    for number, patience_s in ((signal.SIGTERM, STOP_S), (signal.SIGKILL, STOP_S)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        deadline = loop.time() + patience_s
        while loop.time() < deadline:
            if not _is_ours(pid, config):
                return
            await asyncio.sleep(0.02)
    raise RegistryDown(f"the registry (process {pid}) does not end: kill -9 {pid}")


def _serving(config: Path) -> list[int]:
    return [int(path.name) for path in Path("/proc").glob("[0-9]*") if _is_ours(int(path.name), config)]


def _is_ours(pid: int, config: Path) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return str(config).encode() in words  # a zombie's is empty


def _free_port(wanted: int | None) -> int:
    """The wanted one, else one below the range that outgoing connections take theirs from, so that none of them is in
    the way when the registry starts again. Source: Linux, ip-sysctl, ip_local_port_range (from 32768 by default)."""
    below = random.Random().sample(PORTS, 20)
    for port in (*([wanted] if wanted else []), *below, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise RegistryDown(f"no free port on {HOST}")


def _read_number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _write(path: Path, text: str) -> None:
    new = path.with_name(path.name + ".new")
    new.write_text(text)
    new.replace(path)
