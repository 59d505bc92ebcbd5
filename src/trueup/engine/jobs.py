"""One leg of one job: its folders, its sandbox, its steps in order, and what they leave. Knows no product.

A leg always ends with a `LegResult`; only cancelling the call itself (Trueup stops) leaves it to be done again.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import re
import shutil
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from msgspec import Struct, field, structs

from trueup.core import junit
from trueup.core.events import RunIntent
from trueup.core.mask import Masker
from trueup.core.model import BuiltImage, Json, Outcome, TestCount
from trueup.core.pipeline import (
    AnyStep,
    Dialect,
    ExpressionError,
    Facts,
    Graph,
    Job,
    JobView,
    Leg,
    Pairs,
    RunStep,
    Scope,
    Status,
    UseStep,
)
from trueup.core.runs import JobRecord
from trueup.engine.beneath import create, hash_files, read_file
from trueup.engine.broker import Broker, BuildSession
from trueup.engine.joblog import JobLog
from trueup.engine.stepoutput import StepOutput
from trueup.ports import (
    Clock,
    CommitRefused,
    Executor,
    Sandbox,
    SandboxDown,
    SandboxRequest,
    Source,
    SourceError,
)

DEFAULT_JOB_S = 3600.0  # when a job states no timeout-minutes
CANCELLED_S = 300.0  # what steps with always() get after a cancel
SUMMARY_BYTES = 1 << 20
OUTPUT_BYTES = 1 << 20
LEAST_DISK_BYTES = 16 << 20
TIMED_OUT = 124
_JUNIT = re.compile(r"--junit-?xml[= ]([^\s'\";|&]+)")
_PROTECTED = ("GITHUB_", "RUNNER_", "TRUEUP_")


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


class LegResult(Struct, frozen=True, kw_only=True):
    outcome: Outcome
    reason: str = ""
    seconds: float = 0.0
    tests: TestCount | None = None
    record: JobRecord = JobRecord()
    intents: tuple[RunIntent, ...] = ()


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


class _Stopped(Exception):
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
        """A program in the sandbox, its output in the log. Stopped when the leg is. Raises SandboxDown, _Stopped."""
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

    async def unless_stopped(self, work: asyncio.Future[int]) -> int:
        if self.stop.asked:  # what runs after a cancel has its own short time
            return await _own(work)
        stop = asyncio.ensure_future(self.stop.wait())
        both: set[asyncio.Future[int] | asyncio.Future[None]] = {work, stop}
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise _Stopped
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


async def _own(work: asyncio.Future[int]) -> int:
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


# --- a leg from beginning to end -------------------------------------------------------------------


async def run_leg(order: Order, tools: Tools, stop: Stop) -> LegResult:
    """Run every step of a leg. Raises nothing but CancelledError."""
    begun = tools.clock.monotonic_s()
    masker = Masker(order.facts.secrets.values())
    async with JobLog(order.place.log, masker, tools.clock.now, order.limits.log_bytes) as log:
        running = Running(order, tools, log, stop)
        tools.show(log)
        try:
            await _in_sandbox(running)
        except (SandboxDown, SourceError) as error:
            running.down = running.down or str(error)
        except OSError as error:
            running.down = _disk(error)
        finally:
            await asyncio.shield(asyncio.to_thread(shutil.rmtree, order.place.folder, True))
        running.down = running.down or log.failed
        result = _result(running)
        log.say(f"{result.outcome.value}: {result.reason}" if result.reason else result.outcome.value)
    return structs.replace(result, seconds=round(tools.clock.monotonic_s() - begun, 3))


def _disk(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"the disk is full: free space under {error.filename or 'the state folder'}, then `trueup retry`"
    return f"cannot use {error.filename or 'the state folder'}: {error.strerror}"


async def _in_sandbox(running: Running) -> None:
    order, place = running.order, running.place
    await asyncio.to_thread(_folders, place, running)
    async with running.tools.broker.session(
        run=running.facts.run,
        commit=running.facts.commit,
        workspace=place.workspace,
        inside=running.tools.executor.inside(place.workspace),
        secrets=running.facts.secrets,
        output=running.log.write,
        socket=place.socket,
        time_s=order.time_s,
    ) as session:
        running.session = session
        image = _image(running)
        request = SandboxRequest(
            run=running.facts.run,
            job=order.leg.key,
            workspace=place.workspace,
            image=image,
            broker=place.socket,
            cpus=order.limits.cpus,
            memory_bytes=order.limits.memory_bytes,
            processes=order.limits.processes,
            temp=place.folder / "temp",
            commands=place.folder / "commands",
            control=place.folder / "control",
            cache=place.cache,
        )
        running.sandbox = await running.tools.executor.open(request)
        try:
            await _steps(running)
        finally:
            await running.sandbox.close()


def _folders(place: Place, running: Running) -> None:
    shutil.rmtree(place.folder, ignore_errors=True)
    for name in ("work", "temp", "commands", "control"):
        (place.folder / name).mkdir(parents=True)
        (place.folder / name).chmod(0o755)
    place.folder.chmod(0o711)
    for folder in (place.cache, place.artifacts, place.store, place.socket.parent):
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)


def _image(running: Running) -> str:
    container = running.job.container
    if container is None:
        return ""
    dialect, order = running.tools.dialect, running.order
    view = JobView(facts=order.facts, job=order.job.id, needs=order.needs, matrix=order.leg.values)
    return dialect.interpolate(container.image, Scope(contexts=dialect.contexts(view)))


async def _steps(running: Running) -> None:
    try:
        container_env = running.job.container.env if running.job.container else ()
        running.env = running.filled(running.order.graph.env, {})
        running.env = running.filled((*container_env, *running.job.env), running.env)
        minutes = _minutes(running, running.job.timeout_minutes, {})
    except ExpressionError as error:
        running.failed = str(error)
        running.log.say(f"error: {error}")
        return
    running.deadline = running.tools.clock.monotonic_s() + min(minutes or running.order.limits.job_s, 6 * 3600.0)
    for number, step in enumerate(running.job.steps, 1):
        if running.down:
            return
        await _step(running, step, str(number), running.steps, {})
    if running.status.success and not running.down:
        with contextlib.suppress(_Stopped, ActionFailed):
            for work in running.at_end:
                await work()


async def _step(
    running: Running, step: AnyStep, number: str, results: dict[str, Json], inputs: Mapping[str, Json]
) -> None:
    """One step: asked, run, and its results taken, whatever happens in it."""
    more: dict[str, Json] = {"steps": results, "inputs": inputs} if inputs or results is not running.steps else {}
    try:
        if not running.tools.dialect.condition(step.condition, running.scope(**more)):
            _note(results, step, StepEnd(Outcome.SKIPPED), Outcome.SKIPPED)
            return
        env = running.filled(step.env, running.env, **more)
        scope = running.scope(**{**more, "env": env})
        name = running.tools.dialect.interpolate(step.name, scope) or _default_name(step)
        running.log.say(f"── {name.splitlines()[0][:200] if name.strip() else number}")
        tolerated = (
            _truth(running.tools.dialect.evaluate(step.continue_on_error, scope)) if step.continue_on_error else False
        )
        end = await _attempt(running, step, env, more)
    except ExpressionError as error:
        name, tolerated = step.name or _default_name(step), False
        end = StepEnd(Outcome.FAILURE, reason=f"{step.place}: {error}")
    if end.outcome is Outcome.CANCELLED:
        running.deadline = min(running.deadline, running.tools.clock.monotonic_s() + CANCELLED_S)
    failed = end.outcome is Outcome.FAILURE
    if failed and end.reason:
        running.log.say(f"error: {end.reason}")
    if failed and not tolerated:
        running.failed = running.failed or f"{name.splitlines()[0][:100]}: {end.reason}"
    _note(results, step, end, Outcome.SUCCESS if failed and tolerated else end.outcome)


async def _attempt(running: Running, step: AnyStep, env: Mapping[str, str], more: Mapping[str, Json]) -> StepEnd:
    running.count += 1
    timeout_s = _minutes(running, step.timeout_minutes, more)
    before = len(running.session.down)
    try:
        if isinstance(step, RunStep):
            end = await _run_script(running, step, env, more, timeout_s)
        else:
            end = await asyncio.wait_for(_run_use(running, step, env, more), timeout_s or None)
    except _Stopped:
        return StepEnd(Outcome.CANCELLED, reason=running.stop.reason)
    except TimeoutError:
        end = StepEnd(Outcome.FAILURE, reason=f"ended after {timeout_s / 60:g} minutes, its limit")
    if end.outcome is Outcome.FAILURE and len(running.session.down) > before:
        running.down = running.session.down[-1]
    elif end.outcome is Outcome.FAILURE and _disk_full(running.place.folder):
        running.down = f"the disk is full: free space under {running.place.folder}, then `trueup retry`"
    return end


def _disk_full(folder: Path) -> bool:
    try:
        return shutil.disk_usage(folder).free < LEAST_DISK_BYTES
    except OSError:
        return False


def _note(results: dict[str, Json], step: AnyStep, end: StepEnd, conclusion: Outcome) -> None:
    if step.id:
        results[step.id] = {
            "outcome": end.outcome.value,
            "conclusion": conclusion.value,
            "outputs": dict(end.outputs),
        }


def _truth(value: Json) -> bool:
    return value is True or (isinstance(value, str) and value.strip().lower() == "true")


def _minutes(running: Running, text: str, more: Mapping[str, Json]) -> float:
    """Seconds; 0.0 when nothing is stated."""
    if not text:
        return 0.0
    value = running.tools.dialect.evaluate(text, running.scope(**more))
    try:
        return float(value) * 60.0
    except (TypeError, ValueError) as error:
        raise ExpressionError(f"timeout-minutes is no number: {value!r}") from error


def _default_name(step: AnyStep) -> str:
    return f"Run {step.uses}" if isinstance(step, UseStep) else f"Run {step.script.strip()}"


# --- scripts -----------------------------------------------------------------------------------------


async def _run_script(
    running: Running, step: RunStep, env: Mapping[str, str], more: Mapping[str, Json], timeout_s: float
) -> StepEnd:
    dialect, sandbox, place = running.tools.dialect, running.sandbox, running.place
    scope = running.scope(**{**more, "env": env})
    shell = dialect.shell(dialect.interpolate(step.shell or running.job.shell, scope))
    text = dialect.interpolate(step.script, scope)
    script = create(
        place.folder / "control" / f"step-{running.count}{shell.suffix}", text.encode("utf-8", "surrogateescape")
    )
    cwd = _inside(sandbox.inside, dialect.interpolate(step.cwd or running.job.cwd, scope))
    files = {
        name: create(place.folder / "commands" / f"{kind}-{running.count}", mode=0o666)
        for name, kind in dialect.files().items()
    }
    report = place.folder / "commands" / f"junit-{running.count}.xml"
    environment = running.environment(
        {
            **env,
            **{name: sandbox.see(path) for name, path in files.items()},
            "PYTEST_ADDOPTS": f"{env.get('PYTEST_ADDOPTS', '')} --junitxml={sandbox.see(report)}".strip(),
        },
        **more,
    )
    sink = StepOutput(running.log, dialect)
    argv = [word.replace("{0}", sandbox.see(script)) for word in shell.argv]
    try:
        code = await running.program(argv, environment, cwd, timeout_s, sink)
    finally:
        _take_reports(running, text, cwd, report)
    outputs = _take_commands(running, sink, {name: files[name] for name in files}, dialect)
    if code == 0:
        return StepEnd(Outcome.SUCCESS, outputs)
    return StepEnd(Outcome.FAILURE, outputs, _why(running, code, sink, timeout_s))


def _inside(workspace: str, folder: str) -> str:
    return folder if folder.startswith("/") else f"{workspace}/{folder}".rstrip("/")


def _why(running: Running, code: int, sink: StepOutput, timeout_s: float) -> str:
    tests = running.tests[-1] if running.tests else None
    if tests and tests.first_failure:
        return running.masker.text(tests.first_failure)
    if code == TIMED_OUT and (timeout_s or running.left_s() <= 0.01):
        return "ended after its time limit (timeout-minutes)"
    if sink.first_error:
        return running.masker.text(sink.first_error)
    if code == 137:
        return f"killed (exit 137): did it need more than {running.order.limits.memory_bytes >> 20} MiB of memory?"
    return f"exit {code}"


def _take_reports(running: Running, script: str, cwd: str, report: Path) -> None:
    found = [read_file(report.parent, report.name)]
    if found == [None]:
        base = (
            Path(cwd).relative_to(running.sandbox.inside) if Path(cwd).is_relative_to(running.sandbox.inside) else None
        )
        named = _JUNIT.findall(script)[:5] if base is not None else []
        found = [read_file(running.place.workspace, str((base or Path()) / name)) for name in named]
    for data in found:
        if data:
            try:
                count = junit.read(data)
            except junit.ReportUnreadable as error:
                running.log.say(f"warning: the test report cannot be read: {error}")
                continue
            running.tests.append(structs.replace(count, first_failure=running.masker.text(count.first_failure)))


def _take_commands(running: Running, sink: StepOutput, files: Mapping[str, Path], dialect: Dialect) -> dict[str, str]:
    """Read what the step wrote into its files. Raises ExpressionError for what cannot be read."""
    outputs = dict(sink.outputs)
    env = dict(sink.env)
    added = list(sink.path)
    for name, kind in dialect.files().items():
        data = read_file(files[name].parent, files[name].name, OUTPUT_BYTES)
        if data is None:
            raise ExpressionError(f"the file ${name} is gone, no plain file, or larger than {OUTPUT_BYTES >> 20} MiB")
        try:
            if kind == "output":
                outputs.update(dialect.pairs(data))
            elif kind == "env":
                env.update(dialect.pairs(data))
        except ExpressionError as error:
            raise ExpressionError(f"${name}: {error}") from error
        if kind == "path":
            added += [line for line in data.decode("utf-8", "replace").splitlines() if line.strip()]
        elif kind == "summary":
            running.summary = (running.summary + running.masker.text(data.decode("utf-8", "replace")))[:SUMMARY_BYTES]
    for key in [key for key in env if key.upper().startswith(_PROTECTED)]:
        running.log.say(f"warning: {key} cannot be set by a step")
        del env[key]
    running.env = {**running.env, **env}
    running.added_path = [*reversed(added), *running.added_path]
    return outputs


# --- building blocks -----------------------------------------------------------------------------------


async def _run_use(running: Running, step: UseStep, env: Mapping[str, str], more: Mapping[str, Json]) -> StepEnd:
    dialect = running.tools.dialect
    scope = running.scope(**{**more, "env": env})
    inputs = {name.lower(): dialect.interpolate(text, scope) for name, text in step.inputs}
    if step.uses.startswith("./"):
        return await _run_composite(running, step, inputs)
    action = running.tools.actions.get(step.uses.partition("@")[0].lower())
    if action is None:
        return StepEnd(Outcome.FAILURE, reason=f"{step.place}: the action {step.uses} is not one that Trueup runs")
    outputs: dict[str, str] = {}
    try:
        code = await action(Use(running=running, inputs=inputs, outputs=outputs, env=env))
    except (ActionFailed, CommitRefused) as error:
        return StepEnd(Outcome.FAILURE, outputs, str(error))
    if code:
        return StepEnd(Outcome.FAILURE, outputs, f"exit {code}")
    return StepEnd(Outcome.SUCCESS, outputs)


async def _run_composite(running: Running, step: UseStep, given: Mapping[str, str]) -> StepEnd:
    """An action of the repository itself: its steps with their own inputs and results."""
    dialect = running.tools.dialect
    folder = step.uses.removeprefix("./").rstrip("/")
    if running.count > 500:
        return StepEnd(Outcome.FAILURE, reason="actions of this repository call each other without end")
    path, data = next(
        (
            (path, data)
            for name in ("action.yml", "action.yaml")
            if (data := read_file(running.place.workspace, path := f"{folder}/{name}"))
        ),
        ("", b""),
    )
    if not data:
        return StepEnd(
            Outcome.FAILURE, reason=f"{step.place}: there is no {folder}/action.yml; is it checked out first?"
        )
    made = dialect.composite(path, data)
    defaults = {name.lower(): dialect.interpolate(text, running.scope()) for name, text in made.defaults}
    inputs: dict[str, Json] = {**defaults, **given}
    if missing := [name for name in made.required if name.lower() not in inputs]:
        return StepEnd(Outcome.FAILURE, reason=f"{step.place}: the input {missing[0]!r} of {step.uses} is required")
    results: dict[str, Json] = {}
    outer, running.failed = running.failed, ""
    for number, inner in enumerate(made.steps, 1):
        await _step(running, inner, str(number), results, inputs)
    reason, running.failed = running.failed, outer
    scope = running.scope(steps=results, inputs=inputs)
    outputs = {name: dialect.interpolate(text, scope) for name, text in made.outputs}
    if running.stop.asked:
        return StepEnd(Outcome.CANCELLED, outputs, running.stop.reason)
    return StepEnd(Outcome.FAILURE if reason else Outcome.SUCCESS, outputs, reason)


# --- the result ----------------------------------------------------------------------------------------


def _result(running: Running) -> LegResult:
    session: BuildSession | None = getattr(running, "session", None)
    images: tuple[tuple[BuiltImage, bool], ...] = tuple(session.images) if session else ()
    outcome, reason = _outcome(running)
    record = JobRecord(
        outputs=_outputs(running) if outcome is Outcome.SUCCESS or running.failed else {},
        images=images if outcome is Outcome.SUCCESS else (),
        tolerated=_tolerated(running),
        summary=running.summary,
        artifacts=tuple(running.artifacts),
    )
    return LegResult(
        outcome=outcome,
        reason=running.masker.text(" ".join(reason.split()))[:500],
        tests=junit.total(running.tests) if running.tests else None,
        record=record,
        intents=tuple(session.intents) if session else (),
    )


def _outcome(running: Running) -> tuple[Outcome, str]:
    if running.down:
        return Outcome.ERROR, running.down
    if running.stop.asked:
        return Outcome.CANCELLED, running.stop.reason
    if running.failed:
        return Outcome.FAILURE, running.failed
    return Outcome.SUCCESS, ""


def _outputs(running: Running) -> dict[str, str]:
    """The job's outputs; one that holds a secret is left out, as GitHub does."""
    found: dict[str, str] = {}
    with contextlib.suppress(ExpressionError, AttributeError):
        scope = running.scope()
        for name, text in running.job.outputs:
            value = running.tools.dialect.interpolate(text, scope)
            if running.masker.holds(value):
                running.log.say(f"warning: the output {name!r} holds a secret and is left out")
            else:
                found[name] = value
    return found


def _tolerated(running: Running) -> bool:
    text = running.job.continue_on_error
    if not text or not hasattr(running, "sandbox"):
        return False
    try:
        return _truth(running.tools.dialect.evaluate(text, running.scope()))
    except ExpressionError:
        return False


def leg_folder(key: str) -> str:
    """A name for files and folders that any leg key can have."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", key).strip("-.")[:60]
    return plain if plain == key else f"{plain or 'job'}-{hashlib.sha256(key.encode()).hexdigest()[:6]}"
