"""A Kubernetes cluster as a `ports.Target`: server-side apply with one field manager, three-way ownership, watches.

What is unchanged costs no call: what we applied stands in `records`, what is there now comes by watch. Never decides
what should run, and deletes nothing unless label, managedFields and applied uid agree (DESIGN.md, "Kubernetes").
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from trueup.core.health.live import is_judged
from trueup.core.kubeconfig import Access
from trueup.core.model import Health, Json, Judgement, Live, LiveObject, Object, Ref, Unread
from trueup.core.objects import annotation
from trueup.drivers.targets.kubernetes import owned
from trueup.drivers.targets.kubernetes.applyset import Parents
from trueup.drivers.targets.kubernetes.client import APPLY, METADATA, OURSELVES, Account, ApiError, Call, Client
from trueup.drivers.targets.kubernetes.discovery import Discovery, Resource
from trueup.drivers.targets.kubernetes.owned import MANAGER
from trueup.drivers.targets.kubernetes.prepare import prepared
from trueup.drivers.targets.kubernetes.records import Applied, Bodies, Key, Records, key_of
from trueup.drivers.targets.kubernetes.refusals import refused, unknown_kind
from trueup.drivers.targets.kubernetes.watching import GONE, Seen, Watching, seen
from trueup.drivers.targets.kubernetes.why import PODS, why
from trueup.ports import Moved, ObjectInvalid, TargetDown

log = logging.getLogger(__name__)

AT_ONCE = 32  # requests of one application under way
LISTED_S = 30.0  # how long a first list of a kind is waited for
STATUS_GRACE_S = 30.0  # a kind that reports and has said nothing yet is given this long
REPLACES = {
    "argocd.argoproj.io/sync-options": ("Replace=true", "Force=true"),
    "kustomize.toolkit.fluxcd.io/force": ("enabled",),
    "trueup.io/replace": ("true",),
}

Made: TypeAlias = tuple[Applied, Bodies]


class Settings(Struct, frozen=True, kw_only=True):
    """`namespaces`: only these are watched and written, for accounts without cluster-wide rights; empty: all."""

    access: Access
    environ: Mapping[str, str]
    records: str  # path of the file that keeps what was applied
    home: str = "trueup-system"  # the namespace of the ApplySet parents
    namespaces: tuple[str, ...] = ()
    account: Account = OURSELVES  # every mutation acts as this account (impersonated)


class Kubernetes:
    """One cluster.

    Example: `target = Kubernetes(settings)`; `await target.start()`; the verbs of Target; `await target.close()`."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.client = Client(settings.access, settings.environ)
        self.discovery = Discovery(self.client)
        self.records = Records(settings.records)
        self._parents = Parents(self.client, settings.home)
        self._watching = Watching(self.client, self._told, self._listed)
        self._seen: dict[Key, Seen] = {}
        self._drift: dict[Key, str] = {}  # what a person should read
        self._notes: dict[Key, str] = {}
        self._first: dict[Key, float] = {}  # when an object that says nothing yet was seen first
        self._suspects: set[Key] = set()  # ours, changed by somebody: to be compared
        self._moved: dict[tuple[str, Ref, bool], Moved] = {}  # the last progress and drift of each object, in order
        self._seq = 0
        self._wake = asyncio.Event()
        self._comparing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._limit = asyncio.Semaphore(AT_ONCE)

    async def start(self) -> None:
        """Load what was applied and watch its kinds. Raises TargetDown."""
        await self.records.load()
        self._watching.start()
        self._task = asyncio.create_task(self._compare(), name="kubernetes drift")
        await self._refused_down(self.discovery.refresh())
        kinds = {(ref.group, ref.kind, self._scope(ref)) for ref in (a.ref for a in self.records.applied.values())}
        for group, kind, namespace in kinds:
            if resource := self.discovery.known(group, kind):
                self._watching.add(resource, namespace)

    async def close(self) -> None:
        """Let go of the cluster; what runs there goes on."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._watching.close()
        await self.client.close()
        await self.records.close()

    def _scope(self, ref: Ref) -> str:
        """The namespace to watch for this object; "" for all of them."""
        return ref.namespace if self.settings.namespaces else ""

    async def _refused_down(self, work: object) -> None:
        try:
            await work  # type: ignore[misc]  # any awaitable without a result
        except ApiError as error:
            raise TargetDown(f"{self.settings.access.server}: {error.message} ({error.status})") from error

    # --- ports.Target: reading

    async def read(self, application: str) -> Live:
        keys = sorted(self.records.of.get(application, ()))
        unread = await self._watched(keys)
        bodies = await self.records.bodies(keys)
        held = []
        for key in keys:
            record = self.records.applied[key]
            if self._seen.get(key) is GONE:
                continue
            drift = self._drift.get(key)
            shown = f"drift:{record.hash}" if drift else record.hash
            held.append(LiveObject(record.ref, shown, bodies[key].body, record.uid, record.times))
        return Live(tuple(held), unread)

    async def _watched(self, keys: Sequence[Key]) -> tuple[Unread, ...]:
        """Wait until each kind was listed once; what cannot be is told."""
        unread = {}
        async with asyncio.timeout(LISTED_S * 4):
            for key in keys:
                group, kind = key[:2]
                resource = await self._resource(group, kind)
                if resource is None:
                    continue  # its definition is gone, and so is the object
                listed = self._watching.add(resource, self._scope(self.records.applied[key].ref))
                if not listed.is_set():
                    await self._until_listed(listed, resource)
                if (group, kind) in self._watching.unread:
                    unread[resource.group_kind] = self._watching.unread[group, kind]
        return tuple(Unread(what, reason) for what, reason in sorted(unread.items()))

    async def _until_listed(self, listed: asyncio.Event, resource: Resource) -> None:
        try:
            async with asyncio.timeout(LISTED_S):
                await listed.wait()
        except TimeoutError as error:
            raise TargetDown(f"{resource.group_kind} could not be listed within {LISTED_S:g} s") from error

    async def _resource(self, group: str, kind: str, version: str = "") -> Resource | None:
        try:
            return await self.discovery.find(group, kind, version)
        except ApiError as error:
            raise TargetDown(f"the cluster's kinds could not be read: {error.message} ({error.status})") from error

    async def judge(self, application: str) -> tuple[Judgement, ...]:
        keys = sorted(self.records.of.get(application, ()))
        await self._watched(keys)
        async with asyncio.TaskGroup() as tasks:
            judged = [tasks.create_task(self._judge(key)) for key in keys]
        return tuple(each.result() for each in judged)

    async def _judge(self, key: Key) -> Judgement:
        record, now = self.records.applied[key], self._seen.get(key, GONE)
        ref = record.ref
        if now is GONE:
            return Judgement(ref, Health.MISSING, "not there")
        if not now.reports and self._young(key):
            return Judgement(ref, Health.PROGRESSING, "its controller has said nothing yet")
        if now.health is Health.HEALTHY:
            if not record.proven:
                await self.records.mend(replace(record, proven=True))
            note = self._notes.get(key, "")
            return Judgement(ref, now.health, "; ".join(filter(None, (now.reason, note))))
        if key[:2] in PODS and not now.deleting:
            async with self._limit:
                return await why(self.client, ref, now.health, now.reason, proven=record.proven)
        return Judgement(ref, now.health, now.reason)

    def _young(self, key: Key) -> bool:
        resource = self.discovery.known(*key[:2])
        now = asyncio.get_running_loop().time()
        return resource is not None and resource.reports and now - self._first.setdefault(key, now) < STATUS_GRACE_S

    # --- ports.Target: applying

    async def apply(
        self, application: str, candidate: str, objects: Sequence[Object], accepted: Sequence[str] = ()
    ) -> None:
        todo = [o for o in _once(objects) if not self._stands(o)]
        if not todo:
            return
        known, missing = await self._kinds(todo)
        if known:
            self._claimed(application, known)
            await self._parents.state(application, [(r, o.ref.namespace) for o, r in known])
            await self._patch_all(application, known)
        if missing:
            raise TargetDown(unknown_kind(missing))

    def _stands(self, object: Object) -> bool:
        key = key_of(object.ref)
        record = self.records.applied.get(key)
        return (
            record is not None
            and record.hash == object.hash
            and key not in self._drift
            and self._seen.get(key) is not GONE
        )

    async def _kinds(self, objects: Sequence[Object]) -> tuple[list[tuple[Object, Resource]], list[Object]]:
        """The objects with where they are applied; and those whose kind does not exist yet. Watches come first."""
        known: list[tuple[Object, Resource]] = []
        missing: list[Object] = []
        waits: dict[asyncio.Event, Resource] = {}
        for each in objects:
            version = each.api_version.rpartition("/")[2]
            resource = await self._resource(each.ref.group, each.ref.kind, version)
            if resource is None:
                missing.append(each)
                continue
            known.append((each, resource))
            preferred = self.discovery.known(each.ref.group, each.ref.kind) or resource
            waits[self._watching.add(preferred, self._scope(each.ref))] = resource
        for listed, resource in waits.items():
            await self._until_listed(listed, resource)
        return known, missing

    def _claimed(self, application: str, objects: Sequence[tuple[Object, Resource]]) -> None:
        """Refuse what another application holds, before anything is touched."""
        ours = self._parents.id_of(application)
        for each, resource in objects:
            key = _at(each, resource)
            now, record = self._seen.get(key), self.records.applied.get(key)
            if record is not None and record.application != application and now is not GONE:
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
        results = await asyncio.gather(
            *(self._patch(application, each, resource) for each, resource in objects), return_exceptions=True
        )
        made = [r for r in results if isinstance(r, tuple)]
        await self.records.put([(record, bodies) for record, bodies, _ in made])
        for record, _, body in made:
            self._settle(record, body)
        failed = [r for r in results if isinstance(r, BaseException)]
        invalid = [f for f in failed if isinstance(f, ObjectInvalid)]
        for first in (*invalid, *failed):
            raise first

    async def _patch(self, application: str, object: Object, resource: Resource) -> tuple[Applied, Bodies, Json]:
        set_id = self._parents.id_of(application)
        body, notes = prepared(object, set_id, resource.namespaced)
        async with self._limit:
            answer = await self._send(object, resource, body)
        key = _at(object, resource)
        if notes:
            self._notes[key] = notes[0]
            log.warning("stated twice", extra={"place": str(object.place), "object": str(object.ref), "what": notes[0]})
        else:
            self._notes.pop(key, None)
        fields = owned.entry(answer).get("fieldsV1") or {}
        before, metadata = self.records.applied.get(key), answer["metadata"]
        same = before is not None and before.hash == object.hash
        ref = object.ref if resource.namespaced else replace(object.ref, namespace="")
        record = Applied(
            ref=ref,
            application=application,
            uid=metadata["uid"],
            hash=object.hash,
            mark=owned.mark(answer),
            version=int(metadata["resourceVersion"]),
            generation=metadata.get("generation") or 0,
            owned=owned.digest(owned.values(answer, fields)),
            times=1 if before is None else before.times + (not same),
            proven=before is not None and same and before.proven,
        )
        return record, Bodies(object.body, fields), answer

    async def _send(self, object: Object, resource: Resource, body: Json) -> Json:
        path = resource.path(object.ref.namespace, object.ref.name)
        query = (("fieldManager", MANAGER), ("force", "true"), ("fieldValidation", "Warn"))
        call = Call(method="PATCH", path=path, query=query, body=body, content=APPLY, account=self.settings.account)
        try:
            return await self.client.send(call)
        except ApiError as error:
            if _may_replace(object.body) and error.status == 422 and "immutable" in error.message:
                return await self._replace(call)
            raise refused(object, error) from error

    async def _replace(self, call: Call) -> Json:
        """Delete and make anew what cannot be changed, as its annotation asks."""
        try:
            await self.client.send(
                Call(
                    method="DELETE", path=call.path, query=(("propagationPolicy", "Foreground"),), account=call.account
                )
            )
        except ApiError as error:
            if error.status != 404:
                raise TargetDown(f"{call.path} could not be replaced: {error.message}") from error
        loop = asyncio.get_running_loop()
        until = loop.time() + LISTED_S
        while loop.time() < until:
            try:
                await self.client.get(call.path, METADATA)
            except ApiError as error:
                if error.status == 404:
                    return await self.client.send(call)
            await asyncio.sleep(0.2)  # its finalizers end elsewhere
        raise TargetDown(f"{call.path} is being deleted to be made anew, but its finalizers have not let it go yet")

    def _settle(self, record: Applied, body: Json) -> None:
        """What the PATCH answered is the newest that is known; the watch will say the same, or more."""
        key = key_of(record.ref)
        self._drift.pop(key, None)
        self._suspects.discard(key)
        self._first.pop(key, None)
        now = self._seen.get(key)
        if now is None or now is GONE or now.version < record.version:
            self._seen[key] = seen(body, is_judged(*key[:2]))
        self._move(record.application, record.ref)

    # --- ports.Target: deleting

    async def delete(self, application: str, refs: Sequence[Ref]) -> None:
        async with asyncio.TaskGroup() as tasks:
            for ref in refs:
                tasks.create_task(self._delete(application, ref))

    async def _delete(self, application: str, ref: Ref) -> None:
        key = key_of(ref)
        record = self.records.applied.get(key)
        if record is None or record.application != application:
            return
        resource = await self._resource(ref.group, ref.kind)
        if resource is not None:
            async with self._limit:
                await self._prune(record, resource)
        await self.records.forget([key])
        for held in (self._seen, self._drift, self._notes, self._first):
            held.pop(key, None)
        self._move(application, ref)

    async def _prune(self, record: Applied, resource: Resource) -> None:
        """Delete one object if it is ours by all three signs; what is not is left and named."""
        path = resource.path(record.ref.namespace, record.ref.name)
        try:
            live = await self.client.get(path, METADATA)
            kept = owned.why_not_ours(live, self._parents.id_of(record.application), record.uid)
            if kept:
                log.warning("not deleted, it is not ours", extra={"object": path, "reason": kept})
                return
            same = {"uid": record.uid, "resourceVersion": live["metadata"]["resourceVersion"]}
            await self.client.send(
                Call(
                    method="DELETE",
                    path=path,
                    body={"propagationPolicy": "Background", "preconditions": same},
                    account=self.settings.account,
                )
            )
        except ApiError as error:
            if error.status != 404:
                raise TargetDown(f"{path} could not be deleted: {error.message} ({error.status})") from error

    # --- ports.Target: watching

    async def watch(self, after: int = 0) -> AsyncIterator[Moved]:
        if after > self._seq:  # numbers of an earlier process: ours go on from there
            self._seq = after
        while True:
            wake = self._wake
            for moved in [m for m in self._moved.values() if m.seq > after]:
                after = moved.seq
                yield moved
            await wake.wait()

    @property
    def last_move(self) -> int:
        """The number of the last move told; `watch(last_move)` gives what comes after."""
        return self._seq

    def _move(self, application: str, ref: Ref, drift: str = "", repaired: bool = False) -> None:
        self._seq += 1
        self._moved.pop((application, ref, bool(drift)), None)
        self._moved[application, ref, bool(drift)] = Moved(self._seq, application, ref, drift, repaired)
        wake, self._wake = self._wake, asyncio.Event()
        wake.set()

    def _told(self, key: Key, now: Seen) -> None:
        """A watch says how an object is. Ours and as we left it: only its health can have moved."""
        before, record = self._seen.get(key), self.records.applied.get(key)
        if now is not GONE and before is not None and before is not GONE and now.version < before.version:
            return
        self._seen[key] = now
        if record is None:
            if now is GONE:
                self._seen.pop(key)
            return
        if now is GONE:
            self._gone(record)
            return
        if now.version > record.version and (now.uid, now.mark, now.generation) != _signs(record):
            self._suspects.add(key)
            self._comparing.set()
        if before is not None and (before.health, before.reason) != (now.health, now.reason):
            self._move(record.application, record.ref)

    def _gone(self, record: Applied) -> None:
        self._move(record.application, record.ref, f"{record.ref} deleted by hand")

    def _listed(self, group: str, kind: str, namespace: str) -> None:
        """All of a kind was told: what we applied and is not among it was deleted while nobody looked."""
        for key, record in self.records.applied.items():
            if key[:2] == (group, kind) and key not in self._seen and (not namespace or key[2] == namespace):
                self._seen[key] = GONE
                self._gone(record)

    async def _compare(self) -> None:
        """Suspects are read once each: what we own is compared with what we applied."""
        while True:
            await self._comparing.wait()
            self._comparing.clear()
            for key in list(self._suspects):
                self._suspects.discard(key)
                try:
                    await self._compare_one(key)
                except (ApiError, TargetDown) as error:
                    log.warning(
                        "drift not compared, tried again", extra={"object": "/".join(key), "reason": str(error)}
                    )
                    self._suspects.add(key)
                    await asyncio.sleep(1.0)
                    self._comparing.set()

    async def _compare_one(self, key: Key) -> None:
        record, resource = self.records.applied.get(key), self.discovery.known(*key[:2])
        if record is None or resource is None:
            return
        try:
            live = await self.client.get(resource.path(record.ref.namespace, record.ref.name))
        except ApiError as error:
            if error.status == 404:
                return  # its deletion comes by the watch
            raise
        bodies = (await self.records.bodies([key])).get(key)
        latest = self.records.applied.get(key)
        if bodies is None or latest is None or latest.version != record.version:
            return  # applied or deleted meanwhile
        metadata = live["metadata"]
        if metadata["uid"] != record.uid:
            self._drifted(key, record, f"{record.ref} was made anew by somebody")
        elif owned.digest(owned.values(live, bodies.fields)) == record.owned:
            await self.records.mend(
                replace(
                    record,
                    mark=owned.mark(live),
                    version=max(record.version, int(metadata["resourceVersion"])),
                    generation=metadata.get("generation") or 0,
                )
            )
        else:
            who = owned.culprits(live, bodies.fields)
            said = "; ".join(str(each) for each in who[:3]) or "changed under our own field manager's name"
            self._drifted(key, record, f"{record.ref}: {said}")

    def _drifted(self, key: Key, record: Applied, words: str) -> None:
        self._drift[key] = words
        self._move(record.application, record.ref, words)


def _signs(record: Applied) -> tuple[str, str, int]:
    """While these stand, what we own stands."""
    return record.uid, record.mark, record.generation


def _at(object: Object, resource: Resource) -> Key:
    return (object.ref.group, object.ref.kind, object.ref.namespace if resource.namespaced else "", object.ref.name)


def _may_replace(body: Json) -> bool:
    return any(
        value.strip() in words for name, words in REPLACES.items() for value in annotation(body, name).split(",")
    )


def _once(objects: Sequence[Object]) -> list[Object]:
    """The objects, each stated once. Raises ObjectInvalid with both places."""
    first: dict[Ref, Object] = {}
    for each in objects:
        before = first.setdefault(each.ref, each)
        if before is not each:
            raise ObjectInvalid(f"{each.ref} is stated twice, at {before.place} and {each.place}; keep one of them")
    return list(objects)
