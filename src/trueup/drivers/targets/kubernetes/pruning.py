"""Deletes what is ours by all three signs (DESIGN.md): label, our managedFields entry, the uid that we applied."""

from __future__ import annotations

import asyncio
import logging

from trueup.core.model import Json, Ref
from trueup.drivers.targets.kubernetes import owned
from trueup.drivers.targets.kubernetes.client import METADATA, Account, ApiError, Call, Client
from trueup.drivers.targets.kubernetes.discovery import Resource
from trueup.drivers.targets.kubernetes.records import Applied, key_of
from trueup.drivers.targets.kubernetes.served import Served
from trueup.drivers.targets.kubernetes.sight import Sight
from trueup.ports import TargetDown

MERGE = "application/merge-patch+json"
RACES = 8

log = logging.getLogger(__name__)


class Raced(Exception):
    """The object is no longer what was read."""


class Pruning:
    """Of one cluster; what is not ours is left and named."""

    def __init__(
        self, client: Client, served: Served, sight: Sight, account: Account, limit: asyncio.Semaphore
    ) -> None:
        self._client, self._served, self._sight, self._account, self._limit = client, served, sight, account, limit

    async def delete(self, application: str, set_id: str, ref: Ref) -> None:
        """Delete it when it is this application's and ours; the record of it goes in any case. Raises TargetDown."""
        record = self._sight.records.applied.get(key_of(ref))
        if record is None or record.application != application:
            return
        resource, leaving = await self._served.find(ref.group, ref.kind), None
        if resource is not None:
            self._sight.deleting(record)
            try:
                async with self._limit:
                    leaving = await self._prune(record, resource, set_id)
            except BaseException:
                self._sight.kept(record)
                raise
        await self._sight.records.forget([key_of(ref)])
        self._sight.forget(record, leaving)

    async def release(self, application: str, set_id: str, ref: Ref) -> None:
        """Take our label off and forget it; it stays as it is. Raises TargetDown."""
        record = self._sight.records.applied.get(key_of(ref))
        if record is None or record.application != application:
            return
        resource = await self._served.find(ref.group, ref.kind)
        if resource is not None:
            async with self._limit:
                await self._unlabel(record, resource, set_id)
        await self._sight.records.forget([key_of(ref)])
        self._sight.forget(record)

    async def _unlabel(self, record: Applied, resource: Resource, set_id: str) -> None:
        """What is not ours any more keeps its label: it is another's."""
        path = resource.path(record.ref.namespace, record.ref.name)
        try:
            live = await self._client.get(path, METADATA)
            if owned.why_not_ours(live, set_id, record.uid):
                return
            body = {"metadata": {"uid": record.uid, "labels": {owned.PART_OF: None}}}
            query = (("fieldManager", owned.MANAGER),)
            call = Call(method="PATCH", path=path, query=query, body=body, content=MERGE, account=self._account)
            await self._client.send(call)
        except ApiError as error:
            if error.status != 404:
                raise TargetDown(f"{path} could not be let go of: {error.message} ({error.status})") from error

    async def _prune(self, record: Applied, resource: Resource, set_id: str) -> Json:
        """The object as it still stands when finalizers or a grace period hold it, None when it is gone or left."""
        path = resource.path(record.ref.namespace, record.ref.name)
        for _ in range(RACES):
            try:
                return await self._deleted(record, path, set_id)
            except Raced:
                continue  # whether it is ours is to be seen anew
        raise TargetDown(f"{path} could not be deleted: others write it all the time; it is tried again")

    async def _deleted(self, record: Applied, path: str, set_id: str) -> Json:
        """Raises Raced when somebody wrote it since it was read."""
        try:
            live = await self._client.get(path, METADATA)
            kept = owned.why_not_ours(live, set_id, record.uid)
            if kept:
                log.warning("not deleted, it is not ours", extra={"object": path, "reason": kept})
                return None
            same = {"uid": record.uid, "resourceVersion": live["metadata"]["resourceVersion"]}
            body = {"propagationPolicy": "Background", "preconditions": same}
            answer = await self._client.send(Call(method="DELETE", path=path, body=body, account=self._account))
            return answer if (answer.get("metadata") or {}).get("deletionTimestamp") else None
        except ApiError as error:
            if error.status == 409:
                raise Raced from error
            if error.status != 404:
                raise TargetDown(f"{path} could not be deleted: {error.message} ({error.status})") from error
            return None
