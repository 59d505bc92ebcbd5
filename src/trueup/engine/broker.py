"""The build broker: what stands behind `docker` in a pipeline. It only builds, tags, pushes and logs in.

One socket per run, JSON lines. The caller is repository code and is trusted with nothing: its words are parsed by
`core.dockercli`, its paths are mapped into the workspace, its answers hold no secret. Podman's socket never comes near.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import platform
import posixpath
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TypeVar

import msgspec
from msgspec import Struct, structs

from trueup.core import dockercli, secondwriter
from trueup.core.events import RunIntent
from trueup.core.model import BuiltImage
from trueup.core.reference import ReferenceInvalid, parse, split, tagged
from trueup.ports import Builder, BuilderDown, BuildFailed, BuildRequest, Login, Output

REQUEST_BYTES = 1 << 20
PENDING_BYTES = 8 << 20
CONNECTIONS = 32
INTENTS = 200
READ_S = 10.0

_T = TypeVar("_T")


class Call(Struct, frozen=True):
    """One line from a shim."""

    tool: str  # "docker" | "kubectl" | "helm" | "argocd"
    argv: list[str]
    cwd: str = "/"
    stdin: str = ""
    env: dict[str, str] = {}
    files: dict[str, str] = {}  # path → base64, only what `--secret src=` names


class Answer(Struct, frozen=True, omit_defaults=True):
    """One line to a shim: output as it comes, and last the exit code with files to write."""

    out: str = ""
    err: str = ""
    exit: int | None = None
    files: dict[str, str] = {}


class PathOutside(BuildFailed):
    """A path of a step that is not in the workspace."""


class Broker:
    """Opens a session for each run. `builder` is any ports.Builder."""

    def __init__(self, builder: Builder, *, machine: str = "") -> None:
        self._builder = builder
        self._machine = machine or platform.machine()
        self._built: dict[str, dict[str, BuiltImage]] = {}  # run → complete reference → image

    @contextlib.asynccontextmanager
    async def session(
        self,
        *,
        run: str,
        commit: str,
        workspace: Path,
        inside: str,
        secrets: Mapping[str, str],
        output: Output,
        socket: Path,
        time_s: int = 0,
    ) -> AsyncIterator[BuildSession]:
        """Listen on `socket` while the block runs. `inside` is the workspace as the steps see it; `secrets` are the
        repository's own, offered to `RUN --mount=type=secret` by their name. Leaving cancels what is being built."""
        built = self._built.setdefault(run, {})
        session = BuildSession(self._builder, run, commit, workspace, inside, secrets, output, built, time_s)
        async with _served(session, socket, self._machine):
            yield session

    def forget(self, run: str) -> None:
        """The run is over: its images' names are no longer known to `docker tag` and `docker push`."""
        self._built.pop(run, None)


