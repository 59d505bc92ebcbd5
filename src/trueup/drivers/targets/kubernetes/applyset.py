"""ApplySet parents (KEP-3659), so that kubectl reads what is ours: one ConfigMap an application in Trueup's namespace,
written before the objects, and again only when their kinds or namespaces change.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from importlib.metadata import version
from typing import TypeAlias

from trueup.core.model import Json
from trueup.drivers.targets.kubernetes.client import APPLY, METADATA, METADATA_LIST, ApiError, Call, Client
from trueup.drivers.targets.kubernetes.discovery import Resource
from trueup.drivers.targets.kubernetes.owned import MANAGER, applyset_id
from trueup.ports import TargetDown

KINDS = "applyset.kubernetes.io/contains-group-kinds"
NAMESPACES = "applyset.kubernetes.io/additional-namespaces"
TOOLING = "applyset.kubernetes.io/tooling"
ID = "applyset.kubernetes.io/id"
NAME = "trueup.io/application"


Set: TypeAlias = tuple[frozenset[str], frozenset[str]]  # kinds, namespaces
NOTHING: Set = (frozenset(), frozenset())


class Parents:
    """Of one cluster. A set only widens here: kinds that left are dropped with the application."""

    def __init__(self, client: Client, home: str) -> None:
        self._client, self._home = client, home
        self._tooling = f"{MANAGER}/v{version('trueup')}"
        self._stated: dict[str, Set] = {}
        self._ids: dict[str, str] = {}
        self._there: dict[str, Set] | None = None  # by the parent's name, as listed at first use
        self._may_list = True
        self._listing = asyncio.Lock()
        self._homes = asyncio.Lock()
        self._at_home = False

    def id_of(self, application: str) -> str:
        """The value of the part-of label of the application's objects."""
        if application not in self._ids:
            self._ids[application] = applyset_id(self.name_of(application), self._home)
        return self._ids[application]

    @staticmethod
    def name_of(application: str) -> str:
        """The parent's name: readable where it can be, and never the same for two."""
        return f"trueup-{hashlib.sha256(application.encode()).hexdigest()[:16]}"

    async def state(self, application: str, objects: Sequence[tuple[Resource, str]]) -> None:
        """The parent covers these kinds and namespaces before any of the objects is made. Raises TargetDown."""
        kinds = frozenset(resource.group_kind for resource, _ in objects)
        namespaces = frozenset(namespace for resource, namespace in objects if resource.namespaced)
        try:
            stated = self._stated.get(application) or await self._read(application)
            wide = (stated[0] | kinds, stated[1] | namespaces)
            if wide != stated:
                await self._write(application, wide)
            self._stated[application] = wide
        except ApiError as error:
            raise TargetDown(
                f"the ApplySet parent {self._home}/{self.name_of(application)} could not be written: {error.message}; "
                f"Trueup's account needs get, create and patch on ConfigMaps in {self._home}"
            ) from error

    def _path(self, application: str) -> str:
        return f"/api/v1/namespaces/{self._home}/configmaps/{self.name_of(application)}"

    async def _read(self, application: str) -> Set:
        """As it stands now: all are listed once, or each is asked for where they may not be listed."""
        async with self._listing:
            if self._there is None:
                self._there, self._may_list = await self._list()
        if self._may_list:
            return self._there.get(self.name_of(application), NOTHING)
        try:
            return _covered(await self._client.get(self._path(application), METADATA))
        except ApiError as error:
            if error.status != 404:
                raise
            return NOTHING

    async def _list(self) -> tuple[dict[str, Set], bool]:
        path, found = f"/api/v1/namespaces/{self._home}/configmaps", {}
        try:
            async for body, _ in self._client.pages(path, METADATA_LIST, labelSelector=ID):
                found[body["metadata"]["name"]] = _covered(body)
        except ApiError as error:
            if error.status != 403:
                raise
            return {}, False
        return found, True

    async def _write(self, application: str, wide: Set) -> None:
        await self._make_home()
        notes = {
            TOOLING: self._tooling,
            KINDS: ",".join(sorted(wide[0])),
            NAMESPACES: ",".join(sorted(wide[1])),
            NAME: application,
        }
        metadata = {"name": self.name_of(application), "labels": {ID: self.id_of(application)}, "annotations": notes}
        await self._patch(self._path(application), {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})

    async def _make_home(self) -> None:
        async with self._homes:
            if self._at_home:
                return
            path = f"/api/v1/namespaces/{self._home}"
            try:
                await self._client.get(path)
            except ApiError as error:
                if error.status not in (403, 404):
                    raise
                if error.status == 404:
                    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self._home}}
                    await self._patch(path, body)
            self._at_home = True

    async def _patch(self, path: str, body: Json) -> None:
        query = (("fieldManager", MANAGER), ("force", "true"))
        await self._client.send(Call(method="PATCH", path=path, query=query, body=body, content=APPLY))


def _covered(body: Json) -> Set:
    notes = body["metadata"].get("annotations") or {}
    return _split(notes.get(KINDS)), _split(notes.get(NAMESPACES))


def _split(text: object) -> frozenset[str]:
    return frozenset(part for part in text.split(",") if part) if isinstance(text, str) else frozenset()
