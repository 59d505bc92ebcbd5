"""Roll out again and again under load that never retries, and count the requests lost.

Real Podman containers, the real bridge and HAProxy; the load runs in processes of its own: one with keep-alive, one
with a connection for each request, each with 5-second requests in flight. Ends with 1 when a request was lost.

    python bench/rollout.py [--rollouts 20] [--rate 300] [--replicas 3]
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import sys
import tarfile
import tempfile
import time
from pathlib import Path

from trueup.agent.network import Network
from trueup.agent.network_run import run
from trueup.agent.proxy import Backend, Proxy, ServicePort, ServiceSpec
from trueup.core.layout import LABEL_STATE, Layout

LOAD = Path(__file__).with_name("load.py")
SLOW_S = 5
PORT = 8080
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


class Bench:
    """A Service of some replicas in containers that see the host's /usr, so that no image has to be pulled."""

    def __init__(self, layout: Layout, replicas: int) -> None:
        self.layout, self.replicas = layout, replicas
        self.network = Network(layout)
        self.proxy = Proxy(layout, self.network, outside="127.0.0.1")
        self.image = f"localhost/trueup-bench/{layout.id}:1"
        self.running: tuple[Backend, ...] = ()
        self.drain_s = 0.0
        self.other = 0  # the number in another Service's name; changing it makes HAProxy reload

    async def podman(self, *args: str) -> str:
        got = await run(["env", f"CONTAINERS_CONF={self.layout.containers_conf}", "podman", *args], timeout_s=120)
        if got.code != 0:
            raise SystemExit(f"podman {args[0]}: {got.said}")
        return got.out.strip()

    async def open(self) -> str:
        """The Service's URL; its first replicas serve."""
        await self.network.ensure()
        await self.podman("import", "-q", _root_tar(Path(self.layout.root, "root.tar")), self.image)
        await self.proxy.start()
        await self.rollout(0)
        return f"http://{self.proxy.address('default', 'web')}/"

    async def close(self) -> None:
        await self.proxy.stop()
        await self.podman("rm", "-f", "-t", "0", "--filter", f"label={LABEL_STATE}={self.layout.id}")
        await self.podman("rmi", "-f", self.image)
        await self.network.remove()

    async def rollout(self, number: int) -> None:
        """New replicas serve once they answer; the old ones leave when nothing is in flight at them."""
        old = self.running
        new = tuple(await asyncio.gather(*(self._start(f"v{number}-{n}", f"v{number}") for n in range(self.replicas))))
        await self._sync((*new, *old))
        leaving = tuple(Backend(b.id, b.address, b.ports, True, True, b.version) for b in old)
        await self._sync((*new, *leaving))
        began = time.monotonic()
        if not all(await asyncio.gather(*(self.proxy.drained(b.id, 60) for b in old))):
            raise SystemExit("a replica did not drain within 60 s")
        self.drain_s += time.monotonic() - began
        if old:
            await self.podman("rm", "-f", "-t", "5", *(self._container(b.id) for b in old))
        await self._sync(new)
        self.running = new

    def _container(self, id: str) -> str:
        return f"bench-{self.layout.id}-{id}"

    async def _sync(self, backends: tuple[Backend, ...]) -> None:
        spec = ServiceSpec("default", "web", ports=(ServicePort("http", 80),), backends=backends)
        other = ServiceSpec("default", f"other-{self.other}", ports=(ServicePort("http", 80),))
        troubles = await self.proxy.sync([spec, other])
        if troubles:
            raise SystemExit(troubles[0].message)

    async def _start(self, id: str, version: str) -> Backend:
        facts = self.network.facts
        assert facts is not None
        await self.podman(
            *("run", "-d", "--name", self._container(id), "--label", f"{LABEL_STATE}={self.layout.id}"),
            *("--network", facts.name, "-v", "/usr:/usr:ro", "-e", f"NAME={version}"),
            *(self.image, "/usr/bin/python3", "-c", SERVER),
        )
        form = f'{{{{(index .NetworkSettings.Networks "{facts.name}").IPAddress}}}}'
        address = await self.podman("inspect", self._container(id), "--format", form)
        await _until_open(address)
        return Backend(id, address, {"http": PORT}, True, version=version)


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


async def _until_open(address: str) -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                _, writer = await asyncio.open_connection(address, PORT)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return


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


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rollouts", type=int, default=20)
    parser.add_argument("--rate", type=float, default=300, help="requests a second, half of them with keep-alive")
    parser.add_argument("--replicas", type=int, default=3)
    parser.add_argument("--reloads", action="store_true", help="with a Service that comes and one that goes each time")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tu") as root:
        bench = Bench(Layout(root), args.replicas)
        try:
            url = await bench.open()
            loads = [await _load(url, args.rate / 2), await _load(url, args.rate / 2, "--no-keep-alive")]
            began = time.monotonic()
            for number in range(1, args.rollouts + 1):
                bench.other = number if args.reloads else 0
                await bench.rollout(number)
            took = time.monotonic() - began
            results = [await _end(load) for load in loads]
            stats = await bench.proxy.stats()
        finally:
            await bench.close()
    names = [f"{kind}, {path}" for kind in ("keep-alive", "a connection each") for path in ("/", f"/slow ({SLOW_S} s)")]
    rows = dict(zip(names, [row for result in results for row in result], strict=True))
    for name, row in rows.items():
        print(
            f"{name:32} " + ", ".join(f"{key} {row[key]}" for key in ("sent", "lost", "reopened", "p50_ms", "p99_ms"))
        )
        for reason, count in dict(row["reasons"]).items():  # type: ignore[call-overload]
            print(f"    lost {count}: {reason}")
    sent, lost = (sum(int(str(row[key])) for row in rows.values()) for key in ("sent", "lost"))
    print(f"rollouts {args.rollouts} of {args.replicas} replicas in {took:.1f} s, {bench.drain_s:.1f} s of it draining")
    print(f"versions that served: {len(stats)}; requests counted by the proxy: {sum(row.requests for row in stats)}")
    print(f"requests {sent}, lost {lost}")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
