"""The test cluster's place leaves nothing behind: closed in order, or with its owner killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cluster.build import NotBuilt
from cluster.space import Space, clear, controllers, open_space, unlink

pytestmark = pytest.mark.integration
LIMIT_S = 60.0
OWNER = """
import sys, time
from cluster.space import open_space
space = open_space()
space.run(["iptables", "-w", "-t", "nat", "-N", "LEFT-BEHIND"])
space.run(["mount", "-t", "tmpfs", "tmpfs", str(space.root / "certs")]) if (space.root / "certs").mkdir() else None
print(space.root, space.cgroup, space.inside[2], flush=True)
time.sleep(600)
"""


@pytest.fixture
def space() -> Space:
    if os.geteuid() != 0:
        pytest.skip("namespaces are made by root")
    try:
        return open_space()
    except NotBuilt as error:
        pytest.skip(str(error))


def gone(space_root: Path, cgroup: str, slot: str) -> bool:
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, timeout=20, check=True).stdout
    groups = [c / cgroup[1:] for c in controllers() if (c / cgroup[1:]).exists()]
    return f"tunode{slot}:" not in links and f"tunode{slot}@" not in links and not groups and not space_root.exists()


def test_a_place_has_its_own_network_and_leaves_none(space: Space) -> None:
    slot = space.cgroup.rpartition("-")[2]
    try:
        space.run(["iptables", "-w", "-t", "nat", "-N", "OURS-ALONE"])
        here = subprocess.run(["iptables", "-w", "-t", "nat", "-S"], capture_output=True, text=True, timeout=20)
        assert "OURS-ALONE" not in here.stdout
        assert space.node in space.run(["ip", "-o", "address"]).decode()
    finally:
        space.close()
    assert gone(space.root, space.cgroup, slot)


def test_what_a_killed_owner_left_is_freed_and_swept() -> None:
    if os.geteuid() != 0:
        pytest.skip("namespaces are made by root")
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    owner = subprocess.Popen([sys.executable, "-c", OWNER], env=environ, stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    root, cgroup, pid = owner.stdout.readline().split()
    slot = cgroup.rpartition("-")[2]
    owner.send_signal(signal.SIGKILL)
    owner.wait(20)
    owner.stdout.close()
    end_s = time.monotonic() + LIMIT_S
    while Path(f"/proc/{pid}").exists():  # its init ends with it, and all its processes, mounts and links
        assert time.monotonic() < end_s
        time.sleep(0.02)  # another process's end has no event here
    unlink(f"tunode{slot}")
    clear(cgroup, Path(root))  # as the next test that takes the slot does
    assert gone(Path(root), cgroup, slot)
