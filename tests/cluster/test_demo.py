"""`make demo-kubernetes` from its first push to its end, on real pods under load; nothing of it stays."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from cluster.build import NotBuilt
from cluster.demo import CARRIED
from cluster.node import ready_to_build
from trueup.demo.command import run

pytestmark = [pytest.mark.integration, pytest.mark.slow]
WHOLE_S = 900.0
TESTS = Path(__file__).resolve().parents[1]


async def test_the_whole_play_on_kubernetes_ends_well_and_leaves_nothing() -> None:
    try:
        ready_to_build()
    except NotBuilt as error:
        pytest.skip(str(error))
    environ = {**os.environ, "CI": "true", "PYTHONPATH": str(TESTS)}
    ended = await run((sys.executable, "-m", "cluster.demo"), environ=environ, timeout_s=WHOLE_S)
    said = ended.said
    assert ended.code == 0, said
    assert [f"Act {n}:" in said for n in (1, 2, 3, 4)] == [True] * 4
    assert "undone by a commit" in said and "spec.replicas by kubectl-edit" in said
    found = re.search(r"sent ([\d,]+), answered ([\d,]+), lost", said)
    assert found is not None
    sent, answered = (int(number.replace(",", "")) for number in found.groups())
    assert 0 < sent * CARRIED <= answered
    folder = re.search(r"an empty remote: (\S+)/python-app\.git", said)
    assert folder is not None and not Path(folder[1]).exists()
