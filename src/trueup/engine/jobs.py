"""One leg of one job from beginning to end: folders, sandbox, steps, result. Knows no product.

A leg always ends with a `LegResult`; only cancelling the call itself (Trueup stops) leaves it to be done again.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import re
import shutil

from msgspec import Struct, structs

from trueup.core import junit
from trueup.core.events import RunIntent
from trueup.core.mask import Masker
from trueup.core.model import BuiltImage, Outcome, TestCount
from trueup.core.pipeline import (
    ExpressionError,
    JobView,
    Scope,
)
from trueup.core.runs import JobRecord
from trueup.engine.broker import BuildSession
from trueup.engine.joblog import JobLog
from trueup.engine.running import ActionFailed, Order, Place, Running, Stop, Stopped, Tools
from trueup.engine.steps import minutes_s, run_step, truth
from trueup.ports import (
    BuilderDown,
    BuildFailed,
    SandboxDown,
    SandboxRequest,
    SourceError,
)

MOST_JOB_S = 6 * 3600.0


class LegResult(Struct, frozen=True, kw_only=True):
    outcome: Outcome
    reason: str = ""
    seconds: float = 0.0
    tests: TestCount | None = None
    record: JobRecord = JobRecord()
    intents: tuple[RunIntent, ...] = ()


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
        except (SandboxDown, SourceError, BuilderDown) as error:
            running.down = running.down or str(error)
        except BuildFailed as error:  # the image that `container:` names does not exist
            running.failed = str(error)
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
        minutes = minutes_s(running, running.job.timeout_minutes, {})
    except ExpressionError as error:
        running.failed = str(error)
        running.log.say(f"error: {error}")
        return
    running.deadline = running.tools.clock.monotonic_s() + min(minutes or running.order.limits.job_s, MOST_JOB_S)
    for number, step in enumerate(running.job.steps, 1):
        if running.down:
            return
        await run_step(running, step, str(number), running.steps, {})
    if running.status.success and not running.down:
        with contextlib.suppress(Stopped, ActionFailed):
            for work in running.at_end:
                await work()


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
        return truth(running.tools.dialect.evaluate(text, running.scope()))
    except ExpressionError:
        return False


def leg_folder(key: str) -> str:
    """A name for files and folders that any leg key can have."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", key).strip("-.")[:60]
    return plain if plain == key else f"{plain or 'job'}-{hashlib.sha256(key.encode()).hexdigest()[:6]}"
