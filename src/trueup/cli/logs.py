"""`trueup logs`: what containers print, and what a pipeline's job printed."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import click

from trueup.api.client import Denied, NotRunning, connect
from trueup.cli import reading
from trueup.cli.common import layout, output_option, run, state_option
from trueup.cli.errors import Away, Stop, Unknown
from trueup.cli.loglines import AsJson, Sink
from trueup.core.layout import Layout
from trueup.core.running import LogQuery, NoSuchLog


@click.command()
@click.argument("object", default="")
@click.option("--application", "-a", default="", help="Needed when there is more than one.")
@click.option("--run", "which", default="", help="A pipeline's run, workflow or commit instead.")
@click.option("--job", default="", help="With --run: only this job.")
@click.option("--follow", "-f", is_flag=True, help="Go on as more is printed.")
@click.option("--tail", type=int, default=0, help="Only the last lines.")
@state_option
@output_option
def logs(
    object: str, application: str, which: str, job: str, follow: bool, tail: int, state: str | None, output: str
) -> None:
    """What running containers print; with --run, what a pipeline's job printed.

    With --output json each line is an object: of (pod or job), time (a job's), text.

    \b
    Examples:
      trueup logs                          every container of the application
      trueup logs deployment/web --follow
      trueup logs --run test --job pytest
    """
    from trueup.cli.ci import find

    where = layout(state)
    if which or job:
        if object:
            raise click.UsageError("an object and --run are two questions: ask one")
        found = run(find(where, which))
        copy(where, LogQuery(run=found.id, job=job, follow=follow, tail=tail), output)
        return
    id = run(_application(where, application))
    copy(where, LogQuery(application=id, object=object, follow=follow, tail=tail), output)


async def _application(where: Layout, name: str) -> str:
    known = await reading.chronicle(where)
    ids = [id for id, a in known.applications.items() if name in ("", a.name, id)]
    names = ", ".join(sorted(a.name for a in known.applications.values())) or "none yet"
    if not ids:
        raise Unknown(f"no application {name!r}; there is: {names}")
    if len(ids) > 1:
        ids = [id for id in ids if known.applications[id].current] or ids  # those that ever ran anything
    if len(ids) > 1:
        raise Stop(f"more than one application: name one with --application: {names}", 2)
    return ids[0]


def copy(where: Layout, query: LogQuery, output: str = "text") -> None:
    """Copy a log to standard output as it comes. A run's kept log needs no running `trueup up`."""
    if output == "text":
        run(_copy(where, query, sys.stdout.buffer))
        return
    lines = AsJson(sys.stdout.buffer, jobs=bool(query.run))
    run(_copy(where, query, lines))
    lines.end()


async def _copy(where: Layout, query: LogQuery, out: Sink) -> None:
    try:
        async for chunk in _parts(where, query):
            out.write(chunk)
            out.flush()
    except NoSuchLog as error:
        raise Unknown(str(error)) from error
    except Denied as error:
        raise Away(str(error)) from error
    except NotRunning as error:
        if not query.run:
            raise Away(f"{error} (containers are asked through it)") from error
        _kept(where, query, out)


async def _parts(where: Layout, query: LogQuery) -> AsyncIterator[bytes]:
    async with connect(where.socket) as client:
        async for chunk in client.logs(query):
            yield chunk


def _kept(where: Layout, query: LogQuery, out: Sink) -> None:
    folder = Path(where.logs) / query.run.rpartition("/")[2]
    found = sorted(p for p in folder.glob("*.log") if query.job in ("", p.stem)) if folder.is_dir() else []
    if not found:
        jobs = ", ".join(sorted(p.stem for p in folder.glob("*.log"))) if folder.is_dir() else ""
        raise Unknown(f"{query.run} has no log of {query.job!r}; there is: {jobs}" if jobs else "its log is not kept")
    for path in found:
        if len(found) > 1:
            out.write(f"=== {path.stem}\n".encode())
        lines = path.read_bytes().splitlines(keepends=True)
        out.write(b"".join(lines[-query.tail :] if query.tail else lines))
    out.flush()
