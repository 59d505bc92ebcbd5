"""`trueup wait`: ends when an application is healthy, or will not be. Reads the ledger, on every target."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import click

from trueup.cli import exits, reading
from trueup.cli.common import layout, run, state_option
from trueup.cli.errors import Stop, Unknown
from trueup.cli.times import Duration
from trueup.core.layout import Layout
from trueup.core.views.chronicle import Chronicle, short
from trueup.core.views.status import ApplicationStatus, status

LOOK_S = 0.3  # the ledger is a file of another process: looked at, not awaited
STOPPED = ("condemned", "held", "terminated")


@click.command()
@click.argument("application", default="")
@click.option("--commit", "-c", default="", help="Until this commit runs, by its id or its beginning.")
@click.option("--timeout", type=Duration(), default=timedelta(minutes=10), help="How long: 90s, 15m. [default: 10m]")
@state_option
def wait(application: str, commit: str, timeout: timedelta, state: str | None) -> None:
    """Wait until every application, or the one named, is healthy and nothing is under way.

    Exit code 1 when a rollout was stopped, 4 when the time is up; the reason is told.

    \b
    Examples:
      trueup wait
      trueup wait shop --commit $(git rev-parse HEAD) --timeout 15m
    """
    for line in run(_wait(layout(state), application, commit, timeout.total_seconds())):
        click.echo(line)


async def _wait(where: Layout, name: str, commit: str, timeout_s: float) -> list[str]:
    known, position, open_ = Chronicle(), 0, "nothing has been seen yet"
    try:
        async with asyncio.timeout(timeout_s), reading.ledger(where) as ledger:
            while True:
                position = await reading.grow(known, ledger, position)
                open_ = pending(known, name, commit)
                if not open_:
                    return [_told(a) for a in _named(known, name)]
                await asyncio.sleep(LOOK_S)
    except TimeoutError as error:
        raise Stop(f"not healthy within {timeout_s:g} s: {open_}", exits.WAITS) from error


def pending(known: Chronicle, name: str, commit: str) -> str:
    """What is still waited for, "" when nothing is. Raises Stop when a rollout was stopped, Unknown."""
    found = _named(known, name)
    if not found:
        return "there is no application yet"
    for each in found:
        _stopped(known, each, commit)
        sync = each.sync
        if sync is not None:
            return f"{each.name}: {sync.phase} {short(sync.commit)}{f': {sync.reason}' if sync.reason else ''}"
        if commit and (each.running is None or not each.running.commit.startswith(commit)):
            return f"{each.name}: {commit[:10]} does not run yet"
        if each.health != "healthy":
            return f"{each.name} is {each.health or 'new'}{f': {each.reason}' if each.reason else ''}"
    return ""


def _stopped(known: Chronicle, each: ApplicationStatus, commit: str) -> None:
    for candidate in known.candidates.values() if commit else ():
        if candidate.commit.startswith(commit):
            reason = known.applications[each.id].condemned.get(candidate.id) or (
                candidate.reason if candidate.verdict.value == "red" else ""
            )
            if reason:
                raise Stop(f"{each.name}: {short(candidate.commit)} will not run: {reason}")
    if each.sync is not None and each.sync.phase in STOPPED and not commit:
        raise Stop(f"{each.name}: {short(each.sync.commit)} is {each.sync.phase}: {each.sync.reason}")


def _named(known: Chronicle, name: str) -> list[ApplicationStatus]:
    found = status(known, datetime.now(UTC)).applications
    if name and found and not any(name in (a.name, a.id) for a in found):
        raise Unknown(f"no application {name!r}; there is: {', '.join(sorted(a.name for a in found))}")
    return [a for a in found if name in ("", a.name, a.id)]


def _told(each: ApplicationStatus) -> str:
    runs = f" on {short(each.running.commit)} “{each.running.subject}”" if each.running else ""
    return f"{each.name} is healthy{runs}"
