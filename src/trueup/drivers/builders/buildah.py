"""Builds images with buildah and keeps them in the embedded registry; the same inputs are built once.

The same commit, Dockerfile and bases give the same digest: files and image carry the commit's time, and nothing of this
machine (certificates, proxies, state folder) lands in the image. No build sees a container socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

import aiohttp
import msgspec
from msgspec import Struct

from trueup.core import dockerfile as df
from trueup.core.layout import Layout
from trueup.core.model import BuiltImage, Place
from trueup.core.reference import ReferenceInvalid, mirror_name, mirror_path, parse, split, tagged
from trueup.drivers.builders import context as ctx
from trueup.drivers.builders import faults
from trueup.drivers.builders.auth import Account, Credentials, auth_file
from trueup.drivers.builders.base import EPOCH, LABEL_IMAGE, Bases, Local
from trueup.drivers.builders.index import Index
from trueup.drivers.builders.outside import Outside, write_runtime
from trueup.drivers.builders.tools import PUSH_S, Tools, down
from trueup.ports import BuilderDown, BuildFailed, BuildRequest, Login, Output

BUILD_S = 3600.0
MEMORY = "4g"
PROCESSES = 2048
MARK_INSIDE = "/dev/trueup/build"  # by which a container that buildah left is known again
MANIFEST_TYPES = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"
_ASK = aiohttp.ClientTimeout(total=30)


class Store(Protocol):
    """The embedded registry, as far as a builder needs it. Errors are BuilderDown."""

    async def start(self) -> str: ...

    def known_address(self) -> str | None: ...

    def writing(self) -> AbstractAsyncContextManager[str]: ...


class _Prepared(Struct, frozen=True):
    """A request read and checked, before anything is built."""

    request: BuildRequest
    dockerfile: df.Dockerfile
    text: str
    bases: tuple[tuple[str, Local], ...]
    selection: ctx.Selection
    secrets: tuple[tuple[str, str], ...]  # only those that the Dockerfile mounts
    head: str  # hash of everything but the context


class _Shared:
    """One build under way and all who wait for it."""

    def __init__(self) -> None:
        self.outputs: list[Output] = []

    def output(self, data: bytes) -> None:
        for each in self.outputs:
            each(data)


class Buildah:
    """Implements ports.Builder; see docs/images.md."""

    def __init__(
        self,
        layout: Layout,
        registry: Store,
        *,
        credentials: Credentials | None = None,
        outside: Outside | None = None,
        environ: Mapping[str, str] | None = None,
        stand_ins: bool = True,
        pull: bool = True,
        storage: str = "",
        slots: int = 2,
    ) -> None:
        """`environ` is the host's, for PATH and HOME; `storage` "" is the machine's own image storage."""
        self._outside = outside or Outside()
        self._registry = registry
        self._credentials = credentials or Credentials()
        self._folder = Path(layout.root) / "builder"
        self._index = Index(self._folder)
        self._tools = Tools(Path(layout.containers_conf), environ or {}, dict(self._outside.proxies), storage)
        self._bases = Bases(
            self._tools,
            self._credentials,
            mirror=registry.known_address,
            stand_ins=stand_ins,
            pull=pull,
            insecure=_loopback,
        )
        self._shared: dict[str, tuple[_Shared, asyncio.Task[tuple[str, str]]]] = {}
        self._slots = asyncio.Semaphore(slots)
        # docker-registry rewrites the link of a manifest in place at each tag: a reader beside it may find it empty
        self._naming = asyncio.Lock()

    @property
    def index(self) -> Index:
        return self._index

    @property
    def tools(self) -> Tools:
        return self._tools

    async def ensure_base(self, reference: str, output: Output = lambda _: None, logins: Sequence[Login] = ()) -> str:
        """Bring a base image into local storage; its complete name. Raises BuildFailed, BuilderDown."""
        return (await self._bases.ensure(reference, output, logins)).name

    async def ensure_runner(self, output: Output = lambda _: None) -> str:
        """The image that steps run in; its name in local storage. Raises BuilderDown."""
        return await self._bases.ensure_runner(output)

    # --- build -----------------------------------------------------------------------------------

    async def build(self, request: BuildRequest, output: Output) -> tuple[BuiltImage, bool]:
        """See ports.Builder. Context and Dockerfile must lie in the workspace."""
        names = _complete(request.tags)
        prepared = await self._prepare(request, output)
        seen = await asyncio.to_thread(ctx.look, request.workspace, request.context, prepared.selection)
        key = _key(prepared, seen)
        digest = await self._known(key)
        cached = digest is not None
        if digest is None:
            digest, key = await self._once(key, prepared, names, output)
        else:
            output(f"nothing changed since it was built: {digest}\n".encode())
        for name in names:
            await self._name(name, key, digest, request)
        name, tag, _ = split(request.tags[0])
        return BuiltImage(name, tag or "latest", digest, key, Place(request.dockerfile)), cached

    async def _prepare(self, request: BuildRequest, output: Output) -> _Prepared:
        text = await asyncio.to_thread(_read_dockerfile, request)
        try:
            found = df.read(text, request.dockerfile, dict(request.args))
            wanted = df.bases(found, request.target)
            mounted = df.secrets(found, request.target)
            sources = df.sources(found, request.target, dict(request.args))
        except df.DockerfileInvalid as e:
            raise BuildFailed(str(e)) from e
        secrets = _offered(request, mounted)
        bases: list[tuple[str, Local]] = []
        for base in wanted:
            bases.append((base.image, await self._base(request, base, output)))
        path = request.workspace / request.dockerfile
        rules = await asyncio.to_thread(ctx.ignore_rules, request.workspace, request.context, path)
        own = tuple(sorted({parse(tag).path.rpartition("/")[2] for tag in request.tags}))
        return _Prepared(
            request=request,
            dockerfile=found,
            text=text,
            bases=tuple(bases),
            selection=ctx.Selection(rules, sources, own),
            secrets=secrets,
            head=_head(request, text, bases, secrets),
        )

    async def _base(self, request: BuildRequest, base: df.Base, output: Output) -> Local:
        try:
            local = await self._bases.ensure(base.image, output, request.logins)
        except (BuildFailed, BuilderDown) as e:
            raise type(e)(f"{request.dockerfile}:{base.line}: {e}") from e
        if local.note:
            output(f"note: {local.note}\n".encode())
        return local

    async def _known(self, key: str) -> str | None:
        """The digest of an earlier build, if the registry still has it."""
        entry = self._index.key(key)
        if entry is None:
            return None
        address = await self._registry.start()
        if not await _has(address, entry.path, entry.digest):
            return None
        self._index.put_key(key, entry.digest, entry.path)  # used now
        return entry.digest

    async def _once(self, key: str, prepared: _Prepared, names: Sequence[str], output: Output) -> tuple[str, str]:
        """Build, or wait for the same build that another run began; (digest, key)."""
        if key in self._shared:
            output(b"the same image is being built by another run; waiting for it\n")
            shared, task = self._shared[key]
        else:
            shared = _Shared()
            task = asyncio.ensure_future(self._make(prepared, names, shared.output))
            self._shared[key] = (shared, task)
            task.add_done_callback(lambda _: self._unshare(key, shared))
        shared.outputs.append(output)
        try:
            return await asyncio.shield(task)
        finally:
            shared.outputs.remove(output)
            if not shared.outputs and not task.done():
                self._unshare(key, shared)  # whoever asks from now on begins anew
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    def _unshare(self, key: str, shared: _Shared) -> None:
        if key in self._shared and self._shared[key][0] is shared:
            del self._shared[key]

    async def _make(self, prepared: _Prepared, names: Sequence[str], output: Output) -> tuple[str, str]:
        async with self._slots:
            async with self._copied(prepared) as (folder, seen):
                key = _key(prepared, seen)  # of what is built, should a step have changed a file since the first look
                image = await self._run(prepared, folder, output)
                digest = await self._keep(image, names[0], key, folder)
        self._index.put_key(key, digest, mirror_path(names[0]))
        return digest, key

    @contextlib.asynccontextmanager
    async def _copied(self, prepared: _Prepared) -> AsyncIterator[tuple[Path, ctx.Seen]]:
        """A private folder with the context, the Dockerfile, and what the build is told beside them."""
        home = self._folder / "contexts"
        try:
            home.mkdir(parents=True, exist_ok=True)
            await self._release(await asyncio.to_thread(_abandoned, home))
            folder = Path(tempfile.mkdtemp(dir=home, prefix=f"{os.getpid()}-"))
        except OSError as e:
            raise BuilderDown(f"{home} cannot be written: {e.strerror}; free some space") from e
        try:
            yield folder, await asyncio.to_thread(self._lay, prepared, folder)
        except BaseException:
            await asyncio.shield(self._release([folder]))
            raise
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def _release(self, folders: Sequence[Path]) -> None:
        """End what still runs of builds that did not end well, remove their folders, and the containers that buildah
        left for them: one that is ended before it can listen to signals tidies nothing up. A container and a process
        tell their build by what they mount."""
        if folders:
            await asyncio.to_thread(_kill_inside, folders)
            root = await self._tools.storage_root()
            for container in await asyncio.to_thread(_left, root, folders):
                await self._tools.buildah("rm", container)
        for folder in folders:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    def _lay(self, prepared: _Prepared, folder: Path) -> ctx.Seen:
        request = prepared.request
        context = folder / "context"
        context.mkdir()
        time_s = request.time_s or int(EPOCH)
        seen = ctx.look(request.workspace, request.context, prepared.selection, context, time_s)
        try:
            bases = {image: base.name for image, base in prepared.bases}
            new = df.rewrite(prepared.text, prepared.dockerfile, bases, dict(request.args))
            for name, data in new.files:
                (context / name).parent.mkdir(parents=True, exist_ok=True)
                (context / name).write_bytes(data)
            (folder / "Dockerfile").write_text(new.text)
            (folder / "ignore").write_text("")
            (folder / "mark").write_text("")
            for number, (_, value) in enumerate(prepared.secrets):
                secret = folder / f"secret-{number}"
                secret.touch(0o600)
                secret.write_bytes(value.encode(errors="surrogateescape"))
            env = {**dict(self._outside.env), "SOURCE_DATE_EPOCH": str(time_s)}
            told = {"env": env, "pids": PROCESSES, "runtime": "runc"}
            (folder / "run.json").write_bytes(msgspec.json.encode(told))
        except df.DockerfileInvalid as e:
            raise BuildFailed(str(e)) from e
        except OSError as e:
            raise BuilderDown(f"{folder} cannot be written: {e.strerror}; free some space") from e
        return seen

    async def _run(self, prepared: _Prepared, folder: Path, output: Output) -> str:
        """Run buildah; the image's id."""
        runtime = await asyncio.to_thread(write_runtime, self._folder)
        words = [*_options(prepared, folder, self._outside), "--runtime", str(runtime), str(folder / "context")]
        env = {"TRUEUP_RUN": str(folder / "run.json")}
        ended = await self._tools.buildah("build", *words, timeout_s=BUILD_S, output=output, env=env)
        if ended.code == 0:
            return (folder / "id").read_text().strip()
        file = prepared.dockerfile
        step = faults.failed_step(ended.lines, file)
        if found := faults.world(ended.lines, fetching=step is None or step.word == "ADD"):
            where = f"{file.file}:{step.line}: " if step else f"{file.file}: "
            raise BuilderDown(where + found)
        raise BuildFailed(faults.reason(ended.lines, file))

    # --- keeping and naming ----------------------------------------------------------------------

    async def _keep(self, image: str, name: str, key: str, folder: Path) -> str:
        """Push to the embedded registry under a tag of its own, so that no later tag makes it unreachable."""
        async with self._registry.writing() as address:
            target = f"{address}/{mirror_path(name)}:{_key_tag(key)}"
            words = (
                "push",
                "-q",
                "--tls-verify=false",
                "--digestfile",
                str(folder / "digest"),
                image,
                f"docker://{target}",
            )
            ended = await self._tools.buildah(*words, timeout_s=PUSH_S)
        if ended.code:
            raise down("the image cannot be kept in the embedded registry", ended)
        return (folder / "digest").read_text().strip()

    async def _name(self, name: str, key: str, digest: str, request: BuildRequest) -> None:
        """Give an image of the embedded registry one more name there, here and in the index."""
        entry = self._index.key(key)
        source = entry.path if entry else mirror_path(name)
        async with self._naming, self._registry.writing() as address:
            await self._copy(address, source, mirror_path(name), digest, key)
            for tag in filter(None, (tagged(name).tag, request.commit)):
                await _put_tag(address, mirror_path(name), digest, tag)
            own = await self._bring(name, address, digest, key)
        for each in (name, own):
            self._index.put_name(each, digest, mirror_path(name), key, request.run)

    async def _copy(self, address: str, source: str, target: str, digest: str, key: str) -> None:
        if source == target or await _has(address, target, digest):
            return
        plain = ("--src-tls-verify=false", "--dest-tls-verify=false", "--preserve-digests")
        words = (f"docker://{address}/{source}@{digest}", f"docker://{address}/{target}:{_key_tag(key)}")
        ended = await self._tools.skopeo("copy", "-q", *plain, *words)
        if ended.code:
            raise down(f"the image cannot be named {target} in the embedded registry", ended)

    async def _bring(self, name: str, address: str, digest: str, key: str) -> str:
        """Let local storage know the image by the digest that manifests will name, so that a start pulls nothing.

        Storage finds `repository@digest` only while the image has a tag in that repository: it gets one of its own,
        which no later image takes away as it would take `latest`. Returns that name."""
        repository = parse(name).repository
        own = f"{repository}:{_key_tag(key)}"
        pinned = mirror_name(f"{repository}@{digest}", address)
        ended = await self._tools.buildah("pull", "-q", "--tls-verify=false", pinned, timeout_s=PUSH_S)
        if ended.code:
            raise down(f"{name} cannot be brought into local storage", ended)
        ended = await self._tools.buildah("tag", ended.lines[-1].strip(), name, own)
        if ended.code:
            raise down(f"{name} cannot be tagged in local storage", ended)
        return own

    async def tag(self, image: str, reference: str) -> None:
        """See ports.Builder. Raises BuildFailed when `image` was not built here."""
        entry = self._index.name(_complete([image])[0])
        if entry is None:
            raise BuildFailed(f"{image} was not built here: build it before tagging")
        name = _complete([reference])[0]
        async with self._naming, self._registry.writing() as address:
            await self._copy(address, entry.path, mirror_path(name), entry.digest, entry.key)
            await _put_tag(address, mirror_path(name), entry.digest, tagged(name).tag)
            own = await self._bring(name, address, entry.digest, entry.key)
        for each in (name, own):
            self._index.put_name(each, entry.digest, mirror_path(name), entry.key, entry.run)

    async def push(self, reference: str, output: Output, logins: Sequence[Login] = ()) -> str:
        """See ports.Builder: to the registry that the name tells when there is an account for it."""
        name = _complete([reference])[0]
        entry = self._index.name(name)
        if entry is None:
            raise BuildFailed(f"{reference} was not built here: build or tag it before pushing")
        domain = parse(name).domain
        account = await self._credentials.find(domain, parse(name).path, logins)
        if account is None:
            output(f"{name} is kept in the embedded registry: there is no login for {domain}\n".encode())
            return entry.digest
        await self.deliver(name, entry.digest, entry.path, account=account, secure=not _loopback(domain))
        output(f"pushed {name}@{entry.digest}\n".encode())
        return entry.digest

    async def deliver(self, name: str, digest: str, path: str, *, account: Account | None, secure: bool) -> None:
        """Copy an image of the embedded registry (at `path` there) to the one that `name` names, digest and all.

        Raises BuilderDown."""
        address = await self._registry.start()
        async with auth_file(parse(name).domain, account) as file:
            words = (
                "--src-tls-verify=false",
                f"--dest-tls-verify={str(secure).lower()}",
                f"--dest-authfile={file}",
                "--src-no-creds",
            )
            source, target = f"docker://{address}/{path}@{digest}", f"docker://{name}"
            ended = await self._tools.skopeo(
                "copy", "-q", "--preserve-digests", "--retry-times=2", *words, source, target
            )
        if ended.code:
            raise down(f"{name} cannot be pushed", ended)
        self._index.put_pushed(parse(name).repository, digest, path)

    async def account(self, repository: str) -> Account | None:
        """The account that this machine has for a repository's registry. Raises BuilderDown."""
        parsed = parse(repository)
        return await self._credentials.find(parsed.domain, parsed.path)


