"""What a pipeline may say to `docker`: a command line as a record, or a refusal by name. Pure.

Source: Docker CLI reference 27, commands `build`, `buildx build`, `tag`, `push`, `login`, `logout`, `images`,
`image inspect`, `pull`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from msgspec import Struct

VERSION = "27.0.0"  # the command line that is understood
HOST_PLATFORMS = {"x86_64": "linux/amd64", "aarch64": "linux/arm64"}


class Refusal(Exception):
    """Not offered in a pipeline; the message names the word and says what to do."""


class Build(Struct, frozen=True, kw_only=True):
    context: str  # as written
    file: str = ""  # as written, relative to the working folder; "" means Dockerfile in the context
    tags: tuple[str, ...] = ()
    target: str = ""
    args: tuple[tuple[str, str | None], ...] = ()  # None: the value stands in the step's environment
    labels: tuple[tuple[str, str], ...] = ()
    secrets: tuple[tuple[str, str, str], ...] = ()  # id, "env" | "file", name or path
    push: bool = False
    quiet: bool = False
    id_file: str = ""
    metadata_file: str = ""
    notes: tuple[str, ...] = ()  # options that change nothing here, each said once


class Tag(Struct, frozen=True):
    image: str
    reference: str


class Push(Struct, frozen=True):
    reference: str
    all_tags: bool = False


class LogIn(Struct, frozen=True):
    registry: str  # "docker.io" when none is named
    user: str
    password: str | None  # None: on standard input


class LogOut(Struct, frozen=True):
    registry: str


class Images(Struct, frozen=True):
    quiet: bool = False


class Inspect(Struct, frozen=True):
    image: str
    format: str = ""


class Say(Struct, frozen=True):
    """Nothing to do: only an answer."""

    text: str


Command: TypeAlias = Build | Tag | Push | LogIn | LogOut | Images | Inspect | Say

_INSTEAD = {
    "run": "run the command as a step, or in a job with `container:`",
    "exec": "run the command as a step",
    "compose": "start what the tests need as steps",
    "save": "push the image; what is built is kept by digest",
    "load": "name the image in FROM",
    "export": "push the image",
    "import": "name the image in FROM",
    "commit": "state the change in the Dockerfile",
    "cp": "use COPY --from in the Dockerfile",
    "manifest": "images are built for this machine's platform",
    "bake": "use one `docker build` for each image",
    "scan": "run a scanner as a step",
    "swarm": "Trueup deploys what the manifests state",
    "stack": "Trueup deploys what the manifests state",
    "service": "Trueup deploys what the manifests state",
    "network": "steps share the network of their job",
    "volume": "use the workspace",
    "plugin": "no plugins run in a build",
}
_OFFERED = "docker build, buildx build, tag, push, login, logout, images, inspect and pull"
_GLOBAL_VALUES = {"--config", "--context", "-c", "--host", "-H", "--log-level", "-l"}
_BUILD_VALUES = {
    "-t": "--tag",
    "-f": "--file",
    "-o": "--output",
    "-m": "--memory",
    "-c": "--cpu-shares",
}
_TAKES_VALUE = frozenset(
    [
        "--tag",
        "--file",
        "--build-arg",
        "--target",
        "--label",
        "--secret",
        "--platform",
        "--iidfile",
        "--metadata-file",
        "--output",
        "--network",
        "--cache-from",
        "--cache-to",
        "--progress",
        "--builder",
        "--shm-size",
        "--ulimit",
        "--memory",
        "--memory-swap",
        "--cpu-shares",
        "--cpu-period",
        "--cpu-quota",
        "--cpuset-cpus",
        "--cpuset-mems",
        "--attest",
        "--ssh",
        "--add-host",
        "--build-context",
        "--annotation",
        "--isolation",
        "--security-opt",
        "--cgroup-parent",
        "--allow",
        "--no-cache-filter",
        "--call",
        "--provenance",
        "--sbom",
    ]
)
_SWITCHES = frozenset(
    [
        "--push",
        "--load",
        "--pull",
        "--no-cache",
        "--quiet",
        "-q",
        "--rm",
        "--force-rm",
        "--compress",
        "--squash",
        "--disable-content-trust",
        "--check",
        "-D",
        "--debug",
    ]
)
_SILENT = frozenset(
    [
        "--load",
        "--pull",
        "--rm",
        "--force-rm",
        "--compress",
        "--progress",
        "--builder",
        "--cache-from",
        "--cache-to",
        "--disable-content-trust",
        "--provenance",
        "--sbom",
        "--attest",
        "-D",
        "--debug",
    ]
)
_REFUSED = {
    "--ssh": "give a token with --secret",
    "--add-host": "use names that resolve",
    "--build-context": "put the files into the context",
    "--squash": "use stages in the Dockerfile",
    "--allow": "builds get no entitlements",
    "--security-opt": "builds get no entitlements",
    "--cgroup-parent": "limits are set by Trueup",
    "--check": "use `trueup check`",
    "--call": "use `trueup check`",
}


def parse(argv: Sequence[str], machine: str = "x86_64") -> Command:
    """Read the words after `docker`. Raises Refusal."""
    words = list(argv)
    while words and words[0].startswith("-"):
        option = words.pop(0)
        if option in ("-v", "--version"):
            return Say(f"Docker version {VERSION}, build trueup")
        if option in _GLOBAL_VALUES and words:
            words.pop(0)
    if not words or words[0] == "help":
        return Say(f"In a pipeline Trueup offers {_OFFERED}.")
    verb, rest = words[0], words[1:]
    if verb in ("buildx", "builder", "image", "system", "context"):
        return _grouped(verb, rest, machine)
    return _plain(verb, rest, machine)


def _grouped(group: str, rest: Sequence[str], machine: str) -> Command:
    verb = next((word for word in rest if not word.startswith("-")), "")
    after = list(rest[rest.index(verb) + 1 :]) if verb else []
    if group == "buildx" and verb in ("", "version", "create", "use", "inspect", "ls", "rm", "stop", "du", "install"):
        return Say(f"buildx {VERSION}: builds go to Trueup's builder")
    if verb == "prune" or (group, verb) in (("system", "df"), ("image", "rm")):
        return Say("nothing removed: Trueup collects images by age and size itself")
    if (group, verb) == ("system", "info"):
        return _plain("info", after, machine)
    if group == "context" and verb in ("ls", "use", "show", "create", "inspect"):
        return Say("default")
    if group in ("buildx", "builder", "image") and verb in ("build", "b"):
        return _build(after, machine, default_load=group != "buildx")
    if group == "image" and verb in ("tag", "push", "pull", "ls", "list", "inspect"):
        return _plain({"ls": "images", "list": "images"}.get(verb, verb), after, machine)
    raise _refuse(f"{group} {verb}".strip(), _INSTEAD.get(verb, ""))


def _plain(verb: str, rest: Sequence[str], machine: str) -> Command:
    if verb == "build":
        return _build(rest, machine, default_load=True)
    if verb == "tag":
        names = _names("tag", rest, 2, "docker tag IMAGE REFERENCE")
        return Tag(names[0], names[1])
    if verb == "push":
        options = {word for word in rest if word.startswith("-")}
        _only("push", options, {"-q", "--quiet", "-a", "--all-tags", "--disable-content-trust"})
        names = _names("push", rest, 1, "docker push REFERENCE")
        return Push(names[0], bool(options & {"-a", "--all-tags"}))
    if verb == "login":
        return _login(rest)
    if verb == "logout":
        return LogOut(registry_name(rest[0] if rest else ""))
    if verb == "images":
        return Images(quiet="-q" in rest or "--quiet" in rest)
    if verb == "inspect":
        return _inspect(rest)
    if verb == "pull":
        names = _names("pull", rest, 1, "docker pull REFERENCE")
        return Say(f"{names[0]}: Trueup fetches what a build stands on when it builds")
    if verb in ("version", "info"):
        return Say(f"Client: {VERSION} (Trueup's shim)\nServer: Trueup's build broker: {_OFFERED}")
    if verb in ("rmi", "ps"):
        return Say("" if verb == "ps" else "nothing removed: Trueup collects images by age and size itself")
    raise _refuse(verb, _INSTEAD.get(verb, ""))


def _refuse(verb: str, instead: str) -> Refusal:
    tail = f": {instead}" if instead else ""
    return Refusal(f"docker {verb} is not offered in a pipeline{tail} (offered: {_OFFERED})")


def _only(verb: str, options: set[str], known: set[str]) -> None:
    unknown = sorted(options - known)
    if unknown:
        raise Refusal(f"docker {verb} {unknown[0]}: this option is not offered in a pipeline; leave it out")


def _names(verb: str, rest: Sequence[str], count: int, usage: str) -> list[str]:
    names = [word for word in rest if not word.startswith("-")]
    if len(names) != count:
        raise Refusal(f"docker {verb} needs {count} name{'s' if count > 1 else ''}, not {len(names)}: {usage}")
    return names


def registry_name(text: str) -> str:
    """A registry as `docker login` is told it, without scheme and path; "" is Docker Hub."""
    host = text.removeprefix("https://").removeprefix("http://").split("/")[0]
    return "docker.io" if host in ("", "index.docker.io", "registry-1.docker.io") else host


def no_account(registry: str) -> str:
    """What a login without a password comes to."""
    return (
        f"no account for {registry}: user or password is empty. Images stay in Trueup's own registry, where they run "
        "from; to push them there too, `trueup secret set` the secret that this step names"
    )


_LOGIN_OPTIONS = ("-u", "--username", "-p", "--password", "--password-stdin")


def _login(rest: Sequence[str]) -> LogIn:
    """A user or password that is given but empty, as of a secret that is not set, stays empty."""
    found: dict[str, str] = {}
    stdin = False
    words = list(rest)
    while words:
        word = words.pop(0)
        name, equals, value = word.partition("=")
        if name in ("-u", "--username", "-p", "--password"):
            follows = bool(words) and words[0] not in _LOGIN_OPTIONS  # `-u $USER -p $PASSWORD` with neither set
            value = value if equals else words.pop(0) if follows else ""
            found["user" if name.strip("-")[0] == "u" else "password"] = value
        elif word == "--password-stdin":
            stdin = True
        elif word.startswith("-"):
            raise Refusal(f"docker login {word}: this option is not offered in a pipeline; leave it out")
        else:
            found["server"] = word
    if "user" not in found or not ("password" in found or stdin):
        raise Refusal("docker login needs -u USER and --password-stdin (or -p): nobody can be asked in a pipeline")
    return LogIn(registry_name(found.get("server", "")), found["user"], None if stdin else found["password"])


def _inspect(rest: Sequence[str]) -> Inspect:
    words, format_, names = list(rest), "", []
    while words:
        word = words.pop(0)
        name, equals, value = word.partition("=")
        if name in ("-f", "--format"):
            format_ = value if equals else words.pop(0) if words else ""
        elif name == "--type":
            _ = value if equals else words.pop(0)
        else:
            names.append(word)
    return Inspect(_names("inspect", names, 1, "docker inspect [-f FORMAT] IMAGE")[0], format_.strip("'\""))


def _build(rest: Sequence[str], machine: str, *, default_load: bool) -> Build:
    options, positional = _options(rest)
    for name, instead in _REFUSED.items():
        if name in options:
            raise Refusal(f"docker build {name} is not offered in a pipeline: {instead}")
    if len(positional) != 1:
        raise Refusal(f"docker build needs one folder, not {len(positional)}: docker build -t NAME:TAG FOLDER")
    context = positional[0]
    if context == "-" or "://" in context or context.startswith("git@") or context.endswith(".git"):
        raise Refusal(f"docker build {context}: only a folder of the workspace can be built; check it out first")
    if options.get("--file", [""])[-1] == "-":
        raise Refusal("docker build -f -: the Dockerfile must stand in the workspace, so that it is in Git")
    if options.get("--network", ["default"])[-1] not in ("default", "none", "bridge"):
        raise Refusal(f"docker build --network {options['--network'][-1]} is not offered in a pipeline: leave it out")
    outputs = options.get("--output", [])
    if any(_output_type(output) not in ("docker", "registry", "image", "cacheonly") for output in outputs):
        raise Refusal(f"docker build --output {outputs[-1]} is not offered in a pipeline: use COPY --from, or push")
    notes = [f"{name} changes nothing here" for name in sorted(options) if name not in _MEANT and name not in _SILENT]
    notes += _platforms(",".join(options.get("--platform", [])), machine)
    return Build(
        context=context,
        file=options.get("--file", [""])[-1],
        tags=tuple(options.get("--tag", [])),
        target=options.get("--target", [""])[-1],
        args=tuple(_argument(text) for text in options.get("--build-arg", [])),
        labels=tuple((text.partition("=")[0], text.partition("=")[2]) for text in options.get("--label", [])),
        secrets=tuple(_secret(text) for text in options.get("--secret", [])),
        push="--push" in options or any(_pushes(output) for output in outputs),
        quiet="--quiet" in options or "-q" in options,
        id_file=options.get("--iidfile", [""])[-1],
        metadata_file=options.get("--metadata-file", [""])[-1],
        notes=tuple(notes),
    )


_MEANT = frozenset(
    [
        "--tag",
        "--file",
        "--build-arg",
        "--target",
        "--label",
        "--secret",
        "--platform",
        "--push",
        "--quiet",
        "-q",
        "--iidfile",
        "--metadata-file",
        "--output",
        "--network",
    ]
)


def _options(rest: Sequence[str]) -> tuple[dict[str, list[str]], list[str]]:
    options: dict[str, list[str]] = {}
    positional: list[str] = []
    words = list(rest)
    while words:
        word = words.pop(0)
        if word == "--":
            positional += words
            break
        if word == "-" or not word.startswith("-"):
            positional.append(word)
            continue
        name, equals, value = word.partition("=")
        if not name.startswith("--") and len(name) > 2 and name[:2] in _BUILD_VALUES:
            name, equals, value = name[:2], "=", word[2:].removeprefix("=")  # -tNAME
        name = _BUILD_VALUES.get(name, name)
        if name in _TAKES_VALUE:
            if not equals and not words:
                raise Refusal(f"docker build {name} needs a value")
            options.setdefault(name, []).append(value if equals else words.pop(0))
        elif name in _SWITCHES:
            if value.lower() not in ("false", "0"):
                options.setdefault(name, []).append(value)
        else:
            raise Refusal(f"docker build {name}: this option is not known here; leave it out")
    return options, positional


def _argument(text: str) -> tuple[str, str | None]:
    name, equals, value = text.partition("=")
    return name, value if equals else None


def _secret(text: str) -> tuple[str, str, str]:
    fields = dict(part.partition("=")[::2] for part in text.split(","))
    name, source = fields.get("id", ""), fields.get("src") or fields.get("source", "")
    if not name:
        raise Refusal(f"docker build --secret {text}: write id=NAME,env=VARIABLE or id=NAME,src=FILE")
    if source:
        return name, "file", source
    return name, "env", fields.get("env") or name


def _output_type(output: str) -> str:
    fields = dict(part.partition("=")[::2] for part in output.split(","))
    return fields.get("type", "local")


def _pushes(output: str) -> bool:
    fields = dict(part.partition("=")[::2] for part in output.split(","))
    return fields.get("type") == "registry" or fields.get("push") == "true"


def _platforms(text: str, machine: str) -> list[str]:
    """What to say of the platforms asked for: only this machine's own can be built honestly."""
    here = HOST_PLATFORMS.get(machine, f"linux/{machine}")
    asked = [each.strip() for each in text.split(",") if each.strip()]
    others = [each for each in asked if each not in (here, "local")]
    if others == asked and asked:
        raise Refusal(f"docker build --platform {text}: this machine builds {here} only")
    return [f"built for {here} only, not for {', '.join(others)}"] if others else []
