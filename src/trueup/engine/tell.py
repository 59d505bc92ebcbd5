"""Tells the outside how things stand: a commit's state on its forge, one message on failure and one on recovery.

A projection of the ledger: it decides nothing, and its failures stop nothing. After a restart the newest commit of
each source is told once more; forges keep the last state, so telling twice changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence

from trueup.core import events as ev
from trueup.core.candidate import ApplicationState, CandidateState, Verdict, fold_application, fold_candidate
from trueup.core.pipeline import SUPERSEDED
from trueup.engine.book import Book
from trueup.ports import CommitState, Conflict, Notify, SourceError

log = logging.getLogger("trueup")
HEALTHY = "runs and is healthy"
RETRIES_S = (1.0, 5.0, 30.0, 120.0)


class Teller:
    """`states` is by source id; sources without a forge have none."""

    def __init__(self, book: Book, states: Mapping[str, CommitState], notify: Notify | None, environment: str) -> None:
        self._book, self._states, self._notify, self._environment = book, states, notify, environment
        self._told: dict[str, tuple[str, str]] = {}  # commit → state, reason
        self._wanted: dict[str, tuple[str, str, str]] = {}  # commit → source, state, reason
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled."""
        news = self._book.ledger.follow()  # before the past is read: nothing falls between
        await self._tell_again()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._reports())
            async for event in news:
                await self.take(event)

    async def _tell_again(self) -> None:
        """What the forge may have missed while we were away: the newest commit of each source."""
        for id in self._states:
            newest = (await self._book.source(id)).newest
            if newest is not None:
                candidate = await self._book.candidate(newest.id)
                self._want(candidate, *await self._standing(candidate, id))

    async def _standing(self, candidate: CandidateState, source: str) -> tuple[str, str]:
        """Of code that another repository deploys: how the commit fares there that does so."""
        for application in [] if await self._applications(source) else await self._every_application():
            for id in (application.last_good, *application.condemned):
                deployed = await self._book.candidate(id) if id else candidate
                if deployed.from_candidate == candidate.id:
                    return _standing(deployed, [application])
        return _standing(candidate, await self._applications(source))

    async def _every_application(self) -> list[ApplicationState]:
        return [await self._book.application(stream) for stream in await self._book.ledger.heads("application")]

    async def _applications(self, source: str) -> list[ApplicationState]:
        return [application for application in await self._every_application() if application.source == source]

    async def take(self, event: ev.Event) -> None:
        match event.fact:
            case ev.CandidateCreated() | ev.CandidateRed() | ev.CandidateGreen() | ev.CandidateSuperseded():
                candidate = await self._candidate_at(event)
                self._want(candidate, *_of_candidate(candidate))
                if isinstance(event.fact, ev.CandidateRed) and not event.fact.reason.startswith(SUPERSEDED):
                    await self._want_too(candidate, *_of_candidate(candidate))
                    await self._red(candidate)
            case ev.SyncStarted(candidate=id, why="push"):
                await self._want_too(await self._book.candidate(id), "pending", "rolling out")
            case ev.SyncCondemned(candidate=id, reason=reason):
                await self._sick(event, id, reason)
            case ev.SyncHeld(candidate=id, reason=reason):
                await self._sick(event, id, f"held: {reason}")
            case ev.SyncHealthy(candidate=id):
                await self._want_too(await self._book.candidate(id), "success", HEALTHY)
                await self._well(event)
            case ev.HealthChanged(health="degraded" | "missing", reason=reason):
                application = await self._application_at(event)
                if application.current is not None:
                    await self._sick(event, application.current.candidate, reason, report=False)
            case ev.HealthChanged(health="healthy"):
                await self._well(event)
            case _:
                pass

    def _want(self, candidate: CandidateState, state: str, reason: str) -> None:
        if candidate.source in self._states:
            self._wanted[candidate.commit] = (candidate.source, state, reason)
            self._changed.set()

    async def _want_too(self, candidate: CandidateState, state: str, reason: str) -> None:
        """The same of the code whose digests a commit of ours deploys: its authors look there."""
        self._want(candidate, state, reason)
        if candidate.from_candidate:
            self._want(await self._book.candidate(candidate.from_candidate), state, reason)

    async def _candidate_at(self, event: ev.Event) -> CandidateState:
        """Not older than the event: a follower hears of it before the book of whoever appended it has folded it."""
        known = await self._book.candidate(event.stream)
        if known.seq >= event.seq:
            return known
        return fold_candidate(CandidateState(event.stream), await self._book.ledger.read(event.stream))

    async def _application_at(self, event: ev.Event) -> ApplicationState:
        known = await self._book.application(event.stream)
        if known.seq >= event.seq:
            return known
        return fold_application(ApplicationState(event.stream), await self._book.ledger.read(event.stream))

    async def _sick(self, event: ev.Event, id: str, reason: str, *, report: bool = True) -> None:
        application, candidate = await self._application_at(event), await self._book.candidate(id)
        if report:
            await self._want_too(candidate, "failure", reason)
        if application.told != "failure":
            await self._send(application, "failure", candidate, reason)

    async def _well(self, event: ev.Event) -> None:
        application = await self._application_at(event)
        if application.told == "failure" and application.current is not None:
            candidate = await self._book.candidate(application.current.candidate)
            await self._send(application, "recovery", candidate, "what runs is healthy")

    async def _red(self, candidate: CandidateState) -> None:
        for application in await self._applications(candidate.source):
            if application.told != "failure":
                await self._send(application, "failure", candidate, candidate.reason)

    async def _send(self, application: ApplicationState, what: str, candidate: CandidateState, reason: str) -> None:
        if self._notify is None:
            return
        title = f"{application.name} ({self._environment}): {'failed' if what == 'failure' else 'is healthy again'}"
        body = {
            "event": what,
            "application": application.name,
            "environment": self._environment,
            "commit": candidate.commit,
            "author": candidate.author,
            "subject": candidate.subject,
            "reason": reason,
            "id": f"{application.id}/{what}/{candidate.id}",
        }
        for delay_s in (*RETRIES_S, None):
            try:
                await self._notify.send(title, body)
                break
            except (SourceError, OSError, TimeoutError) as error:
                if delay_s is None:
                    log.warning("nobody could be told", extra={"reason": str(error), "event": what})
                    return
                await asyncio.sleep(delay_s)
        for _ in range(5):
            try:
                state = await self._book.application(application.id)
                await self._book.write(application.id, state.seq, [ev.Notified(what, candidate.id)])
                return
            except Conflict:
                continue

    async def _reports(self) -> None:
        failures = 0
        while True:
            await self._changed.wait()
            self._changed.clear()
            for commit, (source, state, reason) in list(self._wanted.items()):
                if self._told.get(commit) == (state, reason):
                    self._wanted.pop(commit, None)
                    continue
                try:
                    await self._states[source].report(commit, state, reason)
                except (SourceError, OSError, TimeoutError) as error:
                    failures += 1
                    log.warning("the forge was not told", extra={"commit": commit, "reason": str(error)})
                    await asyncio.sleep(RETRIES_S[min(failures, len(RETRIES_S)) - 1])
                    self._changed.set()
                    continue
                failures = 0
                self._told[commit] = (state, reason)
                if self._wanted.get(commit) == (source, state, reason):
                    self._wanted.pop(commit, None)


def _of_candidate(candidate: CandidateState) -> tuple[str, str]:
    if candidate.verdict is Verdict.RED:
        return "failure", candidate.reason
    if candidate.superseded_by:
        return "success", "superseded by a newer push"
    if candidate.verdict is Verdict.GREEN:
        return "pending", "green; waiting to be rolled out"
    return "pending", "checking"


def _standing(candidate: CandidateState, applications: Sequence[ApplicationState]) -> tuple[str, str]:
    """How a commit fares that was decided on before we were started."""
    if candidate.verdict is not Verdict.GREEN:
        return _of_candidate(candidate)
    condemned = next((a.condemned[candidate.id] for a in applications if candidate.id in a.condemned), None)
    if condemned is not None:
        return "failure", condemned
    if applications and all(a.last_good == candidate.id for a in applications):
        return "success", HEALTHY
    return _of_candidate(candidate)
