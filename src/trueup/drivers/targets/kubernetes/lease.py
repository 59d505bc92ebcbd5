"""One Trueup acts on a cluster at a time: a Lease that is renewed, and asked before every act.

An act starts only with more lease time left than its own timeout (DESIGN.md, "Intend, act, record"), so that one who
was frozen past the lease acts no more once thawed. Times of others are never trusted: a Lease is over when its holder
has not renewed it for its whole duration by our own clock. Source: coordination.k8s.io/v1 Lease; client-go's leader
election.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from datetime import UTC, datetime

from trueup.core.model import Json
from trueup.drivers.targets.kubernetes.client import ApiError, Call, Client
from trueup.ports import TargetDown

log = logging.getLogger(__name__)

NAME = "trueup"
FIRST_S = 5.0  # how long an act waits for the first answer


class NotHeld(TargetDown):
    """Another Trueup acts on this cluster, or nobody knows."""


def now_s() -> float:
    """A clock that goes on while the machine sleeps, where there is one."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class Lease:
    """Owns one task.

    Example: `lease = Lease(client, "trueup-system", 60)`; `lease.start(records.id)`; `await lease.need(35)`."""

    def __init__(self, client: Client, home: str, duration_s: float) -> None:
        self.identity = ""
        self.holder = ""  # who holds it, as last read
        self._client, self._home, self._duration_s = client, home, duration_s
        self._until = 0.0  # ours until then
        self._seen: tuple[str, float] = ("", 0.0)  # another's renewal, and when we saw it first
        self._asked = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._problem = "it has not been asked for yet"

    def start(self, id: str) -> None:
        """It is taken at the first change, so that who only reads never holds it. `id` is the same after a restart and
        for nobody else: what was killed goes on without waiting for itself."""
        self.identity = f"{socket.gethostname()}_{id}"

    async def close(self) -> None:
        """Let the next one have it at once."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        if self.left_s() > 0:
            self._until = 0.0
            try:
                async with asyncio.timeout(FIRST_S):
                    await self._write(await self._client.get(self._path(NAME)), "")
            except (ApiError, TargetDown, TimeoutError) as error:
                log.info("the lease was not given back, it runs out", extra={"reason": str(error)})

    def left_s(self) -> float:
        return self._until - now_s()

    async def need(self, act_s: float) -> None:
        """Raises NotHeld unless the lease is ours for longer than an act of so many seconds."""
        if self._task is None:
            self._task = asyncio.create_task(self._keep(), name="kubernetes lease")
        if not self._asked.is_set():
            try:
                async with asyncio.timeout(FIRST_S):
                    await self._asked.wait()
            except TimeoutError:
                pass
        if self.left_s() <= act_s:
            raise NotHeld(f"nothing is changed on {self._client.access.server}: {self._problem}")

    async def _keep(self) -> None:
        while True:
            begun = now_s()
            try:
                async with asyncio.timeout(self._duration_s / 3):
                    while not await self._renew(begun):
                        pass  # somebody wrote it first, or its namespace was missing: read it again
            except (ApiError, TargetDown, TimeoutError) as error:
                if self.left_s() <= 0:
                    self.holder = ""
                self._problem = f"its Lease {self._home}/{NAME} cannot be renewed: {error or 'no answer'}"
            self._asked.set()
            await asyncio.sleep(self._duration_s / 6)

    async def _renew(self, begun: float) -> bool:
        """False when it has to be read again."""
        try:
            body = await self._client.get(self._path(NAME))
        except ApiError as error:
            if error.status != 404:
                raise
            body = None
        if body is not None and not self._free(body["spec"], begun):
            self._until = 0.0
            self._problem = (
                f"{self.holder} holds its Lease {self._home}/{NAME}; stop that Trueup, or wait until it ends"
            )
            return True
        written = await self._write(body, self.identity)
        if written:
            self._until, self.holder = begun + self._duration_s, self.identity
            self._problem = f"its Lease {self._home}/{NAME} was not renewed in time; it is asked for again"
        return written

    def _free(self, spec: Json, begun: float) -> bool:
        """Ours, nobody's, or not renewed for its duration as we saw it."""
        self.holder = spec.get("holderIdentity") or ""
        if self.holder in ("", self.identity):
            return True
        renewal = f"{self.holder} {spec.get('renewTime')}"
        if renewal != self._seen[0]:
            self._seen = (renewal, begun)
        return begun - self._seen[1] > float(spec.get("leaseDurationSeconds") or 0)

    async def _write(self, before: Json, holder: str) -> bool:
        """False when somebody wrote it first."""
        stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = {**((before or {}).get("spec") or {}), "holderIdentity": holder, "renewTime": stamp}
        if holder and spec.get("holderIdentity") != ((before or {}).get("spec") or {}).get("holderIdentity"):
            spec |= {"acquireTime": stamp, "leaseTransitions": int(spec.get("leaseTransitions") or 0) + 1}
        spec["leaseDurationSeconds"] = max(1, round(self._duration_s))
        metadata = {"name": NAME, "namespace": self._home}
        if before is not None:
            metadata["resourceVersion"] = before["metadata"]["resourceVersion"]
        body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}
        method, path = ("POST", self._path()) if before is None else ("PUT", self._path(NAME))
        try:
            await self._client.send(Call(method=method, path=path, body=body, patience_s=0, fenced=False))
        except ApiError as error:
            if error.status == 404 and before is None:
                await self._make_home()
                return False
            if error.status != 409:
                raise
            return False
        return True

    async def _make_home(self) -> None:
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self._home}}
        try:
            await self._client.send(Call(method="POST", path="/api/v1/namespaces", body=body, fenced=False))
        except ApiError as error:
            if error.status != 409:
                raise

    def _path(self, name: str = "") -> str:
        root = f"/apis/coordination.k8s.io/v1/namespaces/{self._home}/leases"
        return f"{root}/{name}" if name else root
