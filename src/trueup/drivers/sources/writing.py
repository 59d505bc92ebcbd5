"""Makes commits without a work tree: blobs, a temporary index, a tree, a commit. Same input, same id."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

from msgspec import Struct

from trueup.core.model import Oid
from trueup.drivers.sources.credentials import Config, config_environment
from trueup.drivers.sources.objects import path_fault
from trueup.drivers.sources.program import Program
from trueup.ports import SourceError

Edits: TypeAlias = Mapping[str, bytes | tuple[int, Oid] | None]

_FILE_MODES = (0o100644, 0o100755)
_NO_OID = "0" * 40


class Identity(Struct, frozen=True):
    """Who our commits are by."""

    name: str = "Trueup"
    email: str = "trueup@localhost"


class Signing(Struct, frozen=True):
    """A key to sign commits with. `format` is "ssh" (`key`: a key file) or "openpgp" (`key`: a key id)."""

    format: str
    key: str


def signing_from(values: Mapping[str, str]) -> Signing | None:
    """From TRUEUP_GIT_SIGNING_KEY: a file (ssh) or, when there is no "/" in it, the id of an OpenPGP key."""
    key = values.get("TRUEUP_GIT_SIGNING_KEY", "")
    return Signing("ssh" if "/" in key else "openpgp", key) if key else None


class Draft(Struct, frozen=True, kw_only=True):
    """A commit to be made. `parent` "" makes a first commit."""

    parent: Oid
    edits: Edits
    message: str
    when: datetime
    identity: Identity = Identity()
    signing: Signing | None = None


async def make(program: Program, draft: Draft, modes: Mapping[str, int], timeout_s: float) -> Oid:
    """The commit's id. `modes` are the parent's: a file's bytes are replaced under the mode it has.

    Raises ValueError for a path that Git would not take, SourceError when git cannot write."""
    for path in draft.edits:
        if fault := path_fault(path):
            raise ValueError(f"{path!r} cannot be committed: {fault}")
    try:
        with tempfile.TemporaryDirectory(dir=program.folder, prefix="trueup-") as scratch:
            work = _Work(program, Path(scratch), timeout_s)
            return await work.commit(draft, await work.tree(draft, modes))
    except OSError as error:
        raise SourceError(f"cannot make a commit in {program.folder}: {error}. Do: free some space.") from error


class _Work:
    def __init__(self, program: Program, scratch: Path, timeout_s: float) -> None:
        self._program, self._scratch, self._timeout_s = program, scratch, timeout_s
        self._index = {"GIT_INDEX_FILE": str(scratch / "index")}

    async def tree(self, draft: Draft, modes: Mapping[str, int]) -> Oid:
        if draft.parent:
            await self._git("read-tree", draft.parent)
        blobs = await self._blobs([edit for edit in draft.edits.values() if isinstance(edit, bytes)])
        lines = [_line(path, edit, blobs, modes) for path, edit in draft.edits.items()]
        # Removals first, so that a folder may take the place of a file.
        lines.sort(key=lambda line: not line.startswith(b"0 "))
        await self._git("update-index", "-z", "--replace", "--index-info", stdin=b"".join(lines))
        return await self._git("write-tree")

    async def _blobs(self, contents: list[bytes]) -> dict[bytes, Oid]:
        if not contents:
            return {}
        paths = []
        for number, content in enumerate(contents):
            path = self._scratch / f"blob{number}"
            path.write_bytes(content)
            paths.append(str(path))
        oids = await self._git("hash-object", "-w", "--no-filters", "--stdin-paths", stdin="\n".join(paths).encode())
        return dict(zip(contents, oids.split("\n"), strict=True))

    async def commit(self, draft: Draft, tree: Oid) -> Oid:
        parents = ["-p", draft.parent] if draft.parent else []
        env = _commit_environment(draft)
        sign, config = _signing(draft.signing)
        env |= config_environment(config)
        return await self._git("commit-tree", *sign, *parents, tree, stdin=draft.message.encode(), env=env)

    async def _git(self, *args: str, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> str:
        done = await self._program.run(*args, timeout_s=self._timeout_s, stdin=stdin, env=self._index | dict(env or {}))
        if done.code:
            said = done.err.strip()
            full = "No space left" in said or "diskspace" in said
            todo = "the disk is full: free some space" if full else "see `git fsck` in that folder"
            if args[0] == "commit-tree" and "-S" in " ".join(args):
                todo = "check the signing key, and that its passphrase is held by an agent"
            raise SourceError(f"cannot make a commit in {self._program.folder} (git {args[0]}): {said}. Do: {todo}.")
        return done.out.decode().strip()


def _line(
    path: str, edit: bytes | tuple[int, Oid] | None, blobs: Mapping[bytes, Oid], modes: Mapping[str, int]
) -> bytes:
    """One line of `git update-index -z --index-info`."""
    if edit is None:
        mode, oid = 0, _NO_OID
    elif isinstance(edit, bytes):
        had = modes.get(path, 0)
        mode, oid = had if had in _FILE_MODES else _FILE_MODES[0], blobs[edit]
    else:
        mode, oid = edit
    return f"{mode:o} {oid}\t".encode() + os.fsencode(path) + b"\0"


def _commit_environment(draft: Draft) -> dict[str, str]:
    date = f"@{int(draft.when.astimezone(UTC).timestamp())} +0000"
    who = {"NAME": draft.identity.name, "EMAIL": draft.identity.email, "DATE": date}
    return {f"GIT_{role}_{part}": value for role in ("AUTHOR", "COMMITTER") for part, value in who.items()}


def _signing(signing: Signing | None) -> tuple[list[str], Config]:
    if signing is None:
        return ["--no-gpg-sign"], ()
    return [f"-S{signing.key}"], (("gpg.format", signing.format),)