class BuildSession:
    """What one run has built, tagged, pushed and wished for. Its methods raise BuildFailed and BuilderDown."""

    def __init__(
        self,
        builder: Builder,
        run: str,
        commit: str,
        workspace: Path,
        inside: str,
        secrets: Mapping[str, str],
        output: Output,
        built: dict[str, BuiltImage],
        time_s: int,
    ) -> None:
        self.images: list[tuple[BuiltImage, bool]] = []  # each name once, in order; True: from cache
        self.intents: list[RunIntent] = []
        self.down: list[str] = []  # reasons why a step failed that are the machine's fault, not the repository's
        self.refused: list[str] = []  # what commands of this run were told instead of being done
        self.workspace = workspace
        self._builder = builder
        self._run = run
        self._commit = commit
        self._inside = PurePosixPath(inside)
        self._secrets = dict(secrets)
        self._output = output
        self._built = built
        self._time_s = time_s
        self._logins: dict[str, Login] = {}

    async def build(
        self,
        *,
        context: str,
        dockerfile: str = "",
        tags: Sequence[str],
        target: str = "",
        args: Mapping[str, str] | None = None,
        secrets: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        push: bool = False,
        output: Output | None = None,
        cwd: str = "",
    ) -> BuiltImage:
        """Build `context` (a path as the steps see it, relative to `cwd` or the workspace), name it `tags`.

        `dockerfile` "" is Dockerfile in the context, else a path relative to `cwd`. `secrets` "" values are taken from
        the repository's own. Returns the image under its first tag."""
        say = output or self._output
        folder = self._mapped(context, cwd)
        file = self._mapped(dockerfile, cwd) if dockerfile else folder / "Dockerfile"
        names = tuple(tags) or (f"{self._run.rpartition('/')[2].lower()}:untagged",)
        request = BuildRequest(
            context=folder,
            dockerfile=str(file.relative_to(self.workspace)),
            workspace=self.workspace,
            tags=tuple(_checked(name) for name in names),
            target=target,
            args=tuple(sorted((args or {}).items())),
            secrets=tuple(sorted(self._offered(secrets or {}).items())),
            labels=tuple(sorted((labels or {}).items())),
            run=self._run,
            commit=self._commit,
            time_s=self._time_s,
            logins=tuple(self._logins.values()),
        )
        image, cached = await self._told(self._builder.build(request, say))
        for name in names:
            self._note(name, image, cached)
        if push:
            for name in names:
                await self.push(name, say)
        return self._find(names[0])

    async def push(self, reference: str, output: Output | None = None) -> str:
        """Push an image of this run; its digest."""
        self._find(reference)
        pushing = self._builder.push(reference, output or self._output, tuple(self._logins.values()))
        return await self._told(pushing)

    async def tag(self, image: str, reference: str) -> None:
        """Give an image of this run one more name."""
        found = self._find(image)
        await self._told(self._builder.tag(_named(found), _checked(reference)))
        self._note(reference, found, next((cached for image, cached in self.images if image == found), True))

    async def login(self, registry: str, user: str, password: str) -> None:
        """Remember an account for the rest of this run; nothing is written to disk."""
        name = dockercli.registry_name(registry)
        self._logins[name] = Login(name, user, password)

    async def logout(self, registry: str) -> None:
        self._logins.pop(dockercli.registry_name(registry), None)

    def find(self, image: str) -> BuiltImage | None:
        """An image of this run by name or digest."""
        if image.startswith("sha256:"):
            return next((found for found, _ in self.images if found.digest == image), None)
        try:
            reference = tagged(image)
        except ReferenceInvalid:
            return None
        if reference.digest:
            bare = parse(split(image)[0]).repository
            same = (found for found, _ in self.images if found.digest == reference.digest)
            return next((found for found in same if parse(found.repository).repository == bare), None)
        return self._built.get(str(reference))

    def named(self, repository: str) -> tuple[str, ...]:
        """Every name of this run in one repository (`docker push --all-tags`)."""
        wanted = parse(repository).repository
        return tuple(name for name in self._built if parse(name).repository == wanted)

    def _find(self, image: str) -> BuiltImage:
        found = self.find(image)
        if found is None:
            raise BuildFailed(f"{image} was not built in this run: `docker build -t {image} .` comes first")
        return found

    def _note(self, name: str, image: BuiltImage, cached: bool) -> None:
        repository, tag, _ = split(name)
        mine = structs.replace(image, repository=repository, tag=tag or "latest")
        self._built[str(tagged(name))] = mine
        if all(mine != other for other, _ in self.images):
            self.images.append((mine, cached))

    def _mapped(self, path: str, cwd: str) -> Path:
        """A path as a step sees it, as a path on the host. Symlinks are the builder's to judge."""
        start = self._inside / (cwd or ".")
        seen = PurePosixPath(posixpath.normpath(str(start / (path or "."))))
        if "\0" in path or not seen.is_relative_to(self._inside):
            raise PathOutside(
                f"{path!r} is outside the workspace {self._inside}: only what is checked out can be built"
            )
        return self.workspace / seen.relative_to(self._inside)

    def _offered(self, asked: Mapping[str, str]) -> dict[str, str]:
        return {**self._secrets, **{name: value or self._secrets.get(name, "") for name, value in asked.items()}}

    async def _told(self, work: Awaitable[_T]) -> _T:
        try:
            return await work
        except BuilderDown as e:
            self.down.append(str(e))
            raise


def _named(image: BuiltImage) -> str:
    return f"{image.repository}:{image.tag}"


def _checked(name: str) -> str:
    try:
        tagged(name)
    except ReferenceInvalid as e:
        raise BuildFailed(f"image name {e}") from e
    if split(name)[2]:
        raise BuildFailed(f"image name {name!r}: a new name cannot hold a digest; write NAME:TAG")
    return name


