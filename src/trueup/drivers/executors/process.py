"""Runs each job as processes under a uid of its own: no container, no rights, no way to Trueup's state folder.

Every job holds one uid of a range while it runs; ending a job ends every process of that uid.
Source: setpriv(1), prlimit(1), kill(2) with pid -1.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from trueup.drivers.executors.launch import CHUNK, admin, end, script, write_new
from trueup.ports import Output, SandboxDown, SandboxRequest

TIMED_OUT = 124
FILE_BYTES = 8 << 30
AFTERGLOW_S = 0.5  # for output still in the pipe when the step has ended and something of it has not
TOOL_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ENVIRONMENT = {"PATH": TOOL_PATH, "LC_ALL": "C"}


class Settings(Struct, frozen=True, kw_only=True):
    """What the machine gives every job. Workspaces must be reachable by other uids.

    `locks` says which uids are in use; it is one folder for the whole machine, whatever state folder a job is of."""

    shims: Path
    locks: Path = Path("/run/trueup-uids")
    env: tuple[tuple[str, str], ...] = ()
    path: str = TOOL_PATH
    first_uid: int = 61000
    uids: int = 64
    ca_bundle: Path | None = None


class Processes:
    """Implements ports.Executor."""

    name = "process"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def inside(self, workspace: Path) -> str:
        return str(workspace)

    async def open(self, request: SandboxRequest) -> ProcessSandbox:
        """Take a free uid and hand the job's folders to it. Raises SandboxDown."""
        if os.geteuid() != 0:
            raise SandboxDown("the process executor needs root to change to another uid: use the container executor")
        uid, lock = self._take()
        sandbox = ProcessSandbox(self._settings, request, uid, lock)
        try:
            await sandbox.kill_all()  # what a killed Trueup left under this uid
            await sandbox.prepare()
        except BaseException:
            os.close(lock)
            raise
        return sandbox

    async def sweep(self, keep_runs: Sequence[str]) -> None:
        """End every process of a uid that no job holds. Without root there is none."""
        if os.geteuid() != 0:
            return
        for uid in range(self._settings.first_uid, self._settings.first_uid + self._settings.uids):
            if (lock := self._lock(uid)) is not None:
                try:
                    if _lives(uid):
                        await kill_uid(uid)
                finally:
                    os.close(lock)

    def _take(self) -> tuple[int, int]:
        for uid in range(self._settings.first_uid, self._settings.first_uid + self._settings.uids):
            if (lock := self._lock(uid)) is not None:
                return uid, lock
        raise SandboxDown(f"all {self._settings.uids} uids of the process executor are in use: wait for a job to end")

    def _lock(self, uid: int) -> int | None:
        """An open file that holds the uid for us on this machine, or None while another job has it."""
        self._settings.locks.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(self._settings.locks / f"uid-{uid}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return None
        return file


class ProcessSandbox:
    """One job's uid. Implements ports.Sandbox."""

    def __init__(self, settings: Settings, request: SandboxRequest, uid: int, lock: int) -> None:
        self.workspace = request.workspace
        self.inside = str(request.workspace)
        self.path = (str(settings.shims), *settings.path.split(":"))
        self.uid = uid
        self._lock = lock
        self._settings = settings
        self._request = request
        self._started = 0

    def see(self, path: Path) -> str:
        return str(path)

    async def own(self, path: Path) -> None:
        await asyncio.to_thread(_chown_tree, path, self.uid)

    async def prepare(self) -> None:
        request = self._request
        if request.temp is not None:
            (request.temp / "home").mkdir(exist_ok=True)
        for folder in (request.workspace, request.temp, request.commands, request.cache):
            if folder is not None:
                folder.chmod(0o700)
                await self.own(folder)
        if request.control is not None:  # scripts may hold secrets: other jobs' uids must not read them
            os.chown(request.control, 0, self.uid)
            request.control.chmod(0o750)
        reach = await admin((*self._as_job(), "test", "-x", str(request.workspace)), _ENVIRONMENT)
        if reach.code:
            raise SandboxDown(
                f"uid {self.uid} cannot reach {request.workspace}: keep workspaces outside of folders with mode 0700"
            )

    def _as_job(self) -> tuple[str, ...]:
        uid = str(self.uid)
        rights = ("--no-new-privs", "--inh-caps=-all", "--bounding-set=-all")
        return ("setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", *rights, "--")

    def _limited(self) -> tuple[str, ...]:
        request = self._request
        limits = (f"--nproc={request.processes}", f"--as={request.memory_bytes}", f"--fsize={FILE_BYTES}", "--core=0")
        return ("prlimit", *limits, "--", *self._as_job())

    def _variables(self) -> dict[str, str]:
        request = self._request
        found = {"PATH": ":".join(self.path), "USER": "runner", "LOGNAME": "runner", "LANG": "C.UTF-8"}
        if request.temp is not None:
            found |= {"HOME": str(request.temp / "home"), "TMPDIR": str(request.temp)}
        if request.cache is not None:
            found["PIP_CACHE_DIR"] = str(request.cache / "pip")
        if request.broker is not None:
            found["TRUEUP_BROKER"] = str(request.broker)
        return {**found, **dict(self._settings.env), **dict(request.env)}

    async def run(
        self, argv: Sequence[str], *, env: Mapping[str, str], cwd: str, output: Output, timeout_s: float
    ) -> int:
        request = self._request
        if request.control is None or request.commands is None:
            raise ValueError("a process sandbox needs the folders control and commands")
        self._started += 1
        life = request.commands / f"started-{self._started}"
        text = script(argv, {**self._variables(), **env}, cwd, str(life))
        launcher = write_new(request.control, f"launch-{self._started}.sh", text, 0o600)
        os.chown(launcher, self.uid, self.uid)
        process, reading = await self._spawn(launcher)
        try:
            return await asyncio.wait_for(self._streamed(process, reading, output), timeout_s)
        except TimeoutError:
            await self._stop(process)
            return TIMED_OUT
        except asyncio.CancelledError:
            await asyncio.shield(self._stop(process))
            raise
        finally:
            launcher.unlink(missing_ok=True)

    async def _spawn(self, launcher: Path) -> tuple[asyncio.subprocess.Process, int]:
        """The step and the end to read its output from: a pipe of ours, so that the step's end is seen by itself."""
        reading, writing = os.pipe()
        try:
            process = await asyncio.create_subprocess_exec(
                *self._limited(),
                "/bin/sh",
                str(launcher),
                env=_ENVIRONMENT,
                cwd="/",
                stdin=asyncio.subprocess.DEVNULL,
                stdout=writing,
                stderr=writing,
                start_new_session=True,
            )
        except OSError as error:
            os.close(reading)
            raise SandboxDown(
                f"cannot start a step: {error.strerror}: install util-linux (setpriv, prlimit)"
            ) from error
        finally:
            os.close(writing)
        return process, reading

    async def _streamed(self, process: asyncio.subprocess.Process, reading: int, output: Output) -> int:
        """Until the step's own process ends, even while what it left in the background holds the pipe."""
        loop, reader = asyncio.get_running_loop(), asyncio.StreamReader()
        file = os.fdopen(reading, "rb", 0)
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), file)
        copying = asyncio.ensure_future(_copy(reader, output))
        try:
            code = await process.wait()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(copying), AFTERGLOW_S)
            return code
        finally:
            copying.cancel()
            await asyncio.gather(copying, return_exceptions=True)
            transport.close()

    async def _stop(self, process: asyncio.subprocess.Process) -> None:
        await self.kill_all()
        await end(process)

    async def kill_all(self) -> None:
        await kill_uid(self.uid)

    async def close(self) -> None:
        """End every process of the job and give its uid back."""
        try:
            await asyncio.shield(self.kill_all())
        finally:
            os.close(self._lock)


