"""What a person asks of a running loop: each verb finds what is meant, records the wish, and says what follows."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from trueup.core import events as ev
from trueup.core import requests as rq
from trueup.core.candidate import ApplicationState, CandidateState, Phase, SourceState, Verdict, child_id, newest_green
from trueup.core.model import Principal
from trueup.core.pipeline import Graph, ancestors
from trueup.core.requests import Reply
from trueup.engine.loop import Loop
from trueup.ports import Releasing


class Unclear(Exception):
    """What was named is more than one thing, or there is nothing to do it to; the message says what there is."""


class NoSuch(Unclear):
    """Nothing has this name; the message says what there is."""


class Verbs:
    def __init__(self, loop: Loop, stop: Callable[[], None]) -> None:
        self._loop, self._stop = loop, stop

    async def perform(self, request: rq.Request, by: Principal) -> Reply:
        try:
            return await self._perform(request, by)
        except Unclear as error:
            return Reply(False, str(error), unknown=isinstance(error, NoSuch))

    async def _perform(self, request: rq.Request, by: Principal) -> Reply:
        match request:
            case rq.Sync(application):
                return await self._sync(application)
            case rq.Refresh(source):
                return await self._refresh(source)
            case rq.Retry(what, failed_only):
                return await self._retry(what, failed_only)
            case rq.Terminate(what, why):
                return await self._terminate(what, why, by)
            case rq.Rollback(commit, application, why):
                return await self._rollback(commit, application, why, by)
            case rq.Pause():
                return await self._pause(request, by)
            case rq.Resume(source, why):
                return await self._resume(source, why, by)
            case rq.CiRun(workflow, commit, job):
                return await self._ci_run(workflow, commit, job)
            case rq.Approve(application, changes):
                return await self._approve(application, changes, by)
            case rq.Remove():
                return await self._remove(request, by)
            case rq.Stop():
                self._stop()
                return Reply(True, "the loop ends; what runs goes on running")

    # --- finding what is meant -------------------------------------------------------------------

    async def _sources(self, name: str) -> list[SourceState]:
        states = [await self._loop.book.source(s) for s in self._loop.parts.watched]
        found = [s for s in states if name in ("", s.name, s.id, s.url)]
        if not found:
            raise NoSuch(f"no source {name!r}; there is: {', '.join(s.name for s in states)}")
        return found

    async def _applications(self, name: str) -> list[ApplicationState]:
        states = [await self._loop.book.application(a) for a in self._loop.links.known_applications]
        found = [a for a in states if name in ("", a.name, a.id)]
        if not found:
            raise NoSuch(f"no application {name!r}; there is: {', '.join(a.name for a in states) or 'none yet'}")
        return found

    async def _one(self, name: str) -> ApplicationState:
        found = await self._applications(name)
        if len(found) > 1:
            raise Unclear(f"more than one application: name one of {', '.join(a.name for a in found)}")
        return found[0]

    async def _candidates(self) -> list[CandidateState]:
        """Of all sources, newest first."""
        every: list[CandidateState] = []
        for id in self._loop.parts.watched:
            source = await self._loop.book.source(id)
            every += (await self._loop.book.candidates(source.candidates)).values()
        return sorted(every, key=lambda c: (c.created is not None, c.created, c.number), reverse=True)

    async def _candidate(self, what: str) -> CandidateState:
        every = await self._candidates()
        found = [c for c in every if c.commit.startswith(what) or c.id == what]
        if not found:
            raise NoSuch(f"no Candidate of a commit {what!r}; the newest is {every[0].commit[:10]}" if every else
                         "no push has been seen yet")  # fmt: skip
        if len({c.commit for c in found}) > 1:
            raise Unclear(f"{what!r} is more than one commit: {', '.join(c.commit[:10] for c in found[:5])}")
        return found[0]

    # --- verbs -----------------------------------------------------------------------------------

    async def _sync(self, application: str) -> Reply:
        found = await self._applications(application)
        for each in found:
            if each.ending is not None and application:
                if not each.ending.done:
                    raise Unclear(f"{each.name} is being removed: wait for its end, then sync it")
                await self._loop.applications.restart(each.id)
            self._loop.queue.wake(each.id)
        return Reply(True, f"comparing {', '.join(a.name for a in found)} with what is wanted", found[0].id)

    async def _remove(self, asked: rq.Remove, by: Principal) -> Reply:
        each = await self._one(asked.application)
        mode = "orphan" if asked.orphan else "cascade"
        if each.ending is not None and each.ending.done:
            return Reply(False, f"{each.name} is removed already; `trueup sync {each.name}` brings it back")
        if asked.orphan and not isinstance(self._loop.parts.target, Releasing):
            return Reply(False, f"nothing runs on {each.target} without Trueup: remove {each.name} with --cascade")
        await self._loop.record(each.id, ev.EndAsked(mode, asked.data, asked.why), by)
        what = "its objects stay as they are" if asked.orphan else "its objects are deleted"
        return Reply(True, f"{each.name} is removed: {what}; a new push does not bring it back, a sync does", each.id)

    async def _refresh(self, source: str) -> Reply:
        found = await self._sources(source)
        for each in found:
            self._loop.queue.wake(each.id)
        return Reply(True, f"looking at {', '.join(s.url for s in found)}", found[0].id)

    async def _retry(self, what: str, failed_only: bool) -> Reply:
        candidates, applications = await self._candidates(), await self._applications("")
        stuck = (Phase.HELD, Phase.CONDEMNED, Phase.TERMINATED)
        for application in applications:
            current = application.current
            if what in (application.name, application.id) or (
                not what and (await self._stopped(application) or (current and current.phase in stuck))
            ):
                return await self._retry_sync(application)
        for candidate in candidates:
            runs = (*candidate.required, *candidate.advisory)
            named = what and (candidate.commit.startswith(what) or any(_is(what, r) for r in runs))
            if named or (not what and candidate.verdict is Verdict.RED):
                return await self._retry_runs(candidate, failed_only)
        if what:
            raise NoSuch(f"nothing called {what!r} can be run again")
        raise Unclear("nothing has failed")

    async def _retry_sync(self, application: ApplicationState) -> Reply:
        current = application.current
        if current is None:
            return Reply(False, f"{application.name} has not been rolled out yet: there is nothing to try again")
        source = await self._loop.book.source(application.source)
        stopped = await self._stopped(application)
        candidate = stopped or await self._loop.book.candidate(current.candidate)
        if candidate.id in source.pinned:
            return Reply(False, f"{candidate.commit[:10]} is pinned out ({source.pinned[candidate.id]}): push a commit")
        if current.phase is Phase.HEALTHY and not stopped:
            return Reply(False, f"{application.name} is healthy on {candidate.commit[:10]}: nothing to try again")
        await self._loop.applications.restart(application.id, candidate.id)
        self._loop.queue.wake(application.id)
        return Reply(True, f"rolling out {candidate.commit[:10]} again", application.id)

    async def _stopped(self, application: ApplicationState) -> CandidateState | None:
        """The Candidate that would run, had a person not terminated its rollout."""
        source = await self._loop.book.source(application.source)
        newest = newest_green(source, await self._loop.book.candidates(source.candidates))
        return newest if newest is not None and newest.id in application.terminated else None

    async def _retry_runs(self, candidate: CandidateState, failed_only: bool) -> Reply:
        every = (*candidate.required, *candidate.advisory)
        if not every:
            return Reply(False, f"{candidate.commit[:10]} triggered no pipeline; mend what is wrong and push")
        again = await self._loop.candidates.retry(candidate.id, failed_only)
        if not again:
            return Reply(False, f"every run of {candidate.commit[:10]} succeeded; --all runs them again")
        which = f"{len(again)} of {len(every)} pipelines of {candidate.commit[:10]}"
        return Reply(True, f"running {which} again", again[0])

    async def _terminate(self, what: str, why: str, by: Principal) -> Reply:
        for candidate in await self._candidates():
            for run in (*candidate.required, *candidate.advisory):
                if what and _is(what, run):
                    await self._loop.parts.runs.cancel(run, why or f"cancelled by {by.name}")
                    return Reply(True, f"{run} is being cancelled", run)
        for application in await self._applications(what):
            current = application.current
            if current is None or current.phase not in (Phase.STARTED, Phase.APPLIED, Phase.HELD):
                continue
            await self._loop.record(application.id, ev.SyncTerminated(current.candidate, current.number, why), by)
            source = await self._loop.book.source(application.source)
            wish = source.rollback.candidate if source.rollback else ""
            back = "" if wish == current.candidate else application.last_good  # a rollback is what Git says by now
            commit = (await self._loop.book.candidate(back)).commit[:10] if back else ""
            after = f"{commit} is put back" if back else "what stands stays as it is; `trueup retry` goes on with it"
            return Reply(True, f"the rollout of {application.name} is stopped; {after}", application.id)
        raise Unclear(f"nothing called {what!r} is under way" if what else "nothing is under way")

    async def _rollback(self, commit: str, application: str, why: str, by: Principal) -> Reply:
        found = await self._one(application)
        running = found.current.candidate if found.current else ""
        if commit:
            wanted = await self._candidate(commit)
            if wanted.source != found.source:  # a code repository's commit: what its deployment was
                wanted = await self._deployed(found, wanted)
        else:
            good = [await self._loop.book.candidate(g) for g in found.good]
            now = (await self._loop.book.candidate(running)).number if running else 0
            before = [c for c in good if c.number < now]
            if not before:
                return Reply(False, f"{found.name} has no good Candidate before the one that runs")
            wanted = max(before, key=lambda c: c.number)
        if wanted.id not in found.good:
            return Reply(False, f"{wanted.commit[:10]} never ran well here; `trueup history` shows those that did")
        if wanted.id == running:
            return Reply(False, f"{wanted.commit[:10]} is what runs")
        await self._loop.record(found.source, ev.SourceRollback(wanted.id, why), by)
        message = (
            f"{found.name} goes back to {wanted.commit[:10]}, by a commit; the next push whose checks are green resumes"
        )
        return Reply(True, message, found.id)

    async def _deployed(self, application: ApplicationState, code: CandidateState) -> CandidateState:
        for id in reversed(application.good):
            candidate = await self._loop.book.candidate(id)
            if candidate.from_candidate == code.id:
                return candidate
        raise Unclear(f"{code.commit[:10]} was never deployed as {application.name}")

    async def _pause(self, request: rq.Pause, by: Principal) -> Reply:
        found = await self._sources(request.source)
        for source in found:
            await self._loop.record(source.id, ev.SourcePaused(request.until, request.why), by)
        until = f"until {request.until:%Y-%m-%d %H:%M} UTC" if request.until else "until `trueup resume`"
        names = ", ".join(s.name for s in found)
        return Reply(True, f"{names}: nothing new is rolled out {until}; checks and repairs go on", found[0].id)

    async def _resume(self, name: str, why: str, by: Principal) -> Reply:
        found = await self._sources(name)
        paused = [s for s in found if s.pause is not None]
        for source in paused:
            await self._loop.record(source.id, ev.SourceResumed(why), by)
        if paused:
            return Reply(True, f"{', '.join(s.name for s in paused)} rolls out again", paused[0].id)
        if any(s.rollback for s in found):
            back = "`trueup rollback COMMIT` goes to another one at once"
            return Reply(False, f"nothing is paused; a rollback ends with the next green push, and {back}")
        return Reply(False, "nothing is paused")

    async def _ci_run(self, workflow: str, commit: str, job: str) -> Reply:
        candidates = await self._candidates()
        if not candidates:
            raise Unclear("no push has been seen yet")
        candidate = await self._candidate(commit) if commit else candidates[0]
        source = await self._loop.book.source(candidate.source)
        graphs = await self._loop.parts.study.graphs(candidate.source, candidate.commit)
        graph = next((g for g in graphs if workflow in (g.name, g.place.file, _stem(g.place.file))), None)
        if graph is None:
            names = ", ".join(_stem(g.place.file) for g in graphs)
            raise NoSuch(f"no workflow {workflow!r} in {source.name}; there is: {names or 'none that runs natively'}")
        if job:
            if job not in {j.id for j in graph.jobs}:
                raise NoSuch(f"no job {job!r} in {graph.name}; there is: {', '.join(j.id for j in graph.jobs)}")
            graph = only(graph, job)
        number = len(await self._loop.parts.ledger.heads("run"))
        run = child_id("run", candidate.id, graph.place.file, "manual", number)

        async def work() -> None:
            await self._loop.parts.runs.run(run, candidate, graph)

        self._loop.spawn(run, work)
        return Reply(True, f"{graph.name} runs on {candidate.commit[:10]}: `trueup ci logs {run} --follow`", run)

    async def _approve(self, name: str, changes: str, by: Principal) -> Reply:
        for application in await self._applications(name):
            held, count = await self._loop.applications.held(application.id)
            if held and held.startswith(changes):
                current = application.current
                await self._loop.record(application.id, ev.Approved(current.candidate if current else "", held), by)
                return Reply(
                    True, f"{count} held change{'s' * (count != 1)} of {application.name} may be made", application.id
                )
            if held:
                return Reply(
                    False, f"the held changes are {held[:12]} now, not {changes[:12]}: look at `trueup plan` again"
                )
        return Reply(False, "nothing is held for approval")


def _is(what: str, run: str) -> bool:
    return run.removeprefix("run/").startswith(what.removeprefix("run/"))


def _stem(path: str) -> str:
    return path.rpartition("/")[2].rpartition(".")[0]


def only(graph: Graph, job: str) -> Graph:
    """The graph with one job and what it needs."""
    wanted = {job, *ancestors(graph, job)}
    return replace(graph, jobs=tuple(j for j in graph.jobs if j.id in wanted))
