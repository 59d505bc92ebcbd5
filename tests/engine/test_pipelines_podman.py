"""Whole pipelines on the real Podman: a Python project is tested as its workflow says, hostile steps are ended."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine import ci_killed
from engine.ci_parts import Ci, one_job
from engine.machine import Machine, machine
from trueup.core.model import Outcome

pytestmark = pytest.mark.integration

APP = {
    "requirements.txt": "pytest\n",
    "calc.py": "def add(a, b):\n    return a + b\n",
    "test_calc.py": (
        "from calc import add\n\n\ndef test_add():\n    assert add(1, 2) == 3\n\n\n"
        "def test_wrong():\n    assert add(1, 1) == int(open('expect').read())\n"
    ),
    "expect": "2",
    "Dockerfile": "FROM scratch\nCOPY calc.py /\n",
}
WORKFLOW = """
name: test
on: push
jobs:
  test:
    runs-on: ubuntu-latest
    strategy:
      matrix:
        python: ['3.11', '3.12']
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with:
          python-version: ${{ matrix.python }}
          cache: pip
      - run: pip install -r requirements.txt
      - name: Test
        run: pytest
  image:
    needs: test
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - run: git status >/dev/null 2>&1 || true; ls -l /var/run/docker.sock /run/podman 2>&1 || true
      - run: docker build -t ghcr.io/acme/calc:$GITHUB_SHA . && docker push ghcr.io/acme/calc:$GITHUB_SHA
"""


@pytest.fixture(scope="module")
def here() -> Iterator[Machine]:
    with machine() as made:
        yield made


async def test_a_python_project_is_tested_and_its_image_built(here: Machine) -> None:
    ci = Ci(here.root, here.containers(), APP)
    result = await ci.pipelines.run(ci.request(WORKFLOW))
    assert result.outcome is Outcome.SUCCESS, ci.log("test (3.12)")
    state = await ci.pipelines.state("run/1")
    tests = state.jobs["test (3.11)"].tests
    assert tests is not None and (tests.passed, tests.failed) == (2, 0)
    assert "asked for Python 3.12; not available offline; running on 3.11" in ci.log("test (3.12)")
    assert [image.repository for image, _ in result.images] == ["ghcr.io/acme/calc"]
    assert here.podman("ps", "-aq", "--filter", f"label=trueup.state={here.layout.id}") == ""
    ci.files.files["expect"] = "3"
    one = WORKFLOW.replace("'3.11', '3.12'", "'3.11'")
    result = await ci.pipelines.run(ci.request(one, run="run/2"))
    assert result.outcome is Outcome.FAILURE
    assert "test_calc.py::test_wrong: AssertionError: assert 2 == 3" in result.reason


async def test_hostile_steps_end_and_the_next_step_still_runs(here: Machine) -> None:
    ci = Ci(here.root, here.containers())
    steps = """
- run: "bomb() { bomb | bomb & }; bomb; while :; do sleep 1; done 2>/dev/null"
  timeout-minutes: 0.05
  continue-on-error: true
- run: head -c 2000000000 /dev/zero | tail > /dev/null
  continue-on-error: true
- run: yes | head -c 3000000 > big; echo alive
"""
    result = await ci.pipelines.run(ci.request(one_job(steps), run="run/h"))
    assert result.outcome is Outcome.SUCCESS, ci.log("a", "run/h")[-3000:]
    assert "alive" in ci.lines("a", "run/h")


async def test_the_process_executor_runs_the_same_workflow(here: Machine, tmp_path: Path) -> None:
    ci = Ci(here.root / "p", here.processes(), APP, workspaces=here.root / "jobs", sockets=Path("/run/trueup/test-p"))
    steps = "- uses: actions/checkout@v4\n- run: id -u; python3 -m unittest -q 2>&1 | tail -1; docker build -t calc ."
    result = await ci.pipelines.run(ci.request(one_job(steps)))
    assert result.outcome is Outcome.SUCCESS, ci.log("a")
    assert any(line.startswith("610") for line in ci.lines("a"))
    assert [image.repository for image, _ in result.images] == ["calc"]


async def test_podman_that_is_down_is_no_failure_of_the_repository(here: Machine) -> None:
    executor = here.containers()

    async def none() -> str:
        return "localhost/no-such-runner:1"

    executor._runner = none
    ci = Ci(here.root, executor)
    result = await ci.pipelines.run(ci.request(one_job("- run: 'true'"), run="run/d"))
    assert result.outcome is Outcome.ERROR
    assert "podman could not start the job's container" in result.reason


async def test_a_killed_run_goes_on_where_it_was() -> None:
    with machine() as here:
        log = here.root / "state/logs/1/second.log"
        script = Path(__file__).with_name("ci_killed.py")
        child = await asyncio.create_subprocess_exec(sys.executable, str(script), str(here.root), "600")
        try:
            async with asyncio.timeout(60):
                while not log.exists() or b"begun" not in log.read_bytes():  # noqa: ASYNC110  # another process writes it
                    await asyncio.sleep(0.05)
        finally:
            child.kill()
            await child.wait()
        first = re.search(r"begun (\S+)", log.read_text())
        label = f"label=trueup.state={here.layout.id}"
        assert here.podman("ps", "-q", "--filter", label) != ""
        result, facts, text = await ci_killed.run(here, "0")
        assert result.outcome is Outcome.SUCCESS
        begun = ["RunCreated", "JobStarted", "JobFinished", "JobStarted"]
        assert facts == [*begun, "JobStarted", "JobFinished", "RunFinished"]
        assert first is not None and f"begun {first[1]}" in text  # the first job was not run again
        assert here.podman("ps", "-aq", "--filter", label) == ""
