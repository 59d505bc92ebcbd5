"""A place of its own for a test cluster: process, mount and network namespaces under one init.

When that init ends, by `close()` or because this process was killed, the kernel ends every process in it and frees
its mounts, interfaces and firewall rules. Cgroups and the folder are left then; the next `open_space()` removes them.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from cluster.build import NotBuilt

SLOTS = 64
LOCKS = Path("/run/trueup-cluster")
CGROUPS = Path("/sys/fs/cgroup")
PREFIX = "tu-node-"
READY_S = 60.0
DYING = ("setpriv", "--pdeathsig", "KILL")
INIT = """\
set -e
for at in /run /var/lib /var/log; do mount -t tmpfs -o mode=755 tmpfs "$at"; done
mkdir -p /run/lock /var/lib/kubelet
mount --make-rshared /
ip link set lo up
echo 1 > /proc/sys/net/ipv4/ip_forward
: > "$1/inside"
exec catatonit -- sleep infinity
"""


class Space:
    """Three networks that no other test cluster on this machine has: the link to it, its Services', its pods'."""

    def __init__(self, slot: int, lock: int) -> None:
        self._slot, self._lock = slot, lock
        self.host, self.node = f"10.84.{slot}.1", f"10.84.{slot}.2"
        self.services, self.pods = f"10.85.{slot}.0/24", f"10.86.{slot}.0/24"
        self.root = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{slot}-", dir="/var/tmp"))
        self.cgroup = f"/{PREFIX}{slot}"
        self._init: subprocess.Popen[bytes] | None = None
        self.inside: tuple[str, ...] = ()  # the words before a program's own that start it in here

    def open(self) -> None:
        """Raises NotBuilt where namespaces may not be made."""
        unshare = ("unshare", "--pid", "--fork", "--kill-child=KILL", "--mount", "--net", "--mount-proc")
        argv = [*DYING, *unshare, "sh", "-c", INIT, "init", str(self.root)]
        self._init = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        until = time.monotonic() + READY_S
        while not (self.root / "inside").exists():
            if self._init.poll() is not None or time.monotonic() > until:
                said = self._init.communicate()[1].decode(errors="replace").strip() if self._init.poll() else ""
                raise NotBuilt(f"no Kubernetes with pods to test on: namespaces cannot be made here: {said[-200:]}")
            time.sleep(0.02)  # another process's work has no event
        pid = _children(self._init.pid)[0]
        self.inside = ("nsenter", "--target", str(pid), "--pid", "--mount", "--net", "--")
        self._link(pid)
        for controller in controllers():
            (controller / self.cgroup[1:]).mkdir(exist_ok=True)

    def _link(self, pid: int) -> None:
        mine, theirs = self._link_name, "eth0"
        ip("link", "add", mine, "type", "veth", "peer", "name", theirs, "netns", str(pid))
        ip("addr", "add", f"{self.host}/30", "dev", mine)
        ip("link", "set", mine, "up")
        self.run(("ip", "addr", "add", f"{self.node}/30", "dev", theirs))
        self.run(("ip", "link", "set", theirs, "up"))
        self.run(("ip", "route", "add", "default", "via", self.host))
        for network in (self.services, self.pods):
            ip("route", "add", network, "via", self.node)

    @property
    def _link_name(self) -> str:
        return f"tunode{self._slot}"

    def run(self, argv: Sequence[str], *, data: bytes | None = None) -> bytes:
        """A program inside, to its end."""
        done = subprocess.run([*self.inside, *argv], input=data, capture_output=True, timeout=120, check=False)
        assert done.returncode == 0, (argv, done.stderr.decode(errors="replace")[-500:])
        return done.stdout

    def close(self) -> None:
        unlink(self._link_name)  # it goes with its other end, but in its own time
        if self._init is not None:
            self._init.kill()
            self._init.wait(20)
            if self._init.stderr:
                self._init.stderr.close()
        left = clear(self.cgroup, self.root)
        fcntl.flock(self._lock, fcntl.LOCK_UN)
        os.close(self._lock)
        assert not left, f"left behind: {left}"


def open_space() -> Space:
    """The first free one; what killed tests left in it is removed."""
    LOCKS.mkdir(exist_ok=True)
    for slot in range(SLOTS):
        lock = os.open(LOCKS / str(slot), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            continue
        unlink(f"tunode{slot}")
        clear(f"/{PREFIX}{slot}", *Path("/var/tmp").glob(f"{PREFIX}{slot}-*"))
        space = Space(slot, lock)
        try:
            space.open()
        except BaseException:
            space.close()
            raise
        return space
    raise NotBuilt(f"no Kubernetes with pods to test on: {SLOTS} of them run already")


def controllers() -> list[Path]:
    """The roots of the cgroup hierarchies: one with cgroups v2, one a controller with v1."""
    if (CGROUPS / "cgroup.controllers").exists():
        return [CGROUPS]
    return [each for each in sorted(CGROUPS.iterdir()) if (each / "cgroup.procs").exists() and not each.is_symlink()]


def clear(cgroup: str, *folders: Path) -> list[str]:
    """Remove cgroups and folders, and name what could not be."""
    until = time.monotonic() + READY_S
    roots = [controller / cgroup[1:] for controller in controllers()]
    while any(root.exists() for root in roots) and time.monotonic() < until:
        for root in roots:
            for at, _, _ in os.walk(root, topdown=False):
                with contextlib.suppress(OSError):  # its processes are still ending
                    os.rmdir(at)
        if any(root.exists() for root in roots):
            time.sleep(0.05)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    return [str(path) for path in (*roots, *folders) if path.exists()]


def unlink(name: str) -> None:
    if Path(f"/sys/class/net/{name}").exists():
        subprocess.run(["ip", "link", "delete", name], capture_output=True, timeout=20, check=False)


def ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, (words, done.stderr)


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
