"""The state table of Candidates and Git (docs/git-states.md), row by row, on a real Git remote."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from engine.world import DEPLOYMENT, FIRST, World, git
from trueup.core import events as ev
from trueup.core.candidate import Phase, Undo, Verdict, WriteState
from trueup.core.decide import Policy
from trueup.core.model import DriftRules

pytestmark = pytest.mark.integration  # the real Git, hooks and refusals included

PROTECTED = """\
while read before after ref; do
  [ "$ref" = refs/heads/main ] && { echo "main is protected" >&2; exit 1; }
done
exit 0
"""


async def test_a_push_runs_and_is_written_back_and_the_write_back_triggers_nothing(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        first = await world.pushed(FIRST)
        assert world.running() == "v1\n"
        app = await world.app()
        assert app.current is not None and app.current.phase is Phase.HEALTHY
        assert "@sha256:" in world.person.show("config/web.yaml")
        assert world.person.subjects()[0].startswith("Record what runs example.org/acme/web of " + first[:10])
        await world.settle()
        state = await world.source_state()
        assert len(state.candidates) == 1
        assert state.head == world.person.head()
        assert world.builds.built == [next(iter(world.builds.content))]


async def test_only_tag_and_digest_are_spliced(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.pushed(FIRST)
        before, after = DEPLOYMENT.splitlines(), world.person.show("config/web.yaml").splitlines()
        assert [b for b, a in zip(before, after, strict=True) if a != b] == [
            "          image: example.org/acme/web:latest"
        ]


async def test_a_bad_push_is_undone_by_one_commit_that_equals_the_last_good(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.pushed(FIRST)
        good = world.person.head()
        bad = await world.pushed({"app/main": "crash\n", "app/more": "x\n"}, "break it")
        assert world.running() == "v1\n"
        state = await world.source_state()
        write = state.write_for("undo", (await world.candidate(bad)).id)
        assert write is not None and write.state is WriteState.PUSHED
        assert git(world.person.remote, "diff", "--name-only", good, "main") == ""
        assert world.person.subjects()[0].startswith(f'Undo {bad[:10]} "break it"')
        assert len(state.candidates) == 2
        app = await world.app()
        assert app.current is not None and app.current.phase is Phase.HEALTHY and app.current.why == "undo"


async def test_a_red_push_is_never_deployed_manifests_included(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.pushed(FIRST)
        manifest = world.person.show("config/web.yaml").replace("replicas: 3", "replicas: 9")
        red = await world.pushed({"pipeline": "fail\n", "config/web.yaml": manifest})
        assert (await world.candidate(red)).verdict is Verdict.RED
        (deployment,) = world.target.objects[world.application].values()
        assert deployment.body["spec"]["replicas"] == 3
        assert world.running() == "v1\n"


async def test_red_after_green_keeps_the_green_one_and_green_after_red_deploys(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.pushed(FIRST)
        await world.pushed({"app/main": "v2\n", "pipeline": "fail\n"})
        assert world.running() == "v1\n"
        await world.pushed({"app/main": "v3\n", "pipeline": "pass\n"})
        assert world.running() == "v3\n"


async def test_a_newer_push_during_a_build_supersedes_only_when_it_is_green(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.pushed(FIRST)
        slow = world.person.push({"app/main": "v2\n"}, "slow one")
        gate = world.runs.gates[slow] = asyncio.Event()
        await world.settle()
        red = await world.pushed({"app/main": "v3\n", "pipeline": "fail\n"})
        assert (await world.candidate(red)).verdict is Verdict.RED
        gate.set()
        await world.settle()
        assert world.running() == "v2\n"
        assert not (await world.candidate(slow)).superseded_by


async def test_an_older_slow_pipeline_that_finishes_last_changes_nothing(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.pushed(FIRST)
        slow = world.person.push({"app/main": "v2\n"}, "slow one")
        gate = world.runs.gates[slow] = asyncio.Event()
        await world.settle()
        await world.pushed({"app/main": "v3\n"})
        assert world.running() == "v3\n"
        assert (await world.candidate(slow)).superseded_by
        gate.set()
        await world.settle()
        assert world.running() == "v3\n"
        assert "v2" not in "".join(world.target.calls)


async def test_five_commits_in_one_push_with_a_merge_make_one_candidate_and_one_undo(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.pushed(FIRST)
        good = world.person.head()
        person = world.person
        person.pull()
        git(person.clone, "checkout", "-q", "-b", "side")
        person.commit({"app/side": "1\n"}, "side 1")
        person.commit({"app/side": "2\n"}, "side 2")
        git(person.clone, "checkout", "-q", "-")
        person.commit({"app/one": "1\n"}, "one")
        git(person.clone, "merge", "-q", "--no-ff", "-m", "merge side", "side")
        person.commit({"app/main": "crash\n"}, "last")
        git(person.clone, "push", "-q", "origin", "HEAD:main")
        await world.settle()
        state = await world.source_state()
        assert len(state.candidates) == 2
        assert git(person.remote, "diff", "--name-only", good, "main") == ""
        assert world.running() == "v1\n"


async def test_undo_of_a_first_deployment_stops_and_says_so(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        bad = await world.pushed({**FIRST, "app/main": "crash\n"})
        state = await world.source_state()
        assert state.undo_held == {(await world.candidate(bad)).id: "there is no last good Candidate to go back to"}
        assert world.person.head() == bad


async def test_undo_with_a_later_commit_on_the_same_file_waits_on_a_branch(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.pushed(FIRST)
        bad = world.person.push({"app/main": "slow at first\n"}, "break it")
        await world.settle()
        later = world.person.push({"app/main": "slow again\n"}, "fix?")
        gate = world.runs.gates[later] = asyncio.Event()
        await world.settle()
        world.builds.content.update({k: "crash" for k, v in world.builds.content.items() if "slow at first" in v})
        assert world.loop is not None
        world.loop.queue.wake(world.application)
        await world.settle()
        state = await world.source_state()
        candidate = await world.candidate(bad)
        assert "a later commit touches app/main" in state.pinned[candidate.id]
        assert world.person.head() == later  # nothing was pushed to the branch
        write = state.write_for("undo", candidate.id)
        assert write is not None and write.waits_on.startswith("trueup/undo-")
        assert git(world.person.remote, "show", f"{write.waits_on}:app/main") == "v1"
        assert world.running() == "v1\n"
        gate.set()


async def test_a_later_commit_on_other_files_stands_and_gets_a_candidate_of_its_own(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.pushed(FIRST)
        bad = world.person.push({"app/main": "slow at first\n"}, "break it")
        await world.settle()
        later = world.person.push({"docs/readme": "words\n"}, "docs")
        gate = world.runs.gates[later] = asyncio.Event()
        await world.settle()
        world.builds.content.update({k: "crash" for k, v in world.builds.content.items() if "slow at first" in v})
        assert world.loop is not None
        world.loop.queue.wake(world.application)
        await world.settle()
        gate.set()
        await world.settle()
        state = await world.source_state()
        assert world.person.show("app/main") == "v1"
        assert world.person.show("docs/readme") == "words"
        assert (await world.candidate(bad)).id not in state.pinned
        assert (await world.candidate(later)).id in state.pinned
        assert world.running() == "v1\n"
        newest = state.newest
        assert newest is not None and newest.number == 4  # the undo's own tree never ran before


async def test_a_revert_of_a_revert_is_a_push_like_any_other(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.pushed(FIRST)
        await world.pushed({"app/main": "crash\n"}, "break it")
        undo = world.person.head()
        world.person.pull()
        git(world.person.clone, "revert", "--no-edit", undo)
        git(world.person.clone, "push", "-q", "origin", "HEAD:main")
        await world.settle()
        state = await world.source_state()
        assert len(state.candidates) == 3
        assert world.person.show("app/main") == "v1"  # undone once more
        assert world.running() == "v1\n"
        assert sum(s.startswith("Undo") for s in world.person.subjects()) == 2


async def test_a_forged_trailer_means_nothing(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        first = await world.pushed(FIRST)
        candidate = await world.candidate(first)
        forged = f"Record\n\nTrueup-Purpose: write-back\nTrueup-Candidate: {candidate.id}\n"
        commit = await world.pushed({"app/main": "v2\n"}, forged)
        assert (await world.candidate(commit)).number == 2
        assert world.running() == "v2\n"


async def test_our_commit_is_known_by_trailer_and_equal_diff_when_its_id_was_not_recorded(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        first = await world.pushed(FIRST)
        candidate = await world.candidate(first)
        text = world.person.show("config/web.yaml")
        git(world.person.clone, "reset", "-q", "--hard", first)
        message = f"Record\n\nTrueup-Purpose: write-back\nTrueup-Candidate: {candidate.id}\n"
        world.person.commit({"config/web.yaml": text + "\n"}, message)
        git(world.person.clone, "push", "-q", "--force", "origin", "HEAD:main")
        await world.settle()
        assert len((await world.source_state()).candidates) == 2  # forced: looked at anew


async def test_a_race_is_retried_on_the_new_head(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        person = world.person
        source = world.sources[world.source]
        push, raced = source.push, []

        async def push_after_somebody_else(branch: str, commit: str, *, expect: str | None):  # type: ignore[no-untyped-def]
            if not raced:
                raced.append(person.push({"docs/other": "x\n"}, "somebody else"))
            return await push(branch, commit, expect=expect)

        source.push = push_after_somebody_else  # type: ignore[method-assign]
        await world.pushed(FIRST)
        assert [type(f) for f in await world.facts(ev.WriteRaced)] == [ev.WriteRaced]
        assert "@sha256:" in person.show("config/web.yaml")
        assert person.show("docs/other") == "x"


async def test_a_refusal_waits_on_a_branch_and_the_candidate_still_runs(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.pushed(FIRST)
        head = world.person.push({"app/main": "v2\n"})
        world.person.hook(PROTECTED)
        await world.settle()
        assert world.running() == "v2\n"
        assert world.person.head() == head
        state = await world.source_state()
        write = state.write_for("write-back", (await world.candidate(head)).id)
        assert write is not None and write.state is WriteState.REFUSED
        assert "main is protected" in write.reason
        assert world.person.head(write.waits_on) == write.commit
        await world.settle()
        assert len(await world.facts(ev.WriteRefused)) == 1  # not again and again


async def test_a_refused_undo_pins_the_candidate_out_and_waits_on_a_branch(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.pushed(FIRST)
        bad = world.person.push({"app/main": "crash\n"})
        world.person.hook(PROTECTED)
        await world.settle()
        assert world.running() == "v1\n"
        state = await world.source_state()
        assert (await world.candidate(bad)).id in state.pinned
        write = state.write_for("undo", (await world.candidate(bad)).id)
        assert write is not None and write.waits_on


async def test_a_force_push_is_a_push_and_rewritten_history_is_never_undone_on_the_branch(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.pushed(FIRST)
        person = world.person
        git(person.clone, "checkout", "-q", "--orphan", "fresh")
        rewritten = person.commit({"app/main": "crash\n"}, "all new")
        git(person.clone, "push", "-q", "--force", "origin", "HEAD:main")
        await world.settle()
        state = await world.source_state()
        moved = [f for f in await world.facts(ev.SourceMoved) if f.forced]  # type: ignore[attr-defined]
        assert len(moved) == 1
        assert person.head() == rewritten
        assert "history was rewritten" in state.pinned[(await world.candidate(rewritten)).id]
        assert world.running() == "v1\n"


async def test_a_branch_that_vanishes_leaves_what_runs(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.pushed(FIRST)
        git(world.person.remote, "update-ref", "-d", "refs/heads/main")
        await world.settle()
        assert (await world.source_state()).gone
        assert world.running() == "v1\n"
        git(world.person.clone, "push", "-q", "origin", "HEAD:main")
        await world.settle()
        assert not (await world.source_state()).gone


async def test_the_remote_being_down_is_said_and_undoes_nothing(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.pushed(FIRST)
        moved = world.person.remote.rename(tmp_path / "elsewhere.git")
        await world.settle()
        state = await world.source_state()
        assert state.down
        assert not await world.facts(ev.SyncCondemned)
        moved.rename(world.person.remote)
        await world.settle()
        assert not (await world.source_state()).down


@pytest.mark.parametrize(("undo", "runs"), [(Undo.PIN, "v1\n"), (Undo.NONE, "crash\n")])
async def test_undo_by_setting(tmp_path: Path, undo: Undo, runs: str) -> None:
    async with World(tmp_path, policy=Policy(undo=undo)) as world:
        await world.pushed(FIRST)
        bad = await world.pushed({"app/main": "crash\n"})
        assert world.running() == runs
        assert world.person.head() == bad
        assert not [f for f in await world.facts(ev.WriteIntended) if f.purpose == "undo"]  # type: ignore[attr-defined]
        said = [f.reason for f in (*await world.facts(ev.UndoHeld), *await world.facts(ev.PinnedOut))]  # type: ignore[attr-defined]
        assert len(said) == 1 and said[0].startswith(f"undo: {undo.value}")


@pytest.mark.parametrize(("says", "runs"), [("pin", "v1\n"), ("none", "crash\n"), ("revert", "v1\n")])
async def test_undo_by_the_bad_commits_own_trueup_yaml(tmp_path: Path, says: str, runs: str) -> None:
    async with World(tmp_path) as world:
        await world.pushed(FIRST)
        bad = await world.pushed({"app/main": "crash\n", "trueup.yaml": f"undo: {says}\n"})
        assert world.running() == runs
        assert (world.person.head() == bad) is (says != "revert")
        said = [f.reason for f in (*await world.facts(ev.UndoHeld), *await world.facts(ev.PinnedOut))]  # type: ignore[attr-defined]
        assert [s.partition(",")[0] for s in said] == ([] if says == "revert" else [f"undo: {says}"])


async def test_the_target_hears_what_trueup_yaml_says_of_drift(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.pushed(FIRST)
        assert list(world.target.rules.values()) == [DriftRules()]
        await world.pushed({"trueup.yaml": "drift: {repair: false}\n"})
        assert list(world.target.rules.values()) == [DriftRules(repair=False)]


async def test_what_up_was_told_of_undo_comes_before_trueup_yaml(tmp_path: Path) -> None:
    async with World(tmp_path, policy=Policy(undo=Undo.REVERT)) as world:
        await world.pushed(FIRST)
        bad = await world.pushed({"app/main": "crash\n", "trueup.yaml": "undo: none\n"})
        assert (world.running(), world.person.head() == bad) == ("v1\n", False)


async def test_the_worlds_fault_is_held_and_never_undone(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.pushed(FIRST)
        bad = await world.pushed({"app/main": "sick\n"})
        app = await world.app()
        assert app.current is not None and app.current.phase is Phase.HELD
        assert world.person.head() == bad
        world.builds.content.update({k: "well" for k, v in world.builds.content.items() if "sick" in v})
        assert world.loop is not None
        world.loop.queue.wake(world.application)
        await world.settle()
        app = await world.app()
        assert app.current is not None and app.current.phase is Phase.HEALTHY
        assert "@sha256:" in world.person.show("config/web.yaml")


async def test_a_failing_undo_is_held_never_undone(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.pushed(FIRST)
        world.builds.content.update(dict.fromkeys(world.builds.content, "crash v1"))
        await world.pushed({"app/main": "crash\n"})
        app = await world.app()
        assert app.current is not None and app.current.phase is Phase.HELD
        assert app.current.reason.startswith("the undo fails too")
        assert app.health == "degraded", "what runs is what fails"
        assert len([f for f in await world.facts(ev.WriteIntended) if f.purpose == "undo"]) == 1  # type: ignore[attr-defined]


async def test_what_ran_well_and_does_not_any_more_counts_as_sick(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.pushed(FIRST)
        assert world.loop is not None and world.loop.links.sick() == (0, 0.0)
        world.builds.content.update(dict.fromkeys(world.builds.content, "sick"))
        world.loop.queue.wake(world.application)
        await world.settle()
        assert (await world.app()).health == "degraded"
        assert world.loop.links.sick() == (1, 1.0)


async def test_health_is_that_of_what_serves_while_a_rollout_is_held(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.pushed(FIRST)
        await world.pushed({"app/main": "sick\n"})
        assert (await world.app()).health == "healthy", "the old replicas serve"
        await world.pushed({"app/main": "sick, nothing serves\n"})
        assert (await world.app()).health == "degraded"
        world.builds.content.update({k: "well" for k, v in world.builds.content.items() if "sick" in v})
        assert world.loop is not None
        world.loop.queue.wake(world.application)
        await world.settle()
        assert (await world.app()).health == "healthy"


async def test_an_ancestors_digest_never_replaces_a_newer_one(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.pushed(FIRST)
        await world.pushed({"app/main": "v2\n"})
        stated = world.person.show("config/web.yaml")
        await world.record_rollback("v1\n")
        state = await world.source_state()
        assert state.write_for("rollback", next(iter(state.candidates))) is not None
        assert world.running() == "v1\n"
        assert world.person.show("config/web.yaml") != stated
        await world.pushed({"app/main": "v3\n"})
        assert world.running() == "v3\n"


async def test_two_repositories_write_back_deploys_and_undo_reaches_both(tmp_path: Path) -> None:
    async with World(tmp_path, split=True) as world:
        world.config.push({"config/web.yaml": DEPLOYMENT}, "config")
        await world.settle()
        code = {k: v for k, v in FIRST.items() if not k.startswith("config")}
        first = await world.pushed(code)
        assert world.running() == "v1\n"
        assert world.config.subjects()[0].startswith("Deploy example.org/acme/web of " + first[:10])
        good_code, good_config = world.person.head(), world.config.head()
        bad = await world.pushed({"app/main": "crash\n"}, "break it")
        assert world.running() == "v1\n"
        assert git(world.config.remote, "diff", good_config, "main", "--stat") == ""
        assert git(world.person.remote, "diff", good_code, "main", "--stat") == ""
        assert world.person.subjects()[0].startswith(f"Undo {bad[:10]}")
        assert world.config.subjects()[0].startswith("Undo ")
        again = await world.pushed({"app/main": "v2\n"}, "mend it")
        assert world.running() == "v2\n"
        assert world.config.subjects()[0].startswith("Deploy example.org/acme/web of " + again[:10])


async def test_code_and_configuration_repositories_moving_at_once(tmp_path: Path) -> None:
    async with World(tmp_path, split=True) as world:
        world.config.push({"config/web.yaml": DEPLOYMENT}, "config")
        await world.settle()
        code = {k: v for k, v in FIRST.items() if not k.startswith("config")}
        await world.pushed(code)
        world.person.push({"app/main": "v2\n"})
        text = world.config.show("config/web.yaml").replace("replicas: 3", "replicas: 4")
        world.config.push({"config/web.yaml": text}, "more")
        await world.settle()
        (deployment,) = world.target.objects[world.application].values()
        assert deployment.body["spec"]["replicas"] == 4
        assert world.running() == "v2\n"
        assert "replicas: 4" in world.config.show("config/web.yaml")


async def test_a_terminated_rollout_goes_back_and_a_retry_takes_it_up_again(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.pushed(FIRST)
        slow = await world.pushed({"app/main": "slow\n"})
        assert world.running() == "slow\n"
        assert world.loop is not None
        candidate = await world.candidate(slow)
        await world.loop.record(world.application, ev.SyncTerminated(candidate.id, 2, "wrong day"))
        await world.settle()
        assert world.running() == "v1\n"
        assert world.person.head() == slow  # nobody told Git
        world.builds.content.update({k: "well" for k, v in world.builds.content.items() if "slow" in v})


async def test_a_held_rollout_is_tried_again_when_a_person_asks(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.pushed(FIRST)
        await world.pushed({"app/main": "sick\n"})
        assert world.loop is not None
        attempts = (await world.app()).attempts
        await world.loop.applications.restart(world.application)
        await world.settle()
        app = await world.app()
        assert app.attempts == attempts + 1 and app.current is not None and app.current.why == "retry"


async def test_paused_rolls_nothing_out_until_it_is_resumed_or_the_time_is_over(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.pushed(FIRST)
        assert world.loop is not None
        await world.loop.record(world.source, ev.SourcePaused(None, "freeze"))
        await world.pushed({"app/main": "v2\n"})
        assert world.running() == "v1\n"
        await world.loop.record(world.source, ev.SourceResumed())
        await world.settle()
        assert world.running() == "v2\n"
        await world.loop.record(world.source, ev.SourcePaused(world.clock.now() + timedelta(seconds=1), "short"))
        await world.pushed({"app/main": "v3\n"})
        assert world.running() == "v2\n"
        world.clock.time += timedelta(seconds=2)
        await world.settle()
        assert world.running() == "v3\n"


async def test_a_retry_of_red_pipelines_runs_only_what_failed_and_can_turn_green(tmp_path: Path) -> None:
    async with World(tmp_path) as world:
        await world.pushed(FIRST)
        red = await world.pushed({"app/main": "v2\n", "pipeline": "fail\n"})
        candidate = await world.candidate(red)
        assert candidate.verdict is Verdict.RED and world.loop is not None
        (run,) = await world.loop.candidates.retry(candidate.id, failed_only=True)
        assert run != candidate.required[0]
        await world.settle()
        assert (await world.candidate(red)).verdict is Verdict.RED
        assert world.runs.started.count(red) == 2
