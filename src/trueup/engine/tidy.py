"""What must stay when old things are collected: what runs, what a rollback needs, what is not over. Then collects."""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

import msgspec
from msgspec import Struct

from trueup.core.images import stated
from trueup.core.model import Bundle
from trueup.engine.book import Book
from trueup.engine.housekeeping import Housekeeping, Keep, Limits
from trueup.engine.registry import RegistryDown
from trueup.ports import Records

log = logging.getLogger("trueup")
ROLLBACKS = 10  # good Candidates whose images and Bundles are kept, at any age
EVERY_S = 3600.0
RECORDS_AGE_S = 90 * 86_400.0
RECORDS_BYTES = 1 << 30
_bundle = msgspec.json.Decoder(Bundle)


class Retaining(Protocol):
    async def retain(self, *, max_age_s: float, max_bytes: int, keep: set[str]) -> object: ...


class Needed(Struct, frozen=True):
    digests: frozenset[str]
    runs: frozenset[str]
    records: frozenset[str]
    commits: frozenset[str]


async def needed(book: Book, records: Records) -> Needed:
    """What runs, the last good Candidates of each application, and every Candidate that has no verdict yet."""
    candidates: set[str] = set()
    bundles: set[str] = set()
    runs: set[str] = set()
    for id in await book.ledger.heads("application"):
        state = await book.application(id)
        wanted = {*state.good[-ROLLBACKS:], *([state.current.candidate] if state.current else [])}
        bundles |= {state.bundles[c] for c in wanted if state.bundles.get(c)}
        candidates |= wanted
    for id in await book.ledger.heads("source"):
        source = await book.source(id)
        for seen in list(source.candidates.values())[-ROLLBACKS:]:
            candidate = await book.candidate(seen.id)
            runs |= {candidate.id, *candidate.required, *candidate.advisory}  # logs are kept under these names
            if candidate.verdict.value == "pending" and not candidate.superseded_by:
                candidates.add(candidate.id)
    digests: set[str] = set()
    commits: set[str] = set()
    for id in candidates:
        candidate = await book.candidate(id)
        digests |= {image.digest for image in candidate.images.values()}
        commits.add(candidate.commit)
    for key in bundles:
        data = await records.get(key)
        if data is not None:
            digests |= stated(_bundle.decode(data).objects)
    return Needed(frozenset(digests), frozenset(runs), frozenset(bundles), frozenset(commits))


class Tidy:
    """Collects once an hour while the loop runs."""

    def __init__(
        self, book: Book, records: Records, keeping: Retaining, house: Housekeeping, limits: Limits | None = None
    ) -> None:
        self._book, self._records, self._keeping, self._house = book, records, keeping, house
        self._limits = limits or Limits()

    async def run(self) -> None:
        """Until cancelled. A failure is told and tried again an hour later."""
        while True:
            await asyncio.sleep(EVERY_S)
            try:
                await self.once()
            except (RegistryDown, OSError) as error:
                log.warning("nothing was collected", extra={"reason": str(error)})

    async def once(self) -> int:
        """Collect now; the bytes won from images, layers, workspaces and logs."""
        keep = await needed(self._book, self._records)
        items = await self._house.survey(Keep(keep.digests, keep.runs, keep.commits), self._limits)
        won = await self._house.collect(items) if items else 0
        await self._keeping.retain(max_age_s=RECORDS_AGE_S, max_bytes=RECORDS_BYTES, keep=set(keep.records))
        return won
