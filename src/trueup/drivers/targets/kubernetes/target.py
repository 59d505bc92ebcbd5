"""A Kubernetes cluster as a `ports.Target`: server-side apply with one field manager, three-way ownership, watches.

What is unchanged costs no call: what we applied stands in `records`, what is there now comes by watch. Only the wiring
and the reading; see applying, pruning, drift, sight (DESIGN.md, "Kubernetes").
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from trueup.core.hooks import GONE_BEFORE
from trueup.core.kubeconfig import Access
from trueup.core.model import DriftRules, Health, Judgement, Live, LiveObject, Object, Ref
from trueup.drivers.targets.kubernetes.applying import Applying
from trueup.drivers.targets.kubernetes.applyset import Parents
from trueup.drivers.targets.kubernetes.client import OURSELVES, Account, ApiError, Client
from trueup.drivers.targets.kubernetes.discovery import Discovery
from trueup.drivers.targets.kubernetes.drift import Comparing
from trueup.drivers.targets.kubernetes.lease import Lease
from trueup.drivers.targets.kubernetes.moves import Moves
from trueup.drivers.targets.kubernetes.pruning import Pruning
from trueup.drivers.targets.kubernetes.records import Key, Records
from trueup.drivers.targets.kubernetes.rules import Rules
from trueup.drivers.targets.kubernetes.served import Served
from trueup.drivers.targets.kubernetes.sight import Sight
from trueup.drivers.targets.kubernetes.watching import GONE, Pace, Watching
from trueup.drivers.targets.kubernetes.why import PODS, why
from trueup.ports import Expressions, Moved, TargetDown

AT_ONCE = 32  # requests of one cluster under way
STATUS_GRACE_S = 30.0  # a kind that reports and has said nothing yet is given this long


class Settings(Struct, frozen=True, kw_only=True):
    """`namespaces`: only these are watched and written, for accounts without cluster-wide rights; empty: all."""

    access: Access
    environ: Mapping[str, str]
    records: str  # path of the file that keeps what was applied
    home: str = "trueup-system"  # the namespace of the ApplySet parents
    namespaces: tuple[str, ...] = ()
    account: Account = OURSELVES  # every mutation acts as this account (impersonated)
    pace: Pace = Pace()
    lease_s: float = 90.0  # a Lease in `home` fences whoever acts on this cluster; 0: nobody else ever does
    expressions: Expressions | None = None  # evaluates the jq of rules


class Kubernetes:
    """One cluster.

    Example: `target = Kubernetes(settings)`; `await target.start()`; the verbs of Target; `await target.close()`."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.client = Client(settings.access, settings.environ, settings.pace.call_s)
        self.discovery = Discovery(self.client)
        self.records = Records(settings.records)
        self._loaded = self._begun = False
        self._moves = Moves()
        self._rules = Rules(self.client, self.records, settings.expressions)
        self._comparing = Comparing(self.client, self.discovery, self._rules)
        self._sight = Sight(self.records, self._moves, self._comparing.suspect)
        self._watching = Watching(self.client, self._sight.told, self._sight.listed, settings.pace)
        self._served = Served(self.discovery, self._watching, settings.namespaces)
        self._parents = Parents(self.client, settings.home)
        self.lease = Lease(self.client, settings.home, settings.lease_s) if settings.lease_s else None
        self._limit = asyncio.Semaphore(AT_ONCE)
        self._applying = Applying(
            self.client, self._served, self._sight, self._parents, self._rules, settings.account, self._limit
        )
        self._pruning = Pruning(self.client, self._served, self._sight, settings.account, self._limit)

    async def load(self) -> None:
        """What was applied, from this machine alone."""
        if not self._loaded:
            await self.records.load()
            self._loaded = True

    async def start(self) -> None:
        """Load what was applied and watch its kinds. May be called again after it failed. Raises TargetDown."""
        loaded, found = await asyncio.gather(self.load(), self.discovery.refresh(), return_exceptions=True)
        if loaded is not None:
            raise loaded
        if self.lease is not None:
            self.client.fence = self.lease.need
            self.lease.start(self.records.id)
        if not self._begun:
            self._watching.start()
            self._comparing.start(self._sight)
            self._begun = True
        if isinstance(found, ApiError):
            raise TargetDown(f"{self.settings.access.server}: {found.message} ({found.status})") from found
        if found is not None:
            raise found
        self._served.watch(each.ref for each in self.records.applied.values())

    async def close(self) -> None:
        """Let go of the cluster; what runs there goes on."""
        if self.lease is not None:
            await self.lease.close()
        await self._comparing.close()
        await self._watching.close()
        await self.client.close()
        await self.records.close()

    # --- ports.Target

    async def read(self, application: str) -> Live:
        keys = self._keys(application)
        unread = await self._served.watched(self.records.applied[key].ref for key in keys)
        bodies = await self.records.desired(keys)
        held = []
        for key in keys:
            record = self.records.applied[key]
            repairs = self._sight.repairs(record)
            gone = repairs and self._sight.seen.get(key) is GONE
            if gone and key not in self._sight.ended:
                continue
            shown = f"drift:{record.hash}" if repairs and key in self._sight.drift else record.hash
            shown = f"{GONE_BEFORE}{record.hash}" if gone else shown
            held.append(LiveObject(record.ref, shown, bodies[key], record.uid, record.times))
        return Live(tuple(held), unread)

    async def apply(
        self, application: str, candidate: str, objects: Sequence[Object], accepted: Sequence[str] = ()
    ) -> None:
        await self._applying.apply(application, objects)

    async def drift_rules(self, application: str, rules: DriftRules) -> None:
        """What the application leaves to others from now on, kept over restarts; what it holds is compared anew."""
        if rules != self._rules.of(application):
            await self.records.keep_rules(application, rules)
            for key in self._keys(application):
                self._comparing.suspect(key, anyway=True)

    async def delete(self, application: str, refs: Sequence[Ref]) -> None:
        set_id = self._parents.id_of(application)
        work = (self._pruning.delete(application, set_id, ref) for ref in refs)
        for failed in await asyncio.gather(*work, return_exceptions=True):  # the others are deleted all the same
            if failed is not None:
                raise failed

    async def release(self, application: str, refs: Sequence[Ref]) -> None:
        set_id = self._parents.id_of(application)
        async with asyncio.TaskGroup() as tasks:
            for ref in refs:
                tasks.create_task(self._pruning.release(application, set_id, ref))

    async def judge(self, application: str) -> tuple[Judgement, ...]:
        keys = self._keys(application)
        await self._served.watched(self.records.applied[key].ref for key in keys)
        plain = {key: found for key in keys if (found := self._at_rest(key)) is not None}
        async with asyncio.TaskGroup() as tasks:
            asked = {key: tasks.create_task(self._judge(key)) for key in keys if key not in plain}
        return tuple(plain.get(key) or asked[key].result() for key in keys)

    def watch(self, after: int = 0) -> AsyncIterator[Moved]:
        return self._moves.watch(after)

    def holds(self, application: str) -> bool:
        """Whether anything of it was applied here; known without the cluster."""
        return bool(self.records.of.get(application))

    @property
    def last_move(self) -> int:
        """The number of the last move told; `watch(last_move)` gives what comes after."""
        return self._moves.seq

    # --- inside

    def _keys(self, application: str) -> list[Key]:
        return sorted(self.records.of.get(application, ()))

    def _at_rest(self, key: Key) -> Judgement | None:
        """The judgement that needs no call; None when the pods have to be looked at, or something is to be kept."""
        record, now = self.records.applied[key], self._sight.seen.get(key, GONE)
        if now is GONE:
            now = self._sight.ended.get(key, GONE)
        ref = record.ref
        if now is GONE:
            return Judgement(ref, Health.MISSING, "not there")
        if not now.reports and self._young(key):
            return Judgement(ref, Health.PROGRESSING, "its controller has said nothing yet")
        if now.health is Health.HEALTHY:
            told = "" if self._sight.repairs(record) else self._sight.drift.get(key, "")
            note = self._sight.notes.get(key) or told
            found = Judgement(ref, now.health, "; ".join(filter(None, (now.reason, note))))
            return found if record.proven else None
        return None if key[:2] in PODS and not now.deleting else Judgement(ref, now.health, now.reason)

    async def _judge(self, key: Key) -> Judgement:
        record, now = self.records.applied[key], self._sight.seen.get(key, GONE)
        if now.health is Health.HEALTHY:
            await self.records.mend(replace(record, proven=True))
        elif now is not GONE:
            async with self._limit:
                return await why(self.client, record.ref, now.health, now.reason, proven=record.proven)
        return self._at_rest(key) or Judgement(record.ref, now.health, now.reason)

    def _young(self, key: Key) -> bool:
        resource = self.discovery.known(*key[:2])
        return resource is not None and resource.reports and self._sight.silent_s(key) < STATUS_GRACE_S
