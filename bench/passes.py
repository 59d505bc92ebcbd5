"""A whole pass (fold, index, plan) over 1,000 applications of 10 objects, as a ratio to decoding them with orjson.

The loop's own code over memory drivers: events are folded into the book, `ApplicationLoop.stale` says what moved, and
`look` reads, plans and decides for each of those; nothing is acted on within the time taken. Goals: at most 0.1 when
nothing changed, at most 0.25 when all objects of 1% of the applications did. Below that, what a push costs the planner
when 1% of the objects change, each in another application: the dearest way to spread them.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import time
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec
import orjson

from trueup.core import decide as d
from trueup.core import events as ev
from trueup.core.bundle import make_bundle
from trueup.core.candidate import ApplicationState, fold_application
from trueup.core.events import Draft, Event, Fact
from trueup.core.manifests import Manifest
from trueup.core.model import Bundle, Live, LiveObject, Object, Principal, TreeEntry
from trueup.core.plan import plan
from trueup.drivers.renderers.plain import render
from trueup.drivers.targets.memory import Memory
from trueup.engine.application import ApplicationLoop
from trueup.engine.book import TRUEUP, Book
from trueup.engine.study import RepositoryStudy
from trueup.store.keys import Signer
from trueup.store.memory import MemoryLedger, MemoryRecords

APPLICATIONS, OBJECTS, ROUNDS = 1000, 10, 25
KINDS = ("Deployment", "Service", "ConfigMap", "Deployment", "Service", "ConfigMap", "Secret", "ConfigMap", "Service",
         "ConfigMap")  # fmt: skip
HEAD = "apiVersion: {version}\nkind: {kind}\nmetadata:\n  name: {name}\n  labels: {{app: {name}, team: shop}}\n"
BODIES = {
    "Deployment": """\
spec:
  replicas: {value}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      containers:
        - name: web
          image: ghcr.io/acme/{name}:1.2.3
          ports: [{{name: http, containerPort: 8000}}]
          envFrom: [{{configMapRef: {{name: {name}}}}}]
          readinessProbe: {{httpGet: {{path: /readyz, port: http}}, periodSeconds: 2}}
          livenessProbe: {{httpGet: {{path: /healthz, port: http}}, periodSeconds: 10}}
          resources: {{requests: {{cpu: 50m, memory: 64Mi}}, limits: {{memory: 256Mi}}}}
