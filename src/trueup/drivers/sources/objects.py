"""Reads Git objects through one `git cat-file --batch` that keeps running, and parses commits and trees."""

from __future__ import annotations

import asyncio
import contextlib
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime

from msgspec import Struct

from trueup.core.model import Commit, Oid, TreeEntry
from trueup.drivers.sources.program import Program, end

_CHUNK = 1 << 20
_AHEAD = 64  # requests written before the first answer is read


class Missing(Exception):
    """The clone does not hold this object."""


class Piece(Struct, frozen=True):
    """A part of an object's content, in order. `size_bytes` is the whole object's."""

    oid: Oid
    kind: str  # "blob" | "commit" | "tree" | "tag"
    size_bytes: int
    data: bytes
    last: bool


class Objects:
    """A reader of one clone. A read that is broken off restarts the process, so that answers never get mixed up."""

    def __init__(self, program: Program, timeout_s: float) -> None:
        self._program, self._timeout_s = program, timeout_s
        self._process: Process | None = None
        self._lock = asyncio.Lock()

    async def close(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        await end(process)

    async def read(self, oids: Sequence[Oid]) -> dict[Oid, tuple[str, bytes]]:
        """oid → (kind, content). Raises Missing, TimeoutError."""
        parts: dict[Oid, list[bytes]] = {}
        kinds: dict[Oid, str] = {}
        async with contextlib.aclosing(self.stream(list(dict.fromkeys(oids)))) as pieces:
            async for piece in pieces:
                kinds[piece.oid] = piece.kind
                parts.setdefault(piece.oid, []).append(piece.data)
        return {oid: (kinds[oid], b"".join(data)) for oid, data in parts.items()}

    async def stream(self, oids: Sequence[Oid]) -> AsyncGenerator[Piece, None]:
        """The objects one after another, in pieces of at most 1 MiB, so that size costs no memory."""
        if not oids:
            return
        async with self._lock:
            process = await self._running()
            done = False
            try:
                async for piece in self._conversation(process, oids):
                    yield piece
                done = True
            finally:
                if not done:
                    await self.close()

    async def _running(self) -> Process:
        if self._process is None or self._process.returncode is not None:
            self._process = await self._program.start(["cat-file", "--batch"], {}, stderr=DEVNULL)
        return self._process

    async def _conversation(self, process: Process, oids: Sequence[Oid]) -> AsyncGenerator[Piece, None]:
        for start in range(0, len(oids), _AHEAD):
            batch = oids[start : start + _AHEAD]
            assert process.stdin is not None
            process.stdin.write("".join(f"{oid}\n" for oid in batch).encode())
            async with asyncio.timeout(self._timeout_s):
                await process.stdin.drain()
            for oid in batch:
                async for piece in self._answer(process, oid):
                    yield piece

    async def _answer(self, process: Process, oid: Oid) -> AsyncGenerator[Piece, None]:
        assert process.stdout is not None
        async with asyncio.timeout(self._timeout_s):
            header = (await process.stdout.readline()).split()
        if len(header) != 3:
            raise Missing(oid)
        kind, size = header[1].decode(), int(header[2])
        left = size
        while True:
            async with asyncio.timeout(self._timeout_s):
                try:
                    data = await process.stdout.readexactly(min(left, _CHUNK))
                    left -= len(data)
                    if not left:
                        await process.stdout.readexactly(1)  # the newline after the content
                except asyncio.IncompleteReadError:
                    raise Missing(oid) from None
            yield Piece(oid=oid, kind=kind, size_bytes=size, data=data, last=not left)
            if not left:
                return


def parse_commit(oid: Oid, raw: bytes) -> Commit:
    """Source: git's commit object format (gitformat-commit; RFC-822-like header, blank line, message)."""
    head, _, message = raw.partition(b"\n\n")
    fields: dict[str, list[str]] = {}
    for line in head.split(b"\n"):
        key, _, value = line.partition(b" ")
        if key:  # a line that begins with a space continues the one before (signatures): not needed here
            fields.setdefault(key.decode(errors="replace"), []).append(value.decode(errors="replace"))
    committer, time = _signature(fields["committer"][0])
    encoding = fields.get("encoding", ["utf-8"])[0]
    return Commit(
        id=oid,
        tree=fields["tree"][0],
        parents=tuple(fields.get("parent", ())),
        author=_signature(fields["author"][0])[0],
        committer=committer,
        time=time,
        message=_decode(message, encoding),
    )


def _signature(text: str) -> tuple[str, datetime]:
    who, _, when = text.rpartition("> ")
    seconds = when.partition(" ")[0]
    try:
        return who + ">", datetime.fromtimestamp(int(seconds), UTC)
    except (ValueError, OverflowError, OSError):  # people's tools have written times that no calendar knows
        return who + ">", datetime.fromtimestamp(0, UTC)


def _decode(text: bytes, encoding: str) -> str:
    try:
        return text.decode(encoding)
    except (LookupError, UnicodeDecodeError):
        return text.decode(errors="replace")


def parse_tree(listing: bytes) -> dict[str, TreeEntry]:
    """From `git ls-tree -r -z -l`. A path that is no UTF-8 keeps its bytes as surrogates (see os.fsencode)."""
    tree = {}
    for line in listing.split(b"\0"):
        if line:
            meta, _, path = line.partition(b"\t")
            mode, _, oid, size = meta.split()
            size_bytes = -1 if size == b"-" else int(size)
            entry = TreeEntry(mode=int(mode, 8), oid=oid.decode(), size_bytes=size_bytes)
            tree[path.decode(errors="surrogateescape")] = entry
    return tree


def path_fault(path: str) -> str:
    """Why this path must never be written, or ""."""
    for part in path.split("/"):
        if part in ("", ".", ".."):
            return f"it has a component {part!r}"
        if part.lower() == ".git":
            return "it reaches into a .git folder"
    return "it holds a NUL" if "\0" in path else ""
