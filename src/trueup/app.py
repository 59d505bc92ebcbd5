"""The only wiring: from options and a state folder to a running loop; and the use-cases that need no loop.

Reads no environment by itself: the caller hands it over.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiohttp import web
from msgspec import Struct, structs

from trueup.agent.process import keep_memory_closed
from trueup.core import address, proof
from trueup.core import decide as d
from trueup.core import events as ev
from trueup.core.candidate import Undo, child_id
from trueup.core.check import check
from trueup.core.found import Found
from trueup.core.layout import CONTAINERS_CONF, Layout
from trueup.core.logins import logins
from trueup.core.manifests import Rendered
from trueup.core.mask import Masker
from trueup.core.model import (
    Finding,
    Judgement,
    Oid,
    Principal,
    Tree,
)
from trueup.core.reach import allowed
from trueup.core.render import Folders
from trueup.core.requests import Reply, Request
from trueup.core.running import LogQuery, Now
from trueup.drivers import forges, formats
from trueup.drivers.builders.auth import Credentials as RegistryAccounts
from trueup.drivers.builders.auth import auth_files
from trueup.drivers.builders.buildah import Buildah
from trueup.drivers.builders.outside import Outside, outside
from trueup.drivers.definitions import convention
from trueup.drivers.executors import container, process
from trueup.drivers.notify.webhook import Webhook, WebhookSettings
from trueup.drivers.renderers import program
from trueup.drivers.renderers.jq import Jq
from trueup.drivers.renderers.kept import Kept
from trueup.drivers.renderers.worker import Limits, Workers
from trueup.drivers.secrets.sops import Sops
from trueup.drivers.secrets.vault import FileVault
from trueup.drivers.sources import credentials_from, folder, signing_from
from trueup.drivers.sources.credentials import SshKey
from trueup.drivers.sources.git import Git, Settings
from trueup.drivers.sources.remotes import Fetched
from trueup.drivers.targets.host import Host
from trueup.drivers.targets.kubernetes.client import Client
from trueup.engine import owners
from trueup.engine.broker import Broker
from trueup.engine.builds import ConventionBuilds, Secrets
from trueup.engine.cluster import (
    Cluster,
    Delivered,
    Way,
    WayRefused,
    agreed,
    keep,
    met,
    nodes_here,
    open_cluster,
)
from trueup.engine.delivery import Delivery, RegistryInvalid, read_setting
from trueup.engine.housekeeping import Housekeeping
from trueup.engine.joblog import JobLog
from trueup.engine.loop import Loop, Parts, Watched, source_id
from trueup.engine.means import NONE, Means
from trueup.engine.pins import Pins
from trueup.engine.pipelines import Parts as PipelineParts
from trueup.engine.pipelines import Pipelines
from trueup.engine.registry import Registry
from trueup.engine.remotes import Beside
from trueup.engine.rendering import Rendering
from trueup.engine.runs import CandidateRuns, Subject
from trueup.engine.study import Check, Reading, RepositoryStudy, find, study
from trueup.engine.tell import Teller
from trueup.engine.tidy import Tidy
from trueup.engine.verbs import Verbs
from trueup.engine.webhooks import webhook_app
from trueup.ports import CommitState, Given, Notify, Prints, Renderer, SourceError, TargetDown, Vault
from trueup.store.state import State, open_state, vault_key

Work = Callable[[], Coroutine[Any, Any, None]]
SHIMS = Path(__file__).parent / "shims"
HOST = Way()
RIGHTS_S = 10.0
OWN = "TRUEUP_"  # secrets with this prefix are Trueup's own and never reach a pipeline
SOPS = "SOPS_"  # nor do keys: what a repository holds sealed is sealed for its pipelines too


class Wall:
    """The clock of this machine."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic_s(self) -> float:
        return time.monotonic()


class Options(Struct, frozen=True, kw_only=True):
    """What `trueup up` was told. `environ` is the process's environment: proxies, CA bundles, tokens, ssh-agent."""

    layout: Layout
    repositories: tuple[str, ...]  # paths or URLs; a second one is the configuration or the code of the first
    environ: Mapping[str, str]
    branch: str = ""  # "" the remote's own default
    environment: str = "default"
    poll_s: float = 15.0
    webhook: str = ""  # "127.0.0.1:9000": where forges' webhooks are taken
    undo: Undo | None = None  # None: as the repository's trueup.yaml says
    executor: str = "container"  # "container" | "process"
    stand_ins: bool = False  # Debian packages may stand in for a base image that cannot be pulled
    notify: str = ""  # URL of one webhook, told on failure and recovery
    way: Way = Way()  # where it runs