""",
    "Service": "spec:\n  selector: {{app: {name}}}\n  ports: [{{name: http, port: 80, targetPort: {value}}}]\n",
    "ConfigMap": "data:\n  GREETING: hello\n  LEVEL: info\n  LIMIT: '{value}'\n  URL: http://backend.default:80/api\n",
    "Secret": "stringData:\n  password: changeme\n  limit: '{value}'\n",
}


def manifest(name: str, kind: str, value: int) -> bytes:
    version = "apps/v1" if kind == "Deployment" else "v1"
    return (HEAD + BODIES[kind]).format(version=version, kind=kind, name=name, value=value).encode()


def oid(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


class Wall:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic_s(self) -> float:
        return time.monotonic()


class Repository:
    """The files of one application, as Git gives them."""

    def __init__(self, name: str, values: tuple[int, ...] = (3,) * OBJECTS) -> None:
        data = {f"k8s/{i}.yaml": manifest(f"{name}-{i}", kind, values[i]) for i, kind in enumerate(KINDS)}
        self.tree = {path: TreeEntry(0o100644, oid(text), len(text)) for path, text in data.items()}
        self.blobs = {oid(text): text for text in data.values()}

    def objects(self, kept: dict[tuple[str, str], tuple[Manifest, ...]]) -> tuple[Object, ...]:
        return render(self.tree, self.blobs, tuple(self.tree), kept=kept).objects


# --- the loop --------------------------------------------------------------------------------------


class World:
    """1,000 applications as a running loop holds them: folded, healthy, settled."""

    def __init__(self) -> None:
        clock = Wall()
        self.ledger = MemoryLedger(clock, Signer(b"s" * 32))
        self.records = MemoryRecords(clock, b"k" * 32, self.ledger)
        self.target = Memory()
        self.book = Book(self.ledger)
        planning = RepositoryStudy({}, {}, {}, lambda *_: ())
        self.applications = ApplicationLoop(
            self.book, self.records, {"memory": self.target}, planning, clock, d.Policy(), lambda _: None
        )
        self.bundles: dict[str, Bundle] = {}

    async def add(self, number: int) -> None:
        source, candidate, application = (f"{kind}/{number:026}" for kind in ("source", "candidate", "application"))
        bundle = make_bundle(application, candidate, Repository(f"app-{number:04}").objects({}))
        record = await self.records.put("bundle", msgspec.json.encode(bundle))
        commit = f"{number:040x}"
        facts: dict[str, list[Fact]] = {
            source: [
                ev.SourceRegistered("https://git.example/a", "main", f"app-{number}", "both"),
                ev.SourceMoved("", commit, candidate=candidate, number=1),
            ],
            candidate: [
                ev.CandidateCreated(source=source, commit=commit, number=1, author="Ann", subject="Add it"),
                ev.CandidateChecked(0, 0),
                ev.CandidateRuns(()),
                ev.CandidateGreen(),
            ],
            application: [
                ev.ApplicationRegistered(f"app-{number}", source, "default", "memory"),
                ev.SyncStarted(candidate, 1, record, create=OBJECTS, why="push"),
                ev.SyncApplied(candidate, 1),
                ev.SyncHealthy(candidate, 1, 1.0),
            ],
        }
        for stream, each in facts.items():
            await self.book.write(stream, 0, each)
        await self.target.apply(application, candidate, bundle.objects)
        self.bundles[application] = bundle
        assert await self.applications.reconcile(application) is None  # settled

    async def change(self, names: list[str]) -> dict[str, tuple[Event, ...]]:
        """Each object of these becomes another one by hand; the events of it, not folded yet."""
        told = {}
        for name in names:
            held, number = self.target.objects[name], int(name[-4:])
            for other in Repository(f"app-{number:04}", (4,) * OBJECTS).objects({}):
                held[other.ref] = other
            draft = Draft(fact=ev.Drifted(("deployment/web",), "changed by hand", False), by=TRUEUP)
            seq = (await self.book.application(name)).seq
            told[name] = await self.ledger.append(name, [draft], expect=seq)
        return told

    async def a_pass(self, told: dict[str, tuple[Event, ...]], journal: int) -> int:
        """Fold, find what moved, look at it; how many changes the plans hold for a repair."""
        for name, events in told.items():
            self.book.absorb(name, events)
            self.applications.moved(name, journal)
        found = 0
        for name in self.applications.stale():
            found += d.Repair() in await self.applications.look(name)
        return found

    async def passes(self) -> dict[str, float]:
        """CPU seconds of a pass: the least of many, for other work of the machine only ever adds."""
        names, nothing, some = sorted(self.bundles), [], []
        assert self.applications.stale() == ()
        for number in range(ROUNDS):
            changed = names[number :: APPLICATIONS // (APPLICATIONS // 100)]
            told = await self.change(changed)
            gc.collect()
            await self.a_pass({}, 0)
            begun = time.process_time()
            await self.a_pass({}, 0)
            nothing.append(time.process_time() - begun)
            begun = time.process_time()
            found = await self.a_pass(told, number + 1)
            some.append(time.process_time() - begun)
            assert found == len(changed) == APPLICATIONS // 100
            for name in changed:  # now act, so that the next round finds the world in step
                await self.applications.reconcile(name)
                await self.applications.reconcile(name)
            assert self.applications.stale() == ()
        return {"nothing changed": min(nothing), "1% changed": min(some)}


# --- the planner alone -----------------------------------------------------------------------------


class Pushes:
    """One object of each of 100 applications changes by a push."""

    def __init__(self) -> None:
        self.before: dict[str, tuple[Live, ApplicationState]] = {}
        self.after: dict[str, tuple[Repository, Event]] = {}
        self.kept: dict[tuple[str, str], tuple[Manifest, ...]] = {}
        self.read: dict[tuple[str, str], tuple[Manifest, ...]] = {}
        for number in range(APPLICATIONS * OBJECTS // 100):
            self.add(f"app-{number:04}")

    def add(self, name: str) -> None:
        objects = Repository(name).objects(self.kept)
        live = Live(tuple(LiveObject(o.ref, o.hash, o.body, "uid", 1) for o in objects))
        self.before[name] = live, ApplicationState(name, seq=7)
        pushed = Repository(name, (3, 3, 4, *(3,) * (OBJECTS - 3)))
        pushed.objects(self.read)
        fact, now = ev.SyncStarted("c2", 2, "r", update=1, why="push"), datetime(2025, 1, 1, tzinfo=UTC)
        by = Principal("trueup", "rule")
        event = Event(stream=name, seq=8, time=now, by=by, cause="", version=1, fact=fact, prev="", hash="h")
        self.after[name] = pushed, event

    def a_pass(self, kept: dict[tuple[str, str], tuple[Manifest, ...]]) -> int:
        found = 0
        for name, (pushed, event) in self.after.items():
            live, state = self.before[name]
            fold_application(state, [event])
            found += len(plan(make_bundle(name, "c2", pushed.objects(kept)), live).changes)
        return found


def cpu_s(work: Callable[[], object]) -> float:
    """The least of many rounds, each after one that is not timed (a collection empties Python's free lists)."""
    times = []
    for _ in range(ROUNDS):
        gc.collect()
        work()
        begun = time.process_time()
        work()
        times.append(time.process_time() - begun)
    return min(times)


async def loop_s() -> tuple[dict[str, float], list[bytes]]:
    world = World()
    for number in range(APPLICATIONS):
        await world.add(number)
    gc.collect()
    gc.freeze()  # the world is not what is measured
    encoded = [orjson.dumps(o.body) for each in world.bundles.values() for o in each.objects]
    return await world.passes(), encoded


def main() -> dict[str, float]:
    loop, encoded = asyncio.run(loop_s())

    def decode() -> None:
        for data in encoded:
            orjson.loads(data)

    pushes = Pushes()
    gc.collect()
    gc.freeze()
    known = pushes.kept | pushes.read
    assert pushes.a_pass(known) == APPLICATIONS * OBJECTS // 100
    rows = {
        "orjson": cpu_s(decode),
        **loop,
        "planner: 1% of objects, one each": cpu_s(lambda: pushes.a_pass(known)),
        "planner: the same, YAML read too": cpu_s(lambda: pushes.a_pass(dict(pushes.kept))),
    }
    goals = {"nothing changed": 0.1, "1% changed": 0.25}
    for name, seconds in rows.items():
        goal = f"  (goal: at most {goals[name]})" if name in goals else ""
        print(f"{name:<34} {seconds * 1000:9.3f} ms  {seconds / rows['orjson']:6.3f}{goal}")
    found = {name: seconds / rows["orjson"] for name, seconds in rows.items()}
    return found | {f"{name} s": seconds for name, seconds in rows.items()}


if __name__ == "__main__":
    main()
