"""What moved, in order, kept on disk: whoever watches from a seq on misses nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from trueup.agent.store import Store
from trueup.core.model import Ref
from trueup.ports import Moved


class Journal:
    """Collects moves and writes them in batches; `follow` gives the written ones."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pending: list[Moved] = []
        self._grown = asyncio.Condition()
        self._last = 0

    def note(self, application: str, ref: Ref, drift: str = "", *, repaired: bool = False) -> None:
        self._pending.append(Moved(0, application, ref, drift, repaired))

    async def flush(self) -> None:
        """Write what was noted. Raises StoreError: then it stays noted."""
        batch = tuple(dict.fromkeys(self._pending))
        if not batch:
            return
        written = await self._store.record(batch)
        del self._pending[:]
        async with self._grown:
            self._last = written[-1].seq
            self._grown.notify_all()

    async def follow(self, after: int) -> AsyncIterator[Moved]:
        """Every move with a greater seq, for ever."""
        while True:
            batch = await self._store.moved(after)
            for move in batch:
                yield move
                after = move.seq
            if not batch:
                async with self._grown:
                    if self._last <= after:
                        await self._grown.wait()
