"""A renderer that renders nothing twice: what was made is used again while all that it read is the same.

A render is found by what was asked and by which renderer, and proven by its trace: across commits, branches and
environments. What it keeps may vanish at any time.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections import OrderedDict
from collections.abc import Mapping

import msgspec
from msgspec import Struct

from trueup.core.render import Asked, Output, key, still_valid
from trueup.ports import Given, Renderer, RenderStore

MEMORY_BYTES = 64 << 20
MOST_TURNS = 4096
_decode = msgspec.json.Decoder(Output).decode


class _Kept(Struct, frozen=True):
    output: Output
    size_bytes: int


class Kept:
    """Over another renderer. Without a `store` it remembers in memory only."""

    def __init__(self, renderer: Renderer, store: RenderStore | None = None, memory_bytes: int = MEMORY_BYTES) -> None:
        self._renderer, self._store, self._memory_bytes = renderer, store, memory_bytes
        self._known: OrderedDict[str, dict[str, _Kept]] = OrderedDict()  # by key, then by trace; the newest last
        self._bytes = 0
        self._loaded: set[str] = set()
        self._turns: dict[str, asyncio.Lock] = {}

    async def render(self, asked: Asked, given: Given) -> Output:
        """What `asked` gives from this tree, made now or before. Raises what the renderer raises."""
        name = key(asked, await self._renderer.identity())
        if len(self._turns) > MOST_TURNS:
            self._turns = {one: turn for one, turn in self._turns.items() if turn.locked()}
        async with self._turns.setdefault(name, asyncio.Lock()):  # who asks for the same meanwhile gets what came of it
            return await self._render(name, asked, given)

    async def _render(self, name: str, asked: Asked, given: Given) -> Output:
        if (found := self._find(name, given)) is not None:
            return found
        if self._store is not None and name not in self._loaded:
            self._loaded.add(name)
            for data in reversed(await self._store.find(name)):
                with contextlib.suppress(msgspec.MsgspecError):  # of another version's records: made anew
                    self._remember(name, _decode(data), len(data))
            if (found := self._find(name, given)) is not None:
                return found
        output = await self._renderer.render(asked, given)
        data = msgspec.json.encode(output)
        id = self._remember(name, output, len(data))
        if self._store is not None:
            await self._store.put(name, id, data, lasting=bool(output.differs))
        return output

    def _find(self, name: str, given: Given) -> Output | None:
        known = self._known.get(name, {})
        for kept in reversed(known.values()):
            if still_valid(kept.output.trace, given.folders):
                self._known.move_to_end(name)
                return kept.output
        return None

    def _remember(self, name: str, output: Output, size_bytes: int) -> str:
        id = hashlib.sha256(name.encode() + msgspec.json.encode(output.trace)).hexdigest()
        known = self._known.setdefault(name, {})
        before = known.pop(id, None)
        known[id] = _Kept(output, size_bytes)
        self._bytes += size_bytes - (before.size_bytes if before else 0)
        self._known.move_to_end(name)
        self._forget()
        return id

    def _forget(self) -> None:
        """The oldest ones of what was not asked for longest go first; what is stored is read again when it is."""
        while self._bytes > self._memory_bytes and (len(self._known) > 1 or len(next(iter(self._known.values()))) > 1):
            name, known = next(iter(self._known.items()))
            self._loaded.discard(name)
            id = next(iter(known))
            self._bytes -= known.pop(id).size_bytes
            if not known:
                del self._known[name]

    async def identity(self) -> str:
        return await self._renderer.identity()

    async def versions(self) -> Mapping[str, str]:
        return await self._renderer.versions()
