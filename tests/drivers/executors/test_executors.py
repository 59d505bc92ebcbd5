"""One contract over both executors, on the real Podman and real uids: hostile steps included."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.machine import Machine, machine
from trueup.drivers.executors import EXECUTORS
from trueup.drivers.executors.launch import script
from trueup.ports import Executor, Sandbox, SandboxDown

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def here() -> Iterator[Machine]:
    with machine() as made:
        yield made


@pytest.fixture(params=["container", "process"])
def executor(request: pytest.FixtureRequest, here: Machine) -> Executor:
    return here.containers() if request.param == "container" else here.processes()


class Job:
    """A sandbox and what its steps printed."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox, self.text = sandbox, ""

    async def sh(self, text: str, timeout_s: float = 60, **env: str) -> int:
        def take(data: bytes) -> None:
            self.text += data.decode("utf-8", "replace")

        argv = ("bash", "-c", text)
        return await self.sandbox.run(argv, env=env, cwd=self.sandbox.inside, output=take, timeout_s=timeout_s)


@pytest.fixture
async def job(executor: Executor, here: Machine, request: pytest.FixtureRequest):  # type: ignore[no-untyped-def]
    limits = {"processes": 120, "memory_bytes": 1 << 30}
    name = f"{executor.name}-{abs(hash(request.node.name))}"
    sandbox = await executor.open(here.request(name, **limits))
    yield Job(sandbox)
    await sandbox.close()


async def test_output_exit_code_environment_and_folder(job: Job) -> None:
    awkward = "a 'b' \"c\" $D `e` \\ \n second ünï"
    assert await job.sh('echo "$X"; pwd; echo err >&2; exit 7', X=awkward) == 7
    assert job.text == f"{awkward}\n{job.sandbox.inside}\nerr\n"


async def test_files_stay_between_steps_and_are_seen_on_the_host(job: Job) -> None:
    assert await job.sh("echo one > kept") == 0
    assert await job.sh("cat kept") == 0
    assert (job.sandbox.workspace / "kept").read_text() == job.text == "one\n"


async def test_files_that_we_write_can_be_changed_by_steps(job: Job) -> None:
    folder = job.sandbox.workspace / "sub"
    folder.mkdir()
    (folder / "file").write_text("ours")
    await job.sandbox.own(folder)
    assert await job.sh("echo theirs > sub/file && rm -r sub") == 0


async def test_the_shims_come_first_on_the_path(job: Job) -> None:
    assert await job.sh("command -v kubectl") == 0
    assert job.text.strip() == f"{job.sandbox.path[0]}/kubectl"


async def test_a_step_without_end_is_ended_and_the_next_one_runs(job: Job) -> None:
    assert await job.sh("trap '' TERM INT; echo begun; sleep 1000 & while :; do sleep 1; done", timeout_s=1.5) == 124
    assert await job.sh("echo next") == 0
    assert job.text == "begun\nnext\n"


async def test_a_process_left_in_the_background_does_not_hold_the_step(job: Job) -> None:
    assert await job.sh("sleep 1000 & echo done", timeout_s=30) == 0


async def test_a_fork_bomb_ends_with_its_time_and_nothing_stays(job: Job, here: Machine) -> None:
    assert await job.sh("bomb() { bomb | bomb & }; bomb; while :; do sleep 0.2; done 2>/dev/null", timeout_s=3) == 124
    assert await job.sh("echo alive") == 0
    assert job.text.endswith("alive\n")


async def test_cancelling_ends_what_the_step_started(job: Job) -> None:
    marker = f"sleep 98{os.getpid() % 1000}"
    running = asyncio.ensure_future(job.sh(f"echo begun; {marker}"))
    async with asyncio.timeout(30):
        while "begun" not in job.text:  # noqa: ASYNC110  # what we wait for is printed by a process
            await asyncio.sleep(0.02)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    found = await asyncio.to_thread(subprocess.run, ["pgrep", "-f", "-x", marker], capture_output=True)
    assert found.stdout == b""


async def test_our_credentials_are_not_there(job: Job, here: Machine) -> None:
    secret = Path(here.layout.root) / "keys"
    secret.write_text("key")
    Path(here.layout.root).chmod(0o700)
    assert await job.sh(f"cat {secret} /run/podman/podman.sock {here.layout.podman_socket}") != 0
    assert await job.sh("env") == 0
    assert "CONTAINERS_CONF" not in job.text


async def test_steps_cannot_change_what_they_are_started_with(job: Job) -> None:
    control = job.sandbox.see(job.sandbox.workspace.parent / "control")
    assert await job.sh(f"echo x > {control}/new") != 0


async def test_a_sweep_ends_what_a_killed_trueup_left(executor: Executor, here: Machine) -> None:
    sandbox = await executor.open(here.request(f"left-{executor.name}"))
    if executor.name == "container":
        await executor.sweep(["run/x"])
        assert await Job(sandbox).sh("true") == 0
        await executor.sweep([])
        with pytest.raises(SandboxDown):
            await Job(sandbox).sh("true")
    await sandbox.close()


async def test_a_container_that_is_gone_is_the_machines_fault(here: Machine) -> None:
    sandbox = await here.containers().open(here.request("gone"))
    here.podman("rm", "-f", "-t", "0", sandbox.name)
    with pytest.raises(SandboxDown, match="doctor"):
        await Job(sandbox).sh("true")
    await sandbox.close()


async def test_podman_missing_is_the_machines_fault(here: Machine) -> None:
    executor = here.containers()
    executor._settings = executor._settings.__class__(
        **{**{f: getattr(executor._settings, f) for f in executor._settings.__struct_fields__}, "podman": "no-podman"}
    )
    with pytest.raises(SandboxDown, match="no-podman"):
        await executor.open(here.request("none"))


async def test_two_jobs_hold_two_uids(here: Machine) -> None:
    executor = here.processes()
    one, two = await executor.open(here.request("u1")), await executor.open(here.request("u2"))
    try:
        assert one.uid != two.uid
        for other in (one.workspace, one.workspace.parent / "control"):
            assert await Job(two).sh(f"ls {other}") != 0
    finally:
        await one.close()
        await two.close()


def test_the_registry_names_modules_that_exist() -> None:
    assert {name: __import__(module, fromlist=["x"]).__name__ for name, module in EXECUTORS.items()} == dict(EXECUTORS)


def test_a_variable_that_no_shell_can_hold_still_arrives() -> None:
    text = script(("prog",), {"A-B": "x y"}, "/", "/tmp/s")
    assert "exec env 'A-B=x y' prog" in text
