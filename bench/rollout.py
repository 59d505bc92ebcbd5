"""Roll out again and again on the real host target under load that never retries, and count the requests lost.

The agent, Podman, the bridge and HAProxy as `trueup up` uses them; each rollout applies a Deployment with another
template. The load runs in processes of its own: one with keep-alive, one with a connection for each request, both
with 5-second requests in flight. Ends with 1 when a request was lost. Goal: none.

    python bench/rollout.py [--rollouts 20] [--rate 300] [--replicas 3]
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import statistics
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import yaml

from trueup.agent.network_run import run
from trueup.app import prepare_state
from trueup.core.layout import Layout
from trueup.core.model import Health, Object, Place
from trueup.core.objects import make_object
from trueup.drivers.targets.host import Host

LOAD = Path(__file__).with_name("load.py")
SLOW_S = 5
PORT = 8080
STEP_S = 180.0  # what one rollout may take before this bench gives up
# Ends at once when told to: whatever it still answers then would be lost. Closes after each answer when asked to.
SERVER = f"""
import asyncio, os, signal
NAME = os.environ["NAME"].encode()
async def serve(reader, writer):
    try:
        while True:
            head = await reader.readuntil(b"\\r\\n\\r\\n")
            if head.startswith(b"GET /slow"):
                await asyncio.sleep({SLOW_S})
            writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n%s" % (len(NAME), NAME))
            await writer.drain()
            if b"connection: close" in head.lower():
                break
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    writer.close()
async def main():
    server = await asyncio.start_server(serve, "0.0.0.0", {PORT}, backlog=1024)
    await server.serve_forever()
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
asyncio.run(main())
"""


MANIFESTS = """
apiVersion: v1
kind: Service
metadata: {{name: web}}
spec:
  selector: {{app: web}}
  ports: [{{name: http, port: 80, targetPort: http}}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: web}}}}
  strategy: {{rollingUpdate: {{maxSurge: {replicas}, maxUnavailable: 0}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      terminationGracePeriodSeconds: 30
      containers:
        - name: web
          image: {image}
          command: [/usr/bin/python3, -c, {server}]
          env: [{{name: NAME, value: {version}}}]
          ports: [{{name: http, containerPort: {port}}}]
          readinessProbe: {{httpGet: {{path: /, port: http}}, periodSeconds: 1}}
          volumeMounts: [{{name: usr, mountPath: /usr, readOnly: true}}]
      volumes: [{{name: usr, hostPath: {{path: /usr}}}}]
"""


class Bench:
    """A Service of some replicas in containers that see the host's /usr, so that no image has to be pulled."""

    def __init__(self, layout: Layout, replicas: int) -> None:
        self.layout, self.replicas = layout, replicas
        self.host = Host(layout, accepted=("hostPath",))
        self.image = f"localhost/trueup-bench/{layout.id}:1"
        self.took_s: list[float] = []

    async def podman(self, *args: str) -> str:
        got = await run(["env", f"CONTAINERS_CONF={self.layout.containers_conf}", "podman", *args], timeout_s=120)
        if got.code != 0:
            raise SystemExit(f"podman {args[0]}: {got.said}")
        return got.out.strip()

    async def open(self) -> str:
        """The Service's URL; its first replicas serve."""
        await asyncio.to_thread(prepare_state, self.layout)
        await self.podman("import", "-q", _root_tar(Path(self.layout.root, "root.tar")), self.image)
        await self.host.ensure()
        await self.rollout(0)
        self.took_s.clear()
        served = (await self.host.overview()).services
        return f"http://{served[0].address}/"

    async def close(self) -> None:
        await self.host.down(data=True)
        await self.podman("rmi", "-f", self.image)

    def objects(self, number: int) -> list[Object]:
        text = MANIFESTS.format(
            replicas=self.replicas, image=self.image, server=json.dumps(SERVER), version=f"v{number}", port=PORT
        )
        return [make_object(body, Place("web.yaml", 1)) for body in yaml.safe_load_all(text)]

    async def rollout(self, number: int) -> None:
        """Until the new replicas serve and nothing of the old ones is left."""
        began = time.monotonic()
        await self.host.apply("bench", f"c{number}", self.objects(number))
        async with asyncio.timeout(STEP_S):
            while not await self.done():  # noqa: ASYNC110 - another process's doing
                await asyncio.sleep(0.1)
        self.took_s.append(time.monotonic() - began)

    async def done(self) -> bool:
        judged = await self.host.judge("bench")
        for each in judged:
            if each.health is Health.DEGRADED:
                raise SystemExit(f"{each.ref}: {each.reason}\n" + "\n".join(each.excerpt))
        return bool(judged) and all(each.health is Health.HEALTHY for each in judged)


def _root_tar(path: Path) -> str:
    with tarfile.open(path, "w") as tar:
        for name in ("usr", "etc", "tmp", "proc", "sys", "dev"):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        for name in ("bin", "lib", "lib64", "sbin"):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, f"usr/{name}"
            tar.addfile(entry)
        tar.addfile(tarfile.TarInfo("etc/hostname"), io.BytesIO())
    return str(path)


async def _load(url: str, rate: float, *more: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, str(LOAD), url, "--rate", str(rate), "--seconds", "86400", "--json", *more),
        *("--slow", "/slow", "--slow-rate", "2"),
        stdout=asyncio.subprocess.PIPE,
    )


async def _end(load: asyncio.subprocess.Process) -> list[dict[str, object]]:
    load.terminate()
    out, _ = await asyncio.wait_for(load.communicate(), 60)
    return [json.loads(line) for line in out.splitlines()]


async def measure(rollouts: int, rate: float, replicas: int) -> tuple[list[dict[str, object]], list[float]]:
    """A row for each generator and path; seconds of each rollout."""
    with tempfile.TemporaryDirectory(prefix="tu") as root:
        bench = Bench(Layout(root), replicas)
        loads: list[asyncio.subprocess.Process] = []
        try:
            url = await bench.open()
            loads += [await _load(url, rate / 2), await _load(url, rate / 2, "--no-keep-alive")]
            for number in range(1, rollouts + 1):
                await bench.rollout(number)
            rows = [row for load in loads for row in await _end(load)]
        finally:
            for load in loads:
                if load.returncode is None:
                    load.kill()
            await bench.close()
    return rows, bench.took_s


def main(rollouts: int = 20, rate: float = 300.0, replicas: int = 3) -> dict[str, float]:
    rows, took_s = asyncio.run(measure(rollouts, rate, replicas))
    names = [f"{kind}, {path}" for kind in ("keep-alive", "a connection each") for path in ("/", f"/slow ({SLOW_S} s)")]
    for name, row in zip(names, rows, strict=True):
        shown = ", ".join(f"{key} {row[key]}" for key in ("sent", "lost", "reopened", "p50_ms", "p99_ms"))
        print(f"{name:32} {shown}")
        for reason, count in dict(row["reasons"]).items():  # type: ignore[call-overload]
            print(f"    lost {count}: {reason}")
    versions = {body for row in rows for body in dict(row["answers"])}  # type: ignore[call-overload]
    sent, lost = (sum(int(str(row[key])) for row in rows) for key in ("sent", "lost"))
    print(f"rollouts {len(took_s)} of {replicas} replicas, {statistics.median(took_s):.1f} s each (median)")
    print(f"versions that answered: {len(versions)} of {rollouts + 1}")
    print(f"requests {sent}, lost {lost}  (goal: 0)")
    if len(versions) != rollouts + 1:
        raise SystemExit("not every version answered: this was no bench of rollouts")
    return {"rollouts": len(took_s), "requests sent": sent, "requests lost": lost, "s each": statistics.median(took_s)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rollouts", type=int, default=20)
    parser.add_argument("--rate", type=float, default=300, help="requests a second, half of them with keep-alive")
    parser.add_argument("--replicas", type=int, default=3)
    arguments = parser.parse_args()
    sys.exit(1 if main(arguments.rollouts, arguments.rate, arguments.replicas)["requests lost"] else 0)
