"""Images that a build stands on: found here, pulled, or, where no registry answers, made from Debian packages.

A stand-in is never silent: it is labelled, and each build that uses it says what it really is.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from trueup.core.reference import Reference, ReferenceInvalid, mirror_name, tagged
from trueup.drivers.builders import process
from trueup.drivers.builders.auth import Credentials, auth_file
from trueup.drivers.builders.process import Ended
from trueup.drivers.builders.tools import Tools, down
from trueup.ports import BuilderDown, BuildFailed, Login, Output

PULL_S = 600.0
ASK_S = 8.0
MAKE_S = 900.0
AGAIN_S = 600.0  # how long an answer of a registry, or its silence, is good for
LABEL_IMAGE = "trueup.image"  # "build" | "base" | "runner"; says who made it, not for whom: digests stay the same
LABEL_STAND_IN = "trueup.stand-in"
LABEL_RECIPE = "trueup.recipe"
RUNNER = "localhost/trueup-runner"
EPOCH = "315532800"

_SLIM = tuple(f"path-exclude=/usr/share/{part}/*" for part in ("doc", "man", "locale", "info", "lintian"))
_PYTHON = ("python3", "python3-venv", "adduser", "ca-certificates", "netbase", "tzdata")
_FULL = ("build-essential", "git", "curl", "wget", "pkg-config", "libffi-dev", "libssl-dev", "python3-dev", "procps")
_RUNNER = (
    *("python3", "python3-pip", "python3-venv", "git", "ca-certificates", "curl", "bash", "coreutils", "findutils"),
    *("jq", "xz-utils", "unzip", "zip", "procps", "openssh-client", "make", "tzdata", "netbase", "sudo", "file"),
)


class Recipe(Struct, frozen=True):
    """How an image is made from Debian packages."""

    title: str  # "Python 3.13 from Debian trixie"
    suite: str
    packages: tuple[str, ...]
    setup: str  # shell, run in the new root; "$1" is its path
    env: tuple[tuple[str, str], ...] = ()
    cmd: tuple[str, ...] = ("bash",)

    @property
    def key(self) -> str:
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:16]


# --- what can be made, as data ---------------------------------------------------------------------

DEBIAN = {"11": "bullseye", "12": "bookworm", "13": "trixie", "latest": "trixie", "stable": "trixie"}
PYTHON = {(3, 9): "bullseye", (3, 11): "bookworm", (3, 13): "trixie"}  # the Python of each Debian release
# /usr/local is an environment of its own, as in the image this stands for: pip there owns all it sees, and nothing that
# Debian installed stands in the way of a requirement.
_PYTHON_SETUP = """
chroot "$1" /usr/bin/python3 -m venv /usr/local
"""
_CLEAN = """
rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*.bin "$1"/var/log/* "$1"/var/cache/ldconfig/aux-cache
rm -f "$1"/etc/resolv.conf "$1"/etc/hostname "$1"/etc/machine-id
find "$1"/usr -name __pycache__ -type d -prune -exec rm -rf {} +
"""
_NO_SUCH = re.compile(r"manifest unknown|name unknown|repository name not known|manifest invalid: not found", re.I)
_PYTHON_TAG = re.compile(r"(?:(\d+)(?:\.(\d+))?(?:\.\d+)?|latest)?(?:-?(slim))?(?:-?(bullseye|bookworm|trixie))?\Z")


def recipe(reference: Reference) -> Recipe | str:
    """How to make a stand-in for an image, or the sentence why it cannot be made honestly."""
    name = reference.repository
    if reference.digest:
        return "it is pinned by digest, and nothing else has that digest"
    if name == "docker.io/library/debian":
        return _debian(reference.tag)
    if name == "docker.io/library/python":
        return _python(reference.tag)
    return "stand-ins exist only for debian and python"


def _debian(tag: str) -> Recipe | str:
    suite = tag.removesuffix("-slim").split("-")[0] or "latest"
    suite = DEBIAN.get(suite.split(".")[0], suite)
    if suite not in DEBIAN.values():
        return f"no Debian release is called {tag!r} (there are {', '.join(sorted(set(DEBIAN.values())))})"
    return Recipe(f"Debian {suite} (minimal)", suite, ("ca-certificates",), _CLEAN)


def _python(tag: str) -> Recipe | str:
    found = _PYTHON_TAG.match(tag)
    if not found:
        return f"python:{tag} is not made of Debian packages (python:X.Y or python:X.Y-slim can be)"
    asked = (int(found[1] or 3), int(found[2])) if found[2] else (int(found[1] or 3), 99)
    if asked[0] != 3:
        return f"Python {asked[0]} is in no Debian release any more"
    version = nearest(asked)
    suite = PYTHON[version]
    packages = _PYTHON if found[3] else (*_PYTHON, *_FULL)
    env = (("PATH", "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"), ("LANG", "C.UTF-8"))
    title = f"Python {version[0]}.{version[1]} from Debian {suite}"
    return Recipe(title, suite, packages, _PYTHON_SETUP + _CLEAN, env, ("python3",))


def nearest(asked: tuple[int, int]) -> tuple[int, int]:
    """The version that runs what was written for `asked`: the next one up, else the newest there is."""
    return min((version for version in PYTHON if version >= asked), default=max(PYTHON))


def runner_recipe() -> Recipe:
    """Where the steps of a job run."""
    env = (("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"), ("LANG", "C.UTF-8"))
    setup = 'ln -sf /usr/bin/python3 "$1/usr/local/bin/python"\nrm -f "$1"/usr/lib/python3*/EXTERNALLY-MANAGED\n'
    return Recipe("Trueup's runner: Debian bookworm", "bookworm", _RUNNER, setup + _CLEAN, env)


