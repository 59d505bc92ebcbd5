"""The load of the play: requests at a fixed rate from the first healthy rollout to the end, never repeated."""

from __future__ import annotations

import asyncio
import re
from collections import Counter

from msgspec import Struct

from trueup.demo.load import Load

RATE = 300.0  # requests a second; one half uses connections again, the other opens one for each
VERSION = re.compile(rb"from version (\S+)")


class Count(Struct, frozen=True):
    """What became of the requests so far."""

    sent: int = 0
    answered: int = 0
    lost: int = 0
    versions: tuple[tuple[str, int], ...] = ()  # which version answered how many

    def since(self, earlier: Count) -> Count:
        before = dict(earlier.versions)
        more = tuple((v, n - before.get(v, 0)) for v, n in self.versions if n > before.get(v, 0))
        return Count(self.sent - earlier.sent, self.answered - earlier.answered, self.lost - earlier.lost, more)


class Traffic:
    """Start once there is an address; `count` at any time; `stop` waits for what is in flight. `reuse`: one half uses
    connections again."""

    def __init__(self, rate: float = RATE, *, reuse: bool = True) -> None:
        self.rate, self._reuse = rate, reuse
        self.url = ""
        self._over = asyncio.Event()
        self._loads: tuple[Load, ...] = ()
        self._running: list[asyncio.Task[object]] = []

    def start(self, url: str) -> None:
        self.url = url
        self._loads = (Load(url, keep_alive=self._reuse), Load(url, keep_alive=False))
        self._running = [asyncio.create_task(load.run(rate=self.rate / 2, until=self._over)) for load in self._loads]

    async def stop(self) -> None:
        self._over.set()
        await asyncio.gather(*self._running)

    def count(self) -> Count:
        tallies = [load.tally for load in self._loads]
        versions: Counter[str] = Counter()
        for tally in tallies:
            for body, times in tally.bodies.items():
                found = VERSION.search(body)
                versions[found[1].decode(errors="replace") if found else "?"] += times
        return Count(
            sum(t.sent for t in tallies),
            sum(t.answered for t in tallies),
            sum(t.lost for t in tallies),
            tuple(sorted(versions.items())),
        )

    def reasons(self) -> tuple[str, ...]:
        """Why requests were lost, the commonest first."""
        every: Counter[str] = Counter()
        for load in self._loads:
            every.update(load.tally.reasons)
        return tuple(f"{times} × {reason}" for reason, times in every.most_common())

    def p99_ms(self) -> float:
        return max((load.tally.quantile_ms(0.99) for load in self._loads), default=0.0)
