"""Applies the objects of an application: server-side, with one field manager, recorded once the server has answered.

Decides nothing of order or deletion; refuses what another application holds before anything is touched.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from msgspec.structs import replace

from trueup.core import syncoptions
from trueup.core.hooks import is_shared, owner_of
from trueup.core.model import Json, Object, Ref
from trueup.drivers.targets.kubernetes import owned
from trueup.drivers.targets.kubernetes.applyset import Parents
from trueup.drivers.targets.kubernetes.client import APPLY, METADATA, Account, ApiError, Call, Client
from trueup.drivers.targets.kubernetes.discovery import Resource
from trueup.drivers.targets.kubernetes.leaving import stated
from trueup.drivers.targets.kubernetes.owned import MANAGER
from trueup.drivers.targets.kubernetes.prepare import prepared
from trueup.drivers.targets.kubernetes.records import Applied, Bodies, Key
from trueup.drivers.targets.kubernetes.refusals import refused, unknown_kind
from trueup.drivers.targets.kubernetes.replacing import REPLACE, may_make_anew, whole
from trueup.drivers.targets.kubernetes.rules import Rules
from trueup.drivers.targets.kubernetes.served import Served
from trueup.drivers.targets.kubernetes.sight import Sight
from trueup.drivers.targets.kubernetes.watching import GONE
from trueup.ports import ObjectInvalid, TargetDown

log = logging.getLogger(__name__)

REPLACED_S = 30.0  # how long finalizers are waited for
# What has no field is refused all the same: an apply is typed. Anything but Ignore decodes the body twice.
FORCED = (("fieldManager", MANAGER), ("force", "true"), ("fieldValidation", "Ignore"))
RACES = 8  # an object that others write is read anew so often


class Raced(Exception):
    """The object is no longer what was read."""


class Applying:
    """Of one cluster, acting as `account`."""

    def __init__(
        self, client: Client, served: Served, sight: Sight, parents: Parents, rules: Rules, account: Account,
        limit: asyncio.Semaphore,
    ) -> None:  # fmt: skip
        self._client, self._served, self._sight, self._parents = client, served, sight, parents
        self._rules, self._account, self._limit = rules, account, limit

    async def apply(self, application: str, objects: Sequence[Object]) -> None:
        """Raises ObjectInvalid, TargetDown."""
        todo = [o for o in _once(objects) if not self._sight.stands(o)]
        if not todo:
            return
        known, missing = await self._served.split(todo)
        leaving = [each for each, resource in known if self._sight.leaves(_at(each, resource))]
        known = [(each, resource) for each, resource in known if not self._sight.leaves(_at(each, resource))]
        if known:
            self._claimed(application, known)
            await self._parents.state(application, [(r, o.ref.namespace) for o, r in known])
            await self._patch_all(application, known)
        if leaving:
            raise TargetDown(f"{leaving[0].place}: {leaving[0].ref} is still being deleted; it is made once it is gone")
        if missing:
            raise TargetDown(unknown_kind(missing))

    def _claimed(self, application: str, objects: Sequence[tuple[Object, Resource]]) -> None:
        """Refuse what another application holds, before anything is touched."""
        ours = self._parents.id_of(application)
        for each, resource in objects:
            key = _at(each, resource)
            now, record = self._sight.seen.get(key), self._sight.records.applied.get(key)
            if is_shared(each.body):
                continue
            theirs = record is not None and owner_of(record.application) != owner_of(application)
            if record is not None and theirs and now is not GONE:
                raise ObjectInvalid(
                    f"{each.place}: {each.ref} in namespace {each.ref.namespace or '(none)'} belongs to "
                    f"{record.application}; state it in one of the two applications only"
                )
            if record is None and now is not None and now is not GONE and now.part_of not in ("", ours):
                raise ObjectInvalid(
                    f"{each.place}: {each.ref} in namespace {each.ref.namespace or '(none)'} is part of {now.part_of}, "
                    "another ApplySet; remove it there first, or rename this one"
                )

    async def _patch_all(self, application: str, objects: Sequence[tuple[Object, Resource]]) -> None:
        """Apply all; what was applied is recorded even when one is refused."""
        keys = [_at(each, resource) for each, resource in objects]
        self._sight.begin(keys)
        try:
            results = await asyncio.gather(
                *(self._patch(application, each, resource) for each, resource in objects), return_exceptions=True
            )
            made = [r for r in results if isinstance(r, tuple)]
            await self._sight.records.put([(record, bodies) for record, bodies, _ in made])
            for record, _, body in made:
                self._sight.settle(record, body)
        finally:
            self._sight.end(keys)
        failed = [r for r in results if isinstance(r, BaseException)]
        invalid = [f for f in failed if isinstance(f, ObjectInvalid)]
        for first in (*invalid, *failed):
            raise first

    async def _patch(self, application: str, object: Object, resource: Resource) -> tuple[Applied, Bodies, Json]:
        set_id = self._parents.id_of(application)
        body, notes = prepared(object, set_id, resource.namespaced)
        async with self._limit:
            answer = await self._over(application, object, resource, body)
        key = _at(object, resource)
        if notes:
            self._sight.notes[key] = notes[0]
            log.warning("stated twice", extra={"place": str(object.place), "object": str(object.ref), "what": notes[0]})
        else:
            self._sight.notes.pop(key, None)
        return *self._made(application, object, resource, answer), answer

    def _made(self, application: str, object: Object, resource: Resource, answer: Json) -> tuple[Applied, Bodies]:
        """What to keep of an object that was applied."""
        fields = owned.entry(answer).get("fieldsV1") or {}
        before, metadata = self._sight.records.applied.get(_at(object, resource)), answer["metadata"]
        same = before is not None and before.hash == object.hash
        held = owned.values(answer, fields)
        record = Applied(
            ref=object.ref if resource.namespaced else replace(object.ref, namespace=""),
            application=application,
            uid=metadata["uid"],
            hash=object.hash,
            mark=owned.mark(answer),
            version=int(metadata["resourceVersion"]),
            generation=metadata.get("generation") or 0,
            owned=owned.digest(held),
            times=1 if before is None else before.times + (not same),
            proven=before is not None and same and before.proven,
        )
        return record, Bodies(object.body, fields, held)

    async def _over(self, application: str, object: Object, resource: Resource, body: Json) -> Json:
        """Apply over what is there, by the hand-over rule where fields of it are left to others."""
        now = self._sight.seen.get(_at(object, resource), GONE)
        if now is GONE or not (resource.scales or self._rules.concern(application, object.ref)):
            return await self._send(object, resource, body)
        path = resource.path(object.ref.namespace, object.ref.name)
        for _ in range(RACES):
            live = await self._live(path, object)
            if live is None:
                return await self._send(object, resource, body)
            left = await self._rules.left(application, object.ref, live, body, scales=resource.scales)
            if not left:
                return await self._send(object, resource, body)
            try:
                return await self._send(object, resource, pinned(stated(body, live, left), live))
            except Raced:
                continue  # somebody wrote it since it was read: what is left may have another holder
        raise TargetDown(f"{object.place}: {object.ref} is written by others all the time; it is tried again")

    async def _live(self, path: str, object: Object) -> Json | None:
        try:
            return await self._client.get(path)
        except ApiError as error:
            if error.status == 404:
                return None
            raise refused(object, error) from error

    async def _send(self, object: Object, resource: Resource, body: Json) -> Json:
        path = resource.path(object.ref.namespace, object.ref.name)
        call = Call(method="PATCH", path=path, query=FORCED, body=body, content=APPLY, account=self._account)
        try:
            if syncoptions.has(object.body, REPLACE) and "resourceVersion" not in body["metadata"]:
                await whole(self._client, call)
            return await self._client.send(call)
        except ApiError as error:
            if may_make_anew(object) and error.status == 422 and "immutable" in error.message:
                return await self._replace(call)
            if error.status == 409 and "resourceVersion" in body["metadata"]:
                raise Raced from error
            raise self._refused(object, resource, error) from error

    def _refused(self, object: Object, resource: Resource, error: ApiError) -> ObjectInvalid | TargetDown:
        """What was taken once from this very body is not at fault when it is to be put back."""
        found = refused(object, error)
        before = self._sight.records.applied.get(_at(object, resource))
        if isinstance(found, ObjectInvalid) and before is not None and before.hash == object.hash:
            return TargetDown(f"{found}; this very object was taken before: undo what somebody changed, or delete it")
        return found

    async def _replace(self, call: Call) -> Json:
        """Delete and make anew what cannot be changed, as its annotation asks."""
        call = replace(call, body=unpinned(call.body))
        query = (("propagationPolicy", "Foreground"),)
        try:
            await self._client.send(Call(method="DELETE", path=call.path, query=query, account=call.account))
        except ApiError as error:
            if error.status != 404:
                raise TargetDown(f"{call.path} could not be replaced: {error.message}") from error
        loop = asyncio.get_running_loop()
        until = loop.time() + REPLACED_S
        while loop.time() < until:
            try:
                await self._client.get(call.path, METADATA)
            except ApiError as error:
                if error.status == 404:
                    return await self._client.send(call)
            await asyncio.sleep(0.2)  # its finalizers end elsewhere
        raise TargetDown(f"{call.path} is being deleted to be made anew, but its finalizers have not let it go yet")


def pinned(body: Json, live: Json) -> Json:
    """The body, applied only while the object is still this version."""
    return {**body, "metadata": {**body["metadata"], "resourceVersion": live["metadata"]["resourceVersion"]}}


def unpinned(body: Json) -> Json:
    return {**body, "metadata": {k: v for k, v in body["metadata"].items() if k != "resourceVersion"}}


def _at(object: Object, resource: Resource) -> Key:
    return (object.ref.group, object.ref.kind, object.ref.namespace if resource.namespaced else "", object.ref.name)


def _once(objects: Sequence[Object]) -> list[Object]:
    """The objects, each stated once. Raises ObjectInvalid with both places."""
    first: dict[Ref, Object] = {}
    for each in objects:
        before = first.setdefault(each.ref, each)
        if before is not each:
            raise ObjectInvalid(f"{each.ref} is stated twice, at {before.place} and {each.place}; keep one of them")
    return list(objects)
