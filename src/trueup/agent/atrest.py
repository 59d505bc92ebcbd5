"""Seals what the agent keeps on disk, for desired objects hold Secrets. Never holds what it sealed.

What runs has its Secrets in the clear where containers read them: in their environment, which Podman keeps for root
alone, and in mounted files, which stand in memory.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from trueup.core.layout import Layout

KEY_BYTES = 32
NONCE_BYTES = 12
SEALED = b"\x01"  # JSON begins otherwise: what earlier versions wrote is told apart
ABOUT = b"trueup agent"


class KeyLost(Exception):
    """The key is not there, not whole, open to others, or another one; the message names it and what to do."""


class Box:
    """AES-256-GCM under one key."""

    def __init__(self, path: Path, key: bytes) -> None:
        self._path, self._aead = path, AESGCM(key)

    def seal(self, data: bytes) -> bytes:
        nonce = secrets.token_bytes(NONCE_BYTES)
        return SEALED + nonce + self._aead.encrypt(nonce, data, ABOUT)

    def open(self, stored: bytes) -> bytes:
        """Raises KeyLost."""
        if not stored.startswith(SEALED):
            return stored
        nonce, rest = stored[1 : 1 + NONCE_BYTES], stored[1 + NONCE_BYTES :]
        try:
            return self._aead.decrypt(nonce, rest, ABOUT)
        except InvalidTag as error:
            raise KeyLost(f"what is kept was sealed under another {self._path}; {_help()}") from error


def key_of(layout: Layout) -> Path:
    """Where the key stands: in the folder that `keys/apart` names, outside of the state folder, when there is one, as
    the keys of the store do; one that was made inside stays there. Blocking."""
    inside = Path(layout.keys) / "agent.key"
    pointer = inside.with_name("apart")
    if inside.exists() or not pointer.exists():
        return inside
    return Path(pointer.read_text().strip()) / inside.name


def open_box(path: Path, *, used: bool) -> Box:
    """The box of the key in this file, which is made when there is none and nothing was sealed yet (`used`).

    Blocking. Raises KeyLost, OSError."""
    if not path.exists():
        if used:
            raise KeyLost(f"{path} is gone, and what is kept was sealed under it; {_help()}")
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _make(path)
    mode, key = path.stat().st_mode & 0o777, path.read_bytes()
    if mode & 0o077:
        raise KeyLost(f"{path} may be read by others (mode {mode:o}); run: chmod 600 {path}")
    if len(key) != KEY_BYTES:
        raise KeyLost(f"{path} holds {len(key)} bytes instead of {KEY_BYTES}; {_help()}")
    return Box(path, key)


def _help() -> str:
    return "put the saved one back, or remove agent/agent.db* of the state folder: then `trueup up` rolls out anew"


def _make(path: Path) -> None:
    """Whole or not at all; when two start at once, the first one's stays."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(handle, secrets.token_bytes(KEY_BYTES))
        os.fsync(handle)
    finally:
        os.close(handle)
    with contextlib.suppress(FileExistsError):
        os.link(draft, path)
    draft.unlink()