# --- small parts -----------------------------------------------------------------------------------


def _complete(tags: Sequence[str]) -> list[str]:
    try:
        names = [str(tagged(tag)) for tag in tags]
    except ReferenceInvalid as e:
        raise BuildFailed(f"image name {e}") from e
    if not names:
        raise BuildFailed("no tag was given: docker build -t NAME:TAG")
    return names


def _abandoned(home: Path) -> list[Path]:
    """Folders of builds whose process was killed; there may be secrets in them."""
    pids = {folder: folder.name.partition("-")[0] for folder in home.iterdir()}
    return [folder for folder, pid in pids.items() if not (pid.isdigit() and Path(f"/proc/{pid}").exists())]


def _kill_inside(folders: Sequence[Path]) -> None:
    """SIGKILL to the processes in mount namespaces of their own that see something of these folders."""
    ours = os.readlink("/proc/self/ns/mnt")
    marks = [f"/contexts/{folder.name}/" for folder in folders]
    for at in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.readlink(at / "ns/mnt") != ours:
                mounts = (at / "mountinfo").read_text(errors="replace")
                if any(mark in mounts for mark in marks):
                    os.kill(int(at.name), signal.SIGKILL)


def _left(root: Path, folders: Sequence[Path]) -> list[str]:
    """Working containers in the storage that mount something of these folders."""
    found = []
    for file in (root / "overlay-containers").glob("*/userdata/buildah.json"):
        with contextlib.suppress(OSError):
            text = file.read_text(errors="replace")
            if any(f"{folder}/" in text for folder in folders):
                found.append(file.parent.parent.name)
    return found


