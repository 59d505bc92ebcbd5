"""What people ask of a running loop, and what it answers when it cannot."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import pytest

from engine.world import FIRST, World
from trueup.core import events as ev
from trueup.core import requests as rq
from trueup.core.candidate import Phase
from trueup.core.model import Oid, Principal
from trueup.drivers.sources.memory import MemoryRemote, MemorySource
from trueup.engine.verbs import Verbs

ANN = Principal("uid:1000 (ann)", "socket")


class Asked:
    """A world with its verbs."""

    def __init__(self, root: Path) -> None:
        self.remote = MemoryRemote()
        self.world = World(root, remotes=[self.remote])
        self.stopped = 0

    async def __aenter__(self) -> Asked:
        await self.world.start()
        assert self.world.loop is not None
        self.verbs = Verbs(self.world.loop, self._stop)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.world.stop()

    def _stop(self) -> None:
        self.stopped += 1

    async def push(self, files: dict[str, str], message: str = "change") -> str:
        commit = self.remote.push(files, message)
        await self.world.settle()
        return commit

    async def ask(self, request: rq.Request, ok: bool = True) -> str:
        reply = await self.verbs.perform(request, ANN)
        assert reply.ok is ok, reply.message
        await self.world.settle()
        return reply.message


async def test_rollback_goes_back_by_a_commit_and_the_next_push_resumes(tmp_path: Path) -> None:
    async with Asked(tmp_path) as asked:
        first = await asked.push(FIRST)
        await asked.push({"app/main": "v2\n"})
        message = await asked.ask(rq.Rollback(why="too slow"))
        assert first[:10] in message and "the next push" in message
        assert asked.world.running() == "v1\n"
        assert asked.remote.file("app/main") == "v1\n"
        head = asked.remote.commits[asked.remote.branches["main"]]
        assert head.message.startswith("Roll back") and "uid:1000 (ann): too slow" in head.message
        await asked.push({"app/main": "v3\n"})
        assert asked.world.running() == "v3\n"


async def test_two_people_rolling_back_at_once_end_with_one_answer_that_git_states(tmp_path: Path) -> None:
    async with Asked(tmp_path) as asked:
        first = await asked.push(FIRST)
        second = await asked.push({"app/main": "v2\n"})
        await asked.push({"app/main": "v3\n"})
        bob = Principal("uid:1001 (bob)", "socket")
        await asyncio.gather(
            asked.verbs.perform(rq.Rollback(second[:12], why="slow"), ANN),
            asked.verbs.perform(rq.Rollback(first[:12], why="wrong"), bob),
        )
        await asked.world.settle()
        assert (asked.world.running(), asked.remote.file("app/main")) == ("v1\n", "v1\n")
        head = asked.remote.commits[asked.remote.branches["main"]]
        assert "uid:1001 (bob): wrong" in head.message


class Interrupted(MemorySource):
    """Somebody asks for something else while the remote is being read."""

    def __init__(self, remote: MemoryRemote, meanwhile: Callable[[], Awaitable[None]]) -> None:
        super().__init__(remote)
        self._meanwhile: Callable[[], Awaitable[None]] | None = meanwhile

    async def fetch(self) -> Mapping[str, Oid]:
        if self._meanwhile is not None:
            meanwhile, self._meanwhile = self._meanwhile, None
            await meanwhile()
        return await super().fetch()


async def test_a_rollback_asked_for_while_another_is_being_stated_is_stated_too(tmp_path: Path) -> None:
    async with Asked(tmp_path) as asked:
        first = await asked.push(FIRST)
        second = await asked.push({"app/main": "v2\n", "app/more": "2"})
        await asked.push({"app/main": "v3\n"})

        async def meanwhile() -> None:
            wish = ev.SourceRollback((await asked.world.candidate(first)).id, "wrong")
            assert asked.world.loop is not None
            await asked.world.loop.record(asked.world.source, wish, ANN)

        asked.world.sources[asked.world.source] = Interrupted(asked.remote, meanwhile)
        await asked.ask(rq.Rollback(second[:12]))
        assert (asked.world.running(), asked.remote.file("app/main")) == ("v1\n", "v1\n")
        head = asked.remote.commits[asked.remote.branches["main"]]
        assert "app/more" not in asked.remote.trees[head.tree] and "wrong" in head.message


async def test_a_rollback_goes_forward_again_by_a_commit_and_never_by_itself(tmp_path: Path) -> None:
    async with Asked(tmp_path) as asked:
        await asked.push(FIRST)
        await asked.push({"app/main": "v2\n"})
        third = await asked.push({"app/main": "v3\n"})
        await asked.ask(rq.Rollback())
        await asked.ask(rq.Rollback())
        assert (asked.world.running(), asked.remote.file("app/main")) == ("v1\n", "v1\n")
        assert "no good Candidate before" in await asked.ask(rq.Rollback(), ok=False)
        await asked.ask(rq.Rollback(third[:12]))
        assert (asked.world.running(), asked.remote.file("app/main")) == ("v3\n", "v3\n")
        before = len(asked.remote.commits)
        await asked.ask(rq.Sync())
        assert len(asked.remote.commits) == before


async def test_rollback_to_what_runs_or_never_ran_well_is_refused(tmp_path: Path) -> None:
    async with Asked(tmp_path) as asked:
        first = await asked.push(FIRST)
        assert "no good Candidate before" in await asked.ask(rq.Rollback(), ok=False)
        assert "is what runs" in await asked.ask(rq.Rollback(first[:12]), ok=False)
        red = await asked.push({"pipeline": "fail\n"})
        assert "never ran well" in await asked.ask(rq.Rollback(red[:12]), ok=False)
        assert "no Candidate of a commit 'beef'" in await asked.ask(rq.Rollback("beef"), ok=False)


async def test_who_paused_and_until_when_is_kept(tmp_path: Path) -> None:
    async with Asked(tmp_path) as asked:
        await asked.push(FIRST)
        await asked.ask(rq.Pause(why="freeze"))
        pause = (await asked.world.source_state()).pause
        assert pause is not None and (pause.by, pause.why) == (ANN.name, "freeze")
        await asked.push({"app/main": "v2\n"})
        assert asked.world.running() == "v1\n"
        await asked.ask(rq.Resume())
        assert asked.world.running() == "v2\n"
        assert "nothing is paused" in await asked.ask(rq.Resume(), ok=False)


async def test_terminate_puts_the_last_good_one_back_and_retry_takes_it_up(tmp_path: Path) -> None:
    async with Asked(tmp_path) as asked:
        first = await asked.push(FIRST)
        await asked.push({"app/main": "slow\n"})
        assert first[:10] in await asked.ask(rq.Terminate(why="wrong day"))
        assert asked.world.running() == "v1\n"
        assert "nothing is under way" in await asked.ask(rq.Terminate(), ok=False)
        assert "rolling out" in await asked.ask(rq.Retry())
        assert asked.world.running() == "slow\n"
        assert not (await asked.world.app()).terminated


async def test_retry_of_a_held_rollout_and_of_red_pipelines(tmp_path: Path) -> None:
    async with Asked(tmp_path) as asked:
        await asked.push(FIRST)
        assert "nothing has failed" in await asked.ask(rq.Retry(), ok=False)
        await asked.push({"app/main": "sick\n"})
        world = asked.world
        world.builds.content.update({k: "well" for k, v in world.builds.content.items() if "sick" in v})
        assert "again" in await asked.ask(rq.Retry())
        current = (await world.app()).current
        assert current is not None and current.phase is Phase.HEALTHY
        red = await asked.push({"pipeline": "fail\n"})
        assert "1 of 1 pipelines" in await asked.ask(rq.Retry(red[:10]))
        assert world.runs.started.count(red) == 2


async def test_running_the_pipelines_of_what_runs_again_rolls_nothing_else_out(tmp_path: Path) -> None:
    async with Asked(tmp_path) as asked:
        world = asked.world
        await asked.push(FIRST)
        second = await asked.push({"app/main": "v2\n"})
        assert "succeeded; --all" in await asked.ask(rq.Retry(second), ok=False)
        world.runs.gates[second] = asyncio.Event()
        assert "1 of 1 pipelines" in await asked.ask(rq.Retry(second, failed_only=False))
        assert world.running() == "v2\n"
        assert (await world.candidate(second)).anew
        world.runs.gates[second].set()
        await world.settle()
        assert world.running() == "v2\n"
        assert world.runs.started.count(second) == 2


async def test_a_manual_run_changes_no_verdict(tmp_path: Path) -> None:
    async with Asked(tmp_path) as asked:
        commit = await asked.push(FIRST)
        before = await asked.world.candidate(commit)
        assert "test runs on" in await asked.ask(rq.CiRun("test"))
        assert asked.world.runs.started.count(commit) == 2
        assert await asked.world.candidate(commit) == before
        assert "no workflow 'nope'" in await asked.ask(rq.CiRun("nope"), ok=False)


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        (rq.Sync("nope"), "no application 'nope'; there is: web0"),
        (rq.Refresh("nope"), "no source 'nope'; there is: web0"),
        (rq.Retry("nope"), "nothing called 'nope' can be run again"),
        (rq.Approve("", "abc"), "nothing is held for approval"),
    ],
)
async def test_what_is_not_there_is_said_with_what_is(tmp_path: Path, request_: rq.Request, says: str) -> None:
    async with Asked(tmp_path) as asked:
        await asked.push(FIRST)
        assert says in await asked.ask(request_, ok=False)


async def test_sync_refresh_and_stop(tmp_path: Path) -> None:
    async with Asked(tmp_path) as asked:
        await asked.push(FIRST)
        object = next(iter(asked.world.target.objects[asked.world.application].values()))
        asked.world.target.objects[asked.world.application].clear()
        assert "web0" in await asked.ask(rq.Sync())
        assert object.ref in asked.world.target.objects[asked.world.application]  # drift is repaired
        assert any(isinstance(f, ev.Drifted) for f in await asked.world.facts(ev.Drifted))
        await asked.ask(rq.Refresh())
        await asked.ask(rq.Stop())
        assert asked.stopped == 1
