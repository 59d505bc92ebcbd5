"""What moved on the target, for `Target.watch`: the last progress and the last drift of each object, in order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from trueup.core.model import Ref
from trueup.ports import Moved


class Moves:
    """Bounded by the number of objects: a reader that is late gets the newest of each."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, Ref, bool], Moved] = {}
        self._wake = asyncio.Event()
        self.seq = 0  # of the last move told

    def tell(self, application: str, ref: Ref, drift: str = "", repaired: bool = False) -> None:
        self.seq += 1
        self._last.pop((application, ref, bool(drift)), None)
        self._last[application, ref, bool(drift)] = Moved(self.seq, application, ref, drift, repaired)
        wake, self._wake = self._wake, asyncio.Event()
        wake.set()

    async def watch(self, after: int = 0) -> AsyncIterator[Moved]:
        """Every move after this one, for ever."""
        if after > self.seq:  # numbers of an earlier process: ours go on from there
            self.seq = after
        while True:
            wake = self._wake
            for moved in [m for m in self._last.values() if m.seq > after]:
                after = moved.seq
                yield moved
            await wake.wait()
