"""A real loop on this machine with an application small enough to be built and rolled out in seconds.

The image is a static busybox and one page; a push changes the page. `trueup up` is a process of its own; the remote is
a bare repository in a folder beside its state.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from engine.world import Person
from trueup.core.candidate import Phase, SourceState, WriteState
from trueup.core.layout import LABEL_STATE, Layout
from trueup.core.views.chronicle import Chronicle
from trueup.core.views.timeline import Moment
from trueup.demo import sight
from trueup.demo.loop import Loop
from trueup.demo.traffic import Traffic

T = TypeVar("T")

REPLICAS = 2
BUSYBOX = Path("/bin/busybox")
DOCKERFILE = """\
FROM scratch
COPY busybox /bin/busybox
COPY www /www
COPY start /start
CMD ["/bin/busybox", "sh", "/start"]
"""
START = "exec /bin/busybox httpd -f -p 8000 -h /www\n"
CRASH = "echo cannot read the flags; exit 7\n"
MANIFESTS = f"""\
apiVersion: v1
kind: Service
metadata: {{name: web}}
spec:
  selector: {{app: web}}
  ports: [{{name: http, port: 80, targetPort: 8000}}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  replicas: {REPLICAS}
  progressDeadlineSeconds: 30
  selector: {{matchLabels: {{app: web}}}}
  strategy: {{rollingUpdate: {{maxSurge: 1, maxUnavailable: 0}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - name: web
          image: registry.example/survive/web:latest
          ports: [{{containerPort: 8000}}]
          readinessProbe: {{httpGet: {{path: /, port: 8000}}, periodSeconds: 1}}
          resources: {{limits: {{memory: 64Mi}}}}
"""


def page(version: str) -> dict[str, str | None]:
    return {"app/www/index.html": f"Hello from version {version} here\n", "app/start": START}


def first() -> dict[str, str | None]:
    return {"app/Dockerfile": DOCKERFILE, "config/web.yaml": MANIFESTS, **page("1")}


class Real:
    """One state folder with its loop, remote and load. `folder` holds all of it."""

    def __init__(self, folder: Path, state: Path | None = None) -> None:
        self.folder = folder
        self.layout = Layout(str(state or folder / "state"))
        self.person = Person(folder / "git", "web")
        shutil.copy(BUSYBOX, self.person.clone / "busybox")
        (self.person.clone / "app").mkdir()
        (self.person.clone / "busybox").rename(self.person.clone / "app/busybox")
        self.environ = {name: value for name, value in os.environ.items() if name != "TRUEUP_DEBUG"}
        self.moments: list[Moment] = []
        self.traffic = Traffic(rate=100)
        self.loop = self._loop()
        self.loop_log = self.loop.log

    def _loop(self) -> Loop:
        return Loop(self.layout, self.person.remote, sys.executable, self.environ, self.moments.append)

    @property
    def known(self) -> Chronicle:
        return self.loop.known

    @property
    def source(self) -> SourceState:
        return next(iter(self.known.sources.values()))

    def told(self) -> str:
        """Everything the ledger says, one line a moment, and what `up` printed last."""
        lines = [f"{m.time:%H:%M:%S.%f} {m.kind} {m.text}" for m in self.moments]
        return "\n".join([*lines, "", *self.loop.last_lines()])

    # --- the loop's life

    async def up(self) -> None:
        await self.loop.start()

    async def kill(self) -> None:
        """kill -9 of `trueup up` alone: what it started stays."""
        assert self.loop.up is not None
        self._alive()
        self.loop.up.kill()
        await self.loop.up.wait()

    async def kill_agent(self) -> None:
        """kill -9 of the agent, when one runs."""
        hello = await self.loop.agent()
        if hello is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(hello, signal.SIGKILL)

    async def until(self, what: str, ready: Callable[[], T | None], limit_s: float = 60.0) -> T:
        """Poll a condition over what the ledger says. Fails with the whole story when it does not come."""
        return await self.until_asked(what, _soon(ready), limit_s)

    async def until_asked(self, what: str, ask: Callable[[], Awaitable[T | None]], limit_s: float = 60.0) -> T:
        try:
            async with asyncio.timeout(limit_s):
                while True:
                    await self.loop.look()
                    self._alive()
                    if (found := await ask()) is not None:
                        return found
                    await asyncio.sleep(0.1)
        except TimeoutError:
            pytest.fail(f"{what}: did not come within {limit_s:g} s\n{self.told()}", pytrace=False)

    def _alive(self) -> None:
        if self.loop.up is not None and self.loop.up.returncode is not None:
            pytest.fail(f"`trueup up` ended by itself with {self.loop.up.returncode}\n{self.told()}", pytrace=False)

    # --- what is asked

    def good(self, commit: str) -> bool | None:
        """Healthy, and stated in Git."""
        if sight.healthy(self.known, commit) is None or sight.written(self.known, "write-back") is None:
            return None
        return True

    def undone(self, commit: str) -> bool | None:
        """Condemned, undone by a commit that is on the branch, and the last good one runs."""
        if sight.condemned(self.known, commit) is None or sight.undone(self.known, commit) is None:
            return None
        current = next(iter(self.known.applications.values())).current
        return True if current is not None and current.phase is Phase.HEALTHY else None

    def said(self, text: str) -> str | None:
        """A moment that holds this text."""
        return next((m.text for m in self.moments if text in m.text), None)

    def undos(self) -> int:
        """How many undos were meant, pushed, or held."""
        writes = [w for w in self.source.writes.values() if w.purpose == "undo" and w.state is not WriteState.DROPPED]
        return len(writes) + len(self.source.undo_held) + len(self.source.pinned)

    async def push(self, files: dict[str, str | None], message: str) -> str:
        return await asyncio.to_thread(self._push, files, message)

    def _push(self, files: dict[str, str | None], message: str) -> str:
        for _ in range(5):
            try:
                return self.person.push(files, message)
            except AssertionError as error:  # Trueup pushed in between
                if "rejected" not in str(error) and "fetch first" not in str(error):
                    raise
                self.person.pull()
                files = {}
        raise AssertionError("the branch moves without end")

    async def serve(self) -> None:
        """Start the load on the Service's address."""
        served = await self.until_asked("the Service's address", self.loop.service)
        self.traffic.start(f"http://{served.address}:{served.ports[0][1]}/")

    async def ready(self) -> None:
        await self.until_asked(f"{REPLICAS} ready replicas", lambda: self.loop.ready(REPLICAS))

    def containers(self) -> set[str]:
        """Every container that carries this state folder's label, whatever its role or state."""
        words = ["podman", "ps", "-a", "--format", "json", "--filter", f"label={LABEL_STATE}={self.layout.id}"]
        environ = {**os.environ, "CONTAINERS_CONF": self.layout.containers_conf}
        out = subprocess.run(words, env=environ, check=True, capture_output=True, text=True).stdout
        return {c["Id"] for c in json.loads(out or "[]") if not c.get("IsInfra")}

    def images(self) -> str:
        """Every name that Podman has for an image."""
        return subprocess.run(
            ["podman", "images", "--format", "json"], check=True, capture_output=True, text=True
        ).stdout

    async def end(self) -> None:
        await self.traffic.stop()
        await self.loop.stop()
        if Path(self.layout.root).exists():
            ended = await self.loop.down(data=True)
            assert ended.code == 0, f"trueup down: {ended.said}"


def _soon(ready: Callable[[], T | None]) -> Callable[[], Awaitable[T | None]]:
    async def ask() -> T | None:
        return ready()

    return ask


@asynccontextmanager
async def real(state: Path | None = None) -> AsyncIterator[Real]:
    """Everything in one folder under /tmp; what was made is removed."""
    if not BUSYBOX.exists():
        pytest.skip("needs a static busybox: apt-get install -y busybox-static")
    folder = Path(tempfile.mkdtemp(prefix="trueup-survive-", dir="/tmp"))
    folder.chmod(0o711)
    made = Real(folder, state)
    try:
        yield made
    finally:
        await made.end()
        shutil.rmtree(folder, ignore_errors=True)
