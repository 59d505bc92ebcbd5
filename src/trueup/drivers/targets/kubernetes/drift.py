"""Compares what somebody may have changed with what we applied: one GET for each suspect, the owned fields only."""

from __future__ import annotations

import asyncio
import logging

from msgspec.structs import replace

from trueup.core.model import Json
from trueup.drivers.targets.kubernetes import owned
from trueup.drivers.targets.kubernetes.client import ApiError, Client
from trueup.drivers.targets.kubernetes.discovery import Discovery
from trueup.drivers.targets.kubernetes.leaving import Steps, stripped
from trueup.drivers.targets.kubernetes.records import Applied, Bodies, Key
from trueup.drivers.targets.kubernetes.rules import Rules
from trueup.drivers.targets.kubernetes.sight import Sight
from trueup.drivers.targets.kubernetes.watching import GONE
from trueup.ports import TargetDown

AT_ONCE = 8
AGAIN_S = 1.0

log = logging.getLogger(__name__)


class Comparing:
    """Owns one task. Example: `comparing.start(sight)`; `comparing.suspect(key)`; `await comparing.close()`."""

    def __init__(self, client: Client, discovery: Discovery, rules: Rules) -> None:
        self._client, self._discovery, self._rules = client, discovery, rules
        self._suspects: dict[Key, bool] = {}  # True: to be compared though nothing newer was seen
        self._some = asyncio.Event()
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._task: asyncio.Task[None] | None = None

    def start(self, sight: Sight) -> None:
        self._task = asyncio.create_task(self._compare(sight), name="kubernetes drift")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def suspect(self, key: Key, anyway: bool = False) -> None:
        self._suspects[key] = anyway or self._suspects.get(key, False)
        self._some.set()

    async def _compare(self, sight: Sight) -> None:
        async with asyncio.TaskGroup() as tasks:
            while True:
                await self._some.wait()
                self._some.clear()
                for key in list(self._suspects):
                    await self._turns.acquire()
                    if key in self._suspects:
                        tasks.create_task(self._turn(sight, key, self._suspects.pop(key)))
                    else:
                        self._turns.release()

    async def _turn(self, sight: Sight, key: Key, anyway: bool) -> None:
        try:
            if key in sight.busy and anyway:
                asyncio.get_running_loop().call_later(AGAIN_S, self.suspect, key, anyway)
            else:
                await self._compare_one(sight, key, anyway)
        except (ApiError, TargetDown) as error:
            log.warning("drift not compared, tried again", extra={"object": "/".join(key), "reason": str(error)})
            asyncio.get_running_loop().call_later(AGAIN_S, self.suspect, key, anyway)
        finally:
            self._turns.release()

    async def _compare_one(self, sight: Sight, key: Key, anyway: bool) -> None:
        records = sight.records
        record, resource = records.applied.get(key), self._discovery.known(*key[:2])
        if record is None or resource is None or key in sight.busy or not (anyway or sight.newer(record)):
            return
        try:
            live = await self._client.get(resource.path(record.ref.namespace, record.ref.name))
        except ApiError as error:
            if error.status != 404:
                raise
            if sight.seen.get(key) is not GONE:
                sight.told(key, GONE, False)
            return
        bodies = (await records.bodies([key])).get(key)
        latest = records.applied.get(key)
        if bodies is None or latest is None or latest.version != record.version or key in sight.busy:
            return  # applied or deleted meanwhile
        known = sight.seen.get(key, GONE)
        if known is not GONE and int(live["metadata"]["resourceVersion"]) < known.version:
            sight.restored(key, live)
        if live["metadata"]["uid"] != record.uid:
            sight.drifted(key, record, f"{record.ref} was made anew by somebody")
            return
        now = owned.values(live, bodies.fields)
        left: frozenset[Steps] = frozenset()
        if owned.digest(now) != record.owned:
            left = await self._rules.left(record.application, record.ref, live, bodies.body, scales=resource.scales)
            if stripped(now, left) != stripped(bodies.held, left):
                sight.drifted(key, record, _telling(record, live, bodies, left))
                return
        sight.drift.pop(key, None)
        await records.mend(_seen_as(record, live))


def _telling(record: Applied, live: Json, bodies: Bodies, left: frozenset[Steps]) -> str:
    """Which fields, by whom, by what operation and when."""
    silent = {owned.path_text(steps) for steps in left}
    who = [each for each in owned.culprits(live, bodies.fields) if each.path not in silent]
    said = "; ".join(str(each) for each in who[:3]) or "changed under our own field manager's name"
    return f"{record.ref}: {said}"


def _seen_as(record: Applied, live: Json) -> Applied:
    """The record of an object that was compared and is as we left it."""
    metadata = live["metadata"]
    return replace(
        record,
        mark=owned.mark(live),
        version=int(metadata["resourceVersion"]),
        generation=metadata.get("generation") or 0,
    )