def _read_dockerfile(request: BuildRequest) -> str:
    data = ctx.read_inside(request.workspace, request.workspace / request.dockerfile)
    try:
        return data.decode()
    except UnicodeDecodeError as e:
        raise BuildFailed(f"{request.dockerfile} is not UTF-8 (byte {e.start}): is it a Dockerfile?") from e


def _offered(request: BuildRequest, mounted: Sequence[tuple[str, int, bool]]) -> tuple[tuple[str, str], ...]:
    """The secrets that the Dockerfile mounts; a required one that nobody gave is refused by name."""
    given = dict(request.secrets)
    for name, line, required in mounted:
        if required and name not in given:
            raise BuildFailed(f"{request.dockerfile}:{line}: secret {name} is not set: trueup secret set {name}")
    return tuple(sorted({name: given[name] for name, _, _ in mounted if name in given}.items()))


def _head(
    request: BuildRequest, text: str, bases: Sequence[tuple[str, Local]], secrets: Sequence[tuple[str, str]]
) -> str:
    parts = (
        text,
        request.target,
        request.args,
        request.labels,
        request.platform,
        [(image, base.id) for image, base in bases],
        [name for name, _ in secrets],
    )
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()


def _key(prepared: _Prepared, seen: ctx.Seen) -> str:
    return hashlib.sha256(f"1 {prepared.head} {seen.digest}".encode()).hexdigest()