# --- finding, pulling, making ----------------------------------------------------------------------


class _Absent(Exception):
    """The registry answered, and has no such image."""


class Local(Struct, frozen=True):
    """An image in the local storage."""

    name: str  # complete reference
    id: str
    note: str = ""  # what a person must know: "a stand-in: Python 3.13 from Debian trixie"


class Bases:
    """Finds base images. `stand_ins`: whether Debian packages may stand for an image that cannot be pulled."""

    def __init__(
        self,
        tools: Tools,
        credentials: Credentials,
        *,
        mirror: Callable[[], str | None],
        stand_ins: bool = True,
        pull: bool = True,
        insecure: Callable[[str], bool] = lambda domain: False,
    ) -> None:
        self._tools = tools
        self._credentials = credentials
        self._mirror = mirror
        self._stand_ins = stand_ins
        self._pull = pull
        self._insecure = insecure
        self._asked: dict[str, tuple[float, str]] = {}  # complete reference → when, why it cannot be pulled ("" it can)
        self._locks: dict[str, asyncio.Lock] = {}

    async def ensure(self, reference: str, output: Output, logins: Sequence[Login] = ()) -> Local:
        """The image in local storage under its complete name. Raises BuildFailed for a name that is none,
        BuilderDown when it is nowhere to be had."""
        try:
            parsed = tagged(reference)
        except ReferenceInvalid as e:
            raise BuildFailed(f"base image {e}") from e
        async with self._locks.setdefault(str(parsed), asyncio.Lock()):
            return await self._ensure(parsed, output, logins)

    async def ensure_runner(self, output: Output) -> str:
        """The name of the runner image, made when it is not here. Raises BuilderDown."""
        wanted = runner_recipe()
        name = f"{RUNNER}:{wanted.key}"
        async with self._locks.setdefault(name, asyncio.Lock()):
            if not await self._tools.image_id(name):
                await self._make(wanted, name, output, role="runner")
        return name

    async def _ensure(self, parsed: Reference, output: Output, logins: Sequence[Login]) -> Local:
        name = str(parsed)
        found = await self._tools.image_id(name)
        labels = await self._tools.labels(name) if found else {}
        stand_in = labels.get(LABEL_STAND_IN, "") if labels.get(LABEL_IMAGE) == "base" else ""
        if found and not stand_in and self._fresh(name):
            return Local(name, found)
        if not found and await self._from_mirror(parsed):
            return Local(name, await self._tools.image_id(name))
        try:
            why = await self._pulled(parsed, output, logins)
        except _Absent as e:
            if found:
                return Local(name, found)
            raise BuildFailed(f"base image {name} does not exist ({e}): look at its name and tag") from e
        if not why:
            return Local(name, await self._tools.image_id(name))
        if found and not stand_in:
            return Local(name, found)
        if found and labels.get(LABEL_RECIPE) == _recipe_key(parsed):
            return Local(name, found, _said(parsed, stand_in, why))
        return await self._stand_in(parsed, why, output)

    def _fresh(self, name: str) -> bool:
        asked = self._asked.get(name)
        return not self._pull or (asked is not None and time.monotonic() - asked[0] < AGAIN_S)

    async def _from_mirror(self, parsed: Reference) -> bool:
        """An image that we built ourselves, of which only the embedded registry has a copy."""
        address = self._mirror()
        if address is None:
            return False
        source = mirror_name(str(parsed), address)
        words = ("inspect", "--tls-verify=false", "--format", "{{.Digest}}", f"docker://{source}")
        if (await self._tools.skopeo(*words, timeout_s=30)).code:
            return False
        ended = await self._tools.buildah("pull", "-q", "--tls-verify=false", source, timeout_s=PULL_S)
        if ended.code:
            raise down(f"{parsed} cannot be pulled from the embedded registry", ended)
        await self._tools.buildah("tag", source, str(parsed))
        return True

    async def _pulled(self, parsed: Reference, output: Output, logins: Sequence[Login]) -> str:
        """Pull from the registry it names; "" when done, else why not. Silence is remembered for a while."""
        name = str(parsed)
        if not self._pull:
            return "pulling is switched off"
        if self._fresh(name) and (known := self._asked[name][1]):
            return known
        account = await self._credentials.find(parsed.domain, parsed.path, logins)
        insecure = ("--tls-verify=false",) if self._insecure(parsed.domain) else ()
        async with auth_file(parsed.domain, account) as file:
            why = await self._answers(parsed, (*insecure, f"--authfile={file}"))
            if not why:
                output(f"pulling {name}\n".encode())
                words = ("pull", "-q", "--policy=always", *insecure, f"--authfile={file}", name)
                ended = await self._tools.buildah(*words, timeout_s=PULL_S)
                why = str(down("the pull failed", ended)) if ended.code else ""
        self._asked[name] = (time.monotonic(), why)
        return why

    async def _answers(self, parsed: Reference, options: Sequence[str]) -> str:
        words = ("inspect", "--retry-times=0", *options, "--format", "{{.Digest}}", f"docker://{parsed}")
        try:
            ended = await self._tools.skopeo(*words, timeout_s=ASK_S)
        except BuilderDown:
            return f"{parsed.domain} does not answer within {ASK_S:.0f} s"
        if ended.code and _NO_SUCH.search(ended.text):
            raise _Absent(f"{parsed.domain} says: {_last_words(ended)}")
        return f"{parsed.domain} does not give it: {_last_words(ended)}" if ended.code else ""

    async def _stand_in(self, parsed: Reference, why: str, output: Output) -> Local:
        name = str(parsed)
        made = recipe(parsed) if self._stand_ins else "stand-ins are switched off"
        if isinstance(made, str):
            raise BuilderDown(
                f"base image {name} is not to be had: {why}; no stand-in: {made}. Load it once: podman pull {name}"
            )
        note = _said(parsed, made.title, why)
        local = f"localhost/trueup-base:{made.key}"
        if not await self._tools.image_id(local):
            await self._make(made, local, output, role="base")
        ended = await self._tools.buildah("tag", local, name)
        if ended.code:
            raise down(f"{name} cannot be tagged", ended)
        return Local(name, await self._tools.image_id(name), note)

    async def _make(self, made: Recipe, name: str, output: Output, *, role: str) -> None:
        """Make an image from packages; the same recipe and packages give the same image."""
        output(f"making {made.title} from packages; once on this machine; takes about a minute\n".encode())
        with tempfile.TemporaryDirectory(prefix="trueup-base-", dir=_roomy()) as text:
            folder = Path(text)
            await self._debootstrap(made, folder, output)
            (folder / "Dockerfile").write_text(_dockerfile(made))
            labels = (
                f"--label={LABEL_IMAGE}={role}",
                f"--label={LABEL_STAND_IN}={made.title}",
                f"--label={LABEL_RECIPE}={made.key}",
            )
            words = (
                "build",
                "--isolation=chroot",
                "--format=oci",
                f"--timestamp={EPOCH}",
                "--no-cache",
                "--force-rm",
                *labels,
            )
            ended = await self._tools.buildah(*words, "-t", name, str(folder), timeout_s=MAKE_S)
            if ended.code:
                raise down(f"{made.title} cannot be stored", ended)
        output(f"made {made.title}\n".encode())

    async def _debootstrap(self, made: Recipe, folder: Path, output: Output) -> None:
        setup = folder / "setup"
        setup.write_text("#!/bin/sh\nset -e\n" + made.setup)
        setup.chmod(0o755)
        words = ["--variant=minbase", "--quiet", f"--include={','.join(made.packages)}"]
        words += [f"--dpkgopt={option}" for option in _SLIM]
        words += [
            f'--customize-hook={setup} "$1"',
            '--aptopt=Acquire::Retries "3"',
            made.suite,
            str(folder / "root.tar"),
        ]
        env = {**self._tools.env, "SOURCE_DATE_EPOCH": EPOCH, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
        ended = await process.run(["mmdebstrap", *words], env=env, timeout_s=MAKE_S, output=output)
        if ended.code:
            raise down(f"{made.title} cannot be made from Debian packages", ended)


def _last_words(ended: Ended) -> str:
    """The innermost reason of a chain of messages: "no such host"."""
    line = next((line for line in reversed(ended.lines) if line.strip()), f"exit {ended.code}")
    return line.rstrip('"').rpartition(": ")[2].strip()[:200]


def _recipe_key(parsed: Reference) -> str:
    made = recipe(parsed)
    return made.key if isinstance(made, Recipe) else ""


def _said(parsed: Reference, title: str, why: str) -> str:
    return f"{parsed.familiar}:{parsed.tag} is a stand-in: {title} ({why})"


def _dockerfile(made: Recipe) -> str:
    env = "".join(f"ENV {name}={value}\n" for name, value in made.env)
    return f"FROM scratch\nADD root.tar /\n{env}CMD {msgspec.json.encode(list(made.cmd)).decode()}\n"


def _roomy() -> str | None:
    """/var/tmp where there is one: /tmp is often in memory."""
    return "/var/tmp" if Path("/var/tmp").is_dir() else None
