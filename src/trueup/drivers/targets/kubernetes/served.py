"""The kinds of a cluster as the target uses them: found, and watched before anything of them is touched or read."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

from trueup.core.model import Object, Ref, Unread
from trueup.drivers.targets.kubernetes.client import ApiError
from trueup.drivers.targets.kubernetes.discovery import Discovery, Resource
from trueup.drivers.targets.kubernetes.watching import Watching
from trueup.ports import TargetDown

LISTED_S = 30.0  # how long a first list of a kind is waited for


class Served:
    """`namespaces`: only these are watched; empty: all."""

    def __init__(self, discovery: Discovery, watching: Watching, namespaces: tuple[str, ...]) -> None:
        self._discovery, self._watching, self._namespaces = discovery, watching, namespaces

    async def find(self, group: str, kind: str, version: str = "") -> Resource | None:
        """None when the cluster does not serve it. Raises TargetDown."""
        try:
            return await self._discovery.find(group, kind, version)
        except ApiError as error:
            raise TargetDown(f"the cluster's kinds could not be read: {error.message} ({error.status})") from error

    def watch(self, refs: Iterable[Ref]) -> None:
        """Begin to watch the kinds of these objects, as far as they are known."""
        for group, kind, namespace in {(ref.group, ref.kind, self._scope(ref)) for ref in refs}:
            if resource := self._discovery.known(group, kind):
                self._watching.add(resource, namespace)

    async def watched(self, refs: Iterable[Ref]) -> tuple[Unread, ...]:
        """Wait until each kind was listed once; what cannot be is told. Raises TargetDown."""
        unread = {}
        async with asyncio.timeout(LISTED_S * 4):
            for group, kind, namespace in sorted({(ref.group, ref.kind, self._scope(ref)) for ref in refs}):
                resource = await self.find(group, kind)
                if resource is None:
                    continue  # its definition is gone, and so is the object
                await self._until_listed(self._watching.add(resource, namespace), resource)
                if (group, kind) in self._watching.unread:
                    unread[resource.group_kind] = self._watching.unread[group, kind]
        return tuple(Unread(what, reason) for what, reason in sorted(unread.items()))

    async def split(self, objects: Sequence[Object]) -> tuple[list[tuple[Object, Resource]], list[Object]]:
        """The objects with where they are applied; and those whose kind does not exist yet. Watches come first."""
        known: list[tuple[Object, Resource]] = []
        missing: list[Object] = []
        waits: dict[asyncio.Event, Resource] = {}
        for each in objects:
            version = each.api_version.rpartition("/")[2]
            resource = await self.find(each.ref.group, each.ref.kind, version)
            if resource is None:
                missing.append(each)
                continue
            known.append((each, resource))
            preferred = self._discovery.known(each.ref.group, each.ref.kind) or resource
            waits[self._watching.add(preferred, self._scope(each.ref))] = resource
        for listed, resource in waits.items():
            await self._until_listed(listed, resource)
        return known, missing

    def _scope(self, ref: Ref) -> str:
        """The namespace to watch for this object; "" for all of them."""
        return ref.namespace if self._namespaces else ""

    @staticmethod
    async def _until_listed(listed: asyncio.Event, resource: Resource) -> None:
        if listed.is_set():
            return
        try:
            async with asyncio.timeout(LISTED_S):
                await listed.wait()
        except TimeoutError as error:
            raise TargetDown(f"{resource.group_kind} could not be listed within {LISTED_S:g} s") from error