# --- the socket ------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def _served(session: BuildSession, path: Path, machine: str) -> AsyncIterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(_serve(session, machine, reader, writer, full=len(tasks) >= CONNECTIONS))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_unix_server(accept, str(path), limit=REQUEST_BYTES)
    path.chmod(0o666)  # who may speak is decided by the peer's uid, for root in a container is not always ours
    try:
        yield
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()
        path.unlink(missing_ok=True)


async def _serve(
    session: BuildSession, machine: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, full: bool
) -> None:
    """Answer one call; when the caller goes away, what it asked for is cancelled."""
    try:
        refusal = _peer_refused(writer, session.workspace) or ("too many docker commands at once" if full else "")
        call = await _read_call(reader)  # read in any case: a peer that is still writing would not see the answer
        if refusal or call is None:
            _send(writer, Answer(err=f"trueup: {refusal or 'the request could not be read'}\n", exit=1))
        else:
            await _until_gone(reader, _Conversation(session, call, writer, machine).answer())
        await asyncio.wait_for(writer.drain(), READ_S)
    except (ConnectionError, TimeoutError):
        return
    finally:
        writer.close()


def _peer_refused(writer: asyncio.StreamWriter, workspace: Path) -> str:
    """Only the run's own user (who owns the workspace) and ours may speak. Source: unix(7), SO_PEERCRED."""
    raw = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    _, uid, _ = struct.unpack("3i", raw)
    if uid in (os.geteuid(), workspace.stat().st_uid):
        return ""
    return f"uid {uid} does not own this run"


async def _read_call(reader: asyncio.StreamReader) -> Call | None:
    try:
        line = await asyncio.wait_for(reader.readline(), READ_S)
        return msgspec.json.decode(line, type=Call)
    except (ValueError, msgspec.MsgspecError, TimeoutError):  # ValueError: longer than the limit
        return None


async def _until_gone(reader: asyncio.StreamReader, work: Awaitable[None]) -> None:
    """Do the work, but stop it at once when the peer hangs up."""
    doing = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(reader.read(1))
    try:
        await asyncio.wait({doing, gone}, return_when=asyncio.FIRST_COMPLETED)
        if doing.done():
            doing.result()
    finally:
        for task in (doing, gone):
            task.cancel()
        await asyncio.gather(doing, gone, return_exceptions=True)


def _send(writer: asyncio.StreamWriter, answer: Answer) -> None:
    writer.write(msgspec.json.encode(answer) + b"\n")


