"""One Git repository, over the git program: a bare clone that is read by object id and written without a work tree.

Never asks anybody anything, never leaves a secret on a command line, in the clone or in a message.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from msgspec import Struct

from trueup.core.address import Address, parse
from trueup.core.model import Commit, Oid, Tree
from trueup.drivers.sources import checkout, clone, complaints, history, writing
from trueup.drivers.sources.credentials import (
    Credentials,
    HostCredentials,
    SshKey,
    Token,
    base_environment,
    config_environment,
    mask,
    remote_environment,
)
from trueup.drivers.sources.objects import Missing, Objects, parse_commit, parse_tree, path_fault
from trueup.drivers.sources.program import Done, Program
from trueup.drivers.sources.trees import Trees
from trueup.drivers.sources.writing import Edits, Identity, Signing
from trueup.ports import CommitRefused, Pushed, Raced, Refused, SourceError

_REMOTE = "refs/remotes/origin/"
_T = TypeVar("_T")


class Settings(Struct, frozen=True, kw_only=True):
    """What a `Git` needs to know. `environment` is the process's own (PATH, HOME, SSH_AUTH_SOCK, proxies)."""

    url: str
    folder: Path  # of the bare clone; made when absent, may vanish between two runs
    environment: Mapping[str, str]
    credentials: Credentials = HostCredentials()
    identity: Identity = Identity()
    signing: Signing | None = None
    fetch_timeout_s: float = 3600.0  # a first clone may be large; a stalled one ends by itself in a minute
    push_timeout_s: float = 300.0
    local_timeout_s: float = 120.0


