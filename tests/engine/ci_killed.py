"""A process of its own that runs one pipeline in containers over a real state folder, to be killed. ROOT SECONDS."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from engine.ci_parts import Ci, WallClock
from engine.machine import Machine
from trueup.engine.pipelines import RunResult
from trueup.store.state import open_state

WORKFLOW = """
on: push
jobs:
  first:
    runs-on: x
    outputs: {id: '${{ steps.s.outputs.id }}'}
    steps: [{id: s, run: 'echo id=$(cat /proc/sys/kernel/random/uuid) >> $GITHUB_OUTPUT'}]
  second:
    needs: first
    runs-on: x
    steps:
      - uses: actions/checkout@v4
      - run: test ! -e left; touch left; echo begun ${{ needs.first.outputs.id }}; sleep $(cat seconds)
"""


async def run(machine: Machine, seconds: str) -> tuple[RunResult, list[str], str]:
    """The result, the kinds of events, and the log of the second job."""
    async with open_state(machine.layout, WallClock()) as state:
        ci = Ci(machine.root, machine.containers(), {"seconds": seconds})
        ci.ledger, ci.records = state.ledger, state.records  # type: ignore[assignment]
        ci.again()
        await ci.pipelines.sweep()
        result = await ci.pipelines.run(ci.request(WORKFLOW))
        return result, await ci.facts(), ci.log("second")


if __name__ == "__main__":
    asyncio.run(run(Machine(Path(sys.argv[1])), sys.argv[2]))
