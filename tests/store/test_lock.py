from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from trueup.store.lock import Holder, StateBusy, StateLock, holder

HOLD = """
import sys
from trueup.store.lock import StateLock
StateLock(sys.argv[1]).take()
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "state" / "lock")


def test_the_second_is_refused_by_folder_and_pid(path: str) -> None:
    with StateLock(path):
        with pytest.raises(StateBusy, match=rf"{Path(path).parent} is in use by pid {os.getpid()}: .*--state"):
            StateLock(path).take()
        found = holder(path)
        assert found is not None
        assert found.pid == os.getpid()


def test_it_is_free_after_its_release(path: str) -> None:
    StateLock(path).release()
    for _ in range(2):
        with StateLock(path):
            pass
        assert holder(path) is None


def test_it_is_free_after_its_holder_was_killed(path: str) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    with child:
        assert child.stdout.readline() == "held\n"
        with pytest.raises(StateBusy, match=f"pid {child.pid}"):
            StateLock(path).take()
        child.send_signal(signal.SIGKILL)
        child.wait(timeout=10)
        assert holder(path) is None
        with StateLock(path):
            found = holder(path)
            assert found is not None
            assert found.pid == os.getpid()


def test_a_number_given_to_another_process_is_not_taken_for_the_holder(path: str, tmp_path: Path) -> None:
    with StateLock(path):
        found = holder(path)
        assert found is not None
        stale = tmp_path / "lock"
        stale.write_text(f'{{"pid":{found.pid},"started":{found.started + 1}}}')
        assert holder(str(stale)) is None
        stale.write_text(f'{{"pid":{found.pid},"started":{found.started}}}')
        assert holder(str(stale)) == Holder(pid=found.pid, started=found.started)
    assert holder(str(tmp_path / "none")) is None
