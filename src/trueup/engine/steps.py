"""The steps of a leg: asked for their condition, run, and what they leave behind taken with suspicion."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import structs

from trueup.core import junit
from trueup.core.model import Json, Outcome
from trueup.core.pipeline import (
    AnyStep,
    Dialect,
    ExpressionError,
    RunStep,
    UseStep,
)
from trueup.engine.beneath import create, read_file
from trueup.engine.running import TIMED_OUT, ActionFailed, Running, StepEnd, Stopped, Use
from trueup.engine.stepoutput import StepOutput
from trueup.ports import (
    CommitRefused,
)

CANCELLED_S = 300.0  # what steps with always() get after a cancel
SUMMARY_BYTES = 1 << 20
OUTPUT_BYTES = 1 << 20
TIME_UP = "the job's time was up (timeout-minutes)"
LEAST_DISK_BYTES = 16 << 20
MOST_NESTED = 10  # composite actions within one another, as GitHub
_JUNIT = re.compile(r"--junit-?xml[= ]([^\s'\";|&]+)")
_PROTECTED = ("GITHUB_", "RUNNER_", "TRUEUP_")


async def run_step(
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
            truth(running.tools.dialect.evaluate(step.continue_on_error, scope)) if step.continue_on_error else False
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
    if running.left_s() <= 0:
        return StepEnd(Outcome.FAILURE, reason=TIME_UP)
    timeout_s = minutes_s(running, step.timeout_minutes, more)
    before = len(running.session.down)
    try:
        if isinstance(step, RunStep):
            end = await _run_script(running, step, env, more, timeout_s)
        else:
            end = await _run_use(running, step, env, more, timeout_s)
    except Stopped:
        return StepEnd(Outcome.CANCELLED, reason=running.stop.reason)
    except TimeoutError:
        end = StepEnd(Outcome.FAILURE, reason="ended after its time limit (timeout-minutes)")
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


def truth(value: Json) -> bool:
    return value is True or (isinstance(value, str) and value.strip().lower() == "true")


def minutes_s(running: Running, text: str, more: Mapping[str, Json]) -> float:
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
    sink, before = StepOutput(running.log, dialect), len(running.session.refused)
    argv = [word.replace("{0}", sandbox.see(script)) for word in shell.argv]
    try:
        code = await running.program(argv, environment, cwd, timeout_s, sink)
    finally:
        _take_reports(running, text, cwd, report)
    outputs = _take_commands(running, sink, {name: files[name] for name in files}, dialect)
    if code == 0:
        return StepEnd(Outcome.SUCCESS, outputs)
    refused = _refused(running.session.refused[before:], sink.tail)
    return StepEnd(Outcome.FAILURE, outputs, _why(running, code, sink, timeout_s, refused))


def _inside(workspace: str, folder: str) -> str:
    return folder if folder.startswith("/") else f"{workspace}/{folder}".rstrip("/")


def _refused(told: Sequence[str], tail: bytes) -> str:
    """What the broker would not do, when that is among the last that the step said: it may have gone on since."""
    return next((text for text in reversed(told) if text.encode("utf-8", "replace")[-1000:] in tail), "")


def _why(running: Running, code: int, sink: StepOutput, timeout_s: float, refused: str) -> str:
    tests = running.tests[-1] if running.tests else None
    if tests and tests.first_failure:
        return running.masker.text(tests.first_failure)
    if code == TIMED_OUT and (timeout_s or running.left_s() <= 0.01):
        return "ended after its time limit (timeout-minutes)"
    if sink.first_error:
        return running.masker.text(sink.first_error)
    if refused:
        return running.masker.text(refused)
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


async def _run_use(
    running: Running, step: UseStep, env: Mapping[str, str], more: Mapping[str, Json], timeout_s: float
) -> StepEnd:
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
        doing = asyncio.ensure_future(action(Use(running=running, inputs=inputs, outputs=outputs, env=env)))
        limit_s = min(timeout_s or running.left_s(), running.left_s())
        code = await asyncio.wait_for(running.unless_stopped(doing), limit_s)
    except (ActionFailed, CommitRefused) as error:
        return StepEnd(Outcome.FAILURE, outputs, str(error))
    if code:
        return StepEnd(Outcome.FAILURE, outputs, f"exit {code}")
    return StepEnd(Outcome.SUCCESS, outputs)


async def _run_composite(running: Running, step: UseStep, given: Mapping[str, str]) -> StepEnd:
    """An action of the repository itself: its steps with their own inputs and results."""
    dialect = running.tools.dialect
    folder = step.uses.removeprefix("./").rstrip("/")
    if running.nested >= MOST_NESTED:
        return StepEnd(Outcome.FAILURE, reason=f"{step.place}: actions call each other more than {MOST_NESTED} deep")
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
    running.nested += 1
    for number, inner in enumerate(made.steps, 1):
        if running.left_s() <= 0:
            running.failed = running.failed or TIME_UP
            break
        await run_step(running, inner, str(number), results, inputs)
    running.nested -= 1
    reason, running.failed = running.failed, outer
    scope = running.scope(steps=results, inputs=inputs)
    outputs = {name: dialect.interpolate(text, scope) for name, text in made.outputs}
    if running.stop.asked:
        return StepEnd(Outcome.CANCELLED, outputs, running.stop.reason)
    return StepEnd(Outcome.FAILURE if reason else Outcome.SUCCESS, outputs, reason)
