"""Reading commands over a ledger that no running process holds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from trueup.cli import exits
from trueup.cli.errors import Unknown

Make = Callable[[str], Path]
Trueup = Callable[..., Result]


def said(result: Result) -> dict[str, object]:
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert isinstance(found, dict)
    return found


def test_status_tells_what_runs_and_that_nothing_watches(state: Make, trueup: Trueup) -> None:
    out = trueup("status", "--state", str(state("undone"))).stdout
    assert "aaaaaaaaaa “Say hello”" in out and "healthy" in out
    assert "container web-1 removed by hand, repaired" in out
    assert "no `trueup up` runs here" in out
    assert "\x1b[" not in out, "colours in a pipe"


def test_status_names_what_is_not_stated_in_git(state: Make, trueup: Trueup) -> None:
    folder = str(state("refused"))
    out = trueup("status", "--state", folder).stdout
    assert "3 commits ahead of what runs: test: test_home: assert 500 == 200" in out
    assert "not stated in Git (write-back): the branch is protected; waits on trueup/write-back" in out
    assert trueup("status", "--state", folder, "--exit-code").exit_code == exits.WAITS


def test_status_as_json_keeps_its_keys(state: Make, trueup: Trueup) -> None:
    found = said(trueup("status", "--state", str(state("undone")), "--output", "json"))
    assert set(found) == {"summary", "running", "sources", "applications", "problems"}
    assert (found["summary"], found["running"]) == ("healthy", False)


def test_history_newest_first(state: Make, trueup: Trueup) -> None:
    folder = str(state("undone"))
    found = said(trueup("history", "--state", folder, "-o", "json"))
    rollouts = found["rollouts"]
    assert isinstance(rollouts, list)
    assert [(r["why"], r["outcome"]) for r in rollouts] == [
        ("undo", "healthy"),
        ("push", "condemned"),
        ("push", "healthy"),
    ]
    text = trueup("history", "--state", folder, "--limit", "1").stdout
    assert "undo" in text and "condemned" not in text
    assert isinstance(trueup("history", "nothing", "--state", folder).exception, Unknown)


def test_why_is_drawn_from_the_record_of_the_bundle(state: Make, trueup: Trueup) -> None:
    folder = str(state("undone"))
    out = trueup("why", "deployment/web", "--state", folder).stdout
    for part in ("Break it", "ghcr.io/acme/shop:v1", "pytest: success", "Ann <ann@example.org>"):
        assert part in out
    wrong = trueup("why", "deployment/wep", "--state", folder).exception
    assert isinstance(wrong, Unknown) and "nearest: deployment/web" in str(wrong)


def test_why_of_a_bad_commit_shows_the_last_lines_of_its_container(state: Make, trueup: Trueup) -> None:
    folder = str(state("mended"))
    said = trueup("why", "bbbbbbbbbb", "--state", folder).stdout.splitlines()
    assert said[0].strip().startswith("rollout  2 of shop (push), condemned after 1.0 s: deployment/web: exit 1")
    assert [line.strip() for line in said[1:3]] == ["Traceback", "KeyError: port"]
    assert said[3].startswith("← undo") and "refused as commit dddddddddd: a later commit touches" in said[3]


def test_the_timeline_and_the_export_hold_every_event(state: Make, trueup: Trueup) -> None:
    folder = str(state("undone"))
    assert "undone in Git by eeeeeeeeee" in trueup("ledger", "timeline", "--state", folder).stdout
    lines = trueup("ledger", "export", "--state", folder).stdout.splitlines()
    assert len(lines) == 33 and all({"stream", "seq", "hash", "prev"} <= set(json.loads(x)) for x in lines)


def test_verify_says_what_is_proven_and_names_a_break(state: Make, trueup: Trueup) -> None:
    folder = state("undone")
    good = trueup("ledger", "verify", "--state", str(folder))
    assert good.exit_code == 0 and "whole: 33 events" in good.stdout
    import sqlite3

    with sqlite3.connect(folder / "ledger.db") as connection:
        connection.execute(
            "UPDATE events SET body = CAST(replace(body, 'Ann', 'Eve') AS BLOB) WHERE instr(body, 'Ann') > 0"
        )
    connection.close()
    bad = trueup("ledger", "verify", "--state", str(folder))
    assert bad.exit_code == exits.FAILED and "BROKEN at candidate/1@1" in bad.stdout


def test_retention_keeps_what_runs(state: Make, trueup: Trueup) -> None:
    folder = str(state("undone"))
    assert "0 records removed" in trueup("ledger", "retain", "--older-than", "0s", "--state", folder).stdout
    assert "Ann <ann@example.org>" in trueup("why", "deployment/web", "--state", folder).stdout


def test_a_person_erases_a_record_and_leaves_a_tombstone(state: Make, trueup: Trueup) -> None:
    folder = str(state("mended"))
    excerpt, only = json.loads(trueup("ledger", "records", "-o", "json", "--state", folder).stdout)
    assert (excerpt["kind"], only["kind"], only["needed"]) == ("excerpt", "bundle", False)
    asked = trueup("ledger", "erase", only["key"][:8], "--state", folder)
    assert "say --yes" in str(asked.exception)
    assert len(json.loads(trueup("ledger", "records", "-o", "json", "--state", folder).stdout)) == 2
    erased = trueup("ledger", "erase", only["key"][:8], "--why", "a name", "--yes", "--state", folder)
    assert erased.exit_code == 0 and only["key"] in erased.stdout
    assert trueup("ledger", "erase", excerpt["key"], "--yes", "--state", folder).exit_code == 0
    assert "no record is kept" in trueup("ledger", "records", "--state", folder).stdout
    assert trueup("ledger", "verify", "--state", folder).exit_code == 0
    last = trueup("ledger", "timeline", "--state", folder).stdout.splitlines()[-2]
    assert f"record {only['key'][:8]} was erased by uid:" in last and last.endswith(": a name")


def test_what_runs_is_not_erased_and_an_unknown_key_is_named(state: Make, trueup: Trueup) -> None:
    folder = str(state("undone"))
    (only,) = json.loads(trueup("ledger", "records", "-o", "json", "--state", folder).stdout)
    assert only["needed"]
    assert "is what runs" in str(trueup("ledger", "erase", only["key"], "--yes", "--state", folder).exception)
    assert "no record 'beef'" in str(trueup("ledger", "erase", "beef", "--yes", "--state", folder).exception)


@pytest.mark.parametrize("command", [["status"], ["history"], ["why", "web"], ["ledger", "verify"], ["ci", "list"]])
def test_without_a_ledger_it_says_what_to_run(command: list[str], tmp_path: Path, trueup: Trueup) -> None:
    error = trueup(*command, "--state", str(tmp_path)).exception
    assert "run `trueup up` first" in str(error)
