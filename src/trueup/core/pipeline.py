"""A pipeline, whatever product's file it was read from: jobs, their needs, their steps, and what may run next.

Expressions are carried as text; the format's `Dialect` evaluates them. Nothing here knows a product's syntax.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol, TypeAlias

from msgspec import Struct, field

from trueup.core.filters import passes, passes_any
from trueup.core.model import Finding, Json, Outcome, Place

Pairs: TypeAlias = tuple[tuple[str, str], ...]  # ordered name → text, the text perhaps with expressions


# --- the graph -----------------------------------------------------------------------------------

SUPERSEDED = "superseded by"  # how the reason of a run begins that a newer one ended: nobody's failure


class Trigger(Struct, frozen=True, kw_only=True):
    """One event that starts the pipeline. Empty filters let everything through; patterns as in `core.filters`."""

    event: str  # "push", "pull_request", "workflow_dispatch", "schedule", …
    branches: tuple[str, ...] = ()
    branches_ignore: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    tags_ignore: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    paths_ignore: tuple[str, ...] = ()
    inputs: Pairs = ()  # inputs of a manual start: name → default


class Concurrency(Struct, frozen=True):
    """At most one run of a group at a time; both fields may hold expressions."""

    group: str
    cancel_in_progress: str = "false"


class Step(Struct, frozen=True, kw_only=True, tag_field="step"):
    """What every step has. `condition` "" means: when nothing before it failed."""

    id: str = ""
    name: str = ""
    place: Place
    condition: str = ""
    env: Pairs = ()
    continue_on_error: str = ""
    timeout_minutes: str = ""


class RunStep(Step, frozen=True, kw_only=True, tag="run"):
    """A script, given to a shell."""

    script: str
    shell: str = ""
    cwd: str = ""


class UseStep(Step, frozen=True, kw_only=True, tag="use"):
    """A named building block with inputs, e.g. "actions/checkout@v4"."""

    uses: str
    inputs: Pairs = ()


AnyStep: TypeAlias = RunStep | UseStep


class Container(Struct, frozen=True, kw_only=True):
    """The image that a job asks for instead of the runner's."""

    image: str
    env: Pairs = ()


class Job(Struct, frozen=True, kw_only=True):
    """`matrix` is the format's own data, expanded by `Dialect.legs` once its needs are known."""

    id: str
    place: Place
    name: str = ""
    needs: tuple[str, ...] = ()
    condition: str = ""
    runs_on: tuple[str, ...] = ()
    env: Pairs = ()
    steps: tuple[AnyStep, ...] = ()
    outputs: Pairs = ()
    matrix: Json = None
    fail_fast: str = "true"
    max_parallel: str = ""
    continue_on_error: str = ""
    timeout_minutes: str = ""
    container: Container | None = None
    shell: str = ""
    cwd: str = ""
    concurrency: Concurrency | None = None
    environment: str = ""


class Graph(Struct, frozen=True, kw_only=True):
    """One pipeline of one file. `dialect` names the driver that evaluates its expressions."""

    name: str
    place: Place
    dialect: str
    jobs: tuple[Job, ...]
    triggers: tuple[Trigger, ...] = ()
    env: Pairs = ()
    concurrency: Concurrency | None = None
    run_name: str = ""

    def job(self, id: str) -> Job:
        return next(job for job in self.jobs if job.id == id)


class Parsed(Struct, frozen=True, kw_only=True):
    """What a format's driver made of a file. `native` False: shown, but not run by Trueup yet."""

    graph: Graph | None
    findings: tuple[Finding, ...] = ()
    native: bool = True


class Leg(Struct, frozen=True):
    """One combination of a job's matrix. `key` is what logs and events call it: "test (3.12, debian)"."""

    key: str
    values: Mapping[str, Json] = field(default_factory=dict)
    index: int = 0
    total: int = 1


# --- expressions ---------------------------------------------------------------------------------


class Status(Struct, frozen=True):
    """What success(), failure() and cancelled() answer at one point of a run."""

    success: bool = True
    failure: bool = False
    cancelled: bool = False


class Scope(Struct, frozen=True, kw_only=True):
    """What an expression can see. `hash_files` is asked only by functions that read the workspace."""

    contexts: Mapping[str, Json]
    status: Status = Status()
    hash_files: Callable[[Sequence[str]], str] | None = None


class ExpressionError(Exception):
    """An expression that cannot be read or evaluated; the message quotes it and says what to change."""


class Facts(Struct, frozen=True, kw_only=True):
    """What is true of a whole run, in no product's words."""

    run: str
    attempt: int
    number: int
    workflow: str
    file: str
    repository: str  # "acme/shop", or the last path component
    url: str  # without credentials
    commit: str
    ref: str  # "refs/heads/main"
    default_branch: str
    actor: str
    event: str  # as the format calls it: "push", "workflow_dispatch"
    message: str = ""
    before: str = ""
    inputs: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)


class JobView(Struct, frozen=True, kw_only=True):
    """What is true inside one leg at one moment; the dialect turns it into contexts and variables."""

    facts: Facts
    job: str
    workspace: str = ""  # as the steps see it
    temp: str = ""
    tools: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    needs: Mapping[str, Json] = field(default_factory=dict)  # id → {"result", "outputs"}
    steps: Mapping[str, Json] = field(default_factory=dict)  # id → {"outcome", "conclusion", "outputs"}
    matrix: Mapping[str, Json] = field(default_factory=dict)
    inputs: Mapping[str, Json] = field(default_factory=dict)
    index: int = 0
    total: int = 1
    fail_fast: bool = True
    status: Status = Status()
    action: str = ""
    action_path: str = ""