class NotUsable(Exception):
    """What was asked cannot be done; the message says what to do."""


# --- one look, no loop ---------------------------------------------------------------------------


async def read_folder(path: str, today: dt.date, rendering: Rendering, means: Means = NONE, way: Way = HOST) -> Reading:
    """The repository at `path` as it stands on disk, committed or not. Raises NotUsable, RendererDown, SourceError."""
    root = Path(path).resolve()
    try:
        tree, blobs = await asyncio.to_thread(folder.read, root, convention.wanted)
        given = Given("folder", Folders(tree), folder.contents(root, tree))
        own = await asyncio.to_thread(folder.addresses, root)
        return await study(given, blobs, root.name, checker(today, way.target), rendering, means, own)
    except OSError as error:
        raise NotUsable(str(error)) from error


def render_workers(environ: Mapping[str, str], size: int = 2) -> Workers:
    """A pool of render workers; a context. They start when they are needed and raise RendererDown when they cannot."""
    return Workers(program.find(environ.get(f"{OWN}RENDER", "")), size=size, limits=Limits(uid=program.WORKER_UID))


def checker(today: dt.date, target: str = "host") -> Check:
    def look(
        tree: Tree, blobs: Mapping[Oid, bytes], found: Found, rendered: Rendered, accepted: frozenset[str]
    ) -> Sequence[Finding]:
        return check(tree, blobs, found, rendered, today=today, target=target, accepted=accepted)

    return look


# --- the parts -----------------------------------------------------------------------------------


STATE_BYTES = (
    79  # of its path: below it stand sockets, whose names end at 107 bytes (unix(7)), HAProxy's own among them
)


def prepare_state(layout: Layout) -> None:
    """Make the state folder, for its owner alone, and the container tools' configuration. Blocking.

    Raises NotUsable."""
    root = Path(layout.root)
    if len(os.fsencode(layout.root)) > STATE_BYTES:
        raise NotUsable(
            f"the path of the state folder is longer than {STATE_BYTES} bytes, too long for the sockets in it: "
            f"name a shorter one with --state ({layout.root})"
        )
    if root.is_dir() and not Path(layout.keys).exists() and any(root.iterdir()):
        raise NotUsable(
            f"{layout.root} is not empty and no state folder of Trueup: give a folder of its own with --state"
        )
    root.mkdir(parents=True, exist_ok=True)
    root.chmod(0o711)  # other uids run steps in workspaces below it, and see nothing beside them
    for private in (layout.keys, layout.repositories, layout.logs):
        Path(private).mkdir(exist_ok=True, mode=0o700)
    Path(layout.containers_conf).write_text(CONTAINERS_CONF)


CA_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")
PIP_CONFS = ("/etc/pip.conf", "/etc/xdg/pip/pip.conf")


def way_out(environ: Mapping[str, str]) -> tuple[Outside, Path | None]:
    """What builds and steps need of this machine to reach the world: CA bundle, proxies, pip's settings."""
    given = environ.get("SSL_CERT_FILE", "")
    ca = next((Path(p) for p in (given, *CA_BUNDLES) if p and Path(p).is_file()), None)
    conf = next((Path(p).read_text(errors="replace") for p in PIP_CONFS if Path(p).is_file()), "")
    return outside(environ, ca, conf), ca


def as_seen_here(way: Outside) -> tuple[tuple[str, str], ...]:
    """The same variables for steps that run on this machine itself: what containers have mounted lies elsewhere."""
    here = {inside: path for path, inside in way.mounts}
    return tuple((name, here.get(value, value)) for name, value in way.env)


