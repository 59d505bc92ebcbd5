"""The roles a product can fill. Protocols only: no code, no defaults, no IO."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol, TypeAlias, runtime_checkable

from msgspec import Struct

from trueup.core.events import Draft, Event
from trueup.core.kusturl import Base
from trueup.core.model import (
    BuiltImage,
    Commit,
    DriftRules,
    Json,
    Judgement,
    Live,
    Object,
    Oid,
    Place,
    Ref,
    Tree,
)
from trueup.core.render import Asked, Folders
from trueup.core.render import Output as Rendering
from trueup.core.sealed import Opened

Output: TypeAlias = Callable[[bytes], None]  # raw bytes as they come; the receiver masks and stores


class Clock(Protocol):
    def now(self) -> datetime: ...  # aware UTC; may jump

    def monotonic_s(self) -> float: ...


# --- store ---------------------------------------------------------------------------------------


class Conflict(Exception):
    """`expect` was not the stream's last seq: another writer was first. Read, decide again."""


class LedgerFull(Exception):
    """The disk refused the write; nothing was recorded, nothing may be done on its strength."""


class Ledger(Protocol):
    """Append-only streams of events. An acknowledged append survives kill -9 and power loss."""

    async def append(self, stream: str, drafts: Sequence[Draft], *, expect: int) -> tuple[Event, ...]:
        """Append all or nothing. `expect` is the last seq known (0: the stream is new).

        Raises Conflict, LedgerFull."""
        ...

    async def read(self, stream: str, after: int = 0) -> tuple[Event, ...]: ...

    async def heads(self, kind: str = "") -> Mapping[str, tuple[int, str]]:
        """stream → (last seq, last hash); `kind` filters by the part before "/"."""
        ...

    def follow(self) -> AsyncIterator[Event]:
        """Every event appended from now on by this process, in order of acknowledgement."""
        ...

    async def checkpoint(self, anchor: str = "") -> Event:
        """Sign all heads in an event of "ledger/0"; the one before when nothing was appended since.

        `core.proof.trailer_value` of it goes into the trailer of the next commit of ours; `anchor` is the last commit
        that carries one. Raises LedgerFull."""
        ...


class Records(Protocol):
    """Free text, logs, bundles, plans: kept by retention, erasable, found by keyed hash."""

    async def put(self, kind: str, data: bytes, *, stream: str = "") -> str:
        """Return the record's key. Same kind and data give the same key."""
        ...

    async def get(self, key: str) -> bytes | None: ...  # None: erased or expired

    async def erase(self, key: str) -> None: ...


class Vault(Protocol):
    """Secrets of a repository (its `Address.identity`) and environment, encrypted at rest."""

    async def set(self, repository: str, environment: str, name: str, value: str) -> None: ...

    async def names(self, repository: str, environment: str = "") -> tuple[str, ...]: ...

    async def values(self, repository: str, environment: str = "") -> Mapping[str, str]:
        """The environment's own over the repository's own."""
        ...

    async def remove(self, repository: str, environment: str, name: str) -> bool: ...

    async def adopt(self, name: str, owners: Sequence[str]) -> bool:
        """Hand what is kept under `name`, as before identities were, to its owners; whether there was anything."""
        ...


# --- Git -----------------------------------------------------------------------------------------


class SourceError(Exception):
    """The remote could not be reached or read: the message says what to try. Never an undo."""


class CommitRefused(SourceError):
    """This commit holds a path that is never read or written (`..`, `.git`): its own fault, the next push mends it."""


class RemoteRefused(Exception):
    """What a repository names elsewhere is not fetched, ever: its own fault; the message says why."""


class NoKey(SourceError):
    """No key that was set opens an encrypted file: not the commit's fault. It is read again until a key is there."""


class Unsealer(Protocol):
    """Opens what is encrypted in a repository."""

    async def open(self, source: str, files: Mapping[str, bytes]) -> Opened:
        """Each file of `files`, by path: in the clear, or what is wrong with it. Raises NoKey."""
        ...


class Pushed(Struct, frozen=True):
    commit: Oid


class Raced(Struct, frozen=True):
    """The remote's head is no longer what was expected; fetch and decide again."""

    head: Oid | None


class Refused(Struct, frozen=True):
    """Protection, a hook, a missing signature or right: pushing again will not help."""

    reason: str


