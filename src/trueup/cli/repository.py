"""`trueup check`, `inspect` and `plan`: look at a repository without running anything of it."""

from __future__ import annotations

import click
from msgspec import Struct

from trueup.cli import exits
from trueup.cli.common import emit, layout, output_option, run, state_option
from trueup.cli.revision import read_revision
from trueup.core.model import Finding, Severity
from trueup.engine.inspect import inspect as inspect_of
from trueup.engine.study import Reading


class Report(Struct, frozen=True):
    """What `trueup check` says."""

    repository: str
    findings: tuple[Finding, ...]
    errors: int
    warnings: int
    notes: int


commit_option = click.option(
    "--commit", default="", help="A commit or branch of it. [default: the folder as it stands, a URL's head]"
)


@click.command()
@click.argument("repository", default=".")
@commit_option
@click.option("--strict", is_flag=True, help="Warnings count as errors for the exit code.")
@click.option(
    "--target", type=click.Choice(["host", "kubernetes"]), help="Where it is to run. [default: as `up` had it, or host]"
)
@state_option
@output_option
@click.pass_context
def check(
    ctx: click.Context,
    repository: str,
    commit: str,
    strict: bool,
    target: str | None,
    state: str | None,
    output: str,
) -> None:
    """Name each fault of a repository at its file and line, with what to do.

    REPOSITORY is a folder, looked at as it stands, or a URL. Nothing of it is run.

    \b
    Examples:
      trueup check
      trueup check ~/src/shop --strict
      trueup check . --target kubernetes
      trueup check --output json | jq -r '.findings[].rule'
    """
    from trueup.cli.show.repository import report as show

    reading = run(read_revision(layout(state), repository, commit, target))
    found = report(repository, reading)
    emit(found, output, show)
    if found.errors or (strict and found.warnings):
        ctx.exit(exits.FAILED)


@click.command()
@click.argument("repository", default=".")
@commit_option
@state_option
@output_option
def inspect(repository: str, commit: str, state: str | None, output: str) -> None:
    """What was found in a repository and how it hangs together: objects, images, pipelines, monitoring.

    \b
    Examples:
      trueup inspect
      trueup inspect ~/src/shop
      trueup inspect --output json | jq '.images[].built_by'
    """
    from trueup.cli.show.repository import inspection as show

    reading = run(read_revision(layout(state), repository, commit))
    emit(inspect_of(reading.found, reading.rendered, reading.findings, reading.expanded), output, show)


@click.command()
@click.argument("repository", default=".")
@commit_option
@click.option("--application", default="", help="Which application it is, when that is not clear.")
@state_option
@output_option
@click.pass_context
def plan(ctx: click.Context, repository: str, commit: str, application: str, state: str | None, output: str) -> None:
    """The exact difference that a commit, or the folder as it stands, would make to what runs.

    Nothing is changed. Values of Secrets are not shown, only whether they differ. Images that a pipeline has yet to
    build stand as what runs now. On a cluster everything that changes is tried by a server-side dry run, and what
    could not be tried is marked.

    \b
    Examples:
      trueup plan
      trueup plan --commit 3f2c9d1
      trueup plan https://git.example/shop --commit main --output json
    """
    from trueup.cli.planning import Asked
    from trueup.cli.planning import plan as plan_of
    from trueup.cli.show.repository import plan as show

    found = run(plan_of(layout(state), Asked(repository, commit, application)))
    emit(found, output, show)
    if any(c.refused for c in found.changes):
        ctx.exit(exits.FAILED)
    if any(c.held for c in found.changes):
        ctx.exit(exits.WAITS)


def report(repository: str, reading: Reading) -> Report:
    """The findings in the order of files and lines, counted."""
    order = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.NOTE: 2}
    findings = tuple(sorted(reading.findings, key=lambda f: (f.place, order[f.severity], f.rule)))
    count = {severity: sum(f.severity is severity for f in findings) for severity in Severity}
    return Report(repository, findings, count[Severity.ERROR], count[Severity.WARNING], count[Severity.NOTE])
