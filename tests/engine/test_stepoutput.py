"""Commands are found however the output is cut; everything else passes unchanged and in order."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trueup.core.mask import Masker
from trueup.drivers.formats import DIALECTS
from trueup.engine.joblog import JobLog
from trueup.engine.stepoutput import StepOutput

NOON = datetime(2026, 1, 2, 12, 0, 0, 5000, tzinfo=UTC)
PREFIX = "2026-01-02T12:00:00.005Z "
TEXT = b"one\n::set-output name=a::b\ntwo :: three\n  ::add-mask::hunter22\nhunter22\n\nlast ::error::no command"


async def logged(path: Path, pieces: list[bytes], cap: int = 1 << 20) -> tuple[str, StepOutput]:
    async with JobLog(path, Masker(), lambda: NOON, cap) as log:
        output = StepOutput(log, DIALECTS["github"])
        for piece in pieces:
            output.write(piece)
        output.close()
    return path.read_text(), output


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, len(TEXT)), max_size=6))
async def test_cut_anywhere(tmp_path: Path, cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(TEXT)]
    pieces = [TEXT[a:b] for a, b in itertools.pairwise(edges)]
    text, output = await logged(tmp_path / "log", pieces)
    expect = ["one", "two :: three", "***", "", "last ::error::no command"]
    assert text == "".join(f"{PREFIX}{line}\n" for line in expect)
    assert output.outputs == {"a": "b"}


async def test_stopped_commands_are_shown_and_not_done(tmp_path: Path) -> None:
    text, output = await logged(tmp_path / "log", [b"::stop-commands::tok\n::error::x\n::tok::\n::error::y\n"])
    assert text == f"{PREFIX}::error::x\n{PREFIX}::tok::\n{PREFIX}error: y\n"
    assert output.first_error == "y"


async def test_a_full_log_says_so_once_and_stays_within_its_size(tmp_path: Path) -> None:
    text, _ = await logged(tmp_path / "log", [b"y\n" * 1000] * 20, cap=4096)
    assert text.count("the rest is not kept") == 1
    assert len(text) < 4096 + 200
    assert text.endswith("the rest is not kept\n")
