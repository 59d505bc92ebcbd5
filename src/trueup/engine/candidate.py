"""Reconciles one Candidate: check → required pipelines → images → a verdict. Long work runs beside, by its id."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

import msgspec
from msgspec import Struct

from trueup.core import decide as d
from trueup.core import events as ev
from trueup.core.candidate import CandidateState, child_id
from trueup.core.model import BuiltImage, Finding, Object, Severity
from trueup.core.pipeline import Graph
from trueup.engine.book import Book
from trueup.engine.queue import BACK_OFF_S
from trueup.ports import BuildFailed, CommitRefused, Conflict, Records

_findings = msgspec.json.Encoder()

ERROR_RETRIES = 12  # of a run that the machine failed, further and further apart


class Buildable(Struct, frozen=True):
    """An image that a Dockerfile of this repository makes, for a manifest that names it."""

    repository: str
    tag: str
    dockerfile: str
    context: str


class Look(Struct, frozen=True):
    """What one commit of a source holds, read once and kept by its tree."""

    findings: tuple[Finding, ...]
    objects: tuple[Object, ...]
    triggered: tuple[Graph, ...]  # pipelines that a push of this commit starts and that run natively
    buildable: tuple[Buildable, ...]  # by convention: when no pipeline builds it, Trueup does
    required: tuple[str, ...] | None = None  # which pipelines decide, by name or file; None: all that are triggered
    undo: str = ""  # as trueup.yaml says; "": nothing


class Study(Protocol):
    async def look(self, source: str, commit: str, before: str = "") -> Look:
        """`before`: the head before the push, for path filters; "" when not known."""
        ...

    async def graphs(self, source: str, commit: str) -> Sequence[Graph]:
        """Every pipeline of a commit that runs natively, triggered by a push or not."""
        ...


class Runs(Protocol):
    """Pipeline runs by id: started once, finished by whoever comes after a kill."""

    async def run(self, run: str, candidate: CandidateState, graph: Graph) -> None:
        """Until run.finished is in the ledger. Cancelling the call leaves the run to be finished later."""
        ...

    async def outcome(self, run: str) -> d.RunSeen: ...

    async def images(self, run: str) -> Sequence[tuple[BuiltImage, bool]]:
        """What the run's jobs built, and whether it came from the cache."""
        ...

    async def cancel(self, run: str, reason: str) -> bool:
        """Ask a run to end; False when there is nothing to end."""
        ...


class Builds(Protocol):
    async def build(self, candidate: CandidateState, what: Buildable) -> tuple[BuiltImage, bool]:
        """Raises BuildFailed, BuilderDown."""
        ...


