"""Views over hand-made ledgers: what a person reads must follow from the events alone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec
from msgspec.structs import replace

from trueup.core.events import SyncHeld
from trueup.core.model import Bundle, Health, ImageUse, Judgement, Object, Place, Ref
from trueup.core.views.chronicle import Chronicle, add, read
from trueup.core.views.history import history
from trueup.core.views.stages import StageState, stages
from trueup.core.views.status import Status, Summary, status
from trueup.core.views.timeline import timeline, took
from trueup.core.views.why import Ambiguous, NotFound, Why, why

Story = Callable[[str], Chronicle]
DIGEST = "sha256:" + "1" * 64


def thing(kind: str, name: str, image: str = "") -> Object:
    place = Place("config/app.yaml", 3)
    uses = (ImageUse(image, place, 0, len(image), "spec.template.spec.containers[0].image"),) if image else ()
    return Object(Ref("host", "", kind, "default", name), "v1", {"image": image}, "h", place, uses)


def bundle(candidate: str) -> Bundle:
    objects = (
        thing("Deployment", "web", f"ghcr.io/acme/shop:v1@{DIGEST}"),
        thing("Service", "web"),
        thing("ConfigMap", "settings"),
    )
    return Bundle("shop", candidate, objects, "h")


def chain(answer: Why | NotFound | Ambiguous) -> list[str]:
    assert isinstance(answer, Why)
    return [link.what for link in answer.links]


def test_growing_by_one_event_equals_reading_all(story: Story) -> None:
    whole = story("undone")
    grown = Chronicle()
    for event in whole.events():
        assert add(grown, event)
    assert not add(grown, whole.events()[-1]), "a known event was taken twice"
    assert grown == whole == read(whole.events())


def test_history_names_outcome_person_and_duration(story: Story) -> None:
    told = [(r.attempt, r.why, r.outcome, r.who, r.seconds) for r in history(story("undone")).rollouts]
    assert told == [
        (3, "undo", "healthy", "trueup", 1.0),
        (2, "push", "condemned", "Bob <bob@example.org>", 8.0),
        (1, "push", "healthy", "Ann <ann@example.org>", 4.0),
    ]
    first = history(story("undone")).rollouts[-1]
    assert [i.digest for i in first.images] == [DIGEST]
    assert len(history(story("undone"), limit=1).rollouts) == 1
    assert history(story("undone"), "other").rollouts == ()


def test_a_healthy_application_says_what_runs_since_when(story: Story, start: datetime) -> None:
    found = status(story("undone"), start + timedelta(seconds=100))
    (application,) = found.applications
    assert application.running is not None and application.running.number == 1
    assert (application.health, application.since, application.sync) == (
        "healthy",
        start + timedelta(seconds=72),
        None,
    )
    assert application.drift == "container web-1 removed by hand" and application.drift_repaired
    assert found.summary is Summary.HEALTHY
    assert found.sources[0].writes == ()
    newest = found.sources[0].newest
    assert newest is not None and (newest.state, newest.reason) == (
        "condemned",
        "deployment/web: 0/1 ready: exit 1",
    )
    assert found.sources[0].stages[-1].detail == "undone by eeeeeeeeee"
    assert found.sources[0].ahead == 0, "commits that Git undid still count as ahead"


def test_status_says_how_far_the_branch_is_ahead_and_what_waits(story: Story, start: datetime) -> None:
    found = status(story("refused"), start + timedelta(seconds=60))
    (source,) = found.sources
    assert (source.ahead, source.ahead_reason) == (3, "test: test_home: assert 500 == 200")
    assert source.paused is not None and source.paused.why == "release freeze" and source.paused.by == "uid:0 (root)"
    (write,) = source.writes
    assert (write.state, write.reason, write.waits_on) == ("refused", "the branch is protected", "trueup/write-back")
    assert found.summary is Summary.HELD
    later = status(story("refused"), start + timedelta(hours=4))
    assert later.sources[0].paused is None, "a pause outlived its time"


def test_what_waited_is_past_once_a_later_push_runs_well(story: Story, start: datetime) -> None:
    before = status(read(e for e in story("mended").events() if e.time < start + timedelta(seconds=20)), start)
    (source,) = before.sources
    assert (len(source.writes), len(source.pinned_out), len(source.undo_held)) == (1, 1, 1)
    assert before.summary is Summary.DEGRADED
    (source,) = status(
        read(e for e in story("mended").events() if e.time < start + timedelta(seconds=30)), start
    ).sources
    assert (source.writes, source.pinned_out, source.undo_held) == ((), {}, {})


def test_a_held_first_rollout_is_no_progress(story: Story, start: datetime) -> None:
    events = [e for e in story("mended").events() if e.time < start + timedelta(seconds=4)]
    held = replace(events[-1], seq=events[-1].seq + 1, fact=SyncHeld("candidate/1", 1, "service/web: port 80 is taken"))
    found = status(read([*events, held]), start)
    assert (found.applications[0].health, found.summary) == ("degraded", Summary.DEGRADED)
    assert found.sources[0].ahead_reason == "held: service/web: port 80 is taken"


def test_a_terminated_rollout_waits_and_says_who_stopped_it(story: Story, start: datetime) -> None:
    found = status(story("mended"), start + timedelta(seconds=60))
    (source,) = found.sources
    assert source.ahead == 1
    assert source.ahead_reason == "its rollout was stopped by uid:0 (root): wrong day; `trueup retry` goes on with it"
    assert found.summary is Summary.HELD
    stopped = history(story("mended")).rollouts[1]
    assert (stopped.outcome, stopped.reason) == ("terminated", "by uid:0 (root): wrong day")
    assert "rollout terminated by uid:0 (root): wrong day" in [m.text for m in timeline(story("mended")).moments]


def test_status_carries_what_the_target_says_now(story: Story, start: datetime) -> None:
    says = Judgement(Ref("host", "apps", "Deployment", "default", "web"), Health.PROGRESSING, "2/3 ready")
    found = status(story("undone"), start, judgements={"application/a": (says,)})
    assert [(o.object, o.reason) for o in found.applications[0].objects] == [("deployment/web", "2/3 ready")]


def test_what_another_loop_left_here_is_not_taken_for_watched(story: Story, start: datetime) -> None:
    found = status(story("refused"), start, running=True, watched=["source/other"])
    assert not found.sources[0].watched and found.summary is Summary.EMPTY
    assert status(story("refused"), start, running=True, watched=["source/s"]).sources[0].watched


def test_status_survives_json(story: Story, start: datetime) -> None:
    found = status(story("refused"), start)
    assert msgspec.json.decode(msgspec.json.encode(found), type=Status) == found


def test_an_empty_ledger_is_empty(start: datetime) -> None:
    assert status(Chronicle(), start).summary is Summary.EMPTY
    assert history(Chronicle()).rollouts == ()
    assert isinstance(why(Chronicle(), "deployment/web", {}), NotFound)


def test_stages_follow_a_candidate_with_seconds(story: Story, start: datetime) -> None:
    told = [(s.name, s.state, s.seconds) for s in stages(story("undone"), "candidate/1", start)]
    assert told[:3] == [
        ("check", StageState.DONE, 0.5),
        ("pipelines", StageState.DONE, 10.0),
        ("image", StageState.DONE, 0.0),
    ]
    assert told[5] == ("write-back", StageState.DONE, 1.0)
    bad = {s.name: s for s in stages(story("undone"), "candidate/2", start)}
    assert bad["verify"].state is StageState.FAILED and "exit 1" in bad["verify"].detail
    red = {s.name: s for s in stages(story("refused"), "candidate/2", start)}
    assert red["pipelines"].state is StageState.FAILED and red["rollout"].state is StageState.SKIPPED


def test_a_running_stage_counts_up_to_now(story: Story, start: datetime) -> None:
    begun = read(e for e in story("undone").events() if e.time <= start + timedelta(seconds=5))
    found = {s.name: s for s in stages(begun, "candidate/1", start + timedelta(seconds=6))}
    assert (found["pipelines"].state, found["pipelines"].seconds) == (StageState.RUNNING, 4.0)
    assert found["pipelines"].detail == "test: pytest"


def test_why_walks_back_to_the_person_and_says_what_was_undone(story: Story) -> None:
    answer = why(story("undone"), "deployment/web", {"application/a": bundle("candidate/1")})
    assert chain(answer) == ["object", "rollout", "undo", "image", "pipeline", "commit", "author"]
    assert isinstance(answer, Why)
    by = {link.what: link for link in answer.links}
    assert (
        "of cccccccccc “Break it”" in by["undo"].text
        and "exit 1" in by["undo"].text
        and "eeeeeeeeee" in by["undo"].text
    )
    assert by["image"].id == DIGEST and by["image"].place == "app/Dockerfile"
    assert by["pipeline"].detail == ("pytest: success in 7.0 s, 5 tests passed",)
    assert by["author"].text == "Ann <ann@example.org>"


def test_why_of_a_commit_says_what_became_of_it(story: Story) -> None:
    answer = why(story("undone"), "cccccccccc", {})
    assert isinstance(answer, Why)
    assert chain(answer) == ["rollout", "undo", "commit", "author"]
    assert answer.links[0].text == "2 of shop (push), condemned after 8.0 s: deployment/web: 0/1 ready: exit 1"
    assert answer.links[1].text == "pushed as commit eeeeeeeeee"


def test_why_reaches_across_two_repositories(story: Story) -> None:
    answer = why(story("split"), "deploy/web", {"application/a": bundle("candidate/2")})
    assert chain(answer) == ["object", "rollout", "deploy", "image", "commit", "author"]
    assert isinstance(answer, Why)
    assert answer.links[2].place == "https://git.example/conf.git"
    assert answer.links[4].place == "https://git.example/code.git"
    assert answer.links[5].text == "Ann <ann@example.org>"
    assert history(story("split")).rollouts[0].who == "Ann <ann@example.org>"


def test_a_code_repository_whose_commit_runs_is_not_ahead(story: Story, start: datetime) -> None:
    found = status(story("split"), start)
    assert [(s.name, s.ahead) for s in found.sources] == [("code", 0), ("conf", 0)]


def test_an_object_without_images_names_its_file(story: Story) -> None:
    answer = why(story("undone"), "cm/settings", {"application/a": bundle("candidate/1")})
    assert "image" not in chain(answer)
    assert isinstance(answer, Why) and answer.links[0].place == "config/app.yaml:3"


def test_a_commit_of_ours_and_a_digest_lead_to_their_candidate(story: Story) -> None:
    for asked in ("dddddddddd", DIGEST, "aaaaaaaaaa"):
        assert chain(why(story("undone"), asked, {}))[-2:] == ["commit", "author"]


def test_a_bare_name_means_the_workload_and_a_wrong_one_gets_the_nearest(story: Story) -> None:
    bundles = {"application/a": bundle("candidate/1")}
    assert isinstance(why(story("undone"), "web", bundles), Why)
    nothing = why(story("undone"), "deployment/wep", bundles)
    assert isinstance(nothing, NotFound) and nothing.nearest[0] == "deployment/web"


def test_the_timeline_says_each_transition_once(story: Story) -> None:
    lines = [m.text for m in timeline(story("undone")).moments]
    assert lines[0] == "watching /srv/shop.git branch main"
    for line in (
        "push aaaaaaaaaa",
        "job test/pytest: success in 7.0 s, tests: 5 passed",
        "healthy: aaaaaaaaaa runs, after 4.0 s",
        "the digest is stated in Git by dddddddddd",
        "stopped: cccccccccc is bad: deployment/web: 0/1 ready: exit 1",
        "going back to aaaaaaaaaa (1 to update)",
        "undone in Git by eeeeeeeeee",
        "drift: container web-1 removed by hand; repaired",
    ):
        assert lines.count(line) == 1, line


def test_durations_read_as_people_say_them() -> None:
    assert [took(s) for s in (0.42, 12.3, 60, 185, 3600, 7500)] == [
        "0.4 s",
        "12 s",
        "1 min",
        "3 min 5 s",
        "1 h",
        "2 h 5 min",
    ]
