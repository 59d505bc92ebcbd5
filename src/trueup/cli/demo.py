"""`trueup demo`: the whole loop on this machine, under load. Thin: the play is in `trueup.demo`."""

from __future__ import annotations

import os
import shutil
import sys

import click

from trueup.cli.common import console, run
from trueup.cli.errors import Away, Stop


@click.command()
@click.pass_context
def demo(ctx: click.Context) -> None:
    """See the whole loop on this machine, under load: four acts, everything real.

    A push becomes three replicas; a second one takes their place without a lost request; a broken one is stopped and
    undone by a commit; a container removed by hand comes back. Missing Debian packages are installed and named. On a
    terminal it stays up afterwards, for you to explore; in a pipe, or with CI=true, it removes what it made.

    \b
    Examples:
      trueup demo
      CI=true trueup demo
    """
    from trueup.demo.command import Failed
    from trueup.demo.play import Settings, play
    from trueup.demo.telling import Telling

    _become_root()
    screen = console()
    stay = screen.is_terminal and sys.stdin.isatty() and os.environ.get("CI", "").lower() not in ("1", "true", "yes")
    given = ctx.find_root().obj or ""
    settings = Settings(environ=dict(os.environ), python=sys.executable, state=given, stay=stay)
    try:
        run(play(settings, Telling(screen), lambda question: click.confirm(question, default=True)))
    except Failed as error:
        raise Stop(str(error)) from error


def _become_root() -> None:
    """Containers, bridge and packages need root: start again under sudo, and say so."""
    if os.geteuid() == 0:
        return
    if shutil.which("sudo") is None:
        raise Away("the demo needs root for containers and packages, and there is no sudo: run it as root")
    words = ["sudo", "--preserve-env", sys.executable, "-m", "trueup.cli", *sys.argv[1:]]
    click.echo(f"containers and packages need root, so this goes on as: {' '.join(words)}", err=True)
    os.execvp("sudo", words)
