"""What goes over the socket besides `core.requests` and `core.running`, versioned by the path `/v1`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Protocol

from msgspec import Raw, Struct

from trueup.core.events import Event
from trueup.core.ledger import Entry
from trueup.core.model import Principal
from trueup.core.requests import Reply, Request
from trueup.core.running import LogQuery, Now


class Told(Struct, frozen=True):
    """One event as the socket sends it: `position` is the order of acknowledgement, to go on from."""

    position: int
    event: Raw  # the line that `trueup ledger export` writes, proof included


class Serving(Protocol):
    """What the socket needs of the running application."""

    async def perform(self, request: Request, by: Principal) -> Reply: ...

    async def now(self) -> Now: ...

    def logs(self, query: LogQuery) -> AsyncGenerator[bytes, None]:
        """Lines as they come, masked. Raises NoSuchLog before the first."""
        ...


class Pages(Protocol):
    """The ledger's entries after a position, in the order of acknowledgement (`store.sqlite`'s reader)."""

    async def page(self, after: int = 0, rows: int = 1000) -> tuple[tuple[int, Entry], ...]: ...


class Follows(Protocol):
    def follow(self) -> AsyncIterator[Event]: ...