class _Conversation:
    """One call of one shim: from its words to its exit code."""

    def __init__(self, session: BuildSession, call: Call, writer: asyncio.StreamWriter, machine: str) -> None:
        self._session = session
        self._call = call
        self._writer = writer
        self._machine = machine
        self._lost = False

    async def answer(self) -> None:
        try:
            done = await self._answered()
        except (BuildFailed, dockercli.Refusal) as e:
            done = self._refused(f"{self._call.tool}: {e}")
        except BuilderDown as e:
            done = Answer(err=f"{self._call.tool}: not the repository's fault: {e}\n", exit=1)
        _send(self._writer, done)

    def _refused(self, text: str, code: int = 1) -> Answer:
        self._session.refused.append(text)
        return Answer(err=f"{text}\n", exit=code)

    async def _answered(self) -> Answer:
        if self._call.tool == "docker":
            return await self._docker(dockercli.parse(self._call.argv, self._machine))
        if self._call.tool in ("kubectl", "helm", "argocd"):
            return self._second_writer()
        raise dockercli.Refusal(f"{self._call.tool!r} is not offered in a pipeline")

    def _second_writer(self) -> Answer:
        said = secondwriter.answer(self._call.tool, self._call.argv)
        if said.intent is not None and len(self._session.intents) < INTENTS:
            self._session.intents.append(said.intent)
        if said.code:
            return self._refused(said.text, said.code)
        return Answer(out=said.text + "\n", exit=0)

    async def _docker(self, command: dockercli.Command) -> Answer:
        session = self._session
        match command:
            case dockercli.Build():
                return await self._build(command)
            case dockercli.Tag():
                await session.tag(command.image, command.reference)
                return Answer(exit=0)
            case dockercli.Push():
                return await self._push(command)
            case dockercli.LogIn():
                password = self._call.stdin.rstrip("\r\n") if command.password is None else command.password
                if not password or not command.user:
                    return Answer(out=f"notice: {dockercli.no_account(command.registry)}\n", exit=0)
                await session.login(command.registry, command.user, password)
                return Answer(out=f"Login to {command.registry} is kept for this run\n", exit=0)
            case dockercli.LogOut():
                await session.logout(command.registry)
                return Answer(out=f"Login to {command.registry} is forgotten\n", exit=0)
            case dockercli.Images():
                return Answer(out=_listed(session, command), exit=0)
            case dockercli.Inspect():
                return Answer(out=_inspected(session, command) + "\n", exit=0)
            case dockercli.Say():
                return Answer(out=command.text + "\n" if command.text else "", exit=0)

    async def _push(self, command: dockercli.Push) -> Answer:
        names: tuple[str, ...] = (command.reference,)
        if command.all_tags:
            names = self._session.named(command.reference)
        for name in names:
            digest = await self._session.push(name, self._stream)
            self._stream(f"{split(name)[1] or 'latest'}: digest: {digest}\n".encode())
        return Answer(exit=0)

    async def _build(self, command: dockercli.Build) -> Answer:
        for note in command.notes:
            self._stream(f"docker build: {note}\n".encode())
        image = await self._session.build(
            context=command.context,
            dockerfile=command.file,
            cwd=self._call.cwd,
            tags=command.tags,
            target=command.target,
            args={name: value if value is not None else self._call.env.get(name, "") for name, value in command.args},
            secrets={name: self._secret(how, where) for name, how, where in command.secrets},
            labels=dict(command.labels),
            push=command.push,
            output=self._aside if command.quiet else self._stream,
        )
        files = {}
        if command.id_file:
            files[command.id_file] = image.digest
        if command.metadata_file:
            metadata = {"containerimage.digest": image.digest, "image.name": ",".join(command.tags)}
            files[command.metadata_file] = msgspec.json.encode(metadata).decode()
        return Answer(out=image.digest + "\n" if command.quiet else "", exit=0, files=files)

    def _secret(self, how: str, where: str) -> str:
        if how == "env":
            return self._call.env.get(where, "")
        if where not in self._call.files:
            raise BuildFailed(f"--secret src={where}: no such file, or more than 500 KB")
        return base64.b64decode(self._call.files[where]).decode(errors="surrogateescape")

    def _stream(self, data: bytes) -> None:
        self._write(Answer(out=data.decode(errors="replace")))

    def _aside(self, data: bytes) -> None:
        self._write(Answer(err=data.decode(errors="replace")))

    def _write(self, answer: Answer) -> None:
        """Pass output on; a reader that does not keep up loses lines rather than our memory."""
        if self._writer.transport.get_write_buffer_size() < PENDING_BYTES:
            _send(self._writer, answer)
        elif not self._lost:
            self._lost = True
            _send(self._writer, Answer(err="trueup: output is not read fast enough; lines are left out\n"))


def _listed(session: BuildSession, command: dockercli.Images) -> str:
    if command.quiet:
        return "".join(f"{image.digest[7:19]}\n" for image, _ in session.images)
    rows = [("REPOSITORY", "TAG", "DIGEST"), *((i.repository, i.tag, i.digest) for i, _ in session.images)]
    wide = max(len(row[0]) for row in rows), max(len(row[1]) for row in rows)
    return "".join(f"{a:<{wide[0]}}  {b:<{wide[1]}}  {c}\n" for a, b, c in rows)


_FORMATS = ("{{index .RepoDigests 0}}", "{{.Id}}", "{{.ID}}", "{{json .RepoDigests}}")


def _inspected(session: BuildSession, command: dockercli.Inspect) -> str:
    image = session.find(command.image)
    if image is None:
        raise BuildFailed(f"{command.image} was not built in this run")
    pinned = f"{image.repository}@{image.digest}"
    plain = (
        command.format.replace("{{ ", "{{")
        .replace(" }}", "}}")
        .replace("(index .RepoDigests 0)", "index .RepoDigests 0")
    )
    if not plain:
        found = {"Id": image.digest, "RepoTags": [_named(image)], "RepoDigests": [pinned]}
        return msgspec.json.format(msgspec.json.encode([found])).decode()
    if plain not in _FORMATS:
        raise dockercli.Refusal(f"docker inspect -f {command.format} is not offered: use one of {', '.join(_FORMATS)}")
    if plain == "{{json .RepoDigests}}":
        return msgspec.json.encode([pinned]).decode()
    return pinned if plain == _FORMATS[0] else image.digest