async def _copy(reader: asyncio.StreamReader, output: Output) -> None:
    while data := await reader.read(CHUNK):
        output(data)
        await asyncio.sleep(0)  # a flood must not starve everything else


async def kill_uid(uid: int) -> None:
    """End every process of a uid at once, even of one that forks without end."""
    drop = (f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--")
    for _ in range(20):
        await admin(("setpriv", *drop, "sh", "-c", "kill -KILL -1"), _ENVIRONMENT)
        if not _lives(uid):
            return
    raise SandboxDown(f"processes of uid {uid} do not end: look at them with `ps -u {uid}`")


def _lives(uid: int) -> bool:
    """Whether any process but a zombie has this uid."""
    with os.scandir("/proc") as entries:
        return any(entry.name.isdigit() and _is_alive(entry.path, uid) for entry in entries)


def _is_alive(path: str, uid: int) -> bool:
    try:
        if os.stat(path).st_uid != uid:
            return False
        return Path(path, "stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (OSError, IndexError):
        return False  # it ended meanwhile


def _chown_tree(path: Path, uid: int) -> None:
    os.chown(path, uid, uid, follow_symlinks=False)
    for folder, folders, files, descriptor in os.fwalk(path, follow_symlinks=False):
        del folder
        for name in (*folders, *files):
            os.chown(name, uid, uid, dir_fd=descriptor, follow_symlinks=False)
