"""`trueup status`, `history`, `why`: read the ledger, running or not."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from trueup.cli import exits, reading
from trueup.cli.common import emit, layout, output_option, run, state_option
from trueup.cli.errors import Stop, Unknown
from trueup.core.layout import Layout
from trueup.core.views.history import History
from trueup.core.views.history import history as history_of
from trueup.core.views.status import Status, Summary
from trueup.core.views.status import status as status_of
from trueup.core.views.why import Ambiguous, NotFound, Why
from trueup.core.views.why import why as why_of

CODES = {
    Summary.HEALTHY: exits.DONE,
    Summary.DEGRADED: exits.FAILED,
    Summary.HELD: exits.WAITS,
    Summary.PROGRESSING: exits.WAITS,
    Summary.PAUSED: exits.WAITS,
    Summary.EMPTY: exits.AWAY,
}


@click.command()
@state_option
@output_option
@click.option("--exit-code", is_flag=True, help="Tell by the exit code: 0 healthy, 1 degraded, 4 waits or in progress.")
@click.option("--watch", "-w", is_flag=True, help="Go on showing what a running loop does, until it ends or Ctrl-C.")
@click.pass_context
def status(ctx: click.Context, state: str | None, output: str, exit_code: bool, watch: bool) -> None:
    """What runs, how well, and what it waits for.

    \b
    Examples:
      trueup status
      trueup status --watch
      trueup status --output json | jq .summary
      trueup status --exit-code && echo all is well
    """
    from trueup.cli.show.status import status as show
    from trueup.cli.watch import watch as go_on

    if watch:
        if output == "json" or exit_code:
            raise click.UsageError("--watch shows and never ends by itself: leave out --output json and --exit-code")
        run(go_on(layout(state)))
        return
    found = run(_status(layout(state)))
    emit(found, output, show)
    if exit_code:
        ctx.exit(CODES[found.summary])


async def _status(where: Layout) -> Status:
    known = await reading.chronicle(where)
    now = await reading.now(where)
    return status_of(
        known,
        datetime.now(UTC),
        running=now is not None,
        judgements=now.judgements if now else None,
        problems=now.problems if now else None,
        watched=now.watched if now else (),
    )


@click.command()
@click.argument("application", default="")
@state_option
@output_option
@click.option("--limit", "-n", default=20, show_default=True, help="How many, newest first; 0 for all.")
def history(application: str, state: str | None, output: str, limit: int) -> None:
    """The rollouts: commit, digest, outcome, duration, who.

    \b
    Examples:
      trueup history
      trueup history shop --limit 5
      trueup history --output json | jq '.rollouts[0].commit'
    """
    from trueup.cli.show.past import history as show

    emit(run(_history(layout(state), application, limit)), output, show)


async def _history(where: Layout, application: str, limit: int) -> History:
    known = await reading.chronicle(where)
    names = sorted({a.name for a in known.applications.values()})
    if application and application not in names:
        raise Unknown(f"no application {application!r}; there is: {', '.join(names) or 'none yet'}")
    return history_of(known, application, limit)


@click.command()
@click.argument("object")
@state_option
@output_option
def why(object: str, state: str | None, output: str) -> None:
    """From an object back to its rollout, digest, pipeline, commit and author.

    OBJECT is kind/name, namespace/kind/name, a bare name, a commit or a digest.

    \b
    Examples:
      trueup why deployment/web
      trueup why default/configmap/settings
      trueup why 3f2c9d1
    """
    from trueup.cli.show.past import why as show

    async def ask() -> Why | NotFound | Ambiguous:
        where = layout(state)
        known = await reading.chronicle(where)
        answer = why_of(known, object, await reading.bundles(where, known))
        return await reading.with_lines(where, answer) if isinstance(answer, Why) else answer

    found = run(ask())
    if isinstance(found, NotFound):
        nearest = f"; nearest: {', '.join(found.nearest)}" if found.nearest else ": nothing has been rolled out yet"
        raise Unknown(f"nothing is called {object!r}{nearest}")
    if isinstance(found, Ambiguous):
        raise Stop(f"{object!r} is more than one: {', '.join(found.matches)}", exits.USAGE)
    emit(found, output, show)
