"""Watches of the kinds that we apply: metadata only, whole objects only where health is judged, folded at once.

Tells `Watching.told` what each live object with our label is like now; never asks for single objects and decides
nothing. Source: Kubernetes API concepts, "Streaming lists" (sendInitialEvents) and bookmarks.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

from msgspec import Struct

from trueup.core.health.live import is_judged, live_health
from trueup.core.model import Health, Json
from trueup.drivers.targets.kubernetes.client import JSON, METADATA_LIST, ApiError, Client, Gone
from trueup.drivers.targets.kubernetes.discovery import Resource
from trueup.drivers.targets.kubernetes.owned import PART_OF, mark
from trueup.drivers.targets.kubernetes.records import Key
from trueup.ports import TargetDown

PAUSE_S = (0.2, 10.0)
METADATA_WATCH = METADATA_LIST.replace("PartialObjectMetadataList", "PartialObjectMetadata")


class Seen(Struct, frozen=True):
    """One live object, folded."""

    uid: str
    version: int
    generation: int
    mark: str
    part_of: str
    deleting: bool
    health: Health
    reason: str
    reports: bool = True  # False: its status says nothing yet


GONE = Seen("", 0, 0, "", "", False, Health.MISSING, "not there")


def seen(body: Json, judged: bool) -> Seen:
    metadata = body["metadata"]
    found = live_health(body) if judged else None
    deleting = bool(metadata.get("deletionTimestamp"))
    return Seen(
        uid=metadata["uid"],
        version=int(metadata["resourceVersion"]),
        generation=metadata.get("generation") or 0,
        mark=mark(body),
        part_of=(metadata.get("labels") or {}).get(PART_OF, ""),
        deleting=deleting,
        health=found.health if found else Health.PROGRESSING if deleting else Health.HEALTHY,
        reason=found.reason if found else "is being deleted" if deleting else "",
        reports=not judged or "status" in body,
    )


class Watching:
    """Owns one task for each kind. `told(key, seen)` hears every change, GONE when it left; `listed(group, kind,
    namespace)` that all there is was told; `unread` says what cannot be watched: (group, kind) → why."""

    def __init__(
        self, client: Client, told: Callable[[Key, Seen], None], listed: Callable[[str, str, str], None]
    ) -> None:
        self._client, self._told, self._all_told = client, told, listed
        self._wanted: asyncio.Queue[tuple[Resource, str]] = asyncio.Queue()
        self._watched: dict[tuple[str, str, str], asyncio.Event] = {}
        self._task: asyncio.Task[None] | None = None
        self._have: dict[tuple[str, str, str], set[Key]] = {}
        self.unread: dict[tuple[str, str], str] = {}

    def start(self) -> None:
        self._task = asyncio.create_task(self._supervise(), name="kubernetes watches")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def add(self, resource: Resource, namespace: str) -> asyncio.Event:
        """Watch this kind (in one namespace, or in all for ""); the event is set once it was listed, or cannot be."""
        key = (resource.group, resource.kind, namespace)
        if key not in self._watched:
            self._watched[key] = asyncio.Event()
            self._wanted.put_nowait((resource, namespace))
        return self._watched[key]

    async def _supervise(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            while True:
                resource, namespace = await self._wanted.get()
                self._spawn(tasks, self._watch(resource, namespace))

    @staticmethod
    def _spawn(tasks: asyncio.TaskGroup, work: Coroutine[Any, Any, None]) -> None:
        tasks.create_task(work)

    async def _watch(self, resource: Resource, namespace: str) -> None:
        """For ever: what breaks is taken up again from the last version, or from a new list when that is too old."""
        kind, listed = (resource.group, resource.kind), self._watched[(resource.group, resource.kind, namespace)]
        version, pause = "", PAUSE_S[0]
        while True:
            try:
                version = await self._follow(resource, namespace, version)
                pause = PAUSE_S[0]
                continue
            except Gone:
                version = ""
            except TargetDown as error:
                self.unread[kind] = str(error)
            except ApiError as error:
                version = ""
                if error.status == 404:  # its definition was deleted, and every object with it
                    self._listed((resource.group, resource.kind, namespace), set())
                else:
                    self.unread[kind] = f"{error.message} ({error.status})"
            listed.set()
            await asyncio.sleep(pause * random.uniform(0.8, 1.2))
            pause = min(pause * 2, PAUSE_S[1])

    async def _follow(self, resource: Resource, namespace: str, version: str) -> str:
        """One stream to its end; the version to go on from."""
        key = (resource.group, resource.kind, namespace)
        judged = is_judged(resource.group, resource.kind)
        query = {"labelSelector": PART_OF}
        fresh: set[Key] | None = None
        if version:
            query["resourceVersion"] = version
        else:
            fresh = set()
            query |= {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
        path = resource.path(namespace)
        async for type, body in self._client.watch(path, JSON if judged else METADATA_WATCH, **query):
            metadata = body["metadata"]
            version = metadata["resourceVersion"]
            if type == "BOOKMARK":
                if fresh is not None and (metadata.get("annotations") or {}).get("k8s.io/initial-events-end") == "true":
                    self._listed(key, fresh)
                    fresh = None
                continue
            at: Key = (resource.group, resource.kind, metadata.get("namespace", ""), metadata["name"])
            if type == "DELETED":
                self._have.setdefault(key, set()).discard(at)
                self._told(at, GONE)
            else:
                body["apiVersion"], body["kind"] = resource.path_version, resource.kind
                (self._have.setdefault(key, set()) if fresh is None else fresh).add(at)
                self._told(at, seen(body, judged))
        return version if fresh is None else ""

    def _listed(self, key: tuple[str, str, str], fresh: set[Key]) -> None:
        for at in self._have.get(key, set()) - fresh:
            self._told(at, GONE)
        self._have[key] = fresh
        self.unread.pop(key[:2], None)
        self._all_told(*key)
        self._watched[key].set()
