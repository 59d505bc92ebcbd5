"""`trueup demo`: the whole loop on this machine, under constant load."""

from __future__ import annotations

import os
import sys

import click

from trueup.cli import exits
from trueup.cli.common import console, run
from trueup.cli.errors import Stop
from trueup.demo.command import Failed
from trueup.demo.play import Settings, play
from trueup.demo.telling import Telling


@click.command()
@click.option(
    "--stay/--end", default=None, help="Leave it running to explore, or end by itself. [default: by terminal]"
)
@click.option("--state", metavar="DIR", default="", help="A state folder to keep. [default: one of the demo's own]")
def demo(stay: bool | None, state: str) -> None:
    """See the whole loop on this machine, under load. Everything is real: Git, tests, images, containers, requests.

    A first push, an update, a broken push that is undone, and a container that somebody removes; requests never
    cease, and none may be lost. Without a terminal, or with CI=true, it ends by itself.

    \b
    Examples:
      trueup demo
      trueup demo --end
    """
    terminal = sys.stdin.isatty() and sys.stdout.isatty() and not os.environ.get("CI")
    settings = Settings(
        environ=dict(os.environ), python=sys.executable, state=state, stay=terminal if stay is None else stay
    )
    try:
        run(play(settings, Telling(console()), lambda question: click.confirm(question, default=True)))
    except Failed as error:
        raise Stop(str(error), exits.FAILED) from error
