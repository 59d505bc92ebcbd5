"""Which jobs may run, how a run ends, and what starts it: as tables."""

import pytest

from trueup.core.filters import matches, passes
from trueup.core.model import Outcome, Place
from trueup.core.pipeline import (
    Done,
    Graph,
    Happened,
    Job,
    Status,
    Trigger,
    ancestors,
    joined,
    runnable,
    standing,
    triggers,
    verdict,
)

PLACE = Place("ci.yml", 1)
OK, BAD, SKIP, STOP, ERR = (
    Outcome.SUCCESS,
    Outcome.FAILURE,
    Outcome.SKIPPED,
    Outcome.CANCELLED,
    Outcome.ERROR,
)


def graph(**needs: str) -> Graph:
    jobs = tuple(Job(id=id, place=PLACE, needs=tuple(need.split())) for id, need in needs.items())
    return Graph(name="ci", place=PLACE, dialect="github", jobs=jobs)


DIAMOND = graph(a="", b="a", c="a", d="b c")


@pytest.mark.parametrize(
    ("done", "started", "expect"),
    [
        ({}, (), ("a",)),
        ({}, ("a",), ()),
        ({"a": OK}, ("a",), ("b", "c")),
        ({"a": BAD}, (), ("b", "c")),  # their conditions say whether they are skipped
        ({"a": OK, "b": OK}, ("c",), ()),
        ({"a": OK, "b": SKIP, "c": OK}, (), ("d",)),
        ({"a": OK, "b": OK, "c": OK, "d": OK}, (), ()),
    ],
)
def test_runnable(done: dict[str, Outcome], started: tuple[str, ...], expect: tuple[str, ...]) -> None:
    assert runnable(DIAMOND, {id: Done(outcome) for id, outcome in done.items()}, started) == expect


@pytest.mark.parametrize(
    ("done", "expect"),
    [
        ({"a": Done(OK), "b": Done(OK), "c": Done(OK)}, Status(success=True)),
        ({"a": Done(OK), "b": Done(SKIP), "c": Done(OK)}, Status(success=False)),
        ({"a": Done(BAD), "b": Done(OK), "c": Done(OK)}, Status(success=False, failure=True)),
        ({"a": Done(BAD, tolerated=True), "b": Done(OK), "c": Done(OK)}, Status(success=True)),
        ({"a": Done(ERR), "b": Done(SKIP), "c": Done(SKIP)}, Status(success=False, failure=True)),
    ],
)
def test_standing_counts_every_ancestor(done: dict[str, Done], expect: Status) -> None:
    assert standing(DIAMOND, "d", done) == expect


def test_a_cancelled_run_is_neither_success_nor_failure() -> None:
    assert standing(DIAMOND, "a", {}, cancelled=True) == Status(success=False, failure=False, cancelled=True)


def test_ancestors_are_transitive() -> None:
    assert ancestors(DIAMOND, "d") == {"a", "b", "c"}


@pytest.mark.parametrize(
    ("outcomes", "expect"),
    [
        ((OK, OK), OK),
        ((OK, SKIP), OK),
        ((SKIP, SKIP), SKIP),
        ((OK, BAD), BAD),
        ((STOP, OK), STOP),
        ((ERR, SKIP), ERR),
        ((ERR, BAD), BAD),  # the repository's fault is certain
    ],
)
def test_verdict(outcomes: tuple[Outcome, Outcome], expect: Outcome) -> None:
    done = {"a": Done(outcomes[0]), "b": Done(outcomes[1])}
    assert verdict(graph(a="", b="a"), done) is expect


def test_no_verdict_while_a_job_has_not_ended() -> None:
    assert verdict(DIAMOND, {"a": Done(BAD)}) is None


def test_a_tolerated_failure_does_not_fail_the_run() -> None:
    assert verdict(graph(a=""), {"a": Done(BAD, tolerated=True)}) is OK


def test_legs_join_to_the_worst() -> None:
    assert joined((OK, STOP, BAD)) is BAD
    assert joined(()) is SKIP