def _key_tag(key: str) -> str:
    return f"trueup-{key[:32]}"


def _options(prepared: _Prepared, folder: Path, outside: Outside) -> list[str]:
    request = prepared.request
    options = ["--layers", "--force-rm", "--isolation=oci", "--format=oci", "--pull=never", "--http-proxy=false"]
    options += [f"--timestamp={request.time_s or EPOCH}", f"--label={LABEL_IMAGE}=build", f"--memory={MEMORY}"]
    options += [f"--file={folder}/Dockerfile", f"--ignorefile={folder}/ignore", f"--iidfile={folder}/id"]
    options += [f"--target={request.target}"] if request.target else []
    options += [f"--platform={request.platform}"] if request.platform else []
    options += [f"--build-arg={name}={value}" for name, value in request.args]
    options += [f"--label={name}={value}" for name, value in request.labels]
    options += [f"--volume={host}:{inside}:ro" for host, inside in outside.mounts]
    options += [f"--volume={folder}/mark:{MARK_INSIDE}:ro"]
    options += [f"--secret=id={name},src={folder}/secret-{n}" for n, (name, _) in enumerate(prepared.secrets)]
    return options


def _loopback(domain: str) -> bool:
    """Registries on this machine are spoken to without TLS, as Docker does."""
    host = domain.partition(":")[0]
    return host == "localhost" or host.startswith("127.")


