"""A Kubernetes cluster as what a state folder rolls out to: opened from what a person said, remembered for other
commands, and refused when the folder has rolled out elsewhere before.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import orjson
from msgspec import Struct, structs

from trueup.core.bundle import make_bundle
from trueup.core.candidate import ApplicationState, CandidateState
from trueup.core.hooks import hooks_of
from trueup.core.kubeconfig import Access, ConfigFault
from trueup.core.layout import Layout
from trueup.core.mask import Masker
from trueup.core.model import Bundle, DriftRules, Judgement, Live, Object, Plan, Ref
from trueup.core.objects import order, secret_values
from trueup.drivers.targets.kubernetes import facts
from trueup.drivers.targets.kubernetes.applyset import Parents
from trueup.drivers.targets.kubernetes.client import ApiError, Client
from trueup.drivers.targets.kubernetes.dryrun import Tried, dry_run
from trueup.drivers.targets.kubernetes.facts import Node
from trueup.drivers.targets.kubernetes.logs import logs
from trueup.drivers.targets.kubernetes.owned import applyset_id
from trueup.drivers.targets.kubernetes.reach import reach
from trueup.drivers.targets.kubernetes.records import Applied, Records, key_of
from trueup.drivers.targets.kubernetes.target import Kubernetes, Settings
from trueup.engine.delivery import Delivery, own_addresses
from trueup.engine.planning import Planning
from trueup.ports import Expressions, Moved

AT_ONCE = 8  # dry runs under way
HOLDING = frozenset({"PersistentVolumeClaim", "PersistentVolume", "Namespace", "CustomResourceDefinition"})


class Way(Struct, frozen=True, kw_only=True):
    """Which target, and how a cluster is reached: what `trueup up` was told, and which cluster answered."""

    target: str = "host"  # "host" | "kubernetes"
    kubeconfig: str = ""
    context: str = ""
    namespace: str = ""
    namespaced: bool = False  # only this namespace is watched and written
    image_registry: str = ""
    cluster: str = ""  # its identity
    server: str = ""  # for people


class WayRefused(Exception):
    """This cannot be the folder's target; the message says why and what to do."""


def kept(layout: Layout) -> Way:
    """What `trueup up` rolled out to from this folder; one machine when nothing says otherwise. Blocking."""
    try:
        return msgspec.json.decode(Path(layout.way).read_bytes(), type=Way)
    except FileNotFoundError:
        return Way()
    except (OSError, msgspec.MsgspecError) as error:
        raise WayRefused(f"{layout.way} cannot be read: {error}; `trueup up` writes it anew once removed") from error


def keep(layout: Layout, way: Way) -> None:
    """Blocking."""
    path = Path(layout.way)
    new = path.with_suffix(".new")
    new.write_bytes(msgspec.json.format(msgspec.json.encode(way)))
    new.replace(path)


def agreed(layout: Layout, wanted: Way) -> Way:
    """`wanted`, when nothing from this folder runs elsewhere. Blocking. Raises WayRefused."""
    before = kept(layout)
    used = Path(layout.way).exists() or Path(layout.agent).is_dir()
    if not used:
        return wanted
    where = {"host": "this machine", "kubernetes": f"the cluster at {before.server}"}
    advice = "give this one a folder of its own with --state, or end the other first (trueup down --data)"
    if before.target != wanted.target:
        now = {"host": "this machine", "kubernetes": "a cluster"}[wanted.target]
        raise WayRefused(f"{layout.root} rolls out to {where[before.target]}, not to {now}: {advice}")
    if before.cluster and before.cluster != wanted.cluster:
        raise WayRefused(f"{layout.root} rolls out to {where['kubernetes']}; {wanted.server} is another one: {advice}")
    return wanted


def access(way: Way, environ: Mapping[str, str]) -> Access:
    """Blocking. Raises WayRefused."""
    try:
        return reach(environ, kubeconfig=way.kubeconfig, context=way.context, namespace=way.namespace)
    except ConfigFault as error:
        raise WayRefused(str(error)) from error


