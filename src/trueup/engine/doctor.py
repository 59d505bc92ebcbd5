"""What is missing on this machine, and the command that mends it. Looks only: never installs, changes or prints."""

from __future__ import annotations

import asyncio
import enum
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path

import aiohttp
from msgspec import Struct

from trueup.agent.haproxy_process import too_long
from trueup.agent.network_run import Ran, run
from trueup.core.layout import CONTAINERS_CONF, Layout
from trueup.drivers.renderers.worker import Workers
from trueup.drivers.secrets.sops import Sops
from trueup.ports import NoKey, Refused, RendererDown, Source, SourceError

CHECK_S = 20.0
ROOM_BYTES = 5 << 30
ROOM_LOW_BYTES = 1 << 30
SKEW_S = 60.0
REGISTRY_S = 5.0


class State(enum.Enum):
    OK = "ok"
    NOTE = "note"  # different, and Trueup does without
    WARNING = "warning"  # works, but something will go wrong
    MISSING = "missing"  # does not work


class Check(Struct, frozen=True):
    """What one look found. `fix` is a command, or a sentence when no command can mend it; "" when all is well."""

    name: str
    state: State
    message: str
    fix: str = ""


class Tool(Struct, frozen=True):
    """A program Trueup runs. Versions are compared by their numbers."""

    name: str
    package: str
    version: tuple[str, ...]
    oldest: tuple[int, ...]
    why: str
    paths: tuple[str, ...] = ()  # where it may stand outside PATH


TOOLS = (
    Tool("git", "git", ("git", "--version"), (2, 30), "reads and writes repositories"),
    Tool("podman", "podman", ("podman", "--version"), (4, 3), "runs containers"),
    Tool("buildah", "buildah", ("buildah", "--version"), (1, 28), "builds images"),
    Tool("skopeo", "skopeo", ("skopeo", "--version"), (1, 9), "copies images between registries"),
    Tool("haproxy", "haproxy", ("haproxy", "-v"), (2, 6), "sends requests to ready replicas"),
    Tool("docker-registry", "docker-registry", ("docker-registry", "--version"), (), "keeps the images built here"),
    Tool(
        "mmdebstrap", "mmdebstrap", ("mmdebstrap", "--version"), (1, 3), "makes a base image when no registry answers"
    ),
    Tool("iptables", "iptables", ("iptables", "--version"), (1, 8), "lets containers reach the network"),
    Tool("ip", "iproute2", ("ip", "-V"), (), "sets up the bridge"),
    Tool("runc", "runc", ("runc", "--version"), (1, 0), "starts containers"),
    Tool(
        "catatonit",
        "catatonit",
        ("catatonit", "--version"),
        (),
        "ends what a pipeline's steps leave behind",
        ("/usr/libexec/podman/catatonit", "/usr/libexec/catatonit/catatonit"),
    ),
    Tool(
        "netavark",
        "netavark",
        ("netavark", "--version"),
        (1, 0),
        "plugs containers into the bridge",
        ("/usr/lib/podman/netavark", "/usr/libexec/podman/netavark"),
    ),
)


RENDERERS = {
    "sigs.k8s.io/kustomize/api": "Kustomize",
    "helm.sh/helm/v4": "Helm",
    "github.com/google/go-jsonnet": "Jsonnet",
}


class Host(Struct, frozen=True):
    """What `examine` looks at. `push` names the sources whose push rights are asked for, with their branch."""

    layout: Layout
    push: tuple[tuple[str, str, Source], ...] = ()  # name, branch, source
    ssh_hosts: tuple[str, ...] = ()  # "host" or "[host]:port" of ssh remotes, which known_hosts must name
    registry: str = ""  # host of the registry that base images come from; "" asks none
    proxy: str = ""  # URL of the way out, as HTTPS_PROXY names it
    known_hosts: tuple[str, ...] = ("/etc/ssh/ssh_known_hosts",)
    renderer: Path | None = None  # the render worker's program
    sops: Path | None = None  # what opens files that SOPS encrypted