async def open_sources(options: Options, vault: FileVault) -> tuple[dict[str, Git], dict[str, Watched]]:
    """A source for each repository, with its branch and its role. Raises NotUsable, SourceError."""
    sources: dict[str, Git] = {}
    watched: dict[str, Watched] = {}
    for url in options.repositories:
        where = _absolute(url)
        name = address.parse(where)[0].name or "app"
        owner = owners.of(where)
        given = {**options.environ, **await vault.values(owner, options.environment)}
        settings = Settings(
            url=where,
            folder=Path(options.layout.repositories) / child_id("git", where).rpartition("/")[2],
            environment=options.environ,
            credentials=credentials_from(await asyncio.to_thread(_with_files, options.layout, owner, given)),
            signing=signing_from(given),
        )
        try:
            git = Git(settings)
        except ValueError as error:
            raise NotUsable(str(error)) from error
        branch = options.branch or await git.default_branch() or "main"
        id = source_id(git.address.url, branch)
        sources[id] = git
        watched[id] = Watched(git.address.url, branch, name, "both")
    if len(watched) > 1:
        watched = {id: structs.replace(w, role=await _role(sources[id], w)) for id, w in watched.items()}
        if "code" in {w.role for w in watched.values()} and "config" not in {w.role for w in watched.values()}:
            raise NotUsable("none of the repositories holds manifests: give the one that says what should run, too")
    return sources, watched


def _with_files(layout: Layout, owner: str, given: Mapping[str, str]) -> Mapping[str, str]:
    """A key or host keys that were kept as a secret, text and all, become files that ssh reads. Blocking."""
    files: dict[str, str] = {}
    for setting in (f"{OWN}GIT_SSH_KEY", f"{OWN}GIT_KNOWN_HOSTS"):
        text = given.get(setting, "").strip()
        if " " in text and not Path(text).exists():
            digest = child_id("file", owner, setting).rpartition("/")[2]
            path = Path(layout.keys) / digest
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            new = path.with_suffix(".new")
            new.touch(mode=0o600)
            new.write_text(text + "\n")
            files[setting] = str(new.replace(path))
    return {**given, **files}


def _absolute(url: str) -> str:
    try:
        found = address.parse(url)[0]
    except ValueError as error:
        raise NotUsable(str(error)) from error
    if found.scheme != "path":
        return url
    path = Path(url).expanduser().resolve()
    if not path.is_dir():
        raise NotUsable(f"{url}: no such folder; give a repository's path or its URL")
    return str(path)


def _addresses(url: str) -> tuple[str, ...]:
    """By what a definition may name the repository at `url`: a folder also by the addresses of its remotes."""
    return (url, *folder.addresses(Path(url))) if Path(url).is_dir() else (url,)


async def _role(source: Git, watched: Watched) -> str:
    """What a repository beside another one is for, by what its branch holds."""
    head = (await source.fetch()).get(watched.branch)
    if head is None:
        return "code"
    tree = await source.tree(head)
    blobs = await source.blobs(sorted({tree[path].oid for path in convention.wanted(tree)}))
    found, _, _ = await asyncio.to_thread(find, tree, blobs, watched.name)
    if found.applications:
        return "both" if found.dockerfiles else "config"
    return "code"


def commit_states(
    options: Options, watched: Mapping[str, Watched], secrets: Mapping[str, Mapping[str, str]]
) -> dict[str, CommitState]:
    """A forge for each source whose address or setting names one and for which there is a token."""
    states: dict[str, CommitState] = {}
    for id, each in watched.items():
        product = options.environ.get(f"{OWN}FORGE") or forges.detect(each.url) or ""
        own = secrets.get(id, {})
        token = own.get(f"{OWN}FORGE_TOKEN") or options.environ.get(f"{OWN}FORGE_TOKEN", "")
        if not product or not token:
            continue
        if product not in forges.FORGES:
            raise NotUsable(f"{OWN}FORGE is {product!r}: it is one of {', '.join(sorted(forges.FORGES))}")
        account = forges.Account(
            address=address.parse(each.url)[0],
            token=token,
            environment=options.environment,
            base_url=options.environ.get(f"{OWN}FORGE_URL", ""),
        )
        try:
            states[id] = forges.FORGES[product].report_to(account)
        except ValueError as error:
            raise NotUsable(f"commit states on {product}: {error} ({OWN}FORGE_URL)") from error
    return states


# --- the loop ------------------------------------------------------------------------------------