async def _has(address: str, path: str, digest: str, tag: str = "") -> bool:
    """Whether the embedded registry has a manifest, and under `tag` when given."""
    url = f"http://{address}/v2/{path}/manifests/{tag or digest}"
    try:
        async with aiohttp.ClientSession(timeout=_ASK) as http:
            async with http.head(url, headers={"Accept": MANIFEST_TYPES}) as answer:
                return answer.status == 200 and answer.headers.get("Docker-Content-Digest") == digest
    except (aiohttp.ClientError, TimeoutError, OSError) as e:
        raise BuilderDown(f"the embedded registry at {address} does not answer: {e or 'time was up'}") from e


async def _put_tag(address: str, path: str, digest: str, tag: str) -> None:
    """Point a tag of the embedded registry to a manifest it has. Source: OCI distribution specification 1.1, "Push"."""
    if await _has(address, path, digest, tag):
        return
    url = f"http://{address}/v2/{path}/manifests/"
    try:
        async with aiohttp.ClientSession(timeout=_ASK) as http:
            async with http.get(url + digest, headers={"Accept": MANIFEST_TYPES}) as answer:
                answer.raise_for_status()
                body, kind = await answer.read(), answer.headers["Content-Type"]
            async with http.put(url + tag, data=body, headers={"Content-Type": kind}) as answer:
                answer.raise_for_status()
    except (aiohttp.ClientError, TimeoutError, OSError) as e:
        raise BuilderDown(f"the embedded registry cannot tag {path}:{tag}: {e or 'time was up'}") from e
