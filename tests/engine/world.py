"""A world to run the loop in: a real Git remote, a memory ledger and target, pipelines whose outcome the commit states.

A commit's file `pipeline` says how its pipeline ends ("pass", "fail", "error"); `app/main` is what runs: a line
"crash" makes its replicas crash, "sick" makes the world (not the change) hold them, "sick, nothing serves" too.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from trueup.core import decide as d
from trueup.core import events as ev
from trueup.core.candidate import ApplicationState, CandidateState, SourceState, child_id
from trueup.core.images import Unmatched, bind, splice, splices_by_file
from trueup.core.model import (
    Action,
    BuiltImage,
    Bundle,
    Change,
    Fault,
    Health,
    Judgement,
    Live,
    Object,
    Place,
    Plan,
)
from trueup.core.pipeline import Graph
from trueup.core.reference import split
from trueup.core.settings import FILE
from trueup.core.settings import Settings as RepositorySettings
from trueup.core.settings import read as read_settings
from trueup.drivers.renderers.plain import render
from trueup.drivers.sources.git import Git, Settings
from trueup.drivers.sources.memory import MemoryRemote, MemorySource
from trueup.drivers.targets.memory import Memory
from trueup.engine.application import application_id
from trueup.engine.book import TRUEUP
from trueup.engine.candidate import Buildable, Look
from trueup.engine.loop import Loop, Parts, Watched, source_id
from trueup.ports import Conflict, Ledger, Records, Source
from trueup.store.keys import Signer
from trueup.store.memory import MemoryLedger, MemoryRecords

DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
        - name: web
          image: example.org/acme/web:latest
"""


class TestClock:
    __test__ = False

    def __init__(self) -> None:
        self.time = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        self.time += timedelta(milliseconds=1)
        return self.time

    def monotonic_s(self) -> float:
        return self.time.timestamp()


def git(cwd: Path, *args: str, stdin: str | None = None, check: bool = True) -> str:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(cwd),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "Ann",
        "GIT_AUTHOR_EMAIL": "ann@example.org",
        "GIT_COMMITTER_NAME": "Ann",
        "GIT_COMMITTER_EMAIL": "ann@example.org",
        "GIT_AUTHOR_DATE": "2026-01-01T00:00:00Z",
        "GIT_COMMITTER_DATE": "2026-01-01T00:00:00Z",
    }
    done = subprocess.run(
        ["git", "-c", "init.defaultBranch=main", *args],
        cwd=cwd,
        env=environment,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    if check and done.returncode:
        raise AssertionError(f"git {' '.join(args)}: {done.stderr}")
    return done.stdout.strip()


class Person:
    """Somebody with a clone of a remote, who pushes."""

    def __init__(self, root: Path, name: str = "origin") -> None:
        self.remote = root / f"{name}.git"
        self.clone = root / name
        root.mkdir(parents=True, exist_ok=True)
        git(root, "init", "-q", "--bare", str(self.remote))
        git(root, "clone", "-q", str(self.remote), str(self.clone))

    def commit(self, files: Mapping[str, str | None], message: str = "change") -> str:
        for path, text in files.items():
            file = self.clone / path
            if text is None:
                file.unlink()
            else:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text)
        git(self.clone, "add", "-A")
        git(self.clone, "commit", "-q", "--allow-empty", "-m", message)
        return git(self.clone, "rev-parse", "HEAD")

    def pull(self) -> None:
        git(self.clone, "pull", "-q", "--rebase", "origin", "main")

    def push(self, files: Mapping[str, str | None], message: str = "change", *, pull: bool = True) -> str:
        if pull and git(self.clone, "ls-remote", "origin", "main"):
            self.pull()
        self.commit(files, message)
        git(self.clone, "push", "-q", "origin", "HEAD:main")
        return git(self.clone, "rev-parse", "HEAD")

    def head(self, branch: str = "main") -> str:
        return git(self.remote, "rev-parse", "--verify", "-q", branch, check=False)

    def show(self, path: str, at: str = "main") -> str:
        return git(self.remote, "show", f"{at}:{path}")

    def subjects(self, branch: str = "main") -> list[str]:
        return git(self.remote, "log", "--format=%s", branch).splitlines()

    def hook(self, script: str) -> None:
        file = self.remote / "hooks" / "pre-receive"
        file.write_text("#!/bin/sh\n" + script)
        file.chmod(0o755)

    def unhook(self) -> None:
        (self.remote / "hooks" / "pre-receive").unlink()


