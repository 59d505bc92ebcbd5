"""The pipelines of Candidates: what a run needs to know of its commit, and what the loop needs to know of a run.

Implements `engine.candidate.Runs` over `engine.pipelines.Pipelines`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from trueup.core import address
from trueup.core import decide as d
from trueup.core.candidate import CandidateState
from trueup.core.model import BuiltImage, Principal
from trueup.core.pipeline import Facts, Graph
from trueup.core.running import LogQuery, NoSuchLog
from trueup.engine import owners
from trueup.engine.builds import Secrets
from trueup.engine.candidate import attempt_of, run_id
from trueup.engine.pipelines import Pipelines, RunRequest
from trueup.ports import Source

LOOK_AGAIN_S = 0.5


class Subject(Struct, frozen=True):
    """The repository whose commits are run."""

    source: Source
    url: str
    name: str
    branch: str


class CandidateRuns:
    def __init__(
        self,
        pipelines: Pipelines,
        subjects: Mapping[str, Subject],
        secrets: Secrets,
        environment: str,
    ) -> None:
        self._pipelines, self._subjects, self._secrets = pipelines, subjects, secrets
        self._environment = environment

    async def run(self, run: str, candidate: CandidateState, graph: Graph) -> None:
        subject = self._subjects[candidate.source]
        commit = await subject.source.commit(candidate.commit)
        number = attempt_of(candidate, graph, run)
        request = RunRequest(
            run=run,
            graph=graph,
            source=subject.source,
            facts=await self._facts(run, candidate, graph, subject, number, commit.message),
            candidate=candidate.id,
            trigger="push" if number else "manual",
            previous=run_id(candidate, graph, number - 1) if number > 1 and not candidate.anew else "",
            by=Principal(f"git:{commit.author}", f"push:{commit.id}"),
            cause=f"{candidate.id}@{candidate.seq}",
            time_s=int(commit.time.timestamp()),
        )
        await self._pipelines.run(request)

    async def _facts(
        self, run: str, candidate: CandidateState, graph: Graph, subject: Subject, number: int, message: str
    ) -> Facts:
        return Facts(
            run=run,
            attempt=max(number, 1),
            number=candidate.number,
            workflow=graph.name,
            file=graph.place.file,
            repository=owner_and_name(subject.url) or subject.name,
            url=subject.url,
            commit=candidate.commit,
            ref=f"refs/heads/{subject.branch}",
            default_branch=subject.branch,
            actor=candidate.author.partition(" <")[0],
            event="push" if number else "workflow_dispatch",
            message=message,
            secrets=await self._secrets(owners.of(subject.url), self._environment),
        )

    async def outcome(self, run: str) -> d.RunSeen:
        return d.RunSeen(run, *await self._pipelines.outcome(run))

    async def images(self, run: str) -> Sequence[tuple[BuiltImage, bool]]:
        return await self._pipelines.images(run)

    async def cancel(self, run: str, reason: str) -> bool:
        return await self._pipelines.cancel(run, reason)

    async def sweep(self) -> None:
        """After a start: end what a killed process left. Raises SandboxDown."""
        await self._pipelines.sweep()

    async def logs(self, query: LogQuery) -> AsyncIterator[bytes]:
        """A run's logs, one job after the other in the order they began. Raises NoSuchLog."""
        state = await self._pipelines.state(query.run)
        told: set[str] = set()
        while True:
            jobs = [j for j in (*state.jobs, *sorted(state.begun)) if query.job in ("", j) and j not in told]
            for job in jobs:
                told.add(job)
                if not query.job:
                    yield f"=== {job}\n".encode()
                async for chunk in self._log(query, job):
                    yield chunk
            state = await self._pipelines.state(query.run)
            more = {*state.jobs, *state.begun} - told
            if not query.follow or state.finished or (query.job and query.job in told):
                break
            if not more:
                await asyncio.sleep(LOOK_AGAIN_S)
        if not told:
            there = ", ".join((*state.jobs, *sorted(state.begun))) or "none has begun"
            raise NoSuchLog(f"{query.run} has no job {query.job!r}; there is: {there}")

    async def _log(self, query: LogQuery, job: str) -> AsyncIterator[bytes]:
        path = self._pipelines.log_path(query.run, job)
        if query.follow:
            async for chunk in self._pipelines.follow(query.run, job):
                yield chunk
            return
        data = await asyncio.to_thread(_read, path)
        yield b"".join(data.splitlines(keepends=True)[-query.tail :]) if query.tail else data


def owner_and_name(url: str) -> str:
    """ "acme/app", as forges name it; of a path on this machine its last two parts, which stand for the same."""
    found = address.parse(url)[0]
    return found.slug if found.host else "/".join(found.slug.split("/")[-2:])


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b"(this log is not kept any more)\n"
