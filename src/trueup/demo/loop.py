"""A real `trueup up` in a process of its own, and the play's eyes on it: the ledger, and the agent's word on replicas.

Reads what anybody may read; tells the loop nothing but by Git.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TypeVar

from trueup.core.layout import Layout
from trueup.core.ledger import decode
from trueup.core.views.chronicle import Chronicle, add
from trueup.core.views.timeline import Moment, moment
from trueup.demo.command import Ended, Failed, run
from trueup.drivers.targets.host import Host, Overview, Served
from trueup.ports import TargetDown
from trueup.store.sqlite import ReadonlyLedger, open_readonly

T = TypeVar("T")

LOOK_S = 0.2  # the ledger is a file of another process: looked at, not awaited
ASK_S = 60.0
END_S = 60.0
DOWN_S = 240.0
LAST_LINES = 15


class Loop:
    """`start`, then `until` as often as needed, then `stop`. `tell` hears each moment of the ledger as it comes."""

    def __init__(
        self, layout: Layout, repository: Path, python: str, environ: Mapping[str, str], tell: Callable[[Moment], None]
    ) -> None:
        self.layout = layout
        self.known = Chronicle()
        self.log = Path(layout.root).parent / "up.log"
        self._program = (python, "-m", "trueup.cli")
        self._repository, self._environ, self._tell = repository, dict(environ), tell
        self.up: asyncio.subprocess.Process | None = None
        self._ledger: ReadonlyLedger | None = None
        self._position = 0
        self._host = Host(layout)

    @property
    def words(self) -> str:
        """What a person would type."""
        return f"trueup --state {self.layout.root} up {self._repository} --stand-ins --poll 1"

    @property
    def container_environ(self) -> Mapping[str, str]:
        """For Podman, by hand, on the same containers."""
        return {**self._environ, "CONTAINERS_CONF": self.layout.containers_conf}

    async def start(self) -> None:
        argv = (*self._program, *self.words.split()[1:])
        with self.log.open("ab") as log:
            self.up = await asyncio.create_subprocess_exec(
                *argv,
                env=self._environ,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the play, not for the loop
            )

    async def until(
        self, what: str, ready: Callable[[Chronicle], T | None], deadline_s: float, bad: Callable[[Chronicle], str]
    ) -> T:
        """What `ready` finds. Raises Failed when the time is up, `bad` gives a reason, or the loop has ended."""
        try:
            async with asyncio.timeout(deadline_s):
                while True:
                    await self.look()
                    if (found := ready(self.known)) is not None:
                        return found
                    if reason := bad(self.known):
                        raise Failed(f"{what}: did not come, for {reason}")
                    if self.up is not None and self.up.returncode is not None:
                        raise Failed(f"{what}: `trueup up` has ended with {self.up.returncode}")
                    await asyncio.sleep(LOOK_S)
        except TimeoutError as error:
            raise Failed(f"{what}: did not come within {deadline_s:g} s") from error

    async def until_asked(self, what: str, ask: Callable[[], Awaitable[T | None]], deadline_s: float) -> T:
        """The same for what only asking tells."""
        try:
            async with asyncio.timeout(deadline_s):
                while True:
                    await self.look()
                    if (found := await ask()) is not None:
                        return found
                    await asyncio.sleep(LOOK_S)
        except TimeoutError as error:
            raise Failed(f"{what}: did not come within {deadline_s:g} s") from error

    async def look(self) -> None:
        """Take what is new in the ledger."""
        if self._ledger is None:
            if not Path(self.layout.ledger).exists():
                return
            self._ledger = open_readonly(self.layout.ledger)
        while page := await self._ledger.page(self._position):
            for position, entry in page:
                self._position = position
                event = decode(entry)
                if add(self.known, event) and (said := moment(self.known, event)) is not None:
                    self._tell(said)

    async def overview(self) -> Overview:
        """Replicas and Services as they are now. Raises Failed."""
        try:
            async with asyncio.timeout(ASK_S):
                return await self._host.overview()
        except (TargetDown, TimeoutError) as error:
            raise Failed(f"the agent does not say what runs: {error}") from error

    async def agent(self) -> int | None:
        """The agent's process id; None when none answers."""
        hello = await self._host.hello()
        return hello.pid if hello is not None else None

    async def service(self) -> Served | None:
        """The one Service of the play, once it has an address."""
        return next((s for s in (await self.overview()).services if s.address and s.ports), None)

    async def ready(self, count: int, *, without: str = "") -> Overview | None:
        """The overview when exactly `count` replicas run and all are ready, none of them made of that container."""
        seen = await self.overview()
        whole = len(seen.pods) == count and all(p.ready and not p.stopping for p in seen.pods)
        return seen if whole and not any(without in p.containers for p in seen.pods if without) else None

    async def trueup(self, *arguments: str, timeout_s: float = ASK_S) -> Ended:
        """Another command on the same state folder."""
        argv = (*self._program, "--state", self.layout.root, *arguments)
        return await run(argv, environ=self._environ, timeout_s=timeout_s)

    async def stop(self) -> None:
        """End the loop; what runs goes on."""
        if self._ledger is not None:
            await self._ledger.close()
            self._ledger = None
        await self._host.close()
        if self.up is None or self.up.returncode is not None:
            return
        self.up.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self.up.wait(), END_S)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.up.pid, signal.SIGKILL)
            await self.up.wait()

    async def down(self, *, data: bool = False) -> Ended:
        """Remove all that runs, with `data` all that is kept, too: by the command a person would use."""
        return await self.trueup("down", *(("--data", "--yes") if data else ()), timeout_s=DOWN_S)

    def last_lines(self) -> list[str]:
        """What `trueup up` said last."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return text.splitlines()[-LAST_LINES:]