class WorldStudy:
    """Study, Stating and Planning over manifests under config/."""

    def __init__(self, sources: Mapping[str, Source], book: Callable[[], object]) -> None:
        self.sources, self._book = sources, book

    async def _objects(self, source: Source, commit: str) -> tuple[Object, ...]:
        tree = await source.tree(commit)
        paths = [p for p in tree if p.startswith("config/") and p.endswith(".yaml")]
        blobs = await source.blobs([tree[p].oid for p in paths])
        return render(tree, blobs, paths).objects

    async def look(self, source: str, commit: str, before: str = "") -> Look:
        tree = await self.sources[source].tree(commit)
        objects = await self._objects(self.sources[source], commit)
        graphs = (Graph(name="test", place=Place("pipeline"), dialect="none", jobs=()),) if "pipeline" in tree else ()
        repository = split(objects[0].images[0].text)[0] if objects and objects[0].images else "example.org/acme/web"
        buildable = (Buildable(repository, "", "app/Dockerfile", "app"),) if "app/main" in tree else ()
        settings = await self._settings(self.sources[source], commit)
        return Look((), objects, graphs, buildable, undo=settings.undo_here)

    async def _settings(self, source: Source, commit: str) -> RepositorySettings:
        tree = await source.tree(commit)
        if FILE not in tree:
            return RepositorySettings()
        return read_settings((await source.blobs([tree[FILE].oid]))[tree[FILE].oid])[0]

    async def graphs(self, source: str, commit: str) -> Sequence[Graph]:
        return (await self.look(source, commit)).triggered

    async def stated(self, source: Source, commit: str) -> Mapping[str, str]:
        objects = await self._objects(source, commit)
        return {split(u.text)[0]: split(u.text)[2] for o in objects for u in o.images}

    async def edits(self, source: Source, commit: str, images: Sequence[BuiltImage]) -> Mapping[str, bytes]:
        bound = bind(await self._objects(source, commit), images)
        if isinstance(bound, Unmatched):
            return {}
        tree = await source.tree(commit)
        result = {}
        for file, splices in splices_by_file(bound.splices).items():
            data = (await source.blobs([tree[file].oid]))[tree[file].oid]
            new = splice(data, splices)
            if new != data:
                result[file] = new
        return result

    async def bundle(self, application: ApplicationState, candidate: CandidateState) -> Bundle:
        objects = await self._objects(self.sources[candidate.source], candidate.commit)
        bound = bind(objects, tuple(candidate.images.values()))
        assert not isinstance(bound, Unmatched)
        key = hashlib.sha256(repr(objects).encode()).hexdigest()
        settings = await self._settings(self.sources[candidate.source], candidate.commit)
        return Bundle(application.id, candidate.id, bound.objects, key, drift=settings.drift)

    def plan(self, desired: Bundle, live: Live, approved: frozenset[str]) -> Plan:
        have = {o.ref: o.hash for o in live.objects}
        want = {o.ref: o.hash for o in desired.objects}
        changes = [
            Change(Action.UPDATE if r in have else Action.CREATE, r, have.get(r, ""), h)
            for r, h in want.items()
            if have.get(r) != h
        ]
        changes += [Change(Action.DELETE, r, h, "") for r, h in have.items() if r not in want]
        return Plan(tuple(changes))

    def approval(self, plan: Plan) -> str:
        return ""


