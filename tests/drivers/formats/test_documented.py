"""What the registries hold is in docs/ci.md, and the other way round."""

from __future__ import annotations

import re
from pathlib import Path

from trueup.drivers.executors import EXECUTORS
from trueup.drivers.formats import DIALECTS, FORMATS
from trueup.drivers.formats.github_schema import ACTIONS

DOCUMENT = (Path(__file__).parents[3] / "docs/ci.md").read_text()
ROWS = re.findall(r"^\| ((?:`[^`]+`(?:, | \(default\))?)+) \|", DOCUMENT, re.MULTILINE)
NAMED = {name for row in ROWS for name in re.findall(r"`([^`]+)`", row)}
OUTCOMES = {"success", "failure", "error", "cancelled", "skipped"}


def test_every_format_executor_and_action_has_its_row() -> None:
    assert NAMED - {"./path"} - OUTCOMES == set(FORMATS) | set(EXECUTORS) | set(ACTIONS)


def test_what_runs_is_said_to_run() -> None:
    runs = {name for name in FORMATS if re.search(rf"^\| `{name}` .*\| runs them \|$", DOCUMENT, re.MULTILINE)}
    assert runs == set(DIALECTS)
