"""A machine without git is told so."""

from __future__ import annotations

from pathlib import Path

import pytest

from trueup.drivers.sources.program import Program
from trueup.ports import SourceError


async def test_a_machine_without_git_is_told_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="apt-get install git"):
        await Program(tmp_path, {"PATH": str(tmp_path)}).run("version", timeout_s=10)


async def test_a_clone_that_is_gone_is_not_called_a_missing_git(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        await Program(tmp_path / "gone", {}).run("version", timeout_s=10)
