"""What the doctor says, on this machine and of made-up ones."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from trueup.agent.network_run import Ran, run
from trueup.core.layout import Layout
from trueup.drivers.renderers.program import SOPS_PROGRAM, find
from trueup.engine.doctor import TOOLS, Check, Host, State, Tool, examine, judge_version, missing_packages
from trueup.ports import Refused, SourceError

TOOL = Tool("haproxy", "haproxy", ("haproxy", "-v"), (2, 6), "sends requests to ready replicas")


async def looked(host: Host, *only: str) -> dict[str, Check]:
    return {check.name: check for check in await examine(host, only=only)}


def host(root: Path, **more: Any) -> Host:
    return Host(Layout(str(root)), **more)


@pytest.mark.parametrize(
    ("code", "out", "state", "words"),
    [
        (0, "HAProxy version 2.6.12-1+deb12u4 2026/10/17", State.OK, "2.6.12"),
        (0, "HAProxy version 2.10.1", State.OK, "2.10.1"),
        (0, "HA-Proxy version 1.8.4", State.WARNING, "version 1.8.4 is older than 2.6"),
        (0, "no number", State.WARNING, "tells no version"),
        (127, "not found", State.MISSING, "does not run: not found"),
    ],
)
def test_judges_versions_by_their_numbers(code: int, out: str, state: State, words: str) -> None:
    check = judge_version(TOOL, Ran(code, out, ""), "apt-get install -y haproxy")
    assert check.state is state
    assert words in check.message


def test_names_the_packages_of_what_is_missing() -> None:
    assert missing_packages(lambda name: None if name.endswith(("haproxy", "git")) else f"/usr/bin/{name}") == (
        "git",
        "haproxy",
    )
    assert missing_packages(lambda name: f"/usr/bin/{name}") == ()


async def test_every_tool_is_looked_at_and_whatever_is_wrong_has_a_fix(tmp_path: Path) -> None:
    found = await looked(host(tmp_path / "state"))
    assert {tool.name for tool in TOOLS} <= set(found)
    wrong = [check for check in found.values() if check.state in (State.MISSING, State.WARNING)]
    assert [check.name for check in wrong if not check.fix] == []
    assert found["git"].state is State.OK
    assert found["state folder"] == Check("state folder", State.OK, str(tmp_path / "state"))
    assert found["public registry"].state is State.NOTE


async def test_a_state_folder_open_to_others_or_too_deep_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    found = await looked(host(tmp_path), "state folder")
    assert found["state folder"].fix == f"chmod go-w {tmp_path}"
    found = await looked(host(tmp_path / ("deep" * 30)), "state folder")
    assert found["state folder"].fix == "choose a shorter --state"


class Pushed:
    def __init__(self, says: Refused | SourceError | None) -> None:
        self._says = says

    async def may_push(self, branch: str) -> Refused | None:
        if isinstance(self._says, SourceError):
            raise self._says
        return self._says


@pytest.mark.parametrize(
    ("says", "state", "words"),
    [
        (None, State.OK, "main takes pushes"),
        (Refused("protected branch"), State.WARNING, "main refuses pushes: protected branch"),
        (SourceError("no route to example.org"), State.WARNING, "no route to example.org"),
    ],
)
async def test_asks_for_the_right_to_push(
    tmp_path: Path, says: Refused | SourceError | None, state: State, words: str
) -> None:
    source: Any = Pushed(says)
    check = (await looked(host(tmp_path, push=(("app", "main", source),)), "push to app"))["push to app"]
    assert check.state is state
    assert words in check.message
    assert bool(check.fix) is (state is not State.OK)


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not installed")
async def test_looks_for_ssh_hosts_in_plain_and_hashed_files(tmp_path: Path) -> None:
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
    file = tmp_path / "known_hosts"
    file.write_text(f"git.example.org {key}\n")
    assert (await run(["ssh-keygen", "-H", "-f", str(file)])).code == 0
    hosts = ("git.example.org", "other.example.org", "[other.example.org]:2222")
    found = await looked(
        host(tmp_path, ssh_hosts=hosts, known_hosts=(str(tmp_path / "none"), str(file))),
        *(f"known_hosts {h}" for h in hosts),
    )
    assert found["known_hosts git.example.org"].state is State.OK
    assert found["known_hosts other.example.org"].state is State.MISSING
    assert "ssh-keyscan -t ed25519 other.example.org" in found["known_hosts other.example.org"].fix
    at_port = found["known_hosts [other.example.org]:2222"]
    assert f"ssh-keyscan -t ed25519 -p 2222 other.example.org >> {tmp_path / 'none'}" in at_port.fix


async def test_a_registry_that_does_not_answer_is_a_note(tmp_path: Path) -> None:
    found = await looked(host(tmp_path, registry="127.0.0.1:1"), "public registry", "clock")
    assert found["public registry"].state is State.NOTE
    assert "127.0.0.1:1 does not answer" in found["public registry"].message
    assert found["clock"].state is State.NOTE


@pytest.mark.integration
@pytest.mark.skipif(shutil.which("podman") is None, reason="podman is not installed: apt-get install podman")
async def test_starts_a_container(tmp_path: Path) -> None:
    found = await looked(host(tmp_path), "containers")
    assert found["containers"] == Check("containers", State.OK, "one was started and ended")


async def test_the_render_worker_is_told_with_its_libraries_or_with_the_command_that_builds_it(tmp_path: Path) -> None:
    absent = (await looked(host(tmp_path), "render worker"))["render worker"]
    assert (absent.state, absent.fix.partition(" (")[0]) == (State.NOTE, "make render")
    broken = tmp_path / "worker"
    broken.write_text("#!/bin/sh\necho too old >&2\nexit 1\n")
    broken.chmod(0o755)
    away = (await looked(host(tmp_path, renderer=broken), "render worker"))["render worker"]
    assert (away.state, away.fix) == (State.WARNING, "make render") and "too old" in away.message
    program = find()
    if program is not None:
        good = (await looked(host(tmp_path, renderer=program), "render worker"))["render worker"]
        assert good.state is State.OK and good.message.startswith("Kustomize v0.21.")
        assert ", Helm v4." in good.message and ", Jsonnet v0." in good.message


async def test_what_opens_sealed_files_is_told_or_the_command_that_builds_it(tmp_path: Path) -> None:
    absent = (await looked(host(tmp_path), "trueup-sops"))["trueup-sops"]
    assert (absent.state, absent.fix.partition(" (")[0]) == (State.NOTE, "make sops")
    broken = tmp_path / "opener"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    away = (await looked(host(tmp_path, sops=broken), "trueup-sops"))["trueup-sops"]
    assert (away.state, away.fix) == (State.WARNING, "make sops")
    program = find("", SOPS_PROGRAM)
    if program is not None:
        good = (await looked(host(tmp_path, sops=program), "trueup-sops"))["trueup-sops"]
        assert (good.state, good.message) == (State.OK, str(program))
