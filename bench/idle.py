"""What an idle host costs: 50 containers with a readiness and a liveness probe each every 10 s.

    python bench/idle.py [--containers 50] [--seconds 60]

Prints CPU (share of one core) and resident memory of the agent, and of HAProxy, conmon and Podman apart. Makes a state
folder and one tiny image of its own (busybox-static) and removes them.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import subprocess
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from trueup.core.layout import CONTAINERS_CONF, Layout
from trueup.core.model import Health, Place
from trueup.core.objects import make_object
from trueup.drivers.targets.host import Host

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")
READY_S = 180.0
SETTLE_S = 15.0


def manifest(image: str, replicas: int) -> dict[str, object]:
    probe = {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 10}
    container = {
        "name": "web",
        "image": image,
        "command": ["sh", "-c", "mkdir /w; echo ok > /w/index.html; exec busybox httpd -f -p 8080 -h /w"],
        "ports": [{"containerPort": 8080, "name": "http"}],
        "readinessProbe": probe,
        "livenessProbe": probe,
    }
    labels = {"app": "idle"}
    spec = {"terminationGracePeriodSeconds": 1, "containers": [container]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "idle"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }


def build(layout: Layout, image: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy("/bin/busybox", folder)
        dockerfile = "FROM scratch\nCOPY busybox /bin/busybox\nCOPY busybox /bin/sh\nENV PATH=/bin\n"
        Path(folder, "Dockerfile").write_text(dockerfile)
        env = {**os.environ, "CONTAINERS_CONF": layout.containers_conf}
        subprocess.run(["buildah", "build", "-q", "-t", image, folder], check=True, env=env, stdout=subprocess.DEVNULL)


def whose(command: str, state: str, agent: int, pid: int) -> str:
    """Which part a process belongs to, "" when it is none of ours."""
    if pid == agent:
        return "agent"
    program = Path(command.split("\0")[0]).name
    if state not in command:
        return ""
    return {"podman": "podman", "conmon": "conmon", "haproxy": "haproxy"}.get(program, "")


def look(layout: Layout, agent: int, ids: set[str]) -> dict[str, tuple[int, int, int]]:
    """Part → (CPU ticks, resident bytes, processes)."""
    out: dict[str, tuple[int, int, int]] = defaultdict(lambda: (0, 0, 0))
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            command = (folder / "cmdline").read_text(errors="replace")
            fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        part = whose(command, layout.root, agent, int(folder.name))
        if not part and Path(command.split("\0")[0]).name == "conmon" and any(i in command for i in ids):
            part = "conmon"
        if part:
            ticks, size, count = out[part]
            out[part] = (ticks + int(fields[11]) + int(fields[12]), size + int(fields[21]) * PAGE, count + 1)
    return dict(out)


async def ready(host: Host) -> None:
    async with asyncio.timeout(READY_S):
        while True:
            judged = await host.judge("idle")
            if judged and all(j.health is Health.HEALTHY for j in judged):
                return
            await asyncio.sleep(0.5)


async def measure(layout: Layout, image: str, containers: int, seconds: float) -> None:
    host = Host(layout)
    try:
        await host.ensure()
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "idle"},
            "spec": {"selector": {"app": "idle"}, "ports": [{"port": 80, "targetPort": "http", "name": "http"}]},
        }
        begun = time.monotonic()
        bodies = (manifest(image, containers), service)
        await host.apply("idle", "c", [make_object(b, Place("idle.yaml", 1)) for b in bodies])
        await ready(host)
        print(f"{containers} containers ready after {time.monotonic() - begun:.1f} s")
        await asyncio.sleep(SETTLE_S)
        hello = await host.hello()
        ids = {c for pod in (await host.overview()).pods for c in pod.containers}
        agent = hello.pid if hello is not None else 0
        before, at = look(layout, agent, ids), time.monotonic()
        await asyncio.sleep(seconds)
        after, took = look(layout, agent, ids), time.monotonic() - at
        for part in sorted(after):
            ticks, size, count = after[part]
            share = (ticks - before.get(part, (0, 0, 0))[0]) / TICKS / took
            print(f"{part:8} {share:7.2%} of a core  {size / 1e6:7.1f} MB  {count} processes")
        await host.down()
    finally:
        await host.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--containers", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60.0)
    arguments = parser.parse_args()
    root = tempfile.mkdtemp(prefix="tu-idle-", dir="/tmp")
    layout = Layout(root)
    image = f"localhost/trueup-bench/{layout.id}:1"
    Path(layout.containers_conf).write_text(CONTAINERS_CONF)
    try:
        build(layout, image)
        asyncio.run(measure(layout, image, arguments.containers, arguments.seconds))
    finally:
        subprocess.run(["podman", "rmi", "-f", image], check=False, capture_output=True)
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()