class App:
    """A running loop with everything around it. Implements `api.records.Serving`."""

    def __init__(self, options: Options, state: State, loop: Loop, target: Prints, runs: CandidateRuns) -> None:
        self.options, self.state, self.loop, self.target, self.runs = options, state, loop, target, runs
        self.stopped = asyncio.Event()
        self.webhook = ""
        self.beside: list[Work] = []  # what runs as long as the loop does
        self._verbs = Verbs(loop, self.stopped.set)

    async def run(self) -> None:
        """Until `stopped` is set or the task is cancelled. What runs on the target goes on.

        The remotes are asked for the right to push before anything is deployed; one that hangs is waited for no longer
        than RIGHTS_S, and told when it has answered."""
        async with asyncio.TaskGroup() as tasks:
            await self.loop.register()
            asking = tasks.create_task(self.rights())
            await asyncio.wait([asking], timeout=RIGHTS_S)
            running: list[asyncio.Task[None]] = [tasks.create_task(work()) for work in (self.loop.run, *self.beside)]
            await self.stopped.wait()
            for task in (asking, *running):
                task.cancel()

    async def perform(self, request: Request, by: Principal) -> Reply:
        return await self._verbs.perform(request, by)

    async def now(self) -> Now:
        judgements: dict[str, tuple[Judgement, ...]] = {}
        for id in self.loop.links.known_applications:
            with contextlib.suppress(TargetDown):
                judgements[id] = await self.target.judge(id)
        return Now(judgements, dict(self.loop.problems), os.getpid(), self.webhook, tuple(self.loop.parts.watched))

    async def logs(self, query: LogQuery) -> AsyncGenerator[bytes, None]:
        if query.run:
            async for chunk in self.runs.logs(query):
                yield chunk
        else:
            tail = query.tail or -1
            async for line in self.target.logs(query.application, query.object, follow=query.follow, tail=tail):
                yield line

    async def rights(self) -> None:
        """Ask once whether we may push."""
        for id, watched in self.loop.parts.watched.items():
            with contextlib.suppress(SourceError):
                refused = await self.loop.parts.sources[id].may_push(watched.branch)
                reason = refused.reason if refused else ""
                if (await self.loop.book.source(id)).rights != reason:
                    await self.loop.record(id, ev.SourceRights(reason))


@asynccontextmanager
async def open_app(options: Options, say: Callable[[str], None]) -> AsyncIterator[App]:
    """Open the state folder and everything the loop stands on; `say` hears what takes long.

    Raises NotUsable, SourceError, StateBusy, TargetDown, RegistryDown, and what a damaged state folder raises."""
    layout, clock = options.layout, Wall()
    if os.geteuid() != 0:
        raise NotUsable(
            "this starts containers, a bridge and a proxy on the machine: run it as root (sudo trueup up …)"
        )
    keep_memory_closed()
    await asyncio.to_thread(prepare_state, layout)
    options = structs.replace(options, way=await _settled(options))
    async with contextlib.AsyncExitStack() as stack:
        state = await stack.enter_async_context(open_state(layout, clock))
        vault = FileVault(layout.secrets, await asyncio.to_thread(vault_key, layout))
        await owners.settle(vault, await owners.watched_before(state.ledger))
        await owners.settle(vault, [_absolute(each) for each in options.repositories])
        sources, watched = await open_sources(options, vault)
        for source in sources.values():
            stack.push_async_callback(source.close)
        secrets = {id: await vault.values(owners.of(w.url), options.environment) for id, w in watched.items()}
        say(f"starting the {'agent and the ' if options.way.target == 'host' else ''}registry")
        registry = Registry(layout)
        await registry.start()
        way, ca = way_out(options.environ)
        builder = Buildah(
            layout,
            registry,
            credentials=accounts(options.environ),
            outside=way,
            environ=options.environ,
            stand_ins=options.stand_ins,
        )
        workers = await stack.enter_async_context(render_workers(options.environ))
        target = await stack.enter_async_context(_open_target(options, registry, builder, Jq(workers), say))
        renderer = Kept(workers, state.renders)
        beside: dict[str, Beside] = {}
        for id in watched:
            own, folder = {**options.environ, **secrets[id]}, f"{layout.remotes}/{id.rpartition('/')[2]}"
            fetched = await asyncio.to_thread(remotes, options, owners.of(watched[id].url), own, folder)
            stack.push_async_callback(fetched.close)
            beside[id] = Beside(fetched, Pins(Path(layout.remotes)), renderer)
        app = await _assemble(options, state, sources, watched, vault, target, builder, way, ca, renderer, beside)
        notify: Notify | None = None
        if options.notify:
            signing = next((s[f"{OWN}NOTIFY_SECRET"] for s in secrets.values() if f"{OWN}NOTIFY_SECRET" in s), "")
            notify = Webhook(WebhookSettings(url=options.notify, secret=signing))
        states = commit_states(options, watched, secrets)
        house = Housekeeping(layout, registry, builder, clock.now)
        app.beside = [
            Teller(app.loop.book, states, notify, options.environment).run,
            Tidy(app.loop.book, state.records, state.records, house).run,
        ]
        if options.webhook:
            hooks = [s[f"{OWN}WEBHOOK_SECRET"] for s in secrets.values() if f"{OWN}WEBHOOK_SECRET" in s]
            app.webhook = await stack.enter_async_context(take_webhooks(options.webhook, hooks, app.loop))
        yield app


