"""From a push's notice to all replicas ready on the real host target, minus what Trueup only waits for.

Taken off are the union of: the build (each job, from run.job_started to run.job_finished), the container starts (each
new container, from Created to StartedAt as Podman says) and the probe waits (from StartedAt to the first answer 200 in
the container's own log). What remains is Trueup's: notice, fetch, check, plan, verdict, Bundle, apply, image look-ups,
the agent's passes between replicas, proxy. Goal: at most 500 ms. Needs root, Podman, HAProxy, busybox, the registry.

    python bench/push.py [--pushes 7] [--replicas 3] [--gaps]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path

from trueup.app import App, Options, open_app
from trueup.core import events as ev
from trueup.core.events import Event
from trueup.core.layout import Layout
from trueup.core.model import Principal
from trueup.core.requests import Refresh

Span = tuple[float, float]  # Unix seconds
GOAL_MS = 500.0
STEP_S = 300.0  # what a push may take before this bench gives up
BUSYBOX = Path("/bin/busybox")
WORKFLOW = """\
name: deploy
on: {push: {branches: [main]}}
jobs:
  image:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - run: docker build --tag registry.example/bench/web:$GITHUB_SHA app
      - run: docker push registry.example/bench/web:$GITHUB_SHA
"""
DOCKERFILE = """\
FROM scratch
COPY busybox /bin/busybox
COPY www /www
CMD ["/bin/busybox", "sh", "-c", "trap 'exit 0' TERM; /bin/busybox httpd -f -vv -p 8000 -h /www & wait"]
"""
MANIFESTS = """\
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
  replicas: {replicas}
  selector: {{matchLabels: {{app: web}}}}
  strategy: {{rollingUpdate: {{maxSurge: 1, maxUnavailable: 0}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - name: web
          image: registry.example/bench/web:latest
          ports: [{{containerPort: 8000}}]
          readinessProbe: {{httpGet: {{path: /, port: 8000}}, periodSeconds: 1}}
          resources: {{limits: {{memory: 64Mi}}}}
"""


def main(pushes: int = 7, replicas: int = 3, gaps: bool = False) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="tu", dir=os.environ.get("TMPDIR", "/var/tmp")) as folder:
        found = asyncio.run(measure(Path(folder), pushes, replicas, gaps))
    middle = {name: statistics.median(each[name] for each in found) for name in found[0]}
    for name, value in middle.items():
        every = "  ".join(f"{each[name]:.0f}" for each in found)
        goal = f"  (goal: at most {GOAL_MS:g})" if name.startswith("Trueup's own") else ""
        print(f"{name:44} {value:8.0f} ms  [{every}]{goal}")
    return middle


async def measure(folder: Path, pushes: int, replicas: int, gaps: bool) -> list[dict[str, float]]:
    person = Person(folder / "git", replicas)
    options = Options(
        layout=Layout(str(folder / "state")),
        repositories=(str(person.remote),),
        environ=dict(os.environ),
        branch="main",
        poll_s=3600.0,  # only the notice wakes it
    )
    async with open_app(options, quiet) as app, running(app) as told:
        try:
            await told.until(lambda e: isinstance(e.fact, ev.WritePushed))  # the first push, and it stated in Git
            return [await one(app, told, person, number, gaps) for number in range(2, pushes + 2)]
        finally:
            await app.host.down(data=True)


async def one(app: App, told: Told, person: Person, number: int, gaps: bool) -> dict[str, float]:
    person.push(number)
    first, notice = len(told.events), now()
    await app.perform(Refresh(), Principal("bench", "socket"))
    await told.until(lambda e: isinstance(e.fact, ev.SyncHealthy), first)
    pods = (await app.host.overview()).pods
    seen = [await asyncio.to_thread(container, app, id) for pod in pods if not pod.stopping for id in pod.containers]
    await told.until(lambda e: isinstance(e.fact, ev.WritePushed), first)
    events = told.events[first:]
    ready = max(answered for _, _, answered in seen)
    build, start = jobs(events), [(made, begun) for made, begun, _ in seen]
    probe = [(begun, answered) for _, begun, answered in seen]
    if gaps:
        explain(events, [*build, *start, *probe], notice, ready)
    healthy = next(e.time.timestamp() for e in events if isinstance(e.fact, ev.SyncHealthy))
    return {
        "notice to all replicas ready": (ready - notice) * 1000,
        "- of it the build": length(build, notice, ready) * 1000,
        "- of it container starts": length(start, notice, ready) * 1000,
        "- of it probe waits": length(probe, notice, ready) * 1000,
        "Trueup's own": (ready - notice - length([*build, *start, *probe], notice, ready)) * 1000,
        "and until the ledger says healthy": (healthy - ready) * 1000,
    }


def jobs(events: list[Event]) -> list[Span]:
    begun: dict[tuple[str, str], float] = {}
    spans = []
    for event in events:
        if isinstance(event.fact, ev.JobStarted):
            begun[event.stream, event.fact.job] = event.time.timestamp()
        elif isinstance(event.fact, ev.JobFinished):
            spans.append((begun[event.stream, event.fact.job], event.time.timestamp()))
    return spans


def container(app: App, id: str) -> tuple[float, float, float]:
    """When Podman made it, when it ran, when it first answered 200."""
    env = {**os.environ, "CONTAINERS_CONF": app.options.layout.containers_conf}

    def podman(*args: str) -> str:
        done = subprocess.run(["podman", *args], env=env, check=True, timeout=60, capture_output=True, text=True)
        return done.stdout + done.stderr  # httpd logs to its error output

    found = json.loads(podman("inspect", id))[0]
    line = next(line for line in podman("logs", "--timestamps", id).splitlines() if "response:200" in line)
    return stamp(found["Created"]), stamp(found["State"]["StartedAt"]), stamp(line.split()[0])


def stamp(text: str) -> float:
    """Unix seconds of an RFC 3339 time with nanoseconds."""
    whole, _, rest = text.partition(".")
    digits = "".join(c for c in rest if c.isdigit() or c in "+-").replace("+", " +").replace("-", " -").split(" ")[0]
    zone = "+00:00" if text.endswith("Z") else text[-6:]
    return datetime.fromisoformat(whole + zone).timestamp() + float(f"0.{digits or 0}")


def quiet(_: str) -> None:
    """What takes long at the start is no news here."""


def now() -> float:
    return datetime.now(UTC).timestamp()


def merged(spans: list[Span], begin: float, end: float) -> list[Span]:
    out: list[Span] = []
    for first, last in sorted((max(a, begin), min(b, end)) for a, b in spans):
        if out and first <= out[-1][1]:
            out[-1] = (out[-1][0], max(out[-1][1], last))
        elif first < last:
            out.append((first, last))
    return out


def length(spans: list[Span], begin: float, end: float) -> float:
    return sum(last - first for first, last in merged(spans, begin, end))


def explain(events: list[Event], spans: list[Span], begin: float, end: float) -> None:
    """Where the rest went: each piece of time that nothing was taken off for, between one known moment and the next."""
    marks = [(event.time.timestamp(), f"{event.stream.split('/')[0]} {type(event.fact).__name__}") for event in events]
    inside = merged(spans, begin, end)
    marks += [(first, "(waits begin)") for first, _ in inside] + [(last, "(waits end)") for _, last in inside]
    before = begin
    for at, name in sorted(marks):
        if begin <= at <= end:
            own = at - before - length(spans, before, at)
            print(f"  {(at - begin) * 1000:8.0f} ms  {name:40} {own * 1000:7.1f} ms of our own before it")
            before = at


class Told:
    """The ledger's events as they come."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._grown = asyncio.Condition()

    async def follow(self, app: App) -> None:
        async for event in app.state.ledger.follow():
            async with self._grown:
                self.events.append(event)
                self._grown.notify_all()

    async def until(self, wanted: Callable[[Event], bool], first: int = 0) -> None:
        async with asyncio.timeout(STEP_S), self._grown:
            await self._grown.wait_for(lambda: any(wanted(e) or failed(e) for e in self.events[first:]))
        for event in self.events[first:]:
            if failed(event):
                raise SystemExit(f"the push did not go through: {event.fact}")


def failed(event: Event) -> bool:
    return isinstance(event.fact, ev.CandidateRed | ev.SyncCondemned | ev.SyncHeld)


@contextlib.asynccontextmanager
async def running(app: App) -> AsyncIterator[Told]:
    told = Told()
    tasks = [asyncio.create_task(told.follow(app)), asyncio.create_task(app.run())]
    try:
        yield told
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Person:
    """A bare remote and a clone whose page changes with each push."""

    def __init__(self, folder: Path, replicas: int) -> None:
        self.remote, self.clone = folder / "web.git", folder / "web"
        self.remote.mkdir(parents=True)
        git(self.remote, "init", "--quiet", "--bare", "--initial-branch=main")
        git(folder, "init", "--quiet", "--initial-branch=main", str(self.clone))
        git(self.clone, "remote", "add", "origin", str(self.remote))
        files = {
            ".github/workflows/deploy.yml": WORKFLOW,
            "app/Dockerfile": DOCKERFILE,
            "config/web.yaml": MANIFESTS.format(replicas=replicas),
        }
        for name, text in files.items():
            path = self.clone / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        shutil.copy(BUSYBOX, self.clone / "app/busybox")
        self.push(1)

    def push(self, number: int) -> None:
        if number > 1:
            git(self.clone, "pull", "--quiet", "--rebase", "origin", "main")
        page = self.clone / "app/www/index.html"
        page.parent.mkdir(exist_ok=True)
        page.write_text(f"version {number}\n")
        git(self.clone, "add", "--all")
        who = ("-c", "user.name=Ann", "-c", "user.email=ann@example.org")
        git(self.clone, *who, "commit", "--quiet", "--message", f"Version {number}")
        git(self.clone, "push", "--quiet", "origin", "HEAD:main")


def git(folder: Path, *args: str) -> None:
    subprocess.run(["git", "-C", str(folder), *args], check=True, timeout=60)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pushes", type=int, default=7)
    parser.add_argument("--replicas", type=int, default=3)
    parser.add_argument("--gaps", action="store_true", help="say where the rest of each push went")
    arguments = parser.parse_args()
    sys.exit(0 if main(arguments.pushes, arguments.replicas, arguments.gaps) else 1)
