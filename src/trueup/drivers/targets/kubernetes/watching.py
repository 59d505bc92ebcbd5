"""Watches of the kinds that we apply: metadata only, whole objects only where health is judged, folded at once.

Tells `Watching.told` what each live object with our label is like now; never asks for single objects and decides
nothing. A paged list comes before a watch, not a streaming one: every version of Kubernetes has it.
Source: Kubernetes API concepts, "Efficient detection of changes" and bookmarks.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

from msgspec import Struct

from trueup.core.health.live import is_judged, live_health
from trueup.core.model import Health, Json
from trueup.drivers.targets.kubernetes.client import CALL_S, JSON, METADATA_LIST, ApiError, Client, Gone
from trueup.drivers.targets.kubernetes.discovery import Resource
from trueup.drivers.targets.kubernetes.owned import PART_OF, mark
from trueup.drivers.targets.kubernetes.records import Key
from trueup.ports import TargetDown

PAUSE_S = (0.2, 10.0)


class Pace(Struct, frozen=True, kw_only=True):
    """`call_s`: one try of a call (the server gives up at 60, a webhook at 30); `silence_s`: a watch that says nothing
    for so long is broken (a bookmark comes about once a minute); `resync_s`: everything is listed anew so often, in
    case a watch left something out."""

    call_s: float = CALL_S
    silence_s: float = 150.0
    resync_s: float = 1800.0


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
    """Owns one task for each kind. `told(key, seen, listing)` hears every change, GONE when it left; `listed(group,
    kind, namespace)` that all there is was told; `unread` says what cannot be watched: (group, kind) → why."""

    def __init__(
        self, client: Client, told: Callable[[Key, Seen, bool], None], listed: Callable[[str, str, str], None],
        pace: Pace,
    ) -> None:  # fmt: skip
        self._client, self._told, self._all_told, self._pace = client, told, listed, pace
        self._last: dict[tuple[str, str, str], str] = {}  # the version each watch has come to
        self._wanted: asyncio.Queue[tuple[Resource, str]] = asyncio.Queue()
        self._watched: dict[tuple[str, str, str], asyncio.Event] = {}
        self._task: asyncio.Task[None] | None = None
        self._relist: dict[tuple[str, str, str], float] = {}  # when everything is listed anew
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
        """For ever: what breaks is taken up again from the last version it came to. A new list is made when that is
        too old, when the server cannot be reached (it may come back with an older state), and once in a while."""
        kind, key = (resource.group, resource.kind), (resource.group, resource.kind, namespace)
        loop, pause = asyncio.get_running_loop(), PAUSE_S[0]
        while True:
            begun = self._last.get(key, "")
            try:
                async with asyncio.timeout_at(self._relist.setdefault(key, loop.time() + self._pace.resync_s)):
                    await self._follow(resource, namespace)
                pause = PAUSE_S[0]
                continue
            except TimeoutError:
                self._anew(key)
                continue
            except Gone:
                self._anew(key)
            except TargetDown as error:
                self.unread[kind] = str(error)
                if self._last.get(key, "") == begun:
                    self._anew(key)
            except ApiError as error:
                self._anew(key)
                if error.status == 404:  # its definition was deleted, and every object with it
                    self._listed(key, set())
                else:
                    self.unread[kind] = f"{error.message} ({error.status})"
            self._watched[key].set()
            await asyncio.sleep(pause * random.uniform(0.8, 1.2))
            pause = min(pause * 2, PAUSE_S[1])

    def _anew(self, key: tuple[str, str, str]) -> None:
        self._last.pop(key, None)
        self._relist.pop(key, None)

    async def _follow(self, resource: Resource, namespace: str) -> None:
        """A list if there is no version to go on from, then one stream to its end."""
        key = (resource.group, resource.kind, namespace)
        judged = is_judged(resource.group, resource.kind)
        path = resource.path(namespace)
        if key not in self._last:
            self._last[key] = await self._list(key, resource, path, judged)
        query = {"labelSelector": PART_OF, "resourceVersion": self._last[key]}
        accept = JSON if judged else METADATA_WATCH
        async for type, body in self._client.watch(path, accept, self._pace.silence_s, **query):
            if type == "OPEN":
                self.unread.pop(key[:2], None)
                continue
            if type != "BOOKMARK":
                self._event(key, resource, type, body, None, judged)
            self._last[key] = body["metadata"]["resourceVersion"]

    async def _list(self, key: tuple[str, str, str], resource: Resource, path: str, judged: bool) -> str:
        """Tell all there is; the version of the list."""
        fresh: set[Key] = set()
        version = ""
        accept = JSON if judged else METADATA_LIST
        async for items, version_now in self._client.lists(path, accept, labelSelector=PART_OF):
            version = version_now
            for body in items:
                self._event(key, resource, "ADDED", body, fresh, judged)
        self._listed(key, fresh)
        return version

    def _event(
        self, key: tuple[str, str, str], resource: Resource, type: str, body: Json, fresh: set[Key] | None, judged: bool
    ) -> None:
        metadata = body["metadata"]
        at: Key = (resource.group, resource.kind, metadata.get("namespace", ""), metadata["name"])
        if type == "DELETED":
            self._have.setdefault(key, set()).discard(at)
            self._told(at, GONE, False)
            return
        body["apiVersion"], body["kind"] = resource.path_version, resource.kind
        (self._have.setdefault(key, set()) if fresh is None else fresh).add(at)
        self._told(at, seen(body, judged), fresh is not None)

    def _listed(self, key: tuple[str, str, str], fresh: set[Key]) -> None:
        for at in self._have.get(key, set()) - fresh:
            self._told(at, GONE, True)
        self._have[key] = fresh
        self.unread.pop(key[:2], None)
        self._all_told(*key)
        self._watched[key].set()
