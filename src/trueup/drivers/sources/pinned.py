"""Other people's repositories at one commit: a base that a kustomization names. Read by object id, never written.

Source: kustomize api v0.21.1, internal/git/cloner.go: one ref, fetched with depth 1.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from trueup.core import address
from trueup.core.kusturl import Base
from trueup.core.logins import Logins
from trueup.core.model import Oid, Tree
from trueup.core.reach import Allowed
from trueup.drivers.sources import clone, complaints
from trueup.drivers.sources.credentials import (
    Config,
    Credentials,
    HostCredentials,
    SshKey,
    Token,
    base_environment,
    config_environment,
    mask,
    remote_environment,
)
from trueup.drivers.sources.objects import Missing, Objects, parse_tree, path_fault
from trueup.drivers.sources.program import Program
from trueup.drivers.sources.web import addresses
from trueup.ports import RemoteRefused, SourceError

PORTS = {"https": 443, "http": 80, "ssh": 22}
LOCAL_S = 60.0
_OID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_PROXIES = re.compile(r"(https?|all|no)_proxy", re.I)


class Pinned:
    """Clones below `folder`, one a repository. `ssh` is the key that ssh goes by, if not by what the machine has.
    `await close()` when done."""

    def __init__(
        self,
        folder: Path,
        environment: Mapping[str, str],
        allowed: Allowed,
        logins: Logins,
        ssh: SshKey | None = None,
    ) -> None:
        direct = {name: value for name, value in environment.items() if not _PROXIES.fullmatch(name)}
        self._folder, self._allowed, self._logins, self._key = folder, allowed, logins, ssh
        self._environment = base_environment(direct) | {
            "GIT_ALLOW_PROTOCOL": "https:http:ssh",
            "GIT_CEILING_DIRECTORIES": str(folder.absolute()),
        }
        self._open: dict[str, tuple[Program, Objects]] = {}
        self._turn = asyncio.Lock()

    async def close(self) -> None:
        for program, objects in self._open.values():
            await objects.close()
            clone.release(program)
        self._open.clear()

    async def resolve(self, base: Base) -> Oid:
        """The commit that a base names now. Raises RemoteRefused, SourceError."""
        if _OID.fullmatch(base.ref):
            return base.ref
        names = [f"refs/tags/{base.ref}", f"refs/heads/{base.ref}", base.ref] if base.ref else ["HEAD"]
        listing = await self._ask(base, "ls-remote", "--", base.url, *names, *(f"{name}^{{}}" for name in names))
        pairs = (line.split("\t", 1) for line in listing.splitlines() if "\t" in line)
        found: dict[str, Oid] = {ref: oid for oid, ref in pairs}
        for name in names:
            if oid := found.get(f"{name}^{{}}") or found.get(name):
                return oid
        raise RemoteRefused(f"{_shown(base)} has no {base.ref or 'HEAD'}: name a branch, a tag or a whole commit id")

    async def tree(self, base: Base, commit: Oid) -> Tree:
        """Everything in a commit, fetched when it is not there yet. Raises RemoteRefused, SourceError."""
        async with self._turn:
            program, _ = await self._opened(base)
            if (await program.run("cat-file", "-e", f"{commit}^{{commit}}", timeout_s=LOCAL_S)).code:
                wanted = ("--depth=1", "--no-tags", "--no-write-fetch-head", "--quiet")
                await self._ask(base, "fetch", *wanted, "--", base.url, f"{commit}:refs/pins/{commit}")
        listed = await program.run("ls-tree", "-r", "-z", "-l", "--full-tree", commit, timeout_s=LOCAL_S)
        if listed.code:
            raise SourceError(f"cannot read commit {commit[:12]} of {_shown(base)}. Do: remove {self._folder}.")
        tree = parse_tree(listed.out)
        for path in tree:
            if fault := path_fault(path):
                raise RemoteRefused(f"commit {commit[:12]} of {_shown(base)} holds the path {path!r}: {fault}")
        return tree

    async def blobs(self, base: Base, oids: Sequence[Oid]) -> Mapping[Oid, bytes]:
        """Raises SourceError."""
        _, objects = await self._opened(base)
        try:
            return {oid: data for oid, (_, data) in (await objects.read(oids)).items()}
        except (Missing, TimeoutError):
            raise SourceError(f"{_shown(base)} lacks a file of its own commit. Do: remove {self._folder}.") from None

    async def _opened(self, base: Base) -> tuple[Program, Objects]:
        if base.url not in self._open:
            name = hashlib.sha256(base.url.encode()).hexdigest()[:24]
            program = await clone.prepare(self._folder / name, self._environment | config_environment(()), LOCAL_S)
            self._open[base.url] = program, Objects(program, LOCAL_S)
        return self._open[base.url]

    async def _ask(self, base: Base, *args: str) -> str:
        """Run git against the remote, connected to an address that was looked at."""
        try:
            where, login = address.parse(base.url)
        except ValueError as error:
            raise RemoteRefused(str(error)) from None
        if where.scheme not in PORTS:
            raise RemoteRefused(f"{_shown(base)}: only https, http and ssh are fetched, no {where.scheme or 'path'}")
        if login is not None:
            raise RemoteRefused(f"{_shown(base)} holds a password, which anybody reads in Git: keep it as a login")
        port = where.port or PORTS[where.scheme]
        near = await addresses(where.host, port, self._allowed)
        credentials = self._credentials(where)
        try:
            environment, config = remote_environment(where, credentials, _ssh(where, near[0]))
        except ValueError as error:
            raise RemoteRefused(str(error)) from None
        program, _ = await self._opened(base)
        settings = config_environment((*config, *_direct(where, port, near)))
        done = await program.run(*args, timeout_s=base.timeout_s, env=environment | settings)
        if done.code == 124:
            what = f"{_shown(base)} did not answer within {base.timeout_s:g} s"
            raise SourceError(f"{what}. Do: allow it more, by ?timeout=120s.")
        if done.code:
            said = complaints.explain("fetch from", where, mask(done.err, credentials), str(self._folder))
            raise SourceError(said)
        return done.out.decode(errors="surrogateescape")

    def _credentials(self, where: address.Address) -> Credentials:
        if where.scheme == "ssh":
            return self._key or HostCredentials()
        netloc = f"{where.host}:{where.port}" if where.port else where.host
        found = self._logins.of(netloc, where.path)
        return Token(secret=found.password, username=found.username) if found else HostCredentials()


def _direct(where: address.Address, port: int, near: Sequence[str]) -> Config:
    """To these addresses alone, whatever DNS says next: no redirect, no proxy. Source: git-config(1), 2.39."""
    listed = ",".join(f"[{one}]" if ":" in one else one for one in near)
    near_only = ("http.curloptResolve", f"{where.host}:{port}:{listed}")
    return near_only, ("http.followRedirects", "false"), ("http.proxy", "")


def _ssh(where: address.Address, near: str) -> str:
    if where.scheme != "ssh":
        return "ssh"
    named = where.host if where.port in (0, PORTS["ssh"]) else f"[{where.host}]:{where.port}"  # as in known_hosts
    return f"ssh {shlex.join(['-o', f'HostName={near}', '-o', f'HostKeyAlias={named}'])}"


def _shown(base: Base) -> str:
    try:
        return address.parse(base.url)[0].url
    except ValueError:
        return "an address that is none"
