"""`trueup demo` as a command: whole on the real machine, and what it says when it cannot begin."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from trueup.demo.command import run

COMMAND = (sys.executable, "-m", "trueup.cli", "demo")
WHOLE_S = 900.0


async def test_a_machine_that_lacks_programs_and_apt_is_told_which() -> None:
    if os.geteuid():
        pytest.skip("asks for root first")
    ended = await run(COMMAND, environ={"PATH": "/nonexistent", "CI": "true"}, timeout_s=60)
    assert ended.code == 1
    assert re.match(
        r"trueup: this is not Debian or Ubuntu; install these by your package manager: .*podman", ended.last
    )
    assert "Traceback" not in ended.said


@pytest.mark.integration
@pytest.mark.slow
async def test_the_whole_play_ends_well_and_leaves_nothing() -> None:
    ended = await run(COMMAND, environ={**os.environ, "CI": "true"}, timeout_s=WHOLE_S)
    assert ended.code == 0, ended.said
    said = ended.said
    assert [f"Act {n}:" in said for n in (1, 2, 3, 4)] == [True] * 4
    assert "undone by a commit" in said and "removed by hand; repaired" in said
    assert re.search(r"the last \d+ answers all come from version 2\.0\.0", said)
    sent, answered = re.search(r"sent ([\d,]+), answered ([\d,]+), lost 0;", said).groups()  # type: ignore[union-attr]
    assert sent == answered != "0"
    assert re.search(r"← author +Ann Example <ann@example.org>", said)
    folder = re.search(r"an empty remote: (\S+)/python-app\.git", said)
    assert folder is not None and not Path(folder[1]).exists()