class Command(Struct, frozen=True):
    """Something a step asked for on its output: "mask", "output", "env", "path", "error", "group", …"""

    name: str
    value: str
    key: str = ""


class Shell(Struct, frozen=True):
    """How to run a script: `argv` with "{0}" where the script's path goes."""

    argv: tuple[str, ...]
    suffix: str


class Composite(Struct, frozen=True, kw_only=True):
    """A building block kept in the repository itself: steps with inputs of their own."""

    steps: tuple[AnyStep, ...]
    defaults: Pairs = ()
    required: tuple[str, ...] = ()
    outputs: Pairs = ()


class Dialect(Protocol):
    """A format's language inside a run. Pure. Raises ExpressionError."""

    def contexts(self, view: JobView) -> Mapping[str, Json]: ...

    def variables(self, view: JobView) -> Mapping[str, str]:
        """The environment that the product promises its steps (GITHUB_SHA, …)."""
        ...

    def condition(self, text: str, scope: Scope) -> bool: ...

    def evaluate(self, text: str, scope: Scope) -> Json:
        """The typed value of a text that is one expression; else the text interpolated."""
        ...

    def interpolate(self, text: str, scope: Scope) -> str: ...

    def legs(self, job: Job, scope: Scope) -> tuple[Leg, ...]: ...

    def shell(self, name: str) -> Shell: ...

    def files(self) -> Mapping[str, str]:
        """Variable → purpose ("env", "output", "path", "summary", "state") of the files a step may write."""
        ...

    def pairs(self, data: bytes) -> Mapping[str, str]:
        """Read an "env", "output" or "state" file."""
        ...

    def command(self, line: bytes) -> Command | None: ...

    def composite(self, path: str, data: bytes) -> Composite: ...


# --- what may run --------------------------------------------------------------------------------


class Done(Struct, frozen=True):
    """How a job ended, all its legs together. `tolerated`: its failure does not fail the run."""

    outcome: Outcome
    tolerated: bool = False
    outputs: Mapping[str, str] = field(default_factory=dict)

    @property
    def result(self) -> Outcome:
        """What the jobs that need it see."""
        return Outcome.SUCCESS if self.tolerated and self.outcome is Outcome.FAILURE else self.outcome


def runnable(graph: Graph, done: Mapping[str, Done], started: Collection[str] = ()) -> tuple[str, ...]:
    """Jobs whose needs have all ended and that have not begun; their own conditions are still to be asked."""
    return tuple(
        job.id
        for job in graph.jobs
        if job.id not in done and job.id not in started and all(need in done for need in job.needs)
    )


def ancestors(graph: Graph, id: str) -> frozenset[str]:
    """Every job that this one waits for, directly or not."""
    found: set[str] = set()
    ahead = list(graph.job(id).needs)
    while ahead:
        need = ahead.pop()
        if need not in found:
            found.add(need)
            ahead.extend(graph.job(need).needs)
    return frozenset(found)


def standing(graph: Graph, id: str, done: Mapping[str, Done], cancelled: bool = False) -> Status:
    """What success(), failure() and cancelled() answer in this job's own condition.

    A skipped ancestor makes success() false, as the jobs that need a skipped job are skipped.
    Source: GitHub Docs, "Evaluate expressions in workflows", status check functions (ancestor jobs count).
    """
    results = [done[need].result for need in sorted(ancestors(graph, id)) if need in done]
    return Status(
        success=not cancelled and all(result is Outcome.SUCCESS for result in results),
        failure=any(result in (Outcome.FAILURE, Outcome.ERROR) for result in results),
        cancelled=cancelled,
    )


def joined(outcomes: Sequence[Outcome]) -> Outcome:
    """One outcome for the legs of a matrix, or the jobs of a run: the worst that needs a person first."""
    for outcome in (Outcome.ERROR, Outcome.FAILURE, Outcome.CANCELLED):
        if outcome in outcomes:
            return outcome
    return Outcome.SUCCESS if Outcome.SUCCESS in outcomes else Outcome.SKIPPED


def verdict(graph: Graph, done: Mapping[str, Done]) -> Outcome | None:
    """How the run ended, or None while a job has not. A machine's fault is ERROR, never FAILURE."""
    if any(job.id not in done for job in graph.jobs):
        return None
    outcomes = [done[job.id].result for job in graph.jobs]
    if Outcome.FAILURE in outcomes:
        return Outcome.FAILURE  # the repository's own fault is certain, whatever else went wrong
    return joined(outcomes)


# --- what starts it ------------------------------------------------------------------------------


class Happened(Struct, frozen=True, kw_only=True):
    """An event in a repository. `changed` None: not known (a first push), so path filters let it through."""

    event: str
    ref: str
    changed: tuple[str, ...] | None = None


def triggers(graph: Graph, happened: Happened) -> bool:
    """Whether this event starts this pipeline.

    Source: GitHub Docs, "Workflow syntax", on.push.<branches|tags|paths>.
    """
    return any(_fires(trigger, happened) for trigger in graph.triggers if trigger.event == happened.event)


def _fires(trigger: Trigger, happened: Happened) -> bool:
    kind, _, name = happened.ref.removeprefix("refs/").partition("/")
    of_branches = bool(trigger.branches or trigger.branches_ignore)
    of_tags = bool(trigger.tags or trigger.tags_ignore)
    if kind == "tags":
        return (of_tags or not of_branches) and passes(trigger.tags, trigger.tags_ignore, name)
    if of_tags and not of_branches:
        return False
    return passes(trigger.branches, trigger.branches_ignore, name) and (
        happened.changed is None or passes_any(trigger.paths, trigger.paths_ignore, happened.changed)
    )