Look = Callable[[Host], Awaitable[Check]]


async def examine(host: Host, *, only: Collection[str] = ()) -> tuple[Check, ...]:
    """Look at everything at once, in a stable order; what takes too long is a warning that says so. Never raises.

    `only` names the checks to make ("git", "disk", "push to app"); empty means all."""
    looks: dict[str, Callable[[], Awaitable[Check]]] = {name: partial(look, host) for name, look in LOOKS.items()}
    looks |= {tool.name: partial(_tool, tool) for tool in TOOLS}
    looks |= {f"push to {name}": partial(_push, name, branch, source) for name, branch, source in host.push}
    looks |= {f"known_hosts {ssh}": partial(_known, host, ssh) for ssh in host.ssh_hosts}
    chosen = {name: look for name, look in looks.items() if not only or name in only}
    return tuple(await asyncio.gather(*(_within(name, look()) for name, look in chosen.items())))


def missing_packages(which: Callable[[str], str | None] = shutil.which) -> tuple[str, ...]:
    """Debian's names of the packages whose programs are not here, as `apt-get install` takes them."""
    return tuple(tool.package for tool in TOOLS if _path(tool, which) is None)


def install_command(packages: Sequence[str]) -> str:
    return f"apt-get install -y --no-install-recommends {' '.join(packages)}"


async def _within(name: str, look: Awaitable[Check]) -> Check:
    try:
        async with asyncio.timeout(CHECK_S):
            return await look
    except TimeoutError:
        return Check(name, State.WARNING, f"no answer within {CHECK_S:g} s", "look at the machine's load, then again")
    except OSError as error:
        return Check(name, State.WARNING, f"could not be looked at: {error}", "run trueup doctor as root")


def _path(tool: Tool, which: Callable[[str], str | None] = shutil.which) -> str | None:
    beside = (path for path in tool.paths if os.access(path, os.X_OK))
    return which(tool.name) or which(f"/usr/sbin/{tool.name}") or next(beside, None)


async def _tool(tool: Tool) -> Check:
    path = _path(tool)
    fix = install_command([tool.package])
    if path is None:
        return Check(tool.name, State.MISSING, f"not installed; it {tool.why}", fix)
    got = await run([path, *tool.version[1:]], timeout_s=10)
    return judge_version(tool, got, fix)


def judge_version(tool: Tool, got: Ran, fix: str) -> Check:
    """Whether what a program says of itself is new enough."""
    if got.code != 0:
        return Check(
            tool.name, State.MISSING, f"does not run: {got.said}", fix.replace("install", "install --reinstall")
        )
    found = re.search(r"\d+(?:\.\d+)+", got.out + got.err)
    if found is None:
        known = State.WARNING if tool.oldest else State.OK
        return Check(tool.name, known, "installed; it tells no version", fix if tool.oldest else "")
    if tuple(int(part) for part in found[0].split(".")) < tool.oldest:
        oldest = ".".join(map(str, tool.oldest))
        message = f"version {found[0]} is older than {oldest}, with which Trueup is tested; it {tool.why}"
        return Check(tool.name, State.WARNING, message, fix)
    return Check(tool.name, State.OK, found[0])


async def _python(host: Host) -> Check:
    return Check("python", State.OK, f"{platform.python_version()} at {sys.executable}")


async def _rights(host: Host) -> Check:
    if os.geteuid() == 0:
        return Check("rights", State.OK, "root")
    return Check(
        "rights",
        State.MISSING,
        "not root: the bridge, Service addresses and containers' limits need it",
        "sudo trueup up",
    )