async def _settled(options: Options) -> Way:
    """The way with the cluster that answers, remembered for other commands. Raises NotUsable, TargetDown."""
    try:
        way = await met(options.way, options.environ) if options.way.target == "kubernetes" else options.way
        await asyncio.to_thread(keep, options.layout, await asyncio.to_thread(agreed, options.layout, way))
    except WayRefused as error:
        raise NotUsable(str(error)) from error
    return way


@asynccontextmanager
async def _open_target(
    options: Options, registry: Registry, builder: Buildah, jq: Jq, say: Callable[[str], None]
) -> AsyncIterator[Prints]:
    """Where it runs. Raises NotUsable, TargetDown."""
    layout, way = options.layout, options.way
    if way.target == "host":
        host = Host(layout)
        try:
            await host.ensure()
            yield host
        finally:
            await host.close()
        return
    say(f"watching the cluster at {way.server}, namespace {way.namespace}")
    async with open_cluster(layout, way, options.environ, delivery(way, builder, registry.start), jq) as cluster:
        yield cluster


def delivery(way: Way, builder: Buildah, embedded: Callable[[], Awaitable[str]]) -> Callable[[Client], Delivery]:
    """How images get to a cluster's nodes; `embedded` tells the embedded registry's address. Raises NotUsable."""
    try:
        setting = read_setting(way.image_registry) if way.image_registry else None
    except RegistryInvalid as error:
        raise NotUsable(str(error)) from error
    return lambda client: Delivery(setting, builder.index, builder, embedded, nodes_here(client))


def looking(layout: Layout, way: Way, environ: Mapping[str, str]) -> Callable[[Client], Delivery]:
    """The same for a command that only looks: it builds nothing and starts no registry. Raises NotUsable."""
    registry = Registry(layout)

    async def embedded() -> str:
        return registry.known_address() or "127.0.0.1"

    return delivery(way, Buildah(layout, registry, credentials=accounts(environ)), embedded)


def accounts(environ: Mapping[str, str]) -> RegistryAccounts:
    """The registry accounts of whoever runs this."""
    return RegistryAccounts(auth_files(environ, Path(environ.get("HOME", "/root"))))


async def _assemble(
    options: Options,
    state: State,
    sources: Mapping[str, Git],
    watched: Mapping[str, Watched],
    vault: FileVault,
    target: Prints,
    builder: Buildah,
    way: Outside,
    ca: Path | None,
    renderer: Renderer,
    beside: Mapping[str, Beside],
) -> App:
    layout, clock = options.layout, Wall()
    names = {id: w.name for id, w in watched.items()}
    study = RepositoryStudy(
        sources,
        names,
        {id: f"refs/heads/{w.branch}" for id, w in watched.items()},
        checker(clock.now().date(), options.way.target),
        renderer=renderer,
        unsealer=unsealer(options, vault, {id: owners.of(w.url) for id, w in watched.items()}),
        beside=beside,
        namespace=options.way.namespace or "default",
        addresses={id: _addresses(w.url) for id, w in watched.items()},
    )
    planning = Delivered(study, target) if isinstance(target, Cluster) else study

    def open_log(candidate: str, name: str, secrets: Mapping[str, str]) -> JobLog:
        return JobLog(
            Path(layout.logs) / candidate.rpartition("/")[2] / f"{name}.log", Masker(secrets.values()), clock.now
        )

    async def anchor(last: str) -> str:
        return proof.trailer_value(await state.ledger.checkpoint(last), state.signer.sign)

    secrets = pipeline_secrets(vault)
    runs = CandidateRuns(
        Pipelines(_pipeline_parts(options, state, builder, way, ca)),
        {id: Subject(sources[id], w.url, w.name, w.branch) for id, w in watched.items()},
        secrets,
        options.environment,
    )
    await runs.sweep()
    parts = Parts(
        ledger=state.ledger,
        records=state.records,
        sources=sources,
        watched=watched,
        target_name=options.way.target,
        target=target,
        study=study,
        stating=study,
        planning=planning,
        runs=runs,
        builds=ConventionBuilds(
            builder,
            sources,
            {id: owners.of(w.url) for id, w in watched.items()},
            Path(layout.workspaces),
            open_log,
            secrets,
            options.environment,
        ),
        clock=clock,
        policy=d.Policy(undo=options.undo),
        environment=options.environment,
        poll_s=options.poll_s,
        anchor=anchor,
    )
    return App(options, state, Loop(parts), target, runs)