class Source(Protocol):
    """One Git repository: read by object id from a bare clone, written by commits made without a work tree."""

    async def fetch(self) -> Mapping[str, Oid]:
        """Bring the remote's branches here: branch → head. A vanished branch is absent. Raises SourceError."""
        ...

    async def commit(self, oid: Oid) -> Commit: ...

    async def tree(self, commit: Oid) -> Tree: ...

    async def blobs(self, oids: Sequence[Oid]) -> Mapping[Oid, bytes]: ...

    async def is_ancestor(self, ancestor: Oid, descendant: Oid) -> bool: ...

    async def between(self, before: Oid, after: Oid) -> tuple[Commit, ...]:
        """`before..after`, oldest first (`before` "" means only `after`)."""
        ...

    async def make_commit(
        self, parent: Oid, edits: Mapping[str, bytes | tuple[int, Oid] | None], message: str, *, when: datetime
    ) -> Oid:
        """A commit on `parent` by Trueup: path → new bytes, (mode, oid), or None to remove. Same arguments, same id
        (unless signed). Not pushed."""
        ...

    async def push(self, branch: str, commit: Oid, *, expect: Oid | None) -> Pushed | Raced | Refused:
        """Move the remote's branch from `expect` (None: it must not exist) to `commit`. Raises SourceError."""
        ...

    async def may_push(self, branch: str) -> Refused | None:
        """Test push rights without changing anything."""
        ...

    async def checkout(self, commit: Oid, into: Path) -> tuple[str, ...]:
        """Write the tree as files under `into`; symlinks that lead out are refused. Returns what was left out
        (submodules, LFS pointers), one line each."""
        ...


@runtime_checkable
class History(Protocol):
    """A Source that can also give a checkout its `.git`, for pipelines that ask git for commits."""

    async def history(self, commit: Oid, into: Path, *, branch: str, depth: int) -> None:
        """Make `into`/.git with this commit on `branch`; `depth` 0: all history. Raises SourceError."""
        ...


class CommitState(Protocol):
    """Tells a forge how a commit fares."""

    async def report(self, commit: Oid, state: str, reason: str) -> None:
        """`state`: "pending" | "success" | "failure". Raises SourceError."""
        ...


class Notify(Protocol):
    async def send(self, title: str, body: Mapping[str, str]) -> None: ...


# --- targets -------------------------------------------------------------------------------------


class ObjectInvalid(Exception):
    """The target refuses this object whatever happens elsewhere: the change's own fault."""


class TargetDown(Exception):
    """The target could not be reached or has no room: the world's fault; nothing is undone."""


class Moved(Struct, frozen=True):
    """Something of an application changed on the target. `drift` is "" for ordinary progress."""

    seq: int
    application: str
    ref: Ref
    drift: str = ""  # "container web-1 removed by hand"
    repaired: bool = False


class Target(Protocol):
    """Holds objects with generation and status, and makes them real."""

    async def read(self, application: str) -> Live: ...

    async def apply(
        self, application: str, candidate: str, objects: Sequence[Object], accepted: Sequence[str] = ()
    ) -> None:
        """Create or update; idempotent by hash. `accepted`: see `Bundle.accepted`. Raises ObjectInvalid, TargetDown."""
        ...

    async def delete(self, application: str, refs: Sequence[Ref]) -> None: ...

    async def judge(self, application: str) -> tuple[Judgement, ...]:
        """Health of every object applied, from observations at or after its last apply. Raises TargetDown."""
        ...

    def watch(self, after: int = 0) -> AsyncIterator[Moved]: ...


class Prints(Target, Protocol):
    """A Target that also tells what its containers print."""

    def logs(self, application: str, ref: str = "", *, follow: bool = False, tail: int = -1) -> AsyncIterator[bytes]:
        """Lines of the containers of "deployment/web", of a pod by its name, or of all. Raises TargetDown."""
        ...


@runtime_checkable
class LeavesAlone(Protocol):
    """A Target on which others write, too."""

    async def drift_rules(self, application: str, rules: DriftRules) -> None:
        """What the application leaves to others from now on; what it holds is compared anew. Kept over restarts."""
        ...


class Expressions(Protocol):
    """Evaluates jq, with limits, in a process of its own."""

    async def paths(self, programs: Sequence[str], body: Json) -> tuple[tuple[str | int, ...], ...]:
        """Where these jq path expressions lead in `body`. Raises TargetDown, with the expression that is wrong."""
        ...


# --- renderers -----------------------------------------------------------------------------------


class RenderFailed(Exception):
    """The repository's own fault, at a place of its own."""

    def __init__(self, place: Place, message: str, fix: str = "") -> None:
        super().__init__(f"{place}: {message}. {fix}".rstrip())
        self.place, self.message, self.fix = place, message, fix


class RendererDown(Exception):
    """No renderer can be started or kept: the machine's fault; the message says what to try."""

    expected = True


Blobs: TypeAlias = Callable[[Sequence[Oid]], Awaitable[Mapping[Oid, bytes]]]


class Given(Struct, frozen=True):
    """A revision: `name` is the same for the same tree only (its object id). `pins` names the revision whose remote
    parts it has, when that is another one: the same with an edit not yet made."""

    name: str
    folders: Folders
    blobs: Blobs
    pins: str = ""


class Renderer(Protocol):
    async def render(self, asked: Asked, given: Given) -> Rendering:
        """What `asked` gives from this tree. Raises RenderFailed, RendererDown, and whatever `given.blobs` raises."""
        ...

    async def identity(self) -> str:
        """Another one for whatever may give something else from the same input. Raises RendererDown."""
        ...

    async def versions(self) -> Mapping[str, str]:
        """Library → version. Raises RendererDown."""
        ...


