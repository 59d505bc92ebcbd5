"""The keys of one state folder, made at the first start: each a file that only its owner reads."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from msgspec import Struct

from trueup.core.layout import Layout


class KeyUnreadable(Exception):
    """A key file is damaged or open to others; the message names it and what to do."""


class Signer:
    """Signs checkpoints. Signatures are Ed25519."""

    def __init__(self, seed: bytes) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        self.public: bytes = self._private.public_key().public_bytes_raw()

    def sign(self, payload: bytes) -> bytes:
        return self._private.sign(payload)


class Keys(Struct, frozen=True):
    """What the ledger signs with, what records are named with."""

    signer: Signer
    records: bytes  # 32 bytes, for the keyed hash


def checker(public: bytes) -> Callable[[bytes, bytes], bool]:
    """A function (payload, signature) → whether the owner of this public key signed it."""
    key = Ed25519PublicKey.from_public_bytes(public)

    def check(payload: bytes, signature: bytes) -> bool:
        try:
            key.verify(signature, payload)
        except InvalidSignature:
            return False
        return True

    return check


SEALING = ("records.key", "vault.key", "agent.key")
POINTER = "apart"  # names the folder outside; whoever comes later with another home finds the same keys


def sealing_key(layout: Layout, name: str) -> Path:
    """Where a key that opens what is sealed in the state folder stands: outside of it, when it has a place there, so
    that a copy of the folder opens nothing. One that was made inside stays there. Blocking; writes the pointer."""
    inside = Path(layout.keys) / name
    if inside.exists():
        return inside
    pointer = inside.with_name(POINTER)
    if not pointer.exists():
        if not layout.apart:
            return inside
        pointer.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_new(pointer, f"{layout.apart}/{layout.id}\n".encode(), 0o600)
    return Path(pointer.read_text().strip()) / name


def open_keys(folder: str, records: Path | None = None) -> Keys:
    """Read the keys of the store, making those that are not there. Blocking; call it once, at the start.

    Beside the private key stands `ledger.pub`, to be given to whoever verifies without the folder; `records` is where
    the key of the records is, when not in the folder (`sealing_key`). Raises KeyUnreadable."""
    signer = Signer(load_key(Path(folder) / "ledger.key", 32))
    public = Path(folder) / "ledger.pub"
    if not public.exists():
        _write_new(public, (signer.public.hex() + "\n").encode(), 0o644)
    return Keys(signer=signer, records=load_key(records or Path(folder) / "records.key", 32))


def read_public(folder: str) -> bytes:
    """The public key for verifying; makes nothing. Raises KeyUnreadable."""
    path = Path(folder) / "ledger.pub"
    try:
        key = bytes.fromhex(path.read_text().strip())
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise KeyUnreadable(f"{path}: {why}; without the public key no checkpoint can be verified") from error
    if len(key) != 32:
        raise KeyUnreadable(f"{path} holds {len(key)} bytes, a public key has 32; put the saved one back")
    return key


def load_key(path: Path, size_bytes: int) -> bytes:
    """The random key in this file, made with mode 0600 when there is none. Raises KeyUnreadable."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not path.exists():
        _write_new(path, secrets.token_bytes(size_bytes), 0o600)
    return read_key(path, size_bytes)


def read_key(path: Path, size_bytes: int) -> bytes:
    """The key in this file. Raises KeyUnreadable when it is not there, not whole, or others may read it."""
    try:
        mode, key = path.stat().st_mode & 0o777, path.read_bytes()
    except OSError as error:
        raise KeyUnreadable(f"{path}: {error.strerror}; put the key file back") from error
    if mode & 0o077:
        raise KeyUnreadable(f"{path} may be read by others (mode {mode:o}); run: chmod 600 {path}")
    if len(key) != size_bytes:
        raise KeyUnreadable(f"{path} holds {len(key)} bytes instead of {size_bytes}; put the saved key back")
    return key


def _write_new(path: Path, content: bytes, mode: int) -> None:
    """Whole or not at all; when two start at once, the first one's stays."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        os.write(fd, content)
        os.fsync(fd)
    finally:
        os.close(fd)
    with contextlib.suppress(FileExistsError):
        os.link(draft, path)
    os.unlink(draft)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make what was created, renamed or removed in this folder survive a power loss."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
