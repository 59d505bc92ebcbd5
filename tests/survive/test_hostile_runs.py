"""Hostile pipelines and builds on the real host: each push ends with one clear verdict and leaves nothing behind, what
ran before goes on, and the next good push is rolled out."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from survive.real import Real, first, page, real
from trueup.core.candidate import CandidateState, Verdict

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

VALUE = "hunter2-Zk9w/51=x"
RUN_S = 180.0  # the first run on a machine makes the runner image


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world() -> AsyncIterator[Real]:
    async with real() as made:
        await made.up()
        commit = await made.push(first(), "first")
        await made.until("the first push healthy", lambda: made.good(commit))
        await made.serve()
        yield made


def workflow(script: str, minutes: str = "2", env: str = "") -> dict[str, str | None]:
    lines = "".join(f"          {line}\n" for line in script.splitlines())
    return {
        ".github/workflows/hostile.yml": f"""\
name: hostile
on: push
jobs:
  job:
    runs-on: ubuntu-latest
    timeout-minutes: {minutes}
    env: {{{env}}}
    steps:
      - uses: actions/checkout@v4
      - run: |
{lines}"""
    }


def candidate(world: Real, commit: str) -> CandidateState | None:
    return next((c for c in world.known.candidates.values() if c.commit == commit), None)


async def red(world: Real, files: dict[str, str | None]) -> str:
    """Why the push is red, on one line. What ran before goes on, and no container is left of the run."""
    commit = await world.push({**page("1"), **files}, "hostile")

    def ready() -> CandidateState | None:
        found = candidate(world, commit)
        return found if found is not None and found.verdict is not Verdict.PENDING else None

    found = await world.until("a verdict", ready, RUN_S)
    assert found.verdict is Verdict.RED, found
    assert found.reason and "\n" not in found.reason and "Traceback" not in found.reason
    overview = await world.loop.overview()
    mine = {container for pod in overview.pods for container in pod.containers}
    await world.until("nothing is left of the run", lambda: True if world.containers() == mine else None)
    return found.reason


async def mended(world: Real, version: str) -> None:
    """A good push on top of it is rolled out, nothing was undone, no request was lost."""
    commit = await world.push({**page(version), ".github/workflows/hostile.yml": None}, f"version {version}")
    await world.until("healthy again", lambda: world.good(commit))
    assert world.undos() == 0
    assert world.traffic.count().lost == 0, world.traffic.reasons()
    assert "Traceback" not in world.loop.log.read_text()


async def set_secret(world: Real, name: str, value: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "trueup.cli", "--state", world.layout.root, "secret", "set", name),
        env=world.environ,
        stdin=asyncio.subprocess.PIPE,
    )
    await asyncio.wait_for(process.communicate(value.encode()), 30)
    assert process.returncode == 0


async def test_a_secret_that_a_test_prints_is_masked_everywhere(world: Real) -> None:
    await set_secret(world, "KEY", VALUE)
    script = 'echo "the key is $KEY"\nprintf %s "$KEY" | base64\necho "::error::$KEY"\nexit 3'
    reason = await red(world, workflow(script, env="KEY: '${{ secrets.KEY }}'"))
    log = await log_of(world)
    assert "the key is ***" in log
    everywhere = "\n".join([reason, log, world.told(), world.loop.log.read_text(), *kept(world)])
    assert VALUE not in everywhere
    await mended(world, "2")


def kept(world: Real) -> list[str]:
    """Every file of the state folder that a log or a record could be in."""
    return [
        path.read_text(errors="replace")
        for folder, _, names in os.walk(world.layout.root)
        for name in names
        if (path := Path(folder, name)).suffix in (".log", ".db", ".db-wal")
    ]


async def test_a_pipeline_that_never_ends_is_ended(world: Real) -> None:
    reason = await red(world, workflow("echo begun\nsleep 100000", minutes="0.05"))
    assert "time limit" in reason
    await mended(world, "3")


async def test_a_pipeline_that_forks_without_end_meets_its_limit(world: Real) -> None:
    script = "set +e\nfor i in $(seq 1 100000); do sleep 1000 & done\nwait"
    reason = await red(world, workflow(script, minutes="0.3"))
    assert "time limit" in reason or "exit 254" in reason  # bash gives up when it may not fork, or waits until the end
    await mended(world, "4")


async def log_of(world: Real) -> str:
    log = await world.loop.trueup("logs", "--run", "hostile")
    assert log.code == 0, log.said
    return log.said


async def test_a_dockerfile_outside_the_repository_is_refused(world: Real) -> None:
    reason = await red(world, workflow("docker build -t registry.example/survive/web:1 -f ../../../etc/passwd app"))
    assert "docker build" in reason
    assert "outside" in await log_of(world)
    await mended(world, "5")


async def test_a_context_outside_the_repository_is_refused(world: Real) -> None:
    assert "docker build" in await red(world, workflow("docker build -t registry.example/survive/web:1 ../.."))
    assert "outside" in await log_of(world)
    await mended(world, "6")
