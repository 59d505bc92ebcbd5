"""Looks at single objects and applications on a cluster, for commands. Asks; changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from msgspec import Struct

from trueup.core.layout import Layout
from trueup.core.model import Json, Ref
from trueup.core.plan import SERVER_FIELDS
from trueup.core.views.tree import Branch, tree
from trueup.drivers.targets.kubernetes.client import ApiError, Client
from trueup.drivers.targets.kubernetes.discovery import Discovery
from trueup.engine.cluster import Way, access, applied
from trueup.ports import TargetDown

HIDDEN = "(hidden)"
OWNED = {  # what workloads and Services make of themselves
    "ReplicaSet": "/apis/apps/v1/namespaces/{}/replicasets",
    "Job": "/apis/batch/v1/namespaces/{}/jobs",
    "Pod": "/api/v1/namespaces/{}/pods",
    "EndpointSlice": "/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices",
}
VERSIONS = {"ReplicaSet": "apps/v1", "Job": "batch/v1", "Pod": "v1", "EndpointSlice": "discovery.k8s.io/v1"}


class Told(Struct, frozen=True):
    """One event of an object."""

    time: str
    type: str  # "Normal" | "Warning"
    object: str
    reason: str
    message: str
    count: int = 1


class Looking:
    """At what one state folder has applied to its cluster."""

    def __init__(self, client: Client, held: Sequence[tuple[str, Ref]]) -> None:
        self._client, self._discovery, self.held = client, Discovery(client), held

    def named(self, name: str, application: str = "") -> list[Ref]:
        """What was applied under "deployment/web", "web" or "namespace/deployment/web"; "" is everything."""
        mine = [ref for id, ref in self.held if application in ("", id)]
        return [
            r for r in mine if name.lower() in ("", str(r), r.name, f"{r.namespace}/{r}", f"{r.namespace}/{r.name}")
        ]

    async def get(self, ref: Ref) -> Json:
        """The object as the cluster has it, without managedFields, a Secret's values hidden; None when it is not
        there. Raises TargetDown."""
        try:
            resource = await self._discovery.find(ref.group, ref.kind)
            if resource is None:
                return None
            body = await self._client.get(resource.path(ref.namespace, ref.name))
        except ApiError as error:
            if error.status == 404:
                return None
            raise TargetDown(f"{ref} cannot be read: {error.message} ({error.status})") from error
        return shown(body)

    async def tree(self, refs: Sequence[Ref]) -> tuple[Branch, ...]:
        """With what they own, down to pods. Raises TargetDown."""
        bodies = await asyncio.gather(*(self.get(ref) for ref in refs))
        return tree(list(zip(refs, bodies, strict=True)), await self._others({r.namespace for r in refs} - {""}))

    async def events(self, refs: Sequence[Ref]) -> tuple[Told, ...]:
        """Those of the objects and of what they own, the oldest first. Raises TargetDown."""
        names = {(b.namespace, name) for b in await self.tree(refs) for name in _names(b)}
        found: list[Told] = []
        for namespace in sorted({namespace for namespace, _ in names}):
            path = f"/api/v1/namespaces/{namespace}/events" if namespace else "/api/v1/events"
            told = [_told(e) for e in await self._list(path)]
            found += [each for each in told if (namespace, each.object) in names]
        return tuple(sorted(found, key=lambda each: each.time))

    async def _others(self, namespaces: set[str]) -> list[Json]:
        found: list[Json] = []
        for namespace in sorted(namespaces):
            for kind, path in OWNED.items():
                listed = await self._list(path.format(namespace))
                found += [{**body, "apiVersion": VERSIONS[kind], "kind": kind} for body in listed]
        return found

    async def _list(self, path: str) -> list[Json]:
        try:
            return [item async for item, _ in self._client.pages(path)]
        except ApiError as error:
            if error.status == 403:  # less is shown then
                return []
            raise TargetDown(f"{path} cannot be listed: {error.message} ({error.status})") from error


@asynccontextmanager
async def looking(layout: Layout, way: Way, environ: Mapping[str, str]) -> AsyncIterator[Looking]:
    """Raises WayRefused, TargetDown."""
    client = Client(await asyncio.to_thread(access, way, environ), environ)
    try:
        yield Looking(client, await applied(layout))
    finally:
        await client.close()


def shown(body: Json) -> Json:
    """For people: without managedFields, and with nothing of a Secret's values."""
    hidden = SERVER_FIELDS - {"uid", "creationTimestamp", "generation", "resourceVersion"}
    metadata = {k: v for k, v in body["metadata"].items() if k not in hidden}
    made = {**body, "metadata": metadata}
    if body.get("kind") == "Secret":
        for field in ("data", "stringData"):
            if isinstance(body.get(field), dict):
                made[field] = dict.fromkeys(body[field], HIDDEN)
        last = "kubectl.kubernetes.io/last-applied-configuration"
        if last in (metadata.get("annotations") or {}):
            made["metadata"] = {**metadata, "annotations": {**metadata["annotations"], last: HIDDEN}}
    return made


def _names(branch: Branch) -> list[str]:
    return [branch.object, *(name for each in branch.below for name in _names(each))]


def _told(event: Json) -> Told:
    about, series = event.get("involvedObject") or {}, event.get("series") or {}
    time = series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime") or ""
    return Told(
        time=str(time),
        type=str(event.get("type") or ""),
        object=f"{str(about.get('kind')).lower()}/{about.get('name')}",
        reason=str(event.get("reason") or ""),
        message=" ".join(str(event.get("message") or "").split()),
        count=int(series.get("count") or event.get("count") or 1),
    )
