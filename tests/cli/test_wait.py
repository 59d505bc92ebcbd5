"""`trueup wait` over ledgers that no running process holds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from trueup.cli import exits
from trueup.cli.errors import Away, Stop, Unknown

Make = Callable[[str], Path]
Trueup = Callable[..., Result]


def test_a_healthy_application_is_not_waited_for(state: Make, trueup: Trueup) -> None:
    result = trueup("wait", "--state", str(state("undone")))
    assert result.exit_code == 0 and "is healthy on aaaaaaaaaa “Say hello”" in result.output, result.output


def test_a_commit_that_was_stopped_is_told_at_once(state: Make, trueup: Trueup) -> None:
    result = trueup("wait", "--state", str(state("undone")), "--commit", "c" * 40)
    assert isinstance(result.exception, Stop) and result.exception.code == exits.FAILED
    assert "cccccccccc will not run: " in str(result.exception)


def test_what_does_not_come_in_time_is_told(state: Make, trueup: Trueup) -> None:
    result = trueup("wait", "--state", str(state("undone")), "--commit", "f" * 40, "--timeout", "1s")
    assert isinstance(result.exception, Stop) and result.exception.code == exits.WAITS
    assert "ffffffffff does not run yet" in str(result.exception)


@pytest.mark.parametrize(("words", "error"), [(("nothing",), Unknown), ((), Away)])
def test_nothing_to_wait_for_is_told(
    state: Make, trueup: Trueup, tmp_path: Path, words: tuple[str, ...], error: type[Exception]
) -> None:
    folder = state("undone") if words else tmp_path / "absent"
    assert isinstance(trueup("wait", *words, "--state", str(folder)).exception, error)


@pytest.mark.parametrize("command", [("get", "x"), ("tree",), ("diff",), ("events",)])
def test_a_cluster_is_looked_at_only_where_there_is_one(state: Make, trueup: Trueup, command: tuple[str, ...]) -> None:
    error = trueup(*command, "--state", str(state("undone"))).exception
    assert isinstance(error, Away) and "rolls out to this machine" in str(error)