async def _folder(host: Host) -> Check:
    root = Path(host.layout.root)
    there = next(path for path in (root, *root.parents) if path.exists())
    if not os.access(there, os.W_OK | os.X_OK):
        message = f"{there} may not be written by this user"
        return Check("state folder", State.MISSING, message, f"chown $(id -u) {there}, or choose another with --state")
    if root.exists() and root.stat().st_mode & 0o022:
        message = f"{root} may be written by others, who could change what runs"
        return Check("state folder", State.WARNING, message, f"chmod go-w {root}")
    if too_long(host.layout):
        return Check(
            "state folder", State.MISSING, f"{root} is too long a path for a socket", "choose a shorter --state"
        )
    return Check("state folder", State.OK, str(root))


async def _room(host: Host) -> Check:
    places = [Path(host.layout.root), Path("/var/lib/containers")]
    free = []
    for place in places:
        there = next(path for path in (place, *place.parents) if path.exists())
        free.append((shutil.disk_usage(there).free, place))
    size, place = min(free, key=lambda row: row[0])
    text = f"{size / (1 << 30):.1f} GiB free for {place}"
    if size >= ROOM_BYTES:
        return Check("disk", State.OK, text)
    state = State.MISSING if size < ROOM_LOW_BYTES else State.WARNING
    return Check("disk", state, f"{text}; builds and images need {ROOM_BYTES >> 30} GiB", "podman image prune")


async def _cgroups(host: Host) -> Check:
    controllers = Path("/sys/fs/cgroup/cgroup.controllers")
    if controllers.exists():
        has = set(controllers.read_text().split())
        lacking = sorted({"cpu", "memory", "pids"} - has)
        if lacking:
            message = f"cgroups v2 without {', '.join(lacking)}: those limits of containers do not hold"
            return Check("cgroups", State.WARNING, message, "enable the controllers in the kernel's command line")
        return Check("cgroups", State.OK, "v2 with cpu, memory and pids")
    if Path("/sys/fs/cgroup/memory").exists():
        return Check("cgroups", State.OK, "v1")
    return Check(
        "cgroups",
        State.WARNING,
        "no cgroups are mounted: limits of containers do not hold",
        "mount -t cgroup2 none /sys/fs/cgroup",
    )


async def _container(host: Host) -> Check:
    """Start one for real, with our containers.conf and the host's own /usr instead of an image."""
    if shutil.which("podman") is None:
        return Check("containers", State.MISSING, "Podman is not installed", install_command(["podman"]))
    with tempfile.TemporaryDirectory(prefix="trueup-doctor-") as folder:
        await asyncio.to_thread(_make_root, Path(folder))
        conf = f"CONTAINERS_CONF={folder}/containers.conf"
        mounts = ["--rootfs", "--network", "none", "-v", "/usr:/usr:ro"]
        got = await run(
            ["env", conf, "podman", "run", "--rm", *mounts, f"{folder}/root", "/usr/bin/true"], timeout_s=15
        )
    if got.code == 0:
        return Check("containers", State.OK, "one was started and ended")
    return Check("containers", State.MISSING, f"none can be started: {got.said}", "podman info; journalctl -e")


def _make_root(folder: Path) -> None:
    (folder / "containers.conf").write_text(CONTAINERS_CONF)
    for name in ("usr", "etc", "tmp", "proc", "sys", "dev", "run"):
        (folder / "root" / name).mkdir(parents=True)
    for name in ("bin", "lib", "lib64", "sbin"):
        (folder / "root" / name).symlink_to(f"usr/{name}")


async def _clock(host: Host) -> Check:
    """Certificates and Git commits go by the clock; the far end's is as good a witness as any."""
    far = await _reply(host)
    if isinstance(far, str):
        return Check("clock", State.NOTE, "not compared with anybody's")
    skew_s = abs((datetime.now(UTC) - far).total_seconds())
    if skew_s > SKEW_S:
        message = f"{skew_s:.0f} s away from {host.registry}'s"
        return Check("clock", State.WARNING, message, "timedatectl set-ntp true")
    return Check("clock", State.OK, f"within {SKEW_S:g} s of {host.registry}'s")


