"""What goes over the socket, besides `core.requests`: records of its own, versioned by the path `/v1`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Protocol

from msgspec import Raw, Struct

from trueup.core.events import Event
from trueup.core.ledger import Entry
from trueup.core.model import Judgement, Principal
from trueup.core.requests import Reply, Request


class Now(Struct, frozen=True):
    """What only the running process knows: the target's word on each object, and what it is stuck on."""

    judgements: Mapping[str, tuple[Judgement, ...]] = {}  # application id → objects
    problems: Mapping[str, str] = {}  # key → why its last pass failed
    pid: int = 0
    webhook: str = ""  # where webhooks are taken, "" for nowhere


class Told(Struct, frozen=True):
    """One event as the socket sends it: `position` is the order of acknowledgement, to go on from."""

    position: int
    event: Raw  # the line that `trueup ledger export` writes, proof included


class LogQuery(Struct, frozen=True, kw_only=True):
    """Either a run's job, or what an application's objects print."""

    run: str = ""
    job: str = ""  # "" every job of the run
    application: str = ""  # id; "" the only one
    object: str = ""  # "deployment/web", or "" for all
    follow: bool = False
    tail: int = 0  # lines; 0 for all that is kept


class NoSuchLog(Exception):
    """Nothing of this name has logs; the message names what has."""


class Serving(Protocol):
    """What the socket needs of the running application."""

    async def perform(self, request: Request, by: Principal) -> Reply: ...

    async def now(self) -> Now: ...

    def logs(self, query: LogQuery) -> AsyncIterator[bytes]:
        """Lines as they come, masked. Raises NoSuchLog before the first."""
        ...


class Pages(Protocol):
    """The ledger's entries after a position, in the order of acknowledgement (`store.sqlite`'s reader)."""

    async def page(self, after: int = 0, rows: int = 1000) -> tuple[tuple[int, Entry], ...]: ...


class Follows(Protocol):
    def follow(self) -> AsyncIterator[Event]: ...
