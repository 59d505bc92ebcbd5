"""`trueup demo`: the whole loop on this machine, under constant load."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence

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
    if os.geteuid() != 0:
        words = under_sudo(shutil.which("sudo"), os.environ, sys.argv[1:], ask=sys.stdin.isatty())
        click.echo("this starts containers, a bridge and a proxy on the machine: starting again under sudo", err=True)
        os.execv(words[0], words)
    settings = Settings(
        environ=dict(os.environ), python=sys.executable, state=state, stay=terminal if stay is None else stay
    )
    try:
        run(play(settings, Telling(console()), lambda question: click.confirm(question, default=True)))
    except Failed as error:
        raise Stop(str(error), exits.FAILED) from error


# What a person may have set for this command; everything else is left to sudo's own rules.
KEPT = ("CI", "NO_COLOR", "COLUMNS", "TERM", "SSL_CERT_FILE", "PIP_INDEX_URL")


def under_sudo(sudo: str | None, environ: Mapping[str, str], arguments: Sequence[str], *, ask: bool) -> list[str]:
    """The same command as root. Without somebody to `ask` for a password sudo must not need one. Raises Stop.

    Names of variables only: values, which may hold a proxy's password, are never on a command line. `-P`: nothing
    is imported from the folder one stands in. Source: sudo(8), --preserve-env; python(1), -P (3.11)."""
    if sudo is None:
        raise Stop("this starts containers, a bridge and a proxy on the machine: run it as root (there is no sudo)")
    kept = sorted(n for n in environ if n in KEPT or n.startswith("TRUEUP_") or n.lower().endswith("_proxy"))
    words = [sudo, *([] if ask else ["-n"]), *([f"--preserve-env={','.join(kept)}"] if kept else []), "--"]
    return [*words, sys.executable, "-P", "-m", "trueup.cli", *arguments]