def _pipeline_parts(options: Options, state: State, builder: Buildah, way: Outside, ca: Path | None) -> PipelineParts:
    layout = options.layout
    env = way.env
    containers = container.Containers(
        container.Settings(
            state=layout.id,
            containers_conf=Path(layout.containers_conf),
            shims=SHIMS,
            ca_bundle=ca,
            env=env,
            mounts=tuple((Path(here), there) for here, there in way.mounts),
        ),
        builder.ensure_runner,
        builder.ensure_base,
    )
    processes = process.Processes(process.Settings(shims=SHIMS, env=as_seen_here(way), ca_bundle=ca))
    return PipelineParts(
        layout=layout,
        ledger=state.ledger,
        records=state.records,
        clock=Wall(),
        executors={"container": containers, "process": processes},
        broker=Broker(builder),
        dialects=formats.DIALECTS,
        executor=options.executor,
        stand_ins=options.stand_ins,
    )


def pipeline_secrets(vault: FileVault) -> Secrets:
    """The vault as pipelines and builds see it: without Trueup's own secrets and the keys of what Git holds sealed."""

    async def values(repository: str, environment: str) -> Mapping[str, str]:
        every = await vault.values(repository, environment)
        return {name: value for name, value in every.items() if not name.startswith((OWN, SOPS))}

    return values


def remotes(options: Options, owner: str, given: Mapping[str, str], folder: str) -> Fetched:
    """What fetches for one repository, with the logins that were kept for it (`given`). Its clones are its own, in
    `folder`: one repository reads nothing by another's login. Blocking. Raises NotUsable."""
    try:
        reach = allowed(options.environ.get(f"{OWN}REMOTE_ALLOW", ""))
        kept = logins(given.get(f"{OWN}REMOTE_LOGINS", ""))
    except ValueError as error:
        raise NotUsable(f"{OWN}REMOTE_ALLOW or {OWN}REMOTE_LOGINS: {error}") from None
    given = _with_files(options.layout, owner, given)
    key = credentials_from({name: text for name, text in given.items() if name != f"{OWN}GIT_TOKEN"})
    return Fetched(Path(folder), options.environ, reach, kept, key if isinstance(key, SshKey) else None)


def unsealer(options: Options, vault: Vault, owned: Mapping[str, str]) -> Sops:
    """What opens files that SOPS encrypted: with the repository's own keys, else those of the environment. `owned`:
    a source's id → what its secrets are kept under."""

    async def values(source: str) -> Mapping[str, str]:
        return {**options.environ, **await vault.values(owned[source], options.environment)}

    named = options.environ.get(f"{OWN}SOPS", "")
    return Sops(program.find(named, program.SOPS_PROGRAM), values, uid=program.WORKER_UID)


@asynccontextmanager
async def take_webhooks(where: str, secrets: Sequence[str], loop: Loop) -> AsyncIterator[str]:
    """Serve POST /hooks at "host:port"; the address that came of it."""
    if not secrets:
        raise NotUsable(f"webhooks need a secret: `trueup secret set {OWN}WEBHOOK_SECRET`, the same as at the forge")
    address_text, _, port = where.rpartition(":")
    if not port.isdigit():
        raise NotUsable(f"--webhook {where!r}: give HOST:PORT, e.g. 0.0.0.0:9000")

    def wake(push: forges.Push) -> None:
        for id, watched in loop.parts.watched.items():
            if any(address.same_repository(watched.url, url) for url in push.urls):
                loop.queue.wake(id)

    runner = web.AppRunner(webhook_app(lambda: secrets, wake))
    await runner.setup()
    site = web.TCPSite(runner, address_text or "127.0.0.1", int(port))
    try:
        try:
            await site.start()
        except OSError as error:
            raise NotUsable(f"--webhook {where}: {error.strerror or error}; choose another port") from error
        yield f"http://{address_text or '127.0.0.1'}:{port}/hooks"
    finally:
        await runner.cleanup()