class RenderStore(Protocol):
    """Keeps renders over a restart: a cache. Never raises for what it cannot keep or read."""

    async def find(self, key: str) -> tuple[bytes, ...]:
        """What was kept under this key, the newest first."""
        ...

    async def put(self, key: str, id: str, data: bytes, *, lasting: bool) -> None:
        """Keep one. `lasting`: it would be another one if it were made again, so that others go first."""
        ...


class Archive(Struct, frozen=True):
    """A chart as it was published. `digest` is of `data`, "sha256:…"."""

    name: str
    version: str
    data: bytes
    digest: str


class Remotes(Protocol):
    """What repositories name elsewhere. Every method raises RemoteRefused, SourceError."""

    async def commit(self, base: Base) -> Oid:
        """The commit that a base names now."""
        ...

    async def tree(self, base: Base, commit: Oid) -> Tree: ...

    async def blobs(self, base: Base, oids: Sequence[Oid]) -> Mapping[Oid, bytes]: ...

    async def file(self, url: str) -> bytes: ...

    async def chart(self, repository: str, name: str, versions: str) -> Archive:
        """The newest of a range of versions, as Helm reads ranges."""
        ...


@runtime_checkable
class Releasing(Protocol):
    """A Target whose objects can go on without Trueup."""

    async def release(self, application: str, refs: Sequence[Ref]) -> None:
        """Let go of these objects as they are: from now on they are nobody's. Raises TargetDown."""
        ...


# --- images and pipelines ------------------------------------------------------------------------


class BuildFailed(Exception):
    """The Dockerfile's fault; the message names its line."""


class BuilderDown(Exception):
    """Registry, network, disk or tool: the world's fault; the message says what to try."""


class Login(Struct, frozen=True):
    """A registry account that holds for one run (`docker login` in a pipeline)."""

    registry: str  # "ghcr.io"; "docker.io" for the default one
    user: str
    password: str


class BuildRequest(Struct, frozen=True, kw_only=True):
    context: Path  # a folder on the host, already inside the workspace
    dockerfile: str  # path relative to the workspace root
    workspace: Path
    tags: tuple[str, ...]  # full references with tag
    target: str = ""
    args: tuple[tuple[str, str], ...] = ()
    secrets: tuple[tuple[str, str], ...] = ()  # id, value
    labels: tuple[tuple[str, str], ...] = ()
    platform: str = ""
    run: str = ""
    commit: Oid = ""
    time_s: int = 0  # the commit's time as seconds since 1970, stamped on files and image; 0: not known
    logins: tuple[Login, ...] = ()


class Builder(Protocol):
    """Builds, tags and pushes. Same key, no build."""

    async def build(self, request: BuildRequest, output: Output) -> tuple[BuiltImage, bool]:
        """Build, tag by commit and by `tags`, push to the embedded registry, return (image, from cache).

        Raises BuildFailed, BuilderDown."""
        ...

    async def push(self, reference: str, output: Output, logins: Sequence[Login] = ()) -> str:
        """Push a built image to the registry it names (or keep it in the embedded mirror when there are no
        credentials for that one); its digest. Raises BuilderDown."""
        ...

    async def tag(self, image: str, reference: str) -> None: ...


class SandboxDown(Exception):
    """A sandbox could not be made or reached: the machine's fault; the message says what to try."""


class Sandbox(Protocol):
    """Where one job's steps run: a container, or a process under another uid."""

    workspace: Path  # on the host
    inside: str  # the same folder as the steps see it
    path: tuple[str, ...]  # PATH inside; the shims' folder first

    def see(self, path: Path) -> str:
        """A path on the host, below one of the request's folders, as the steps see it."""
        ...

    async def own(self, path: Path) -> None:
        """Give files that we wrote below the workspace to the steps' user."""
        ...

    async def run(
        self, argv: Sequence[str], *, env: Mapping[str, str], cwd: str, output: Output, timeout_s: float
    ) -> int:
        """Exit code; 124 when the time was up. Cancelling kills everything the step started. Raises SandboxDown."""
        ...

    async def close(self) -> None: ...


class SandboxRequest(Struct, frozen=True, kw_only=True):
    run: str
    job: str
    workspace: Path
    image: str  # "" for the runner image
    env: tuple[tuple[str, str], ...] = ()
    broker: Path | None = None  # the build broker's socket, to be visible inside
    cpus: float = 2.0
    memory_bytes: int = 4 << 30
    processes: int = 2048
    temp: Path | None = None  # a folder the steps may write
    commands: Path | None = None  # a folder the steps may write, read back by us file by file
    control: Path | None = None  # a folder the steps may only read: what we start them with
    cache: Path | None = None  # a folder kept between runs of one repository


class Executor(Protocol):
    name: str  # as it stands in run.job_started

    def inside(self, workspace: Path) -> str:
        """Where the steps will see this workspace."""
        ...

    async def open(self, request: SandboxRequest) -> Sandbox:
        """Raises SandboxDown."""
        ...

    async def sweep(self, keep_runs: Sequence[str]) -> None:
        """End what earlier runs left behind (after a kill)."""
        ...


Wake: TypeAlias = Callable[[str], None]
Ask: TypeAlias = Callable[[str], Awaitable[bool]]
