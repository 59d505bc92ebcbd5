"""`trueup check`, `inspect` and `plan`: look at a repository without running anything of it."""

from __future__ import annotations

from datetime import UTC, datetime

import click
from msgspec import Struct

from trueup.app import NotUsable, read_folder
from trueup.cli import exits
from trueup.cli.common import emit, output_option
from trueup.cli.errors import Stop
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


@click.command()
@click.argument("repository", default=".")
@click.option("--strict", is_flag=True, help="Warnings count as errors for the exit code.")
@output_option
@click.pass_context
def check(ctx: click.Context, repository: str, strict: bool, output: str) -> None:
    """Name each fault of a repository at its file and line, with what to do.

    Looks at the folder as it stands, committed or not. Nothing of it is run.

    \b
    Examples:
      trueup check
      trueup check ~/src/shop --strict
      trueup check --output json | jq -r '.findings[].rule'
    """
    from trueup.cli.show.repository import report as show

    found = report(repository, _read(repository))
    emit(found, output, show)
    if found.errors or (strict and found.warnings):
        ctx.exit(exits.FAILED)


@click.command()
@click.argument("repository", default=".")
@output_option
def inspect(repository: str, output: str) -> None:
    """What was found in a repository and how it hangs together: objects, images, pipelines, monitoring.

    \b
    Examples:
      trueup inspect
      trueup inspect ~/src/shop
      trueup inspect --output json | jq '.images[].built_by'
    """
    from trueup.cli.show.repository import inspection as show

    reading = _read(repository)
    emit(inspect_of(reading.found, reading.rendered, reading.findings), output, show)


def report(repository: str, reading: Reading) -> Report:
    """The findings in the order of files and lines, counted."""
    order = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.NOTE: 2}
    findings = tuple(sorted(reading.findings, key=lambda f: (f.place, order[f.severity], f.rule)))
    count = {severity: sum(f.severity is severity for f in findings) for severity in Severity}
    return Report(repository, findings, count[Severity.ERROR], count[Severity.WARNING], count[Severity.NOTE])


def _read(repository: str) -> Reading:
    try:
        return read_folder(repository, datetime.now(UTC).date())
    except NotUsable as error:
        raise Stop(str(error), exits.AWAY) from error
