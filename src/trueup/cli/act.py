"""Verbs for a running `trueup up`: each sends one request over its socket and prints the one-line reply."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click

from trueup.api.client import Denied, NotRunning, connect
from trueup.cli import exits
from trueup.cli.common import emit, layout, output_option, run, state_option
from trueup.cli.errors import Away, Stop
from trueup.cli.times import Duration, Moment
from trueup.core import requests


def send(state: str | None, request: requests.Request, output: str = "text") -> requests.Reply:
    """Send, print, and fail with its message when the reply says no."""
    reply = run(ask(state, request))
    if output == "text" and not reply.ok:
        raise Stop(reply.message, exits.UNKNOWN if reply.unknown else exits.FAILED)
    emit(reply, output, lambda r, console: console.print(r.message))
    if not reply.ok:
        raise SystemExit(exits.UNKNOWN if reply.unknown else exits.FAILED)
    return reply


async def ask(state: str | None, request: requests.Request) -> requests.Reply:
    async with connect(layout(state).socket) as client:
        try:
            return await client.do(request)
        except (NotRunning, Denied) as error:
            raise Away(str(error)) from error


@click.command()
@click.argument("application", default="")
@state_option
@output_option
def sync(application: str, state: str | None, output: str) -> None:
    """Compare what runs with what is wanted, and repair, now.

    \b
    Examples:
      trueup sync
      trueup sync shop
    """
    send(state, requests.Sync(application), output)


@click.command()
@click.argument("source", default="")
@state_option
@output_option
def refresh(source: str, state: str | None, output: str) -> None:
    """Look at the remote repository now, without waiting for a webhook or the next poll.

    \b
    Examples:
      trueup refresh
      trueup refresh shop
    """
    send(state, requests.Refresh(source), output)


@click.command()
@click.argument("what", default="")
@click.option("--all", "everything", is_flag=True, help="Run every job again, not only those that failed.")
@state_option
@output_option
def retry(what: str, everything: bool, state: str | None, output: str) -> None:
    """Run what failed, or a held sync, again.

    WHAT is a run, a commit or an application; without it, the newest that failed.

    \b
    Examples:
      trueup retry                 the newest failure
      trueup retry 3f2c9d1 --all   every job of that commit
      trueup retry shop            a held rollout
    """
    send(state, requests.Retry(what, failed_only=not everything), output)


@click.command()
@click.argument("what", default="")
@click.option("--why", default="", help="Kept in the ledger.")
@state_option
@output_option
def terminate(what: str, why: str, state: str | None, output: str) -> None:
    """Stop a sync or a pipeline run. What served before goes on serving.

    \b
    Examples:
      trueup terminate shop --why "wrong day"
      trueup terminate 01j9x4
    """
    send(state, requests.Terminate(what, why), output)


@click.command()
@click.argument("changes")
@click.option("--application", default="", help="Needed when there is more than one.")
@state_option
@output_option
def approve(changes: str, application: str, state: str | None, output: str) -> None:
    """Allow the held changes of a plan, and only these.

    CHANGES is the hash that `trueup plan` shows beside them: when the plan changes, so does the hash.

    \b
    Examples:
      trueup plan
      trueup approve 9c41f0
    """
    send(state, requests.Approve(application, changes), output)


@click.command()
@click.argument("commit", default="")
@click.option("--application", default="", help="Needed when there is more than one.")
@click.option("--why", default="", help="Kept in the ledger.")
@state_option
@output_option
def rollback(commit: str, application: str, why: str, state: str | None, output: str) -> None:
    """Go back to an earlier commit that ran well, by a commit of its own. The next green push resumes.

    COMMIT may be any that ran well, a younger one than what runs now, too.

    \b
    Examples:
      trueup rollback                        the last good one before what runs
      trueup rollback 3f2c9d1 --why "slow"
    """
    send(state, requests.Rollback(commit, application, why), output)


@click.command()
@click.argument("application")
@click.option("--cascade", "mode", flag_value="cascade", help="Delete its objects.")
@click.option("--orphan", "mode", flag_value="orphan", help="Leave its objects as they are; they are nobody's then.")
@click.option("--data", is_flag=True, help="Delete Namespaces, PersistentVolumeClaims and definitions, too.")
@click.option("--why", default="", help="Kept in the ledger.")
@state_option
@output_option
def remove(application: str, mode: str | None, data: bool, why: str, state: str | None, output: str) -> None:
    """Take an application away: run its PreDelete hooks, delete its objects, run its PostDelete hooks.

    What an annotation keeps stays and is told. A new push does not bring it back, `trueup sync APPLICATION` does.

    \b
    Examples:
      trueup remove shop --cascade --why "moved to another cluster"
      trueup remove shop --orphan
    """
    if mode is None:
        raise click.UsageError("say what becomes of its objects: --cascade deletes them, --orphan leaves them")
    send(state, requests.Remove(application, mode == "orphan", data, why), output)


@click.command()
@click.argument("source", default="")
@click.option("--for", "length", type=Duration(), help="How long: 90s, 15m, 2h, 7d.")
@click.option("--until", type=Moment(), help="Until when, UTC unless it says otherwise.")
@click.option("--why", default="", help="Shown to everyone who asks for the status.")
@state_option
@output_option
def pause(
    source: str, length: timedelta | None, until: datetime | None, why: str, state: str | None, output: str
) -> None:
    """Roll nothing out for a while. Checks and pipelines go on; drift is still repaired.

    \b
    Examples:
      trueup pause --for 2h --why "release freeze"
      trueup pause shop --until 2026-03-02T18:00+01:00
    """
    if length is not None and until is not None:
        raise click.UsageError("--for and --until say the same thing: give one of them")
    if length is not None:
        until = datetime.now(UTC) + length
    if until is not None and until <= datetime.now(UTC):
        raise click.UsageError(f"--until {until.isoformat()} is past")
    send(state, requests.Pause(source, until, why), output)


@click.command()
@click.argument("source", default="")
@click.option("--why", default="", help="Kept in the ledger.")
@state_option
@output_option
def resume(source: str, why: str, state: str | None, output: str) -> None:
    """End a pause: what is green by now is rolled out.

    \b
    Examples:
      trueup resume
      trueup resume shop --why "freeze is over"
    """
    send(state, requests.Resume(source, why), output)