class Git:
    """A `ports.Source`. Opens itself at first use; `close` ends the reader it keeps running."""

    def __init__(self, settings: Settings) -> None:
        """Raises ValueError for an address that is none, or a token that would travel in the clear."""
        address, login = parse(settings.url)
        if address.scheme == "path":
            address = parse(os.path.abspath(settings.url))[0]
        self.address: Address = address
        self._settings = settings
        self._credentials = settings.credentials
        if login and isinstance(settings.credentials, HostCredentials):
            self._credentials = Token(secret=login.secret, username=login.username)
        self._environment = base_environment(settings.environment) | {
            "GIT_CEILING_DIRECTORIES": str(settings.folder.absolute().parent)  # a broken clone is not its neighbour
        }
        remote_environment(address, self._credentials, "ssh")
        self._opening, self._fetching = asyncio.Lock(), asyncio.Lock()
        self._program: Program | None = None
        self._objects: Objects | None = None
        self._remote: dict[str, str] = {}
        self._heads: dict[str, Oid] | None = None
        self._trees = Trees()

    @property
    def known_hosts(self) -> str:
        """The file of host keys that was given to believe; "" for the usual ones."""
        return self._credentials.known_hosts if isinstance(self._credentials, SshKey) else ""

    async def __aenter__(self) -> Git:
        await self._open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        program, objects = self._program, self._objects
        self._program = self._objects = None
        if objects:
            await objects.close()
        if program:
            clone.release(program)

    async def _open(self) -> tuple[Program, Objects]:
        async with self._opening:
            if self._program is None or self._objects is None:
                local = self._environment | config_environment(())
                program = await clone.prepare(self._settings.folder, local, self._settings.local_timeout_s)
                self._remote = await self._remote_environment(program)
                self._program = program
                self._objects = Objects(program, self._settings.local_timeout_s)
            return self._program, self._objects

    async def _remote_environment(self, program: Program) -> dict[str, str]:
        ssh = self._environment.get("GIT_SSH_COMMAND", "")
        if not ssh:
            configured = await program.run("config", "core.sshCommand", timeout_s=self._settings.local_timeout_s)
            ssh = configured.out.decode().strip() or self._environment.get("GIT_SSH", "ssh")
        environment, config = remote_environment(self.address, self._credentials, ssh)
        return environment | config_environment(config)

    # --- the remote --------------------------------------------------------------------------------

    async def fetch(self) -> Mapping[str, Oid]:
        async with self._fetching:
            await self._open()
            remote = _heads(
                await self._ask("fetch from", "ls-remote", "--heads", "--", self.address.url), "refs/heads/"
            )
            if remote != await self._local_heads():
                await self._ask(
                    *("fetch from", "fetch", "--prune", "--no-tags", "--no-write-fetch-head", "--quiet"),
                    *("--", self.address.url, f"+refs/heads/*:{_REMOTE}*"),
                )
                self._heads = None
            return dict(await self._local_heads())

    async def default_branch(self) -> str:
        """The branch that the remote's HEAD names; "" when it names none. Raises SourceError."""
        out = await self._ask("ask", "ls-remote", "--symref", "--", self.address.url, "HEAD")
        for line in out.splitlines():
            if line.startswith("ref: refs/heads/"):
                return line.removeprefix("ref: refs/heads/").partition("\t")[0]
        return ""

    async def _local_heads(self) -> dict[str, Oid]:
        if self._heads is None:
            listing = await self._local("for-each-ref", "--format=%(objectname)%09%(refname)", _REMOTE)
            self._heads = _heads(listing.decode(errors="surrogateescape"), _REMOTE)
        return self._heads

    async def _ask(self, doing: str, *args: str) -> str:
        """Run git against the remote. Raises SourceError that says what to do."""
        done = await self._speak(*args, timeout_s=self._settings.fetch_timeout_s)
        if done.code:
            raise self._failure(doing, done.err)
        return done.out.decode(errors="surrogateescape")

    async def _speak(self, *args: str, timeout_s: float) -> Done:
        program, _ = await self._open()
        done = await program.run(*args, timeout_s=timeout_s, env=self._remote)
        return Done(code=done.code, out=done.out, err=mask(done.err, self._credentials))

    def _failure(self, doing: str, said: str) -> SourceError:
        return SourceError(complaints.explain(doing, self.address, said, str(self._settings.folder)))

    # --- reading -----------------------------------------------------------------------------------

    async def commit(self, oid: Oid) -> Commit:
        """Raises SourceError when the clone does not hold it."""
        return (await self._commits([oid]))[0]

    async def _commits(self, oids: Sequence[Oid]) -> tuple[Commit, ...]:
        found = await self._read(lambda objects: objects.read(oids))
        for oid in oids:
            if found[oid][0] != "commit":
                raise SourceError(f"{oid} in {self.address.url} is a {found[oid][0]}, no commit. Do: name a commit.")
        return tuple(parse_commit(oid, found[oid][1]) for oid in oids)

    async def tree(self, commit: Oid) -> Tree:
        """Raises CommitRefused when a path in it is hostile."""
        if (known := self._trees.get(commit)) is not None:
            return known
        tree = parse_tree(await self._local("ls-tree", "-r", "-z", "-l", "--full-tree", commit))
        for path in tree:
            if fault := path_fault(path):
                raise CommitRefused(
                    f"commit {commit[:12]} of {self.address.url} is refused: path {path!r}: {fault}. "
                    "Do: push a commit without it."
                )
        self._trees.keep(commit, tree)
        return tree

    async def blobs(self, oids: Sequence[Oid]) -> Mapping[Oid, bytes]:
        """Whole in memory: look at the sizes in the tree first. Raises SourceError."""
        found = await self._read(lambda objects: objects.read(oids))
        return {oid: content for oid, (_, content) in found.items()}

    async def is_ancestor(self, ancestor: Oid, descendant: Oid) -> bool:
        """False too for an ancestor the clone does not hold: what we hold, we hold with all its ancestors."""
        program, _ = await self._open()
        done = await program.run(
            "merge-base", "--is-ancestor", ancestor, descendant, timeout_s=self._settings.local_timeout_s
        )
        return done.code == 0

    async def between(self, before: Oid, after: Oid) -> tuple[Commit, ...]:
        """Only `after` when `before` is "" or is held no more (rewritten away before this clone was made)."""
        if not before or not await self._holds(before):
            return (await self.commit(after),)
        listing = await self._local("rev-list", "--reverse", "--topo-order", f"{before}..{after}", "--")
        return await self._commits(listing.decode().split())

    async def _holds(self, oid: Oid) -> bool:
        try:
            await self.commit(oid)
        except SourceError:
            return False
        return True

    async def checkout(self, commit: Oid, into: Path) -> tuple[str, ...]:
        tree = await self.tree(commit)
        return await self._read(lambda objects: checkout.write(objects, tree, into))

    async def history(self, commit: Oid, into: Path, *, branch: str, depth: int) -> None:
        """Fill ports.History."""
        await self._open()
        await history.write(
            self._settings.folder, self._environment, commit, into, branch=branch, url=self.address.url, depth=depth
        )

    async def _read(self, read: Callable[[Objects], Awaitable[_T]]) -> _T:
        _, objects = await self._open()
        try:
            return await read(objects)
        except Missing as missing:
            raise SourceError(
                f"object {missing} is not in the clone of {self.address.url}: its history was rewritten before this "
                "clone was made, or it was never pushed. Do: push a commit that contains it, or choose another."
            ) from None
        except TimeoutError:
            raise SourceError(f"git did not answer from {self._settings.folder}. Do: look at the disk.") from None

    async def _local(self, *args: str) -> bytes:
        program, _ = await self._open()
        done = await program.run(*args, timeout_s=self._settings.local_timeout_s)
        if done.code:
            raise self._failure("read the clone of", mask(done.err, self._credentials))
        return done.out

    # --- writing -----------------------------------------------------------------------------------

    async def make_commit(self, parent: Oid, edits: Edits, message: str, *, when: datetime) -> Oid:
        """`parent` "" makes a first commit. Raises ValueError for a path Git would not take, SourceError."""
        program, _ = await self._open()
        modes = {path: entry.mode for path, entry in (await self.tree(parent)).items()} if parent else {}
        draft = writing.Draft(
            parent=parent,
            edits=edits,
            message=message,
            when=when,
            identity=self._settings.identity,
            signing=self._settings.signing,
        )
        return await writing.make(program, draft, modes, self._settings.local_timeout_s)

    async def push(self, branch: str, commit: Oid, *, expect: Oid | None) -> Pushed | Raced | Refused:
        lease = f"--force-with-lease=refs/heads/{branch}:{expect or ''}"
        done = await self._push("--no-verify", lease, "--", self.address.url, f"{commit}:refs/heads/{branch}")
        if done.code == 0:
            return Pushed(commit)
        reason = complaints.rejection(done.out.decode(errors="replace"))
        if complaints.is_race(reason):
            return Raced(await self._head(branch))
        if complaints.is_lock(reason) and (head := await self._head(branch)) != expect:
            return Pushed(commit) if head == commit else Raced(head)
        return self._refused(branch, reason, done.err)

    async def _push(self, *args: str) -> Done:
        return await self._speak("push", "--porcelain", *args, timeout_s=self._settings.push_timeout_s)

    def _refused(self, branch: str, reason: str, said: str) -> Refused:
        """Raises SourceError when the remote could not, rather than would not."""
        lock = complaints.is_lock(reason)
        if lock or complaints.is_world(reason, said) or not (reason or complaints.is_no_right(said)):
            raise self._failure(f"push {branch} to", f"{reason}\n{said}")
        return Refused(complaints.refusal(branch, reason, said, self.address))

    async def _head(self, branch: str) -> Oid | None:
        ref = f"refs/heads/{branch}"
        out = await self._ask("look at", "ls-remote", "--", self.address.url, ref)
        return _heads(out, "refs/heads/").get(branch)

    async def may_push(self, branch: str) -> Refused | None:
        """Whether the remote would let us write at all. Hooks and protection rules are seen only by a real push.

        Raises SourceError."""
        if refused := await self._checked_out(branch):
            return refused
        heads = await self.fetch()
        commit = heads.get(branch) or await self.make_commit("", {}, "May this be pushed?\n", when=_EPOCH)
        done = await self._push("--dry-run", "--no-verify", "--", self.address.url, f"{commit}:refs/heads/{branch}")
        if done.code == 0:
            return None
        return self._refused(branch, complaints.rejection(done.out.decode(errors="replace")), done.err)

    async def _checked_out(self, branch: str) -> Refused | None:
        """A work tree on this machine that has the branch checked out takes no push to it, unless told to."""
        if self.address.scheme not in ("path", "file"):
            return None
        at = ("-C", self.address.path)
        program, _ = await self._open()
        time = self._settings.local_timeout_s
        bare = await program.run(*at, "rev-parse", "--is-bare-repository", timeout_s=time)
        head = await program.run(*at, "symbolic-ref", "--quiet", "HEAD", timeout_s=time)
        if bare.out.strip() != b"false" or head.out.decode().strip() != f"refs/heads/{branch}":
            return None
        deny = await program.run(*at, "config", "receive.denyCurrentBranch", timeout_s=time)
        if deny.out.decode().strip() in ("updateInstead", "ignore", "warn", "false"):
            return None
        todo = complaints.checked_out_advice(self.address.path)
        return Refused(f"{branch} is checked out in {self.address.path}, and git refuses pushes to it. Do: {todo}.")


_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


def _heads(listing: str, prefix: str) -> dict[str, Oid]:
    """From "<oid>\\t<ref>" lines."""
    pairs = (line.split("\t", 1) for line in listing.splitlines() if "\t" in line)
    return {ref.removeprefix(prefix): oid for oid, ref in pairs if ref.startswith(prefix)}