class CandidateLoop:
    def __init__(
        self,
        book: Book,
        records: Records,
        study: Study,
        runs: Runs,
        builds: Builds,
        spawn: Callable[[str, Callable[[], Awaitable[None]]], bool],
        wake: Callable[[str], None],
    ) -> None:
        """`spawn(key, work)` runs `work` beside, once a key; False when it runs already."""
        self._book, self._records, self._study = book, records, study
        self._runs, self._builds, self._spawn, self._wake = runs, builds, spawn, wake
        self._failed_builds: dict[str, str] = {}
        self._errors: dict[str, int] = {}

    async def reconcile(self, id: str) -> float | None:
        for _ in range(20):
            state = await self._book.candidate(id)
            if state.seq == 0:
                return None
            actions = d.decide_candidate(state, await self._read(state))
            progressed = False
            for action in actions:
                progressed |= await self._perform(await self._book.candidate(id), action)
            if not progressed:
                return await self._after_error(state)
            self._wake(state.source)
        return None

    async def _after_error(self, state: CandidateState) -> float | None:
        """A run that ended by the machine's fault is tried again, later each time."""
        if state.verdict.value != "pending" or state.superseded_by:
            return None
        outcomes = [await self._runs.outcome(r) for r in state.required]
        if not any(o.outcome == "error" for o in outcomes) or any(not o.outcome for o in outcomes):
            return None
        times = self._errors[state.id] = self._errors.get(state.id, -1) + 1
        if times >= 2 * ERROR_RETRIES:
            return None  # a person's turn: `trueup retry`
        if times % 2 == 0:
            return BACK_OFF_S[min(times // 2 + 2, len(BACK_OFF_S) - 1)]
        await self.retry(state.id, failed_only=True)
        return None

    async def _look(self, state: CandidateState) -> Look:
        source = await self._book.source(state.source)
        return await self._study.look(state.source, state.commit, source.candidates[state.id].before)

    async def _read(self, state: CandidateState) -> d.CandidateSeen:
        runs = {r: await self._runs.outcome(r) for r in (*state.required, *state.advisory)}
        if not state.planned or state.verdict.value != "pending" or any(not r.outcome for r in runs.values()):
            return d.CandidateSeen(runs)
        await self._take_images(state, runs)
        state = await self._book.candidate(state.id)
        look = await self._look(state)
        built = {_last(r) for r in state.images} | {str(i.place) for i in state.images.values()}
        unbuilt = (b for b in look.buildable if built.isdisjoint((_last(b.repository), b.dockerfile)))
        return d.CandidateSeen(runs, tuple(b.repository for b in unbuilt))

    async def _take_images(self, state: CandidateState, runs: Mapping[str, d.RunSeen]) -> None:
        facts = [
            _image_fact(image, run, cached)
            for run, seen in runs.items()
            if seen.outcome == "success" and run in state.required
            for image, cached in await self._runs.images(run)
            if state.images.get(image.repository, image).digest != image.digest or image.repository not in state.images
        ]
        if facts:
            await self._book.write(state.id, state.seq, facts)

    async def _perform(self, state: CandidateState, action: d.CandidateAction) -> bool:
        """True when something was recorded."""
        match action:
            case d.Check():
                await self._check(state)
            case d.PlanRuns():
                await self._plan_runs(state)
            case d.StartRuns(runs):
                return await self._start(state, runs)
            case d.CancelRuns(runs, reason):
                for run in runs:
                    if await self._runs.cancel(run, reason):
                        await self._start(state, (run,))  # one that a kill left open is brought to its end
                return False
            case d.BuildImages(repositories):
                return await self._build(state, repositories)
            case d.TurnGreen():
                await self._book.write(state.id, state.seq, [ev.CandidateGreen()])
            case d.TurnRed(reason):
                await self._book.write(state.id, state.seq, [ev.CandidateRed(reason)])
        return True

    async def _check(self, state: CandidateState) -> None:
        try:
            look = await self._look(state)
        except CommitRefused as error:
            refused = " ".join(str(error).split())
            await self._book.write(state.id, state.seq, [ev.CandidateChecked(1, 0, "", first=refused)])
            return
        errors = [f for f in look.findings if f.severity is Severity.ERROR]
        warnings = sum(f.severity is Severity.WARNING for f in look.findings)
        record = ""
        if look.findings:
            record = await self._records.put("findings", _findings.encode(look.findings), stream=state.id)
        first = f"{errors[0].place}: {errors[0].message}" if errors else ""
        fact = ev.CandidateChecked(len(errors), warnings, look.undo, record, first)
        await self._book.write(state.id, state.seq, [fact])

    async def _plan_runs(self, state: CandidateState) -> None:
        look = await self._look(state)
        required = tuple(run_id(state, g, 1) for g in look.triggered if decides(g, look.required))
        advisory = tuple(run_id(state, g, 1) for g in look.triggered if not decides(g, look.required))
        await self._book.write(state.id, state.seq, [ev.CandidateRuns(required, advisory)])

    async def _start(self, state: CandidateState, runs: Sequence[str]) -> bool:
        look = await self._look(state)
        graphs = {run_id(state, g, n): g for g in look.triggered for n in range(1, 50)}
        for run in runs:
            if run in graphs:
                self._spawn(run, self._following(run, state, graphs[run]))
        return False

    def _following(self, run: str, state: CandidateState, graph: Graph) -> Callable[[], Awaitable[None]]:
        async def work() -> None:
            await self._runs.run(run, state, graph)
            self._wake(state.id)

        return work

    async def _build(self, state: CandidateState, repositories: Sequence[str]) -> bool:
        if reason := self._failed_builds.pop(state.id, ""):
            await self._book.write(state.id, state.seq, [ev.CandidateRed(reason)])
            return True
        look = await self._look(state)
        for what in look.buildable:
            if what.repository in repositories:
                self._spawn(f"build {state.id} {what.repository}", self._building(state.id, what))
        return False

    def _building(self, id: str, what: Buildable) -> Callable[[], Awaitable[None]]:
        async def work() -> None:
            try:
                image, cached = await self._builds.build(await self._book.candidate(id), what)
            except BuildFailed as error:
                self._failed_builds[id] = " ".join(str(error).split())[:500]
                self._wake(id)
                return
            for _ in range(5):
                state = await self._book.candidate(id)
                try:
                    await self._book.write(id, state.seq, [_image_fact(image, "", cached)])
                    break
                except Conflict:
                    await asyncio.sleep(0)
            self._wake(id)

        return work

    async def retry(self, id: str, failed_only: bool) -> tuple[str, ...]:
        """Plan the runs again; those that succeeded are kept when `failed_only`. The verdict is open again, unless it
        was green already: then it stays. The new runs, required ones first."""
        state = await self._book.candidate(id)
        look = await self._look(state)
        known = {run_id(state, g, n): run_id(state, g, n + 1) for g in look.triggered for n in range(1, 50)}

        async def planned(runs: Sequence[str]) -> tuple[str, ...]:
            good = {run for run in runs if failed_only and (await self._runs.outcome(run)).outcome == "success"}
            return tuple(run if run in good else known[run] for run in runs)

        required, advisory = await planned(state.required), await planned(state.advisory)
        again = tuple(run for run in (*required, *advisory) if run not in (*state.required, *state.advisory))
        if again:
            await self._book.write(id, state.seq, [ev.CandidateRuns(required, advisory, anew=not failed_only)])
        self._wake(id)
        return again


def run_id(state: CandidateState, graph: Graph, attempt: int) -> str:
    """The same after a kill: no pipeline runs twice for one Candidate."""
    return child_id("run", state.id, graph.place.file, attempt)


def decides(graph: Graph, required: Sequence[str] | None) -> bool:
    """Whether a pipeline is required; the others are advisory: they run, and hold nothing up."""
    return is_required(graph.name, graph.place.file, required)


def is_required(name: str, path: str, required: Sequence[str] | None) -> bool:
    """Whether trueup.yaml names a workflow, by its name or its file's; without a list all of them are required."""
    file = path.rpartition("/")[2]
    return required is None or not {name, file, file.rpartition(".")[0]}.isdisjoint(required)


def attempt_of(state: CandidateState, graph: Graph, run: str) -> int:
    """Which attempt at this pipeline a run is, from 1; 0 when a person started it by hand."""
    return next((n for n in range(1, 50) if run_id(state, graph, n) == run), 0)


def _image_fact(image: BuiltImage, run: str, cached: bool) -> ev.CandidateImage:
    return ev.CandidateImage(
        image.repository, image.tag, image.digest, image.key, str(image.place), run=run, cached=cached
    )


def _last(repository: str) -> str:
    return repository.rpartition("/")[2]
