"""GitHub Actions workflows: bytes → Graph, or findings with their line. Runs nothing.

Source: GitHub Docs, "Workflow syntax for GitHub Actions". What Trueup does not run is refused by name.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator

from trueup.core.model import Finding, Json, Place, Severity
from trueup.core.pipeline import (
    AnyStep,
    Composite,
    Concurrency,
    Container,
    ExpressionError,
    Graph,
    Job,
    Pairs,
    Parsed,
    RunStep,
    Trigger,
    UseStep,
)
from trueup.drivers.formats import github_schema as schema
from trueup.drivers.formats.github_expressions import Call, Named, condition_nodes, nodes_of, to_text, walk
from trueup.drivers.formats.yamlnodes import Mapping, Node, Scalar, Sequence, YamlError, data, read

DIALECT = "github"
_ID = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_HEX_REF = re.compile(r"[^@\s]+@[^@\s]+")


def owns(path: str) -> bool:
    """Whether this file is a workflow by its place."""
    folder, _, name = path.rpartition("/")
    return folder == ".github/workflows" and name.endswith((".yml", ".yaml"))


def parse(path: str, content: bytes) -> Parsed:
    """The graph, and everything wrong with the file. With an ERROR among the findings it must not be run."""
    try:
        node = read(content)
    except YamlError as error:
        place = Place(path, error.line, error.column)
        return Parsed(graph=None, findings=(Finding(Severity.ERROR, "workflow-yaml", place, str(error), error.fix),))
    workflow = _Workflow(path)
    graph = workflow.graph(node)
    return Parsed(graph=graph, findings=tuple(workflow.findings))


class _Workflow:
    """One file being read; collects findings so that all faults are told at once."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.findings: list[Finding] = []

    # --- telling

    def place(self, node: Node | None) -> Place:
        return Place(self.path, node.line, node.column) if node else Place(self.path)

    def error(self, rule: str, node: Node | None, message: str, fix: str) -> None:
        self.findings.append(Finding(Severity.ERROR, rule, self.place(node), message, fix))

    def note(self, rule: str, node: Node | None, message: str, fix: str) -> None:
        self.findings.append(Finding(Severity.NOTE, rule, self.place(node), message, fix))

    def keys(self, node: Mapping, known: Collection[str], where: str) -> None:
        for key, _ in node.entries:
            if key.text not in known:
                self.unknown(key, known, where)

    def unknown(self, key: Scalar, known: Collection[str], where: str) -> None:
        if key.text == "<<":
            fix = "GitHub does not merge keys: write them out"
        elif near := difflib.get_close_matches(key.text.lower(), known, 1, 0.6):
            fix = f"did you mean {near[0]!r}?"
        else:
            fix = "known here: " + ", ".join(sorted(known))
        self.error("workflow-unknown-key", key, f"unknown key {key.text!r} in {where}", fix)

    # --- shapes

    def mapping(self, node: Node | None, where: str) -> Mapping:
        if isinstance(node, Mapping):
            return node
        if node is not None and not (isinstance(node, Scalar) and node.value is None):
            self.error("workflow-shape", node, f"{where} must be a mapping", "write `key: value` lines under it")
        return Mapping((), node.line if node else 1, node.column if node else 1)

    def text(self, node: Node | None, where: str) -> str:
        if node is None:
            return ""
        if not isinstance(node, Scalar):
            self.error("workflow-shape", node, f"{where} must be a text", "write one value on the same line")
            return ""
        written = node.text if isinstance(node.value, str) else to_text(node.value)
        self.expressions(written, node)
        return written

    def texts(self, node: Node | None, where: str) -> tuple[str, ...]:
        """A text or a list of texts."""
        if isinstance(node, Sequence):
            return tuple(self.text(item, where) for item in node.items)
        return (self.text(node, where),) if node is not None else ()

    def pairs(self, node: Node | None, where: str) -> Pairs:
        if isinstance(node, Scalar) and "${{" in node.text:
            self.error(
                "workflow-unsupported", node, f"{where} as one expression is not run by Trueup yet", "write a mapping"
            )
            return ()
        return tuple((name, self.text(value, f"{where}.{name}")) for name, value in self.mapping(node, where))

    def expressions(self, text: str, node: Node) -> None:
        try:
            self.names(nodes_of(text), node)
        except ExpressionError as error:
            self.error("workflow-expression", node, str(error), "correct the expression")

    def condition(self, node: Node | None, where: str) -> str:
        if node is None:
            return ""
        if not isinstance(node, Scalar):
            return self.text(node, where)
        written = node.text if isinstance(node.value, str) else to_text(node.value)
        try:
            self.names(condition_nodes(written), node)
        except ExpressionError as error:
            self.error("workflow-expression", node, str(error), "correct the condition")
        return written

    def names(self, nodes: Collection[object], node: Node) -> None:
        for root in nodes:
            for each in walk(root):  # type: ignore[arg-type]  # the tree's own union, opaque here
                if isinstance(each, Named) and each.name not in schema.CONTEXTS:
                    near = difflib.get_close_matches(each.name, schema.CONTEXTS, 1)
                    fix = f"did you mean {near[0]!r}?" if near else "texts stand in single quotes"
                    self.error("workflow-expression", node, f"unknown name {each.name!r} in an expression", fix)
                if isinstance(each, Call) and each.name == "hashfiles" and not each.args:
                    self.error("workflow-expression", node, "hashFiles() without a pattern", "name the files")

    # --- the file

    def graph(self, node: Node | None) -> Graph | None:
        if not isinstance(node, Mapping):
            self.error("workflow-shape", node, "the workflow is empty or no mapping", "begin with `on:` and `jobs:`")
            return None
        if not self.top(node):
            return None
        name = self.text(node.get("name"), "name") or self.path
        env = self.pairs(node.get("env"), "env")
        shell, cwd = self.defaults(node.get("defaults"))
        jobs = self.mapping(node.get("jobs"), "jobs")
        read_jobs = tuple(self.job(key, value, shell, cwd) for key, value in jobs.entries)
        if not jobs.entries:
            self.error("workflow-no-jobs", node.key("jobs"), "jobs: is empty", "add a job with runs-on and steps")
        self.check_needs(read_jobs, jobs)
        return Graph(
            name=name,
            place=Place(self.path, node.line, node.column),
            dialect=DIALECT,
            jobs=read_jobs,
            triggers=tuple(self.triggers(node.get("on"))),
            env=env,
            concurrency=self.concurrency(node.get("concurrency")),
            run_name=self.text(node.get("run-name"), "run-name"),
        )

    def top(self, node: Mapping) -> bool:
        if node.get("steps") is not None and node.get("jobs") is None:
            fix = "put them into a job: `jobs:`, under it `build:`, under it `runs-on: ubuntu-latest` and the steps"
            self.error("workflow-steps-without-jobs", node.key("steps"), "steps: stands at the top, without jobs:", fix)
        elif node.get("jobs") is None:
            self.error("workflow-no-jobs", node, "the workflow has no jobs:", "add `jobs:` with at least one job")
        if node.get("on") is None:
            self.error("workflow-no-trigger", node, "the workflow has no on:", "add e.g. `on: push`")
        known = schema.WORKFLOW | ({"steps"} if node.get("jobs") is None else set())
        self.keys(node, known, "the workflow")
        return node.get("jobs") is not None

    def defaults(self, node: Node | None) -> tuple[str, str]:
        if node is None:
            return "", ""
        outer = self.mapping(node, "defaults")
        self.keys(outer, schema.DEFAULTS, "defaults")
        run = self.mapping(outer.get("run"), "defaults.run")
        self.keys(run, schema.DEFAULTS_RUN, "defaults.run")
        return self.text(run.get("shell"), "shell"), self.text(run.get("working-directory"), "working-directory")

    def concurrency(self, node: Node | None) -> Concurrency | None:
        if node is None:
            return None
        if isinstance(node, Scalar):
            return Concurrency(self.text(node, "concurrency"))
        inner = self.mapping(node, "concurrency")
        self.keys(inner, schema.CONCURRENCY, "concurrency")
        cancel = self.text(inner.get("cancel-in-progress"), "cancel-in-progress") or "false"
        return Concurrency(self.text(inner.get("group"), "group"), cancel)

    # --- on:

    def triggers(self, node: Node | None) -> Iterator[Trigger]:
        if node is None:
            return
        if isinstance(node, Mapping):
            for key, value in node.entries:
                yield self.trigger(key, value)
            return
        for item in node.items if isinstance(node, Sequence) else (node,):
            if isinstance(item, Scalar):
                yield self.trigger(item, None)
            else:
                self.error("workflow-shape", item, "an event in on: must be a name", "write e.g. `on: [push]`")

    def trigger(self, key: Scalar, value: Node | None) -> Trigger:
        if key.text not in schema.EVENTS:
            near = difflib.get_close_matches(key.text, schema.EVENTS, 1)
            fix = (
                f"did you mean {near[0]!r}?"
                if near
                else "GitHub's events are e.g. push, pull_request, workflow_dispatch"
            )
            self.error("workflow-unknown-event", key, f"on: names the event {key.text!r}, which does not exist", fix)
        if not isinstance(value, Mapping):
            return Trigger(event=key.text)
        self.keys(value, schema.FILTERS.get(key.text, frozenset({"types"})), f"on.{key.text}")
        for one, other in (("branches", "branches-ignore"), ("tags", "tags-ignore"), ("paths", "paths-ignore")):
            if value.get(one) and value.get(other):
                self.error(
                    "workflow-filters", value.key(other), f"{one} and {other} exclude each other", "use ! patterns"
                )
        lists = {name: self.texts(value.get(name), name) for name in schema.FILTERS["push"]}
        return Trigger(
            event=key.text,
            inputs=self.inputs(value.get("inputs")) if key.text == "workflow_dispatch" else (),
            branches=lists["branches"],
            branches_ignore=lists["branches-ignore"],
            tags=lists["tags"],
            tags_ignore=lists["tags-ignore"],
            paths=lists["paths"],
            paths_ignore=lists["paths-ignore"],
        )

    def inputs(self, node: Node | None) -> Pairs:
        entries = self.mapping(node, "inputs")
        return tuple(
            (name, self.text(value.get("default"), "default") if isinstance(value, Mapping) else "")
            for name, value in entries
        )

    # --- jobs

    def job(self, key: Scalar, node: Node, shell: str, cwd: str) -> Job:
        where = f"job {key.text!r}"
        if not _ID.fullmatch(key.text):
            fix = "job ids begin with a letter or _ and hold letters, digits, - and _"
            self.error("workflow-job-id", key, f"{where} is no valid id", fix)
        body = self.mapping(node, where)
        self.keys(body, schema.JOB, where)
        self.refuse_job(key, body)
        job_shell, job_cwd = self.defaults(body.get("defaults"))
        strategy = self.mapping(body.get("strategy"), "strategy")
        self.keys(strategy, schema.STRATEGY, "strategy")
        return Job(
            id=key.text,
            place=self.place(key),
            name=self.text(body.get("name"), "name"),
            needs=self.texts(body.get("needs"), "needs"),
            condition=self.condition(body.get("if"), "if"),
            runs_on=self.runs_on(body.get("runs-on")),
            env=self.pairs(body.get("env"), "env"),
            steps=self.steps(body.get("steps"), where),
            outputs=self.pairs(body.get("outputs"), "outputs"),
            matrix=self.matrix(strategy.get("matrix")),
            fail_fast=self.text(strategy.get("fail-fast"), "fail-fast") or "true",
            max_parallel=self.text(strategy.get("max-parallel"), "max-parallel"),
            continue_on_error=self.text(body.get("continue-on-error"), "continue-on-error"),
            timeout_minutes=self.text(body.get("timeout-minutes"), "timeout-minutes"),
            container=self.container(body.get("container")),
            shell=job_shell or shell,
            cwd=job_cwd or cwd,
            concurrency=self.concurrency(body.get("concurrency")),
            environment=self.environment(body.get("environment")),
        )

    def refuse_job(self, key: Scalar, body: Mapping) -> None:
        if body.get("uses"):
            self.error(
                "workflow-unsupported",
                body.key("uses"),
                f"job {key.text!r} calls a reusable workflow, which Trueup does not run yet",
                "copy its jobs into this file",
            )
            return
        if body.get("services"):
            self.error(
                "workflow-unsupported",
                body.key("services"),
                f"job {key.text!r} asks for services:, which Trueup does not run yet",
                "start what the tests need in a step, or mark the workflow advisory in trueup.yaml",
            )
        if not body.get("runs-on"):
            self.error("workflow-no-runner", key, f"job {key.text!r} has no runs-on:", "add `runs-on: ubuntu-latest`")
        if not body.get("steps"):
            self.error("workflow-no-steps", key, f"job {key.text!r} has no steps:", "add `steps:` with `- run: …`")

    def runs_on(self, node: Node | None) -> tuple[str, ...]:
        if isinstance(node, Mapping):
            return self.texts(node.get("labels"), "labels") or self.texts(node.get("group"), "group")
        labels = self.texts(node, "runs-on")
        for label in labels:
            if label.lower().startswith(("windows", "macos")):
                self.error(
                    "workflow-unsupported",
                    node,
                    f"runs-on: {label} is not Linux",
                    "Trueup's jobs run on Linux: ubuntu-latest",
                )
        return labels

    def environment(self, node: Node | None) -> str:
        if isinstance(node, Mapping):
            return self.text(node.get("name"), "environment.name")
        return self.text(node, "environment")

    def container(self, node: Node | None) -> Container | None:
        if node is None:
            return None
        if isinstance(node, Scalar):
            return Container(image=self.text(node, "container"))
        body = self.mapping(node, "container")
        self.keys(body, schema.CONTAINER, "container")
        for name in ("credentials", "ports", "volumes", "options"):
            if body.get(name):
                self.error(
                    "workflow-unsupported", body.key(name), f"container.{name} is not run by Trueup yet", "remove it"
                )
        return Container(image=self.text(body.get("image"), "image"), env=self.pairs(body.get("env"), "env"))

    def matrix(self, node: Node | None) -> Json:
        if node is None:
            return None
        self.scan(node)
        if isinstance(node, Mapping):
            for name, value in node:
                if name not in ("include", "exclude") and isinstance(value, Mapping):
                    self.error("workflow-matrix", value, f"matrix.{name} must be a list", f"write `{name}: [a, b]`")
            return data(node)
        if isinstance(node, Scalar) and "${{" in node.text:
            return node.text
        self.error(
            "workflow-matrix", node, "matrix must be a mapping of lists", "write e.g. `python: ['3.11', '3.12']`"
        )
        return None

    def scan(self, node: Node) -> None:
        if isinstance(node, Scalar):
            self.expressions(node.text, node)
        for item in (
            node.items if isinstance(node, Sequence) else [v for _, v in node] if isinstance(node, Mapping) else []
        ):
            self.scan(item)

    def check_needs(self, jobs: tuple[Job, ...], node: Mapping) -> None:
        ids = {job.id for job in jobs}
        for job in jobs:
            body = node.get(job.id)
            at = body.key("needs") if isinstance(body, Mapping) else None
            for need in job.needs:
                if need not in ids:
                    near = difflib.get_close_matches(need, ids, 1)
                    fix = f"did you mean {near[0]!r}?" if near else f"jobs here: {', '.join(sorted(ids))}"
                    self.error("workflow-needs", at, f"job {job.id!r} needs {need!r}, which is not a job here", fix)
        if cycle := find_cycle({job.id: tuple(need for need in job.needs if need in ids) for job in jobs}):
            body = node.get(cycle[0])
            at = body.key("needs") if isinstance(body, Mapping) else None
            self.error(
                "workflow-needs", at, "jobs wait for each other: " + " → ".join(cycle), "remove one of the needs"
            )

    # --- steps

    def steps(self, node: Node | None, where: str) -> tuple[AnyStep, ...]:
        if node is None:
            return ()
        if not isinstance(node, Sequence):
            self.error("workflow-shape", node, f"steps of {where} must be a list", "begin each step with `- `")
            return ()
        steps = tuple(step for item in node.items if (step := self.step(item, where)))
        seen: set[str] = set()
        for step in steps:
            if step.id and step.id.lower() in seen:
                self.findings.append(
                    Finding(
                        Severity.ERROR,
                        "workflow-step-id",
                        step.place,
                        f"two steps of {where} have the id {step.id!r}",
                        "rename one",
                    )
                )
            seen.add(step.id.lower())
        return steps

    def step(self, node: Node, where: str) -> AnyStep | None:
        if not isinstance(node, Mapping):
            self.error("workflow-shape", node, f"a step of {where} is no mapping", "write `- run: …` or `- uses: …`")
            return None
        self.keys(node, schema.STEP, f"a step of {where}")
        run, uses = node.get("run"), node.get("uses")
        if (run is None) == (uses is None):
            message = "a step has both run: and uses:" if run else "a step has neither run: nor uses:"
            self.error("workflow-step", node, message, "give it exactly one of them")
            return None
        return self.run_step(node, run) if run is not None else self.use_step(node, uses)

    def common(self, node: Mapping) -> dict[str, Json]:
        return {
            "id": self.text(node.get("id"), "id"),
            "name": self.text(node.get("name"), "name"),
            "place": self.place(node),
            "condition": self.condition(node.get("if"), "if"),
            "env": self.pairs(node.get("env"), "env"),
            "continue_on_error": self.text(node.get("continue-on-error"), "continue-on-error"),
            "timeout_minutes": self.text(node.get("timeout-minutes"), "timeout-minutes"),
        }

    def run_step(self, node: Mapping, run: Node) -> RunStep:
        if node.get("with"):
            self.error("workflow-step", node.key("with"), "with: belongs to uses:, not to run:", "use env: instead")
        shell = self.text(node.get("shell"), "shell")
        if shell and "{0}" not in shell and shell not in schema.SHELLS and "${{" not in shell:
            self.error(
                "workflow-shell",
                node.key("shell"),
                f"unknown shell {shell!r}",
                "use bash, sh or python, or a command with {0}",
            )
        if shell in ("pwsh", "powershell", "cmd"):
            self.error("workflow-unsupported", node.key("shell"), f"shell {shell} is not run by Trueup", "use bash")
        return RunStep(
            **self.common(node),
            script=self.text(run, "run"),
            shell=shell,
            cwd=self.text(node.get("working-directory"), "working-directory"),
        )

    def use_step(self, node: Mapping, uses: Node | None) -> UseStep:
        name = self.text(uses, "uses")
        for key in ("shell", "working-directory"):
            if node.get(key):
                self.error("workflow-step", node.key(key), f"{key}: belongs to run:, not to uses:", "remove it")
        inputs = self.pairs(node.get("with"), "with")
        self.action(name, inputs, uses, node.key("with"))
        return UseStep(**self.common(node), uses=name, inputs=inputs)

    def action(self, name: str, inputs: Pairs, node: Node | None, at: Node | None) -> None:
        if name.startswith("./"):
            return  # read from the workspace when it runs
        if name.startswith("docker://"):
            self.error(
                "workflow-unsupported", node, f"{name}: container actions are not run by Trueup yet", "use `container:`"
            )
            return
        if not _HEX_REF.fullmatch(name):
            self.error("workflow-action", node, f"uses: {name!r} names no version", f"write {name}@v4 or a commit")
        action = name.partition("@")[0].lower()
        if action not in schema.ACTIONS:
            self.refuse_action(action, node)
            return
        for key, _ in inputs:
            if key.lower() not in schema.ACTIONS[action]:
                self.note(
                    "workflow-action-input", at, f"{action}: the input {key!r} has no effect here", "nothing to do"
                )

    def refuse_action(self, action: str, node: Node | None) -> None:
        near = difflib.get_close_matches(action, schema.ACTIONS, 2, 0.7)
        fix = schema.INSTEAD.get(action) or " or ".join(near)
        self.error(
            "workflow-unsupported-action",
            node,
            f"the action {action} is not one that Trueup runs",
            f"use {fix}" if fix else "do the same in a `run:` step, or mark the workflow advisory in trueup.yaml",
        )


