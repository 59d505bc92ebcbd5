"""A checkout's `.git` is no part of what an image is built from, unless the repository asks for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from trueup.core import ignore
from trueup.drivers.builders.context import ignore_rules


@pytest.mark.parametrize(
    ("text", "left_out"), [(None, True), ("*.pyc\n", True), ("!.git\n", False)], ids=["none", "others", "asked for"]
)
def test_git_is_left_out_unless_asked_for(tmp_path: Path, text: str | None, left_out: bool) -> None:
    if text is not None:
        (tmp_path / ".dockerignore").write_text(text)
    rules = ignore_rules(tmp_path, tmp_path, tmp_path / "Dockerfile")
    assert ignore.ignored(".git/index", rules) is left_out
    assert not ignore.ignored("src/main.py", rules)