async def _registry(host: Host) -> Check:
    """No registry is no fault: base images are then made from Debian packages."""
    name = "public registry"
    if not host.registry:
        return Check(name, State.NOTE, "none asked for")
    far = await _reply(host)
    if isinstance(far, str):
        return Check(name, State.NOTE, f"{host.registry} does not answer ({far}); base images are made from Debian's")
    return Check(name, State.OK, f"{host.registry} answers")


async def _reply(host: Host) -> datetime | str:
    """The time that the registry says it is, or why it cannot be asked."""
    if not host.registry:
        return "no registry"
    limit = aiohttp.ClientTimeout(total=REGISTRY_S)
    try:
        async with aiohttp.ClientSession(timeout=limit) as session:
            async with session.get(f"https://{host.registry}/v2/", proxy=host.proxy or None) as reply:
                return parsedate_to_datetime(reply.headers["Date"])
    except (aiohttp.ClientError, TimeoutError, OSError, KeyError, ValueError) as error:
        return str(error) or type(error).__name__


async def _push(name: str, branch: str, source: Source) -> Check:
    label = f"push to {name}"
    try:
        refused = await source.may_push(branch)
    except SourceError as error:
        return Check(label, State.WARNING, str(error), "look at the URL and the credentials, then again")
    if isinstance(refused, Refused):
        message = f"{branch} refuses pushes: {refused.reason}; write-back and undo will wait on a branch"
        return Check(label, State.WARNING, message, f"give Trueup's key or token the right to push to {branch}")
    return Check(label, State.OK, f"{branch} takes pushes")


async def _known(host: Host, ssh: str) -> Check:
    label = f"known_hosts {ssh}"
    for path in host.known_hosts:
        got = await run(["ssh-keygen", "-F", ssh, "-f", path], timeout_s=10)
        if got.code == 0:
            return Check(label, State.OK, path)
    name, _, port = ssh.removeprefix("[").partition("]:")
    where = f"-p {port} {name}" if port else name
    file = host.known_hosts[0].replace(str(Path.home()), "~")
    fix = f"ssh-keyscan -t ed25519 {where} >> {file}, then compare it with the fingerprint its owner publishes"
    return Check(label, State.MISSING, f"the key of {ssh} is in none of {', '.join(host.known_hosts)}", fix)


async def _renderer(host: Host) -> Check:
    """Only kustomizations, charts and Jsonnet need it: without it plain manifests run all the same."""
    name = "render worker"
    if host.renderer is None:
        message = "not built: repositories of Kustomize, Helm or Jsonnet are not deployed"
        return Check(name, State.NOTE, message, "make render (needs Go 1.26), or name one with TRUEUP_RENDER")
    try:
        async with Workers(host.renderer, size=1) as workers:
            versions = await workers.versions()
    except RendererDown as error:
        return Check(name, State.WARNING, f"does not start: {error}", "make render")
    told = ", ".join(f"{name} {versions[module]}" for module, name in RENDERERS.items() if module in versions)
    return Check(name, State.OK, told)


async def _sops(host: Host) -> Check:
    """Only repositories with files that SOPS encrypted need it."""
    name = "trueup-sops"
    if host.sops is None:
        message = "not built: repositories with files that SOPS encrypted are not deployed"
        return Check(name, State.NOTE, message, "make sops (needs Go 1.26), or name one with TRUEUP_SOPS")
    try:
        await Sops(host.sops, _no_keys).open("", {"doctor.yaml": b""})
    except NoKey as error:
        return Check(name, State.WARNING, f"does not start: {error}", "make sops")
    return Check(name, State.OK, str(host.sops))


async def _no_keys(_: str) -> Mapping[str, str]:
    return {}


LOOKS: Mapping[str, Look] = {
    "python": _python,
    "rights": _rights,
    "state folder": _folder,
    "disk": _room,
    "cgroups": _cgroups,
    "containers": _container,
    "public registry": _registry,
    "clock": _clock,
    "render worker": _renderer,
    "trueup-sops": _sops,
}
