"""GitHub's words inside a running job: contexts, variables, shells, file commands, matrix. Pure.

Source: GitHub Docs, "Contexts reference", "Variables reference", "Workflow commands", "Running variations of jobs".
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping

from trueup.core.model import Json
from trueup.core.pipeline import Command, Composite, ExpressionError, Facts, Job, JobView, Leg, Scope, Shell
from trueup.drivers.formats import github_expressions as expressions
from trueup.drivers.formats.github import composite

MAX_LEGS = 256  # as GitHub
_COMMAND = re.compile(rb"::(?P<name>[a-zA-Z-]+)(?: (?P<parameters>[^\r\n]*?))?::(?P<value>[^\r\n]*)\s*")
_SHELLS = {
    "": Shell(("bash", "-e", "{0}"), ".sh"),
    "bash": Shell(("bash", "--noprofile", "--norc", "-eo", "pipefail", "{0}"), ".sh"),
    "sh": Shell(("sh", "-e", "{0}"), ".sh"),
    "python": Shell(("python", "{0}"), ".py"),
}
_FILES = {
    "GITHUB_ENV": "env",
    "GITHUB_OUTPUT": "output",
    "GITHUB_PATH": "path",
    "GITHUB_STEP_SUMMARY": "summary",
    "GITHUB_STATE": "state",
}


class GitHubDialect:
    """Implements core.pipeline.Dialect."""

    def contexts(self, view: JobView) -> Mapping[str, Json]:
        return {
            "github": _github(view),
            "env": view.env,
            "vars": view.facts.variables,
            "secrets": view.facts.secrets,
            "job": {"status": _job_status(view)},
            "runner": {
                "os": "Linux",
                "arch": "X64",
                "name": "trueup",
                "environment": "self-hosted",
                "temp": view.temp,
                "tool_cache": view.tools,
                "debug": "",
            },
            "steps": view.steps,
            "needs": view.needs,
            "matrix": view.matrix,
            "strategy": {
                "fail-fast": view.fail_fast,
                "job-index": view.index,
                "job-total": view.total,
                "max-parallel": view.total,
            },
            "inputs": view.inputs,
        }

    def variables(self, view: JobView) -> Mapping[str, str]:
        facts, context = view.facts, _github(view)
        names = (
            "action actor actor_id api_url base_ref event_name head_ref job ref ref_name ref_type repository "
            "repository_owner run_attempt run_id run_number server_url sha triggering_actor workflow workflow_ref "
            "workspace"
        )
        made = {f"GITHUB_{name.upper()}": expressions.to_text(context[name]) for name in names.split()}
        return {
            **made,
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "GITHUB_REF_PROTECTED": "false",
            "GITHUB_EVENT_PATH": f"{view.temp}/event.json",
            "GITHUB_ACTION_PATH": view.action_path,
            "RUNNER_OS": "Linux",
            "RUNNER_ARCH": "X64",
            "RUNNER_NAME": "trueup",
            "RUNNER_ENVIRONMENT": "self-hosted",
            "RUNNER_TEMP": view.temp,
            "RUNNER_TOOL_CACHE": view.tools,
            "TRUEUP_RUN": facts.run,
        }

    def event(self, facts: Facts) -> Json:
        """The body of `github.event` and of the file at GITHUB_EVENT_PATH."""
        return {
            "ref": facts.ref,
            "before": facts.before,
            "after": facts.commit,
            "head_commit": {"id": facts.commit, "message": facts.message},
            "repository": {
                "name": facts.repository.rpartition("/")[2],
                "full_name": facts.repository,
                "default_branch": facts.default_branch,
                "html_url": facts.url,
            },
            "pusher": {"name": facts.actor},
            "sender": {"login": facts.actor},
            "inputs": dict(facts.inputs),
        }

    def condition(self, text: str, scope: Scope) -> bool:
        return expressions.condition(text, scope)

    def evaluate(self, text: str, scope: Scope) -> Json:
        return expressions.value(text, scope)

    def interpolate(self, text: str, scope: Scope) -> str:
        return expressions.interpolate(text, scope)

    def legs(self, job: Job, scope: Scope) -> tuple[Leg, ...]:
        if job.matrix is None:
            return (Leg(job.id),)
        matrix = _filled(job.matrix, scope)
        if not isinstance(matrix, Mapping):
            raise ExpressionError(f"{job.place}: the matrix of job {job.id!r} is no mapping")
        combinations = _combinations(matrix, job)
        return tuple(
            Leg(_leg_key(job.id, values), values, index, len(combinations)) for index, values in enumerate(combinations)
        )

    def shell(self, name: str) -> Shell:
        if name in _SHELLS:
            return _SHELLS[name]
        if "{0}" not in name:
            raise ExpressionError(f"unknown shell {name!r}: use bash, sh, python or a command with {{0}}")
        return Shell(tuple(name.split()), "")

    def files(self) -> Mapping[str, str]:
        return _FILES

    def pairs(self, data: bytes) -> Mapping[str, str]:
        """`name=value` lines and `name<<END` blocks. Raises ExpressionError with the line's number."""
        lines = data.decode("utf-8-sig", "replace").replace("\r\n", "\n").split("\n")
        found: dict[str, str] = {}
        at = 0
        while at < len(lines):
            line = lines[at]
            at += 1
            if not line:
                continue
            name, sign, rest = _first_sign(line)
            if not name:
                raise ExpressionError(f"line {at} is neither name=value nor name<<END: {line[:60]!r}")
            if sign == "<<":
                if rest not in lines[at:]:
                    raise ExpressionError(f"the block of {name!r} that begins on line {at} does not end with {rest!r}")
                end = lines.index(rest, at)
                found[name], at = "\n".join(lines[at:end]), end + 1
            else:
                found[name] = rest
        return found

    def command(self, line: bytes) -> Command | None:
        match = _COMMAND.fullmatch(line.strip())
        if match is None:
            return None
        name = match["name"].decode().lower()
        value = _unescape(match["value"].decode("utf-8", "replace"))
        parts = (match["parameters"] or b"").decode("utf-8", "replace").split(",")
        named = [part.partition("=") for part in parts]
        parameters = {key.strip(): _unescape(text) for key, sign, text in named if sign}
        known = {
            "add-mask": "mask",
            "set-output": "output",
            "set-env": "env",
            "add-path": "path",
            "save-state": "state",
        }
        return Command(known.get(name, name), value, parameters.get("name", "") or _position(parameters))

    def composite(self, path: str, data: bytes) -> Composite:
        return composite(path, data)