class WorldRuns:
    """Pipelines that end as the commit says. `gates` lets a test hold one until it says so."""

    def __init__(self, ledger: Ledger, sources: Mapping[str, Source], clock: TestClock) -> None:
        self.ledger, self.sources, self.clock = ledger, sources, clock
        self.gates: dict[str, asyncio.Event] = {}
        self.started: list[str] = []
        self.cancelled: list[str] = []

    async def run(self, run: str, candidate: CandidateState, graph: Graph) -> None:
        events = await self.ledger.read(run)
        by = TRUEUP
        if not events:
            fact = ev.RunCreated(candidate.id, graph.name, graph.place.file, "push")
            events = await self.ledger.append(run, [ev.Draft(fact=fact, by=by)], expect=0)
        self.started.append(candidate.commit)
        source = self.sources[candidate.source]
        tree = await source.tree(candidate.commit)
        blob = tree["pipeline"].oid
        text = (await source.blobs([blob]))[blob].decode().strip()
        gate = self.gates.get(candidate.commit)
        if gate is not None:
            await gate.wait()
        outcome = {"pass": "success", "fail": "failure", "error": "error"}[text.split()[0]]
        reason = "" if outcome == "success" else f"pipeline says {text}"
        finish = ev.RunFinished(outcome, reason, 1.0)
        if not isinstance((await self.ledger.read(run))[-1].fact, ev.RunFinished):
            await self.ledger.append(run, [ev.Draft(fact=finish, by=by)], expect=len(await self.ledger.read(run)))

    async def outcome(self, run: str) -> d.RunSeen:
        for event in await self.ledger.read(run):
            if isinstance(event.fact, ev.RunFinished):
                return d.RunSeen(run, event.fact.outcome, event.fact.reason)
        return d.RunSeen(run)

    async def images(self, run: str) -> Sequence[tuple[BuiltImage, bool]]:
        return ()

    async def cancel(self, run: str, reason: str) -> bool:
        self.cancelled.append(run)
        events = await self.ledger.read(run)
        if events and not isinstance(events[-1].fact, ev.RunFinished):
            finish = ev.RunFinished("cancelled", reason)
            await self.ledger.append(run, [ev.Draft(fact=finish, by=TRUEUP)], expect=len(events))
        return False


class WorldBuilds:
    """The digest is the content of app/main."""

    def __init__(self, sources: Mapping[str, Source]) -> None:
        self.sources = sources
        self.built: list[str] = []  # one entry a real build
        self.content: dict[str, str] = {}  # digest → what runs

    async def build(self, candidate: CandidateState, what: Buildable) -> tuple[BuiltImage, bool]:
        source = self.sources[candidate.source]
        tree = await source.tree(candidate.commit)
        blob = tree["app/main"].oid
        text = (await source.blobs([blob]))[blob].decode()
        key = hashlib.sha256(text.encode()).hexdigest()
        digest = f"sha256:{key}"
        await asyncio.sleep(0)
        cached = digest in self.content
        if not cached:
            self.built.append(digest)
        self.content[digest] = text
        return BuiltImage(what.repository, text.split()[0], digest, key, Place(what.dockerfile)), cached


