"""The ledger as the engine reads it: folded states, kept current by what this process appends.

One process writes these streams (the state folder's lock), so a fold in memory is the truth until an append
says Conflict; then the stream is read again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from trueup.core.candidate import (
    ApplicationState,
    CandidateState,
    SourceState,
    fold_application,
    fold_candidate,
    fold_source,
)
from trueup.core.events import Draft, Event, Fact
from trueup.core.model import Principal
from trueup.ports import Conflict, Ledger

TRUEUP = Principal("trueup", "rule")


class Book:
    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self._sources: dict[str, SourceState] = {}
        self._candidates: dict[str, CandidateState] = {}
        self._applications: dict[str, ApplicationState] = {}
        self._stamps: dict[str, str] = {}  # source → another text after each event of it or of its Candidates

    def stamp(self, source: str) -> str:
        """Compares equal as long as nothing was appended about a source or its Candidates."""
        return self._stamps.get(source, "")

    async def source(self, id: str) -> SourceState:
        if id not in self._sources:
            self._sources[id] = fold_source(SourceState(id), await self.ledger.read(id))
        return self._sources[id]

    async def candidate(self, id: str) -> CandidateState:
        if id not in self._candidates:
            self._candidates[id] = fold_candidate(CandidateState(id), await self.ledger.read(id))
        return self._candidates[id]

    async def candidates(self, ids: Iterable[str]) -> dict[str, CandidateState]:
        return {id: await self.candidate(id) for id in ids}

    async def application(self, id: str) -> ApplicationState:
        if id not in self._applications:
            self._applications[id] = fold_application(ApplicationState(id), await self.ledger.read(id))
        return self._applications[id]

    @property
    def applications(self) -> Mapping[str, ApplicationState]:
        """Those that were read already, by id."""
        return self._applications

    def peek_application(self, id: str) -> ApplicationState | None:
        """What is folded already; None when it was never read."""
        return self._applications.get(id)

    async def write(
        self,
        stream: str,
        seq: int,
        facts: Sequence[Fact],
        *,
        by: Principal = TRUEUP,
        cause: str = "",
    ) -> tuple[Event, ...]:
        """Append to a stream whose last seq we know; the fold follows. Raises Conflict, LedgerFull."""
        drafts = [Draft(fact=f, by=by, cause=cause) for f in facts]
        try:
            events = await self.ledger.append(stream, drafts, expect=seq)
        except Conflict:
            for states in (self._sources, self._candidates, self._applications):
                states.pop(stream, None)
            raise
        self.absorb(stream, events)
        return events

    def absorb(self, stream: str, events: Sequence[Event]) -> None:
        """Fold what was appended to a stream that was read already."""
        if stream in self._applications:
            self._applications[stream] = fold_application(self._applications[stream], events)
        elif stream in self._sources:
            self._sources[stream] = fold_source(self._sources[stream], events)
            self._stamp(stream, stream, events)
        elif stream in self._candidates:
            self._candidates[stream] = fold_candidate(self._candidates[stream], events)
            self._stamp(self._candidates[stream].source, stream, events)

    def _stamp(self, source: str, stream: str, events: Sequence[Event]) -> None:
        if events:
            self._stamps[source] = f"{stream}@{events[-1].seq}"