def _github(view: JobView) -> dict[str, Json]:
    facts = view.facts
    owner, _, name = facts.repository.rpartition("/")
    kind, _, ref_name = facts.ref.removeprefix("refs/").partition("/")
    server, _, _ = facts.url.partition(f"/{facts.repository}")
    return {
        "action": view.action,
        "action_path": view.action_path,
        "actor": facts.actor,
        "actor_id": "0",
        "triggering_actor": facts.actor,
        "api_url": f"{server}/api/v3",
        "server_url": server,
        "graphql_url": f"{server}/api/graphql",
        "base_ref": "",
        "head_ref": "",
        "event": GitHubDialect().event(facts),
        "event_name": facts.event,
        "event_path": f"{view.temp}/event.json",
        "job": view.job,
        "ref": facts.ref,
        "ref_name": ref_name,
        "ref_type": "tag" if kind == "tags" else "branch",
        "ref_protected": False,
        "repository": facts.repository,
        "repository_owner": owner or name,
        "repositoryUrl": facts.url,
        "run_attempt": str(facts.attempt),
        "run_id": facts.run,
        "run_number": str(facts.number),
        "sha": facts.commit,
        "token": facts.secrets.get("GITHUB_TOKEN", ""),
        "workflow": facts.workflow,
        "workflow_ref": f"{facts.repository}/{facts.file}@{facts.ref}",
        "workspace": view.workspace,
    }


def _job_status(view: JobView) -> str:
    if view.status.cancelled:
        return "cancelled"
    return "failure" if view.status.failure else "success"


def _position(parameters: Mapping[str, str]) -> str:
    file, line = parameters.get("file", ""), parameters.get("line", "")
    return f"{file}:{line}" if file and line else file


def _unescape(text: str) -> str:
    for code, char in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
        text = text.replace(code, char)
    return text


def _first_sign(line: str) -> tuple[str, str, str]:
    equals, block = line.find("="), line.find("<<")
    if block >= 0 and (equals < 0 or block < equals):
        return line[:block], "<<", line[block + 2 :]
    return (line[:equals], "=", line[equals + 1 :]) if equals > 0 else ("", "", "")


def _filled(value: Json, scope: Scope) -> Json:
    """The matrix with its expressions evaluated."""
    if isinstance(value, str):
        return expressions.value(value, scope)
    if isinstance(value, Mapping):
        return {key: _filled(item, scope) for key, item in value.items()}
    return [_filled(item, scope) for item in value] if isinstance(value, list) else value


def _combinations(matrix: Mapping[str, Json], job: Job) -> list[dict[str, Json]]:
    """All combinations, less `exclude`, with `include` added to those it does not overwrite.

    Source: GitHub Docs, "Running variations of jobs in a workflow", expanding or adding matrix configurations.
    """
    axes = {name: values for name, values in matrix.items() if name not in ("include", "exclude")}
    for name, values in axes.items():
        if not isinstance(values, list):
            raise ExpressionError(f"{job.place}: matrix.{name} of job {job.id!r} is no list")
    size = 1
    for values in axes.values():
        size *= len(values)
    if size > MAX_LEGS:
        raise ExpressionError(
            f"{job.place}: the matrix of job {job.id!r} has {size} combinations, more than {MAX_LEGS}"
        )
    made = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())] if axes else []
    excluded = matrix.get("exclude") or []
    kept = [each for each in made if not any(_agrees(each, out) for out in excluded)]
    whole = [dict(each) for each in kept]
    for extra in matrix.get("include") or []:
        fits = [
            at for at, each in enumerate(kept) if all(extra.get(key, value) == value for key, value in each.items())
        ]
        for at in fits:
            whole[at].update(extra)
        if not fits:
            whole.append(dict(extra))
    if len(whole) > MAX_LEGS:
        raise ExpressionError(f"{job.place}: the matrix of job {job.id!r} has more than {MAX_LEGS} combinations")
    return whole


def _agrees(values: Mapping[str, Json], pattern: Json) -> bool:
    return isinstance(pattern, Mapping) and all(values.get(key) == value for key, value in pattern.items())


def _leg_key(id: str, values: Mapping[str, Json]) -> str:
    shown = [expressions.to_text(value) for value in values.values() if not isinstance(value, (Mapping, list))]
    return f"{id} ({', '.join(shown)})" if shown else id