async def met(way: Way, environ: Mapping[str, str]) -> Way:
    """The way with the cluster that answers there. Raises WayRefused, TargetDown."""
    found = await asyncio.to_thread(access, way, environ)
    client = Client(found, environ)
    try:
        cluster = await facts.identity(client)
    finally:
        await client.close()
    file = str(Path(way.kubeconfig).absolute()) if way.kubeconfig else ""
    return structs.replace(way, kubeconfig=file, namespace=found.namespace, cluster=cluster, server=found.server)


@asynccontextmanager
async def open_cluster(
    layout: Layout,
    way: Way,
    environ: Mapping[str, str],
    deliver: Callable[[Client], Delivery],
    expressions: Expressions | None = None,
) -> AsyncIterator[Cluster]:
    """The cluster, watched; `expressions` for whoever changes something there. Raises WayRefused, TargetDown."""
    found = await asyncio.to_thread(access, way, environ)
    settings = Settings(access=found, environ=environ, records=layout.applied, expressions=expressions)
    if way.namespaced:
        settings = structs.replace(settings, namespaces=(found.namespace,), home=found.namespace)
    target = Kubernetes(settings)
    try:
        await target.start()
        yield Cluster(target, deliver(target.client))
    finally:
        await target.close()


def to_go(ref: Ref, *, data: bool) -> bool:
    """Whether leaving a cluster deletes this; `data`: what holds other things, too."""
    return data or ref.kind not in HOLDING


async def applied(layout: Layout) -> tuple[tuple[str, Ref], ...]:
    """(application, object) of everything that was applied from this folder, no cluster asked."""
    records = Records(layout.applied)
    await records.load()
    try:
        return tuple((each.application, each.ref) for each in records.applied.values())
    finally:
        await records.close()


async def pulls_here(layout: Layout, addresses: Collection[str]) -> tuple[Ref, ...]:
    """The applied objects whose images come from the embedded registry at one of these addresses."""
    records = Records(layout.applied)
    await records.load()
    try:
        bodies = await records.bodies(list(records.applied))
    finally:
        await records.close()
    texts = {key: orjson.dumps(each.body).decode() for key, each in bodies.items()}
    return tuple(records.applied[k].ref for k, text in texts.items() if any(f'"{a}/' in text for a in addresses))


