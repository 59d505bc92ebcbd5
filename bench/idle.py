"""What an idle machine costs: `trueup up` over 50 containers with a readiness and a liveness probe each every 10 s.

Prints CPU (share of one core) and resident memory of `up` and of the agent, the programs that they ran and that ended
counted with them (git asks the remote every 15 s), and of HAProxy, the registry, conmon and Podman apart. Goal: `up`
and the agent together at most 2% of a core and 150 MB. Makes a repository, a state folder and one tiny image
(busybox-static) and removes them.

    python bench/idle.py [--containers 50] [--seconds 60]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from trueup.app import prepare_state
from trueup.core.layout import Layout
from trueup.drivers.targets.host import Hello, Host

GOAL_SHARE, GOAL_MB = 0.02, 150
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
READY_S = 180.0
SETTLE_S = 15.0


class Usage(Struct, frozen=True):
    """Seconds of CPU, or of CPU a second; resident memory summed over the processes."""

    cpu_s: float = 0.0
    bytes: int = 0
    processes: int = 0

    def plus(self, cpu_s: float, size_bytes: int) -> Usage:
        return Usage(self.cpu_s + cpu_s, self.bytes + size_bytes, self.processes + 1)

    @property
    def mb(self) -> float:
        return self.bytes / 1e6


MANIFESTS = """
apiVersion: v1
kind: Service
metadata: {{name: idle}}
spec: {{selector: {{app: idle}}, ports: [{{port: 80, targetPort: http, name: http}}]}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: idle}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: idle}}}}
  template:
    metadata: {{labels: {{app: idle}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - name: web
          image: {image}
          command: [sh, -c, "mkdir /w; echo ok > /w/index.html; exec busybox httpd -f -p 8080 -h /w"]
          ports: [{{containerPort: 8080, name: http}}]
          readinessProbe: {{httpGet: {{path: /, port: http}}, periodSeconds: 10}}
          livenessProbe: {{httpGet: {{path: /, port: http}}, periodSeconds: 10}}
          resources: {{limits: {{memory: 32Mi}}}}
"""


def repository(folder: Path, image: str, replicas: int) -> Path:
    """A bare repository that states the containers, image and all: nothing to check and nothing to build."""
    work, remote = folder / "work", folder / "idle.git"
    (work / "config").mkdir(parents=True)
    (work / "config/idle.yaml").write_text(MANIFESTS.format(image=image, replicas=replicas))
    who = ("-c", "user.name=Ann", "-c", "user.email=ann@example.org")
    for args in (("init", "-q", "-b", "main"), ("add", "-A"), (*who, "commit", "-qm", "Idle")):
        subprocess.run(["git", "-C", str(work), *args], check=True, timeout=60)
    subprocess.run(["git", "clone", "-q", "--bare", str(work), str(remote)], check=True, timeout=60)
    return remote


def build(layout: Layout, image: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy("/bin/busybox", folder)
        dockerfile = "FROM scratch\nCOPY busybox /bin/busybox\nCOPY busybox /bin/sh\nENV PATH=/bin\n"
        Path(folder, "Dockerfile").write_text(dockerfile)
        env = {**os.environ, "CONTAINERS_CONF": layout.containers_conf}
        subprocess.run(["buildah", "build", "-q", "-t", image, folder], check=True, env=env, stdout=subprocess.DEVNULL)


def whose(command: list[str], state: str, mine: dict[int, str], pid: int, ids: set[str]) -> str:
    """Which part a process belongs to, "" when it is none of ours."""
    if pid in mine:
        return mine[pid]
    program = Path(command[0]).name
    ours = any(state in each for each in command) or (program == "conmon" and not ids.isdisjoint(command))
    names = {"podman": "podman", "conmon": "conmon", "haproxy": "haproxy", "docker-registry": "registry"}
    return names.get(program, "") if ours else ""


def look(layout: Layout, mine: dict[int, str], ids: set[str]) -> dict[str, Usage]:
    """Part → what it used so far. `mine`: pid → part, each with what its ended children used."""
    out: dict[str, Usage] = defaultdict(Usage)
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        pid = int(folder.name)
        try:
            command = (folder / "cmdline").read_text(errors="replace").split("\0")
            fields = [int(f) for f in (folder / "stat").read_text().rsplit(")", 1)[1].split()[1:]]
            run_s = sum(int(t.read_text().split()[0]) for t in folder.glob("task/*/schedstat")) / 1e9
        except OSError:
            continue
        part = whose(command, layout.root, mine, pid, ids)
        if part:
            ended_s = sum(fields[12:14]) / TICKS if pid in mine else 0.0  # its children
            out[part] = out[part].plus(run_s + ended_s, fields[20] * PAGE)
    return dict(out)


@contextlib.contextmanager
def up(layout: Layout, remote: Path) -> Iterator[int]:
    """`trueup up` as a process of its own; its pid."""
    argv = [sys.executable, "-m", "trueup.cli", "up", str(remote), "--state", layout.root]
    with open(f"{layout.root}/up.log", "w") as log:
        process = subprocess.Popen(argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait(60)


async def measure(layout: Layout, remote: Path, seconds: float) -> dict[str, Usage]:
    """Part → the share of a core that it used, and its memory at the end."""
    host = Host(layout)
    with up(layout, remote) as pid:
        try:
            found = await steady(host)
            mine = {pid: "up", found.pid: "agent"}
            ids = {c for pod in (await host.overview()).pods for c in pod.containers}
            before, at = look(layout, mine, ids), time.monotonic()
            await asyncio.sleep(seconds)
            after, took = look(layout, mine, ids), time.monotonic() - at
            return {
                part: Usage((now.cpu_s - before.get(part, Usage()).cpu_s) / took, now.bytes, now.processes)
                for part, now in sorted(after.items())
            }
        finally:
            await host.down(data=True)
            await host.close()


async def steady(host: Host) -> Hello:
    """Wait until all is healthy, and a while longer; who the agent is."""
    begun = time.monotonic()
    async with asyncio.timeout(READY_S):
        while (hello := await host.hello()) is None or not await healthy(host):  # noqa: ASYNC110 - another process's doing
            await asyncio.sleep(0.5)
    print(f"all healthy after {time.monotonic() - begun:.1f} s")
    await asyncio.sleep(SETTLE_S)
    return hello


async def healthy(host: Host) -> bool:
    pods = (await host.overview()).pods
    return bool(pods) and all(pod.ready for pod in pods)


def main(containers: int = 50, seconds: float = 60.0) -> dict[str, float]:
    root = tempfile.mkdtemp(prefix="tu-idle-", dir="/tmp")
    layout = Layout(f"{root}/state")
    image = f"localhost/trueup-bench/{layout.id}:1"
    prepare_state(layout)
    try:
        build(layout, image)
        used = asyncio.run(measure(layout, repository(Path(root), image, containers), seconds))
    finally:
        subprocess.run(["podman", "rmi", "-f", image], check=False, capture_output=True)
        shutil.rmtree(root, ignore_errors=True)
    ours = used["up"].plus(used["agent"].cpu_s, used["agent"].bytes)
    for part, each in (*used.items(), ("up + agent", ours)):
        goal = f"  (goal: at most {GOAL_SHARE:.0%} and {GOAL_MB} MB)" if part == "up + agent" else ""
        print(f"{part:12} {each.cpu_s:7.2%} of a core  {each.mb:7.1f} MB  {each.processes} processes{goal}")
    figures = {f"{part}, share of a core": each.cpu_s for part, each in used.items()}
    figures |= {f"{part}, MB": each.mb for part, each in used.items()}
    return figures | {"up + agent, share of a core": ours.cpu_s, "up + agent, MB": ours.mb}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--containers", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60.0)
    arguments = parser.parse_args()
    main(arguments.containers, arguments.seconds)
