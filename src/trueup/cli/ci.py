"""`trueup ci list|run|cancel|logs`: pipelines, from the ledger and through a running `trueup up`."""

from __future__ import annotations

import click

from trueup.cli import reading
from trueup.cli.act import send
from trueup.cli.common import emit, layout, output_option, run, state_option
from trueup.cli.errors import Unknown
from trueup.core import requests
from trueup.core.layout import Layout
from trueup.core.views.chronicle import Chronicle, RunView

EXAMPLES = """\b
Examples:
  trueup ci list
  trueup ci run test
  trueup ci logs test --follow
  trueup ci cancel test"""


@click.group(epilog=EXAMPLES)
def ci() -> None:
    """List, run, cancel pipelines and read their logs."""


@ci.command("list", epilog="\b\nExamples:\n  trueup ci list\n  trueup ci list --limit 3 --output json")
@click.option("--limit", "-n", default=20, show_default=True, help="How many, newest first; 0 for all.")
@state_option
@output_option
def list_(limit: int, state: str | None, output: str) -> None:
    """The pipeline runs, newest first, with their jobs."""
    from trueup.cli.show.past import runs as show

    found = newest(run(reading.chronicle(layout(state))))
    emit(tuple(found[:limit] if limit else found), output, show)


@ci.command("run", epilog="\b\nExamples:\n  trueup ci run test\n  trueup ci run test --commit 3f2c9d1 --job pytest")
@click.argument("workflow")
@click.option("--commit", default="", help="Which commit; without it the newest.")
@click.option("--job", default="", help="Only this job and what it needs.")
@state_option
@output_option
def run_(workflow: str, commit: str, job: str, state: str | None, output: str) -> None:
    """Run a workflow by hand. What it says changes no verdict: only what a push triggers does."""
    send(state, requests.CiRun(workflow, commit, job), output)


@ci.command(epilog="\b\nExamples:\n  trueup ci cancel test\n  trueup ci cancel 8d11f0 --why 'wrong branch'")
@click.argument("which")
@click.option("--why", default="", help="Kept in the ledger.")
@state_option
@output_option
def cancel(which: str, why: str, state: str | None, output: str) -> None:
    """Cancel a run that is under way: by its id, or the newest of a workflow."""
    found = run(find(layout(state), which))
    send(state, requests.Terminate(found.id, why), output)


@ci.command(epilog="\b\nExamples:\n  trueup ci logs\n  trueup ci logs test --job pytest --follow")
@click.argument("which", default="")
@click.option("--job", default="", help="Only this job.")
@click.option("--follow", "-f", is_flag=True, help="Go on until the run ends.")
@click.option("--tail", type=int, default=0, help="Only the last lines.")
@state_option
@output_option
def logs(which: str, job: str, follow: bool, tail: int, state: str | None, output: str) -> None:
    """The log of a run: by its id, the newest of a workflow, or the newest of all.

    With --output json each line is an object: of (the job), time, text.
    """
    from trueup.cli.logs import copy
    from trueup.core.running import LogQuery

    where = layout(state)
    found = run(find(where, which))
    copy(where, LogQuery(run=found.id, job=job, follow=follow, tail=tail), output)


def newest(known: Chronicle) -> list[RunView]:
    runs = [r for r in known.runs.values() if r.started is not None]
    return sorted(runs, key=lambda r: (r.started, r.id), reverse=True)


async def find(where: Layout, which: str) -> RunView:
    """A run by its id or the beginning of it, else the newest of that workflow, commit, or at all."""
    known = await reading.chronicle(where)
    runs = newest(known)
    found = select(known, runs, which)
    if found is None:
        names = sorted({r.workflow for r in runs})
        raise Unknown(f"no run or workflow {which!r}; there is: {', '.join(names)}" if names else "nothing has run yet")
    return found


def select(known: Chronicle, runs: list[RunView], which: str) -> RunView | None:
    if not which:
        return runs[0] if runs else None
    bare = which.removeprefix("run/")
    for fits in (
        lambda r: r.id.removeprefix("run/").startswith(bare),
        lambda r: r.workflow == which or r.place == which,
        lambda r: (c := known.candidates.get(r.candidate)) is not None and c.commit.startswith(which),
    ):
        if (found := next((r for r in runs if fits(r)), None)) is not None:
            return found
    return None
