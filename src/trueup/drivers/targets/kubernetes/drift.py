"""Compares what somebody may have changed with what we applied: one GET for each suspect, the owned fields only."""

from __future__ import annotations

import asyncio
import logging

from msgspec.structs import replace

from trueup.drivers.targets.kubernetes import owned
from trueup.drivers.targets.kubernetes.client import ApiError, Client
from trueup.drivers.targets.kubernetes.discovery import Discovery
from trueup.drivers.targets.kubernetes.records import Key
from trueup.drivers.targets.kubernetes.sight import Sight
from trueup.ports import TargetDown

log = logging.getLogger(__name__)


class Comparing:
    """Owns one task. Example: `comparing.start(sight)`; `comparing.suspect(key)`; `await comparing.close()`."""

    def __init__(self, client: Client, discovery: Discovery) -> None:
        self._client, self._discovery = client, discovery
        self._suspects: set[Key] = set()
        self._some = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self, sight: Sight) -> None:
        self._task = asyncio.create_task(self._compare(sight), name="kubernetes drift")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def suspect(self, key: Key) -> None:
        self._suspects.add(key)
        self._some.set()

    async def _compare(self, sight: Sight) -> None:
        while True:
            await self._some.wait()
            self._some.clear()
            for key in list(self._suspects):
                self._suspects.discard(key)
                try:
                    await self._compare_one(sight, key)
                except (ApiError, TargetDown) as error:
                    log.warning(
                        "drift not compared, tried again", extra={"object": "/".join(key), "reason": str(error)}
                    )
                    self._suspects.add(key)
                    await asyncio.sleep(1.0)
                    self._some.set()

    async def _compare_one(self, sight: Sight, key: Key) -> None:
        records = sight.records
        record, resource = records.applied.get(key), self._discovery.known(*key[:2])
        if record is None or resource is None or not sight.newer(record):
            return
        try:
            live = await self._client.get(resource.path(record.ref.namespace, record.ref.name))
        except ApiError as error:
            if error.status == 404:
                return  # its deletion comes by the watch
            raise
        bodies = (await records.bodies([key])).get(key)
        latest = records.applied.get(key)
        if bodies is None or latest is None or latest.version != record.version:
            return  # applied or deleted meanwhile
        metadata = live["metadata"]
        if metadata["uid"] != record.uid:
            sight.drifted(key, record, f"{record.ref} was made anew by somebody")
        elif owned.digest(owned.values(live, bodies.fields)) == record.owned:
            await records.mend(
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
            sight.drifted(key, record, f"{record.ref}: {said}")
