"""Secrets in one encrypted file of the state folder, by repository and environment.

The whole file is one AES-256-GCM box: without the key not even names are seen. Each change reads the file under
a lock and replaces it whole, so that a command and a running `up` may both write.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec import Struct, structs

T = TypeVar("T")

MAGIC = b"trueup vault 1\n"
NONCE_BYTES = 12
KEY_BYTES = 32
VALUE_LIMIT_BYTES = 1 << 20
TIMEOUT_S = 30.0

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class SecretInvalid(Exception):
    """This name or value cannot be kept; the message says why."""


class VaultUnreadable(Exception):
    """The file cannot be opened with this key; nothing was changed."""


class Secret(Struct, frozen=True):
    """`repository` is an `Address.identity`; `environment` "" is the repository's own."""

    repository: str
    environment: str
    name: str
    value: str


class FileVault:
    """The port `Vault`. `key` is 32 bytes (`store.keys.load_key` on "vault.key" in the folder of keys)."""

    def __init__(self, path: str, key: bytes) -> None:
        self._path = Path(path)
        self._box = AESGCM(key)

    async def set(self, repository: str, environment: str, name: str, value: str) -> None:
        """Raises SecretInvalid, VaultUnreadable."""
        _refuse_bad(name, value)
        secret = Secret(repository, environment, name, value)
        await _in_thread(lambda: self._change(lambda all: [*_without(all, secret), secret]))

    async def names(self, repository: str, environment: str = "") -> tuple[str, ...]:
        """What is set for exactly this environment; for the repository itself without one."""
        scope = (repository, environment)
        found = await _in_thread(self._read)
        return tuple(sorted(each.name for each in found if (each.repository, each.environment) == scope))

    async def values(self, repository: str, environment: str = "") -> Mapping[str, str]:
        """The environment's own over the repository's own."""
        found = [each for each in await _in_thread(self._read) if each.repository == repository]
        own = {each.name: each.value for each in found if not each.environment}
        return own | {each.name: each.value for each in found if environment and each.environment == environment}

    async def remove(self, repository: str, environment: str, name: str) -> bool:
        """Whether there was one."""
        secret = Secret(repository, environment, name, "")
        before, after = await _in_thread(lambda: self._change(lambda all: _without(all, secret)))
        return before != after

    async def adopt(self, name: str, owners: Sequence[str]) -> bool:
        """Whether anything was kept under `name`. Each of `owners` has it then, where it has none of its own."""
        if not owners or all(each.repository != name for each in await _in_thread(self._read)):
            return False
        await _in_thread(lambda: self._change(lambda all: _handed_over(all, name, owners)))
        return True

    async def environments(self, repository: str) -> tuple[str, ...]:
        """The environments that have secrets of their own; "" stands for the repository itself."""
        found = await _in_thread(self._read)
        return tuple(sorted({each.environment for each in found if each.repository == repository}))

    # --- blocking ----------------------------------------------------------------------------------

    def _change(self, change: Callable[[list[Secret]], list[Secret]]) -> tuple[int, int]:
        """How many there were, and are. Replaces the file only when something changed."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(self._path.with_name(f"{self._path.name}.lock")):
            before = self._read()
            after = change(before)
            if before != after:
                _replace(self._path, self._seal(after))
        return len(before), len(after)

    def _seal(self, found: list[Secret]) -> bytes:
        nonce = secrets.token_bytes(NONCE_BYTES)
        return MAGIC + nonce + self._box.encrypt(nonce, msgspec.json.encode(found), MAGIC)

    def _read(self) -> list[Secret]:
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return []
        nonce, box = content[len(MAGIC) : len(MAGIC) + NONCE_BYTES], content[len(MAGIC) + NONCE_BYTES :]
        try:
            if not content.startswith(MAGIC):
                raise InvalidTag
            return msgspec.json.decode(self._box.decrypt(nonce, box, MAGIC), type=list[Secret])
        except (InvalidTag, ValueError) as error:
            what = f"{self._path} cannot be opened: it was damaged, or the vault's key is another one"
            raise VaultUnreadable(f"{what}; put the key back, or remove the file and set the secrets again") from error


def _without(found: list[Secret], secret: Secret) -> list[Secret]:
    same = (secret.repository, secret.environment, secret.name)
    return [each for each in found if (each.repository, each.environment, each.name) != same]


def _handed_over(found: list[Secret], name: str, owners: Sequence[str]) -> list[Secret]:
    kept = [each for each in found if each.repository != name]
    for owner in owners:
        there = {(each.environment, each.name) for each in kept if each.repository == owner}
        old = [each for each in found if each.repository == name and (each.environment, each.name) not in there]
        kept += [structs.replace(each, repository=owner) for each in old]
    return kept


def _refuse_bad(name: str, value: str) -> None:
    """Source: GitHub Docs, "Naming your secrets": letters, digits, underscores; no digit first; no GITHUB_ prefix."""
    if not _NAME.fullmatch(name):
        raise SecretInvalid(f"{name!r} cannot name a secret: use letters, digits and _, and begin with no digit")
    if name.upper().startswith("GITHUB_"):
        raise SecretInvalid(f"{name!r} cannot name a secret: names beginning with GITHUB_ are the workflow's own")
    if len(value.encode()) > VALUE_LIMIT_BYTES:
        raise SecretInvalid(
            f"the value of {name} is longer than {VALUE_LIMIT_BYTES} bytes: keep it in a file elsewhere"
        )


async def _in_thread(work: Callable[[], T]) -> T:
    return await asyncio.wait_for(asyncio.to_thread(work), TIMEOUT_S)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _replace(path: Path, content: bytes) -> None:
    """Afterwards the file holds all of `content`, or, when this raises OSError, all that it held before."""
    draft = path.with_name(f"{path.name}.draft")  # one at a time, under the lock
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