def find_cycle(needs: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    """A cycle as a closed path ("a", "b", "a"), or () when there is none."""
    left = dict(needs)
    while free := [id for id, waits in left.items() if not any(need in left for need in waits)]:
        for id in free:
            del left[id]
    if not left:
        return ()
    path = [min(left)]
    while (ahead := next(need for need in left[path[-1]] if need in left)) not in path:
        path.append(ahead)
    return (*path[path.index(ahead) :], ahead)


def composite(path: str, content: bytes) -> Composite:
    """An action.yml kept in the repository, `runs.using: composite` only. Raises ExpressionError."""
    try:
        node = read(content)
    except YamlError as error:
        raise ExpressionError(f"{path}:{error.line}: {error}") from error
    reader = _Workflow(path)
    body = reader.mapping(node, "the action")
    runs = reader.mapping(body.get("runs"), "runs")
    using = reader.text(runs.get("using"), "using")
    if using != "composite":
        raise ExpressionError(f"{path}: runs.using is {using!r}; Trueup runs composite actions of the repository only")
    steps = reader.steps(runs.get("steps"), "the action")
    inputs = [
        (name, value) for name, value in reader.mapping(body.get("inputs"), "inputs") if isinstance(value, Mapping)
    ]
    outputs = [
        (name, value) for name, value in reader.mapping(body.get("outputs"), "outputs") if isinstance(value, Mapping)
    ]
    made = Composite(
        steps=steps,
        defaults=tuple(
            (name, reader.text(value.get("default"), name)) for name, value in inputs if value.get("default")
        ),
        required=tuple(name for name, value in inputs if data(value.get("required")) is True),
        outputs=tuple((name, reader.text(value.get("value"), name)) for name, value in outputs),
    )
    if first := next((finding for finding in reader.findings if finding.severity is Severity.ERROR), None):
        raise ExpressionError(f"{first.place}: {first.message}: {first.fix}")
    return made