# GitHub Docs, filter pattern cheat sheet: pattern, names that match, names that do not.
PATTERNS = [
    ("feature/*", ["feature/my-branch", "feature/your-branch"], ["feature/a/b", "features/a"]),
    ("feature/**", ["feature/beta-a/my-branch", "feature/your-branch"], ["feature"]),
    ("*", ["main", "releases"], ["all/the/branches"]),
    ("**", ["all/the/branches", "every/tag"], []),
    ("*feature", ["mona-feature", "feature"], ["feature-10"]),
    ("v2*", ["v2", "v2.0", "v2.9"], ["v1"]),
    ("v[12].[0-9]+.[0-9]+", ["v1.10.1", "v2.0.0"], ["v3.0.0", "v1.0"]),
    ("*.jsx?", ["page.js", "page.jsx"], ["page.jsxx"]),
    ("**.js", ["index.js", "js/index.js", "src/js/app.js"], ["index.jsx"]),
    ("docs/**/*.md", ["docs/README.md", "docs/mona/hello-world.md", "docs/a/markdown/file.md"], ["README.md"]),
    ("**/docs/**", ["docs/hello.md", "dir/docs/my-file.txt", "space/docs/plan/space.doc"], ["mydocs/x"]),
    ("**/README.md", ["README.md", "js/README.md"], ["XREADME.md"]),
    ("**/*src/**", ["a/src/app.js", "my-src/code/js/app.js"], ["src.txt"]),
    ("**/migrate-*.sql", ["migrate-10909.sql", "db/migrate-v1.0.sql", "db/sept/migrate-v1.sql"], ["migrate.sql"]),
    ("\\*x", ["*x"], ["ax"]),
]


@pytest.mark.parametrize(("pattern", "good", "bad"), PATTERNS)
def test_filter_patterns(pattern: str, good: list[str], bad: list[str]) -> None:
    assert [name for name in good if not matches(pattern, name)] == []
    assert [name for name in bad if matches(pattern, name)] == []


def test_a_bang_takes_names_out_again_in_order() -> None:
    assert passes(("releases/**", "!releases/**-alpha"), (), "releases/10")
    assert not passes(("releases/**", "!releases/**-alpha"), (), "releases/10-alpha")
    assert passes(("!**-alpha", "releases/**"), (), "releases/10-alpha")


def test_a_hostile_pattern_takes_no_time() -> None:
    assert not matches("**a" * 60 + "b", "a" * 3000)


def push(trigger: Trigger, ref: str, changed: tuple[str, ...] | None = None) -> bool:
    whole = Graph(name="ci", place=PLACE, dialect="github", jobs=(), triggers=(trigger,))
    return triggers(whole, Happened(event="push", ref=ref, changed=changed))


MAIN, TAG = "refs/heads/main", "refs/tags/v1"


@pytest.mark.parametrize(
    ("trigger", "ref", "changed", "expect"),
    [
        (Trigger(event="push"), MAIN, None, True),
        (Trigger(event="push"), TAG, None, True),
        (Trigger(event="pull_request"), MAIN, None, False),
        (Trigger(event="push", branches=("main",)), MAIN, None, True),
        (Trigger(event="push", branches=("dev",)), MAIN, None, False),
        (Trigger(event="push", branches=("main",)), TAG, None, False),
        (Trigger(event="push", tags=("v*",)), MAIN, None, False),
        (Trigger(event="push", tags=("v*",)), TAG, None, True),
        (Trigger(event="push", tags_ignore=("v*",)), TAG, None, False),
        (Trigger(event="push", branches=("main",), tags=("v*",)), TAG, None, True),
        (Trigger(event="push", branches_ignore=("main",)), MAIN, None, False),
        (Trigger(event="push", paths=("app/**",)), MAIN, ("app/x.py", "README.md"), True),
        (Trigger(event="push", paths=("app/**",)), MAIN, ("README.md",), False),
        (Trigger(event="push", paths=("app/**",)), MAIN, None, True),
        (Trigger(event="push", paths_ignore=("**.md",)), MAIN, ("README.md",), False),
        (Trigger(event="push", paths_ignore=("**.md",)), MAIN, ("README.md", "a.py"), True),
        (Trigger(event="push", paths_ignore=("**.md",)), MAIN, (), False),
    ],
)
def test_triggers(trigger: Trigger, ref: str, changed: tuple[str, ...] | None, expect: bool) -> None:
    assert push(trigger, ref, changed) is expect