class World:
    """One code-and-configuration repository, or `split` in two."""

    def __init__(
        self,
        root: Path,
        *,
        split: bool = False,
        policy: d.Policy | None = None,
        remotes: Sequence[MemoryRemote] = (),
    ) -> None:
        """With `remotes` no Git program is used: one for a single repository, two (code, configuration) for `split`."""
        self.root = root
        self.remotes = remotes
        self.policy = policy or d.Policy()
        self.clock = TestClock()
        self.ledger: Ledger = MemoryLedger(self.clock, Signer(b"s" * 32))
        self.records: Records = MemoryRecords(self.clock, b"k" * 32, self.ledger)
        self.target = Memory(self._behave)
        self.sources: dict[str, Git | MemorySource] = {}
        self.watched: dict[str, Watched] = {}
        roles = ("code", "config") if split else ("both",)
        if remotes:
            self._watch_memory(remotes, roles)
        else:
            self._watch_git(roles)
        self.code_id = next(iter(self.watched))
        self.source = list(self.watched)[-1]
        self.application = application_id(self.source, "default")
        self.runs = WorldRuns(self.ledger, self.sources, self.clock)
        self.builds = WorldBuilds(self.sources)
        self.study = WorldStudy(self.sources, lambda: None)
        self.loop: Loop | None = None
        self._task: asyncio.Task[None] | None = None

    def _watch_git(self, roles: Sequence[str]) -> None:
        self.person = Person(self.root, "web")
        self.config = Person(self.root, "web-config") if len(roles) == 2 else self.person
        for person, role in zip((self.person, self.config), roles, strict=False):
            url, folder = str(person.remote), self.root / "state" / person.remote.name
            id = source_id(url, "main")
            self.sources[id] = Git(Settings(url=url, folder=folder, environment=dict(os.environ)))
            self.watched[id] = Watched(url, "main", person.clone.name, role)

    def _watch_memory(self, remotes: Sequence[MemoryRemote], roles: Sequence[str]) -> None:
        for number, (remote, role) in enumerate(zip(remotes, roles, strict=True)):
            id = source_id(f"memory:{number}", "main")
            self.sources[id] = MemorySource(remote)
            self.watched[id] = Watched(f"memory:{number}", "main", f"web{number}", role)

    def _behave(self, object: Object) -> Judgement:
        for use in object.images:
            text = self.builds.content.get(split(use.text)[2], "")
            if "crash" in text:
                return Judgement(
                    object.ref, Health.DEGRADED, "0/3 ready; CrashLoopBackOff: exit 1", Fault.CHANGE, ("Traceback",)
                )
            if "sick" in text:
                down = "nothing serves" in text
                return Judgement(object.ref, Health.DEGRADED, "registry does not answer", Fault.WORLD, down=down)
            if "slow" in text:
                return Judgement(object.ref, Health.PROGRESSING, "1/3 ready")
        return Judgement(object.ref, Health.HEALTHY)

    def make_loop(self) -> Loop:
        return Loop(
            Parts(
                ledger=self.ledger,
                records=self.records,
                sources=self.sources,
                watched=self.watched,
                target_name="memory",
                target=self.target,
                study=self.study,
                stating=self.study,
                planning=self.study,
                runs=self.runs,
                builds=self.builds,
                clock=self.clock,
                policy=self.policy,
                poll_s=3600,
            )
        )

    async def __aenter__(self) -> World:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
        for source in self.sources.values():
            if isinstance(source, Git):
                await source.close()

    async def start(self) -> None:
        self.target._waiters.clear()  # of a loop that was killed
        self.loop = self.make_loop()
        self._task = asyncio.create_task(self.loop.run())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def look(self) -> None:
        assert self.loop is not None
        for id in self.watched:
            self.loop.queue.wake(id)

    async def settle(self) -> None:
        """Until nothing runs and nothing is ready."""
        self.look()
        await self.until(lambda: True)

    async def until(self, condition: Callable[[], bool], limit_s: float = 20.0) -> None:
        """Until the loop is idle and the condition holds."""
        assert self.loop is not None and self._task is not None
        async with asyncio.timeout(limit_s):
            quiet = 0  # over memory nothing waits for a thread or a process
            wait_s, enough = (0.0, 10) if self.remotes else (0.002, 3)
            while quiet < enough:
                if self._task.done():
                    self._task.result()
                busy = not self.loop.queue.idle or any(not self._gated(k) for k in self.loop._beside)
                quiet = 0 if busy or not condition() else quiet + 1
                await asyncio.sleep(wait_s)
        assert not self.loop.problems, self.loop.problems

    def _gated(self, key: str) -> bool:
        return key.startswith("run/") and any(not g.is_set() for g in self.runs.gates.values())

    async def pushed(self, files: Mapping[str, str | None], message: str = "change", **kw: bool) -> str:
        commit = self.person.push(files, message, **kw)
        await self.settle()
        return commit

    # --- what a test asks ------------------------------------------------------------------------

    async def source_state(self, id: str = "") -> SourceState:
        assert self.loop is not None
        return await self.loop.book.source(id or self.source)

    async def app(self) -> ApplicationState:
        assert self.loop is not None
        return await self.loop.book.application(self.application)

    async def candidate(self, commit: str, id: str = "") -> CandidateState:
        assert self.loop is not None
        source = await self.source_state(id)
        found = [c for c in source.candidates.values() if c.commit == commit]
        assert found, f"no Candidate of {commit}"
        return await self.loop.book.candidate(found[-1].id)

    async def record_rollback(self, content: str) -> None:
        """A person asks for the Candidate that ran `content`."""
        assert self.loop is not None
        digest = next(k for k, v in self.builds.content.items() if v == content)
        state = await self.source_state()
        for seen in state.candidates.values():
            candidate = await self.loop.book.candidate(seen.id)
            if any(i.digest == digest for i in candidate.images.values()):
                await self.loop.record(self.source, ev.SourceRollback(candidate.id, "too slow"))
        await self.settle()

    def running(self) -> str:
        """The content of what runs."""
        for object in self.target.objects.get(self.application, {}).values():
            for use in object.images:
                return self.builds.content.get(split(use.text)[2], use.text)
        return ""

    async def facts(self, kind: type[ev.Fact]) -> list[ev.Fact]:
        found = []
        for stream in await self.ledger.heads():
            found += [e.fact for e in await self.ledger.read(stream) if isinstance(e.fact, kind)]
        return found


FIRST = {"config/web.yaml": DEPLOYMENT, "app/main": "v1\n", "app/Dockerfile": "FROM scratch\n", "pipeline": "pass\n"}

__all__ = ["DEPLOYMENT", "FIRST", "Conflict", "Person", "World", "child_id", "git"]