class Cluster:
    """A `ports.Target` whose images are brought to the nodes before they are named there; with its pods' logs."""

    def __init__(self, target: Kubernetes, delivery: Delivery) -> None:
        self.target, self.delivery = target, delivery

    # --- ports.Target

    async def read(self, application: str) -> Live:
        return await self.target.read(application)

    async def drift_rules(self, application: str, rules: DriftRules) -> None:
        await self.target.drift_rules(application, rules)

    async def apply(
        self, application: str, candidate: str, objects: Sequence[Object], accepted: Sequence[str] = ()
    ) -> None:
        await self.delivery.bring(objects)
        await self.target.apply(application, candidate, objects, accepted)

    async def delete(self, application: str, refs: Sequence[Ref]) -> None:
        await self.target.delete(application, refs)

    async def judge(self, application: str) -> tuple[Judgement, ...]:
        judged = await self.target.judge(application)
        if not any(each.excerpt or each.reason for each in judged):
            return judged
        masker = await self._masker(application)
        return tuple(
            structs.replace(j, reason=masker.text(j.reason), excerpt=tuple(masker.text(line) for line in j.excerpt))
            for j in judged
        )

    def watch(self, after: int = 0) -> AsyncIterator[Moved]:
        return self.target.watch(after)

    # --- beside

    async def logs(
        self, application: str, ref: str = "", *, follow: bool = False, tail: int = -1
    ) -> AsyncIterator[bytes]:
        """See `drivers.targets.kubernetes.logs`; values of the application's Secrets are masked."""
        masker = await self._masker(application)
        refs = [record.ref for record in self._held(application)]
        async for line in logs(self.target.client, refs, ref, follow=follow, tail=tail):
            yield masker.mask(line)

    async def trials(self, application: str, objects: Sequence[Object]) -> Mapping[Ref, Tried]:
        """What the API server would make of these objects, nothing changed. Raises TargetDown."""
        target = self.target
        known = {record.ref for record in self._held(application)}
        new = [each for each in objects if each.ref not in known]
        part_of = applyset_id(Parents.name_of(application), target.settings.home)
        limit = asyncio.Semaphore(AT_ONCE)

        async def one(each: Object) -> Tried:
            async with limit:
                others = [o for o in new if o.ref != each.ref]
                return await dry_run(target.client, target.discovery, target.settings.account, part_of, each, others)

        return dict(zip((o.ref for o in objects), await asyncio.gather(*map(one, objects)), strict=True))

    def _held(self, application: str) -> list[Applied]:
        """What was applied of it, its hooks included."""
        records = self.target.records
        keys = {*records.of.get(application, ()), *records.of.get(hooks_of(application), ())}
        return [records.applied[key] for key in sorted(keys)]

    async def _masker(self, application: str) -> Masker:
        secrets = [key_of(record.ref) for record in self._held(application) if record.ref.kind == "Secret"]
        bodies = await self.target.records.bodies(secrets) if secrets else {}
        return Masker(value for each in bodies.values() for value in secret_values(each.body))

    async def named(self, made: Bundle) -> Bundle:
        """The same, each image that was built here under the name that nodes pull it by. Raises TargetDown."""
        named = await self.delivery.named((*made.objects, *made.hooks))
        return structs.replace(make_bundle(made.application, made.candidate, named), accepted=made.accepted)

    def applied(self) -> tuple[tuple[str, Ref], ...]:
        """(application, object) of everything that was applied from this state folder."""
        return tuple((each.application, each.ref) for each in self.target.records.applied.values())

    async def remove(self, *, data: bool) -> tuple[Ref, ...]:
        """Delete what was applied, the last kinds first; `data`: also what holds other things. What went.

        Raises TargetDown."""
        listed = [(application, ref) for application, ref in self.applied() if to_go(ref, data=data)]
        for _, group in itertools.groupby(
            sorted(listed, key=lambda each: order(each[1]), reverse=True), key=lambda each: (each[1].kind, each[0])
        ):
            members = list(group)
            await self.target.delete(members[0][0], [ref for _, ref in members])
        gone = {ref for _, ref in listed} - {ref for _, ref in self.applied()}
        return tuple(ref for _, ref in listed if ref in gone)


class Delivered:
    """Planning whose Bundles name built images as the cluster's nodes pull them."""

    def __init__(self, planning: Planning, cluster: Cluster) -> None:
        self._planning, self._cluster = planning, cluster

    async def bundle(self, application: ApplicationState, candidate: CandidateState) -> Bundle:
        return await self._cluster.named(await self._planning.bundle(application, candidate))

    def plan(self, desired: Bundle, live: Live, approved: frozenset[str]) -> Plan:
        return self._planning.plan(desired, live, approved)

    def approval(self, plan: Plan) -> str:
        return self._planning.approval(plan)


def nodes_here(client: Client) -> Callable[[], Awaitable[str]]:
    """Asks whether every node that takes pods is this machine: "" when so, else the reason why it is not."""

    async def ask() -> str:
        try:
            found = await facts.nodes(client)
        except ApiError as error:
            return f"the embedded registry listens on this machine only, and its nodes may not be listed ({error})"
        return elsewhere(found, await own_addresses())

    return ask


def elsewhere(nodes: Sequence[Node], own: frozenset[str]) -> str:
    """Why the embedded registry, which listens on this machine's loopback, is out of the nodes' reach; "" when not."""
    far = [node.name for node in nodes if node.takes_pods and not own & set(node.addresses)]
    if not far:
        return "" if nodes else "the cluster has no node"
    names = ", ".join(far[:3]) + (f" and {len(far) - 3} more" if len(far) > 3 else "")
    return (
        f"the embedded registry listens on this machine only, and {names} {'is' if len(far) == 1 else 'are'} elsewhere"
    )
