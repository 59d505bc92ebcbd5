"""A leg while it runs: where it lives, what its steps have set so far, and how programs run in its sandbox."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from msgspec import Struct, field

from trueup.core.mask import Masker
from trueup.core.model import Json, Outcome, TestCount
from trueup.core.pipeline import (
    Dialect,
    Facts,
    Graph,
    Job,
    JobView,
    Leg,
    Pairs,
    Scope,
    Status,
)
from trueup.engine.beneath import hash_files
from trueup.engine.broker import Broker, BuildSession
from trueup.engine.joblog import JobLog
from trueup.engine.stepoutput import StepOutput
from trueup.ports import (
    Clock,
    Executor,
    Sandbox,
    Source,
)

DEFAULT_JOB_S = 3600.0  # when a job states no timeout-minutes
TIMED_OUT = 124
T = TypeVar("T")


class Limits(Struct, frozen=True, kw_only=True):
    """What one leg may use."""

    cpus: float = 2.0
    memory_bytes: int = 4 << 30
    processes: int = 2048
    job_s: float = DEFAULT_JOB_S
    log_bytes: int = 32 << 20


class Place(Struct, frozen=True, kw_only=True):
    """Where a leg lives on the host. `folder` is ours; what is below it is made fresh."""

    folder: Path
    log: Path
    socket: Path
    artifacts: Path
    cache: Path | None
    store: Path  # archives of actions/cache

    @property
    def workspace(self) -> Path:
        return self.folder / "work"


class Order(Struct, frozen=True, kw_only=True):
    """One leg to be run: everything it needs to know."""

    graph: Graph
    job: Job
    leg: Leg
    facts: Facts
    needs: Mapping[str, Json]
    source: Source
    place: Place
    limits: Limits
    stand_ins: bool = True
    time_s: int = 0


class Tools(Struct, frozen=True, kw_only=True):
    """What runs it."""

    executor: Executor
    broker: Broker
    dialect: Dialect
    clock: Clock
    actions: Mapping[str, Callable[[Use], Awaitable[int]]]
    show: Callable[[JobLog], None] = lambda log: None  # told of the log once it is open


class Stop:
    """A wish that a leg ends: its running step is killed, steps with always() still run."""

    def __init__(self) -> None:
        self.reason = ""
        self._asked = asyncio.Event()

    def ask(self, reason: str) -> None:
        self.reason = self.reason or reason
        self._asked.set()

    @property
    def asked(self) -> bool:
        return self._asked.is_set()

    async def wait(self) -> None:
        await self._asked.wait()


class ActionFailed(Exception):
    """A building block cannot do what it was asked; the message says what to change."""


class StepEnd(Struct, frozen=True):
    """How one step ended."""

    outcome: Outcome
    outputs: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""


class Stopped(Exception):
    """The running step was killed since a stop was asked for."""


class Running:
    """A leg while it runs: sandbox, log, and what its steps have set so far."""

    def __init__(self, order: Order, tools: Tools, log: JobLog, stop: Stop) -> None:
        self.order, self.tools, self.log, self.stop = order, tools, log, stop
        self.facts, self.job, self.place = order.facts, order.job, order.place
        self.masker: Masker = log.masker
        self.sandbox: Sandbox
        self.session: BuildSession
        self.env: dict[str, str] = {}
        self.added_path: list[str] = []
        self.steps: dict[str, Json] = {}
        self.tests: list[TestCount] = []
        self.summary = ""
        self.artifacts: list[str] = []
        self.at_end: list[Callable[[], Awaitable[None]]] = []  # when all steps went well
        self.failed = ""
        self.down = ""
        self.count = 0
        self.nested = 0
        self.deadline = tools.clock.monotonic_s() + order.limits.job_s

    # --- expressions

    def view(self, **more: Json) -> JobView:
        order = self.order
        return JobView(
            facts=self.facts,
            job=self.job.id,
            workspace=self.sandbox.inside,
            temp=self.sandbox.see(self.place.folder / "temp"),
            tools="/opt/tools",
            needs=order.needs,
            matrix=order.leg.values,
            index=order.leg.index,
            total=order.leg.total,
            status=self.status,
            **{"env": self.env, "steps": self.steps, "inputs": self.facts.inputs, **more},
        )

    @property
    def status(self) -> Status:
        stopped = self.stop.asked
        return Status(success=not self.failed and not stopped, failure=bool(self.failed), cancelled=stopped)

    def scope(self, **more: Json) -> Scope:
        return Scope(
            contexts=self.tools.dialect.contexts(self.view(**more)),
            status=self.status,
            hash_files=lambda patterns: hash_files(self.place.workspace, patterns),
        )

    def filled(self, pairs: Pairs, base: Mapping[str, str], **more: Json) -> dict[str, str]:
        """Pairs interpolated one after the other over `base`."""
        found = dict(base)
        scope = self.scope(**{**more, "env": base})
        for name, text in pairs:
            found[name] = self.tools.dialect.interpolate(text, scope)
        return found

    def left_s(self) -> float:
        return max(self.deadline - self.tools.clock.monotonic_s(), 0.0)

    # --- running programs

    async def program(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        cwd: str = "",
        timeout_s: float = 0.0,
        output: StepOutput | None = None,
    ) -> int:
        """A program in the sandbox, its output in the log. Stopped when the leg is. Raises SandboxDown, Stopped."""
        sink = output or StepOutput(self.log, self.tools.dialect)
        limit = min(timeout_s or self.left_s(), self.left_s())
        work = asyncio.ensure_future(
            self.sandbox.run(
                argv, env=env, cwd=cwd or self.sandbox.inside, output=sink.write, timeout_s=max(limit, 0.01)
            )
        )
        code = await self.unless_stopped(work)
        sink.close()
        if code == TIMED_OUT and limit <= (timeout_s or limit):
            self.log.say(f"error: ended after {limit / 60:.1f} minutes, its limit")
        return code

    async def unless_stopped(self, work: asyncio.Future[T]) -> T:
        """The work's result. Raises Stopped when the leg is stopped meanwhile; the work is cancelled then."""
        if self.stop.asked:  # what runs after a cancel has its own short time
            return await _own(work)
        stop = asyncio.ensure_future(self.stop.wait())
        both: set[asyncio.Future[T] | asyncio.Future[None]] = {work, stop}
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise Stopped
            return await work
        finally:
            for task in (work, stop):
                task.cancel()
            await asyncio.gather(work, stop, return_exceptions=True)

    def environment(self, env: Mapping[str, str], **more: Json) -> dict[str, str]:
        """Everything a step's program sees."""
        shims, *rest = self.sandbox.path
        path = ":".join([shims, *self.added_path, *rest])
        return {**self.tools.dialect.variables(self.view(**more)), "PATH": path, **env}


async def _own(work: asyncio.Future[T]) -> T:
    try:
        return await work
    finally:
        work.cancel()


class Use(Struct, frozen=True, kw_only=True):
    """What an action gets: the leg, its inputs, and where its outputs go."""

    running: Running
    inputs: Mapping[str, str]
    outputs: dict[str, str]
    env: Mapping[str, str]

    def get(self, name: str, default: str = "") -> str:
        return self.inputs.get(name.lower(), "").strip() or default

    def flag(self, name: str, default: bool = False) -> bool:
        text = self.get(name).lower()
        return text in ("true", "1", "yes") if text else default

    def say(self, text: str) -> None:
        self.running.log.say(text)

    async def sh(self, script: str, **env: str) -> int:
        """A script of ours in the sandbox, under the steps' user."""
        running = self.running
        return await running.program(("sh", "-ec", script), running.environment({**self.env, **env}))
