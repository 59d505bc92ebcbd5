"""Runs each job in a container of its own, over the Podman command line. Podman's socket is never inside.

Source: podman-run(1), podman-exec(1) of Podman 4.3.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from trueup.core.layout import LABEL_ROLE, LABEL_RUN, LABEL_STATE
from trueup.drivers.executors.launch import Ended, admin, end, script, stream, write_new
from trueup.ports import Output, SandboxDown, SandboxRequest

WORKSPACE, TEMP, COMMANDS, CONTROL = "/workspace", "/runner/temp", "/runner/commands", "/runner/control"
SHIMS, CACHE, BROKER, CA, TOOLS = (
    "/opt/trueup/shims",
    "/cache",
    "/run/trueup/broker.sock",
    "/etc/trueup/ca.crt",
    "/opt/tools",
)
CA_VARIABLES = (
    "SSL_CERT_FILE",
    "PIP_CERT",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "NODE_EXTRA_CA_CERTS",
    "AWS_CA_BUNDLE",
)
TIMED_OUT = 124
SWEPT = "job:"  # what a line about a container begins with; Podman's warnings stand between them
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Settings(Struct, frozen=True, kw_only=True):
    """What the machine gives every job."""

    state: str  # Layout.id
    containers_conf: Path
    shims: Path
    ca_bundle: Path | None = None
    env: tuple[tuple[str, str], ...] = ()  # proxies, pip's settings
    mounts: tuple[tuple[Path, str], ...] = ()  # more folders, read-only
    tools: Path | None = None  # a tool cache (Python/3.12.1/x64/bin/python3), read-only
    network: str = ""  # "" Podman's default
    podman: str = "podman"


class Containers:
    """Implements ports.Executor. `runner` gives the local name of the runner image, `base` that of any other."""

    name = "container"

    def __init__(
        self,
        settings: Settings,
        runner: Callable[[], Awaitable[str]],
        base: Callable[[str], Awaitable[str]] | None = None,
    ) -> None:
        self._settings = settings
        self._runner = runner
        self._base = base
        self._cwd = str(settings.containers_conf.parent)  # conmon leaves a file "oom" where Podman was started
        self._environment = {
            "PATH": os.defpath + ":/usr/sbin:/sbin:/usr/local/bin",
            "HOME": "/root",
            "CONTAINERS_CONF": str(settings.containers_conf),
        }

    def inside(self, workspace: Path) -> str:
        return WORKSPACE

    async def open(self, request: SandboxRequest) -> ContainerSandbox:
        """Start the job's container. Raises SandboxDown."""
        image = await self._image(request.image)
        name = _container_name(self._settings.state, request)
        await self.podman("rm", "-f", "-t", "0", "-i", name)
        ended = await self.podman("run", *self._arguments(name, request), image, "-f", "/dev/null")
        if ended.code:
            await self.podman("rm", "-f", "-t", "0", "-i", name)
            raise SandboxDown(f"podman could not start the job's container: {_last(ended.said)}: run `trueup doctor`")
        return ContainerSandbox(self, name, request, await self._path(name), self._variables())

    async def sweep(self, keep_runs: Sequence[str]) -> None:
        filters = ("--filter", f"label={LABEL_STATE}={self._settings.state}", "--filter", f"label={LABEL_ROLE}=job")
        shape = f'{SWEPT}{{{{.ID}}}} {{{{index .Labels "{LABEL_RUN}"}}}}'
        listed = await self.podman("ps", "-a", "--format", shape, *filters)
        if listed.code:
            raise SandboxDown(f"podman could not list containers: {_last(listed.said)}: run `trueup doctor`")
        for id, run in swept(listed.said):
            if run not in keep_runs:
                await self.podman("rm", "-f", "-t", "0", "-i", id)

    async def podman(self, *args: str, timeout_s: float = 120.0) -> Ended:
        return await admin((self._settings.podman, *args), self._environment, timeout_s, self._cwd)

    async def spawn(self, *args: str) -> asyncio.subprocess.Process:
        try:
            return await asyncio.create_subprocess_exec(
                self._settings.podman,
                *args,
                env=self._environment,
                cwd=self._cwd,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise SandboxDown(f"cannot start podman: {error.strerror}: run `trueup doctor`") from error

    async def _image(self, asked: str) -> str:
        if not asked:
            return await self._runner()
        return await self._base(asked) if self._base else asked

    async def _path(self, name: str) -> str:
        ended = await self.podman("exec", name, "printenv", "PATH")
        return DEFAULT_PATH if ended.code else ended.said

    def _variables(self) -> dict[str, str]:
        found = dict(self._settings.env)
        if self._settings.ca_bundle:
            found.update(dict.fromkeys(CA_VARIABLES, CA))
        return found

    def _arguments(self, name: str, request: SandboxRequest) -> list[str]:
        settings = self._settings
        memory = str(request.memory_bytes)
        args = ["-d", "--init", "--name", name, "--hostname", "runner", "--user", "0:0", "--workdir", WORKSPACE]
        args += ["--label", f"{LABEL_STATE}={settings.state}", "--label", f"{LABEL_ROLE}=job"]
        args += ["--label", f"{LABEL_RUN}={request.run}", "--security-opt", "no-new-privileges"]
        args += ["--memory", memory, "--memory-swap", memory, "--pids-limit", str(request.processes)]
        args += ["--cpus", f"{request.cpus:g}", "--log-driver", "none", "--entrypoint", "tail"]
        args += ["--pull", "missing" if request.image else "never"]
        args += ["--network", settings.network] if settings.network else []
        for host, inside, mode in self._volumes(request):
            args += ["--volume", f"{host}:{inside}:{mode}"]
        return args

    def _volumes(self, request: SandboxRequest) -> list[tuple[Path, str, str]]:
        found: list[tuple[Path, str, str]] = [(host, inside, mode) for host, inside, mode in folders(request)]
        found.append((self._settings.shims, SHIMS, "ro"))
        found += [(host, inside, "ro") for host, inside in self._settings.mounts]
        if self._settings.ca_bundle:
            found.append((self._settings.ca_bundle, CA, "ro"))
        if self._settings.tools:
            found.append((self._settings.tools, TOOLS, "ro"))
        if request.broker:
            found.append((request.broker, BROKER, "rw"))
        return found


def folders(request: SandboxRequest) -> list[tuple[Path, str, str]]:
    """The request's own folders: on the host, inside, how."""
    every = [
        (request.workspace, WORKSPACE, "rw"),
        (request.temp, TEMP, "rw"),
        (request.commands, COMMANDS, "rw"),
        (request.control, CONTROL, "ro"),
        (request.cache, CACHE, "rw"),
    ]
    return [(host, inside, mode) for host, inside, mode in every if host is not None]


class ContainerSandbox:
    """One job's container. Implements ports.Sandbox."""

    def __init__(
        self, executor: Containers, name: str, request: SandboxRequest, path: str, variables: Mapping[str, str]
    ) -> None:
        self.workspace = request.workspace
        self.inside = WORKSPACE
        self.path = (SHIMS, *path.split(":"))
        self.name = name
        self._executor = executor
        self._request = request
        self._variables = {
            **variables,
            "HOME": "/root",
            "TRUEUP_BROKER": BROKER,
            "PIP_CACHE_DIR": f"{CACHE}/pip",
            **dict(request.env),
        }
        self._started = 0

    def see(self, path: Path) -> str:
        for host, inside, _ in folders(self._request):
            if path == host or path.is_relative_to(host):
                return str(Path(inside) / path.relative_to(host))
        raise ValueError(f"{path} is not visible in the sandbox")

    async def own(self, path: Path) -> None:
        """Nothing to do: steps are root in the container and on its folders."""

    async def run(
        self, argv: Sequence[str], *, env: Mapping[str, str], cwd: str, output: Output, timeout_s: float
    ) -> int:
        code = await self._attempt(argv, env, cwd, output, timeout_s)
        if code is None:
            output(b"trueup: the job's container could not start another process; what it ran is ended\n")
            await self._restart()
            code = await self._attempt(argv, env, cwd, output, timeout_s)
        if code is None:
            raise SandboxDown("podman could not start a step in the job's container: run `trueup doctor`")
        return code

    async def _attempt(
        self, argv: Sequence[str], env: Mapping[str, str], cwd: str, output: Output, timeout_s: float
    ) -> int | None:
        """The exit code, or None when the step did not begin."""
        request = self._request
        if request.control is None or request.commands is None:
            raise ValueError("a container sandbox needs the folders control and commands")
        self._started += 1
        life = request.commands / f"started-{self._started}"
        text = script(argv, {"PATH": ":".join(self.path), **self._variables, **env}, cwd, self.see(life))
        launcher = write_new(request.control, f"launch-{self._started}.sh", text, 0o600)
        process = await self._executor.spawn("exec", self.name, "/bin/sh", self.see(launcher))
        try:
            code = await asyncio.wait_for(stream(process, output), timeout_s)
        except TimeoutError:
            await self._stopped(process, self._restart())
            return TIMED_OUT
        except asyncio.CancelledError:
            await asyncio.shield(self._stopped(process, self._kill()))
            raise
        finally:
            launcher.unlink(missing_ok=True)
        began = _is_file(life)
        return code if began or code == 0 else None

    async def _stopped(self, process: asyncio.subprocess.Process, how: Awaitable[None]) -> None:
        await how
        await end(process)

    async def _kill(self) -> None:
        with contextlib.suppress(SandboxDown):
            await self._executor.podman("kill", self.name)

    async def _restart(self) -> None:
        """End every process of the job, however many there are; its files stay."""
        await self._executor.podman("kill", self.name)
        await self._executor.podman("wait", self.name, timeout_s=30)
        started = await self._executor.podman("start", self.name)
        if started.code:
            raise SandboxDown(
                f"podman could not start the job's container again: {_last(started.said)}: run `trueup doctor`"
            )

    async def close(self) -> None:
        """Remove the container and everything in it."""
        await asyncio.shield(self._executor.podman("rm", "-f", "-t", "0", "-i", self.name))


def _container_name(state: str, request: SandboxRequest) -> str:
    digest = hashlib.sha256(f"{request.run}\0{request.job}".encode()).hexdigest()[:16]
    return f"trueup-{state}-job-{digest}"


def _is_file(path: Path) -> bool:
    return os.path.lexists(path)


def swept(said: str) -> list[tuple[str, str]]:
    """(container, run) of each line of ours, whatever Podman warns of beside them."""
    lines = (line.removeprefix(SWEPT).partition(" ") for line in said.splitlines() if line.startswith(SWEPT))
    return [(id, run.strip()) for id, _, run in lines]


def _last(text: str) -> str:
    return text.strip().splitlines()[-1][:300] if text.strip() else "no reason given"
