"""The queue holds keys, not work: deduplicated, one worker a key, woken early, delayed with back-off when stuck.

The only place with `except Exception`: a pass that fails is reported and tried again later.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable

from msgspec import Struct

BACK_OFF_S = (0.2, 0.5, 1, 2, 5, 10, 30, 60)


class Stuck(Struct, frozen=True):
    key: str
    failures: int
    error: Exception


class Queue:
    """`reconcile(key)` is called by at most one worker a key; a wake during its pass gives one more pass.

    It returns seconds after which to look again, or None. Keys of one `group` never starve another's.
    """

    def __init__(
        self,
        reconcile: Callable[[str], Awaitable[float | None]],
        *,
        stuck: Callable[[Stuck], None],
        group: Callable[[str], str] = lambda key: key,
        workers: int = 4,
    ) -> None:
        self._reconcile, self._stuck, self._group, self._workers = reconcile, stuck, group, workers
        self._ready: OrderedDict[str, deque[str]] = OrderedDict()
        self._queued: set[str] = set()
        self._running: set[str] = set()
        self._again: set[str] = set()
        self._failures: dict[str, int] = {}
        self._timers: list[tuple[float, str]] = []
        self._due: dict[str, float] = {}
        self._changed = asyncio.Event()
        self.passes = 0

    def wake(self, key: str) -> None:
        """Look at `key` as soon as a worker is free."""
        self._due.pop(key, None)
        if key in self._running:
            self._again.add(key)
        elif key not in self._queued:
            self._queued.add(key)
            self._ready.setdefault(self._group(key), deque()).append(key)
            self._changed.set()

    def later(self, key: str, delay_s: float) -> None:
        """Look at `key` after `delay_s`, unless something wakes it before."""
        due = asyncio.get_running_loop().time() + delay_s
        if self._due.get(key, due + 1) <= due or key in self._queued:
            return
        self._due[key] = due
        heapq.heappush(self._timers, (due, key))
        self._changed.set()

    @property
    def idle(self) -> bool:
        """Nothing is running and nothing is ready; timers may be set."""
        return not self._running and not self._queued

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._fire()
                while len(self._running) < self._workers and (key := self._next()) is not None:
                    self._running.add(key)
                    group.create_task(self._pass(key), name=f"reconcile {key}")
                self._changed.clear()
                wait = None
                if self._timers:
                    wait = max(0.0, self._timers[0][0] - asyncio.get_running_loop().time())
                try:
                    async with asyncio.timeout(wait):
                        await self._changed.wait()
                except TimeoutError:
                    pass

    def _fire(self) -> None:
        now = asyncio.get_running_loop().time()
        while self._timers and self._timers[0][0] <= now:
            due, key = heapq.heappop(self._timers)
            if self._due.get(key) == due:
                self.wake(key)

    def _next(self) -> str | None:
        if not self._ready:
            return None
        name, keys = self._ready.popitem(last=False)
        key = keys.popleft()
        if keys:
            self._ready[name] = keys  # to the end: the other groups come first
        self._queued.discard(key)
        return key

    async def _pass(self, key: str) -> None:
        again: float | None = None
        try:
            self.passes += 1
            again = await self._reconcile(key)
            self._failures.pop(key, None)
        except Exception as error:
            failures = self._failures[key] = self._failures.get(key, 0) + 1
            again = BACK_OFF_S[min(failures, len(BACK_OFF_S)) - 1]
            self._stuck(Stuck(key, failures, error))
        finally:
            self._running.discard(key)
            if key in self._again:
                self._again.discard(key)
                self.wake(key)
            elif again is not None:
                self.later(key, again)
            self._changed.set()
