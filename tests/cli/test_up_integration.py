"""`trueup up` and the commands that speak with it, as processes of their own, on the real host target."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from trueup.cli import exits

pytestmark = pytest.mark.integration

DEADLINE_S = 90.0
CONFIG = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {GREETING: Hello}
"""
Trueup = Callable[..., "subprocess.CompletedProcess[str]"]


def until(what: str, ready: Callable[[], Any]) -> Any:
    end_s = time.monotonic() + DEADLINE_S
    while time.monotonic() < end_s:
        if found := ready():
            return found
        time.sleep(0.2)
    raise AssertionError(f"{what} did not come within {DEADLINE_S:.0f} s")


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    work, bare = tmp_path / "work", tmp_path / "shop.git"
    (work / "config").mkdir(parents=True)
    (work / "config/settings.yaml").write_text(CONFIG)
    identity = ("-c", "user.name=Ann", "-c", "user.email=ann@example.org")
    for words in (("init", "-q", "-b", "main"), ("add", "-A"), (*identity, "commit", "-q", "-m", "Say hello")):
        subprocess.run(["git", *words], cwd=work, check=True, timeout=60)
    subprocess.run(["git", "clone", "-q", "--bare", work, bare], check=True, timeout=60)
    return bare


@pytest.fixture
def trueup(tmp_path: Path) -> Iterator[Trueup]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("TRUEUP_")}
    env = {**clean, "TRUEUP_STATE": str(tmp_path / "state")}

    def call(*args: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "trueup.cli", *args]
        return subprocess.run(command, capture_output=True, text=True, env=env, timeout=120)

    yield call
    if (tmp_path / "state").exists():
        call("down", "--data", "--yes")


@contextlib.contextmanager
def up(remote: Path, out: Path) -> Iterator[subprocess.Popen[bytes]]:
    env = {**os.environ, "TRUEUP_STATE": str(out.parent / "state")}
    command = [sys.executable, "-m", "trueup.cli", "up", str(remote), "--poll", "1"]
    with out.open("wb") as sink:
        process = subprocess.Popen(command, env=env, stdout=sink, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.kill()
        process.wait(timeout=30)


def test_a_loop_is_asked_paused_resumed_ended_and_removed(remote: Path, trueup: Trueup, tmp_path: Path) -> None:
    def status() -> dict[str, Any]:
        done = trueup("status", "--output", "json")
        return json.loads(done.stdout) if done.returncode == 0 else {}

    out = tmp_path / "out"
    with up(remote, out) as process:
        until("a healthy application", lambda: status().get("summary") == "healthy")
        assert status()["running"] is True
        assert status()["applications"][0]["objects"] == [
            {"health": "healthy", "object": "configmap/settings", "reason": ""}
        ]
        second = trueup("up", str(remote))
        assert second.returncode == exits.AWAY and str(tmp_path / "state") in second.stderr
        assert str(process.pid) in second.stderr, "the first one is not named"

        seen = tmp_path / "seen"
        with seen.open("wb") as sink:
            watching = subprocess.Popen(
                [sys.executable, "-m", "trueup.cli", "--state", str(tmp_path / "state"), "status", "--watch"],
                stdout=sink,
                stderr=subprocess.STDOUT,
            )
        assert trueup("pause", "--for", "1h", "--why", "freeze").returncode == 0
        assert status()["sources"][0]["paused"]["why"] == "freeze"
        assert trueup("resume").returncode == 0
        assert status()["sources"][0]["paused"] is None
        refused = trueup("rollback")
        assert refused.returncode == exits.FAILED and refused.stderr.count("\n") == 1
        why = trueup("why", "configmap/settings")
        assert "Say hello" in why.stdout and "Ann <ann@example.org>" in why.stdout
        assert "changes nothing" in trueup("plan", str(remote)).stdout
        assert trueup("ledger", "verify").returncode == 0

        def shown() -> bool:  # said again until the other screen has opened
            return trueup("pause", "--why", "for good").returncode == 0 and "for good" in seen.read_text()

        until("the pause on the other screen", shown)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
        assert watching.wait(timeout=60) == 0, seen.read_text()
    said = out.read_text()
    assert "healthy: " in said and "what runs goes on running" in said
    assert status()["running"] is False
    assert trueup("sync").returncode == exits.AWAY
    kept = trueup("down", "--data")
    assert kept.returncode == exits.WAITS and "say --yes" in kept.stderr and "the ledger" in kept.stdout
    assert trueup("down").returncode == 0
    assert (tmp_path / "state/ledger.db").exists()
    assert trueup("down", "--data", "--yes").returncode == 0
    assert not (tmp_path / "state").exists()


def test_the_right_to_push_is_asked_before_anything_is_deployed(remote: Path, trueup: Trueup, tmp_path: Path) -> None:
    work = tmp_path / "work"  # its branch is checked out: git refuses pushes to it

    def kinds() -> list[str]:
        said = trueup("ledger", "export").stdout.splitlines()
        events = sorted((json.loads(line) for line in said if line), key=lambda event: event["time"])
        return [event["fact"]["kind"] for event in events]

    with up(work, tmp_path / "out"):
        until("a healthy application", lambda: "application.sync_healthy" in kinds())
        told = kinds()
    assert told.index("source.rights") < told.index("application.sync_started")
