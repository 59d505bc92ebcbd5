"""Followers of a ledger: each has a queue of its own and sees every event acknowledged after it began."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator, Sequence

from trueup.core.events import Event


class Follower(AsyncIterator[Event]):
    """Events as they are acknowledged. Waits without end for the next; cancel the task to stop."""

    def __init__(self) -> None:
        self._events: asyncio.Queue[Event | None] = asyncio.Queue()

    def __aiter__(self) -> Follower:
        return self

    async def __anext__(self) -> Event:
        event = await self._events.get()
        if event is None:
            self._events.put_nowait(None)  # whoever asks again gets the same answer
            raise StopAsyncIteration
        return event

    def put(self, event: Event | None) -> None:
        self._events.put_nowait(event)


class Followers:
    """All followers of one ledger; one that nobody holds any more is dropped."""

    def __init__(self) -> None:
        self._all: weakref.WeakSet[Follower] = weakref.WeakSet()

    def add(self) -> Follower:
        follower = Follower()
        self._all.add(follower)
        return follower

    def publish(self, events: Sequence[Event]) -> None:
        for follower in self._all:
            for event in events:
                follower.put(event)

    def end(self) -> None:
        """The ledger is closed: each follower ends after what it has not read yet."""
        for follower in self._all:
            follower.put(None)
