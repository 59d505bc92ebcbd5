"""What all commands share: `--state` and `--output`, the console, and running a coroutine. Reads the environment."""

from __future__ import annotations

import asyncio
import os
import pwd
import sys
import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from trueup.core.layout import Layout
from trueup.core.model import Principal

if TYPE_CHECKING:
    from rich.console import Console

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

PIPE_WIDTH = 1000  # in a pipe nothing is cut or wrapped: other programs read it


class Wall:
    """The clock of this machine."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic_s(self) -> float:
        return time.monotonic()


def person() -> Principal:
    """Who runs this command, as the kernel knows them."""
    uid = os.getuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = "no such user"
    return Principal(f"uid:{uid} ({name})", "command line")


def state_option(function: F) -> F:
    """`--state DIR`, given as `state`."""
    return click.option(
        "--state", metavar="DIR", help="The folder that holds everything Trueup keeps. [env: TRUEUP_STATE]"
    )(function)


def output_option(function: F) -> F:
    """`--output text|json`, given as `output`."""
    return click.option(
        "--output", "-o", type=click.Choice(["text", "json"]), default="text", help="How to print. [default: text]"
    )(function)


def layout(state: str | None) -> Layout:
    """The state folder: --state, else TRUEUP_STATE, else the XDG state folder of this user.

    Keys that open what is sealed in it stand apart: in TRUEUP_KEYS, else in this user's XDG configuration folder.
    Source: XDG Base Directory Specification 0.8, $XDG_STATE_HOME, $XDG_CONFIG_HOME."""
    given = state or click.get_current_context().find_root().obj or os.environ.get("TRUEUP_STATE")
    if not given:
        from platformdirs import user_state_path

        given = str(user_state_path("trueup"))
    from platformdirs import user_config_path

    apart = os.environ.get("TRUEUP_KEYS") or str(user_config_path("trueup") / "keys")
    return Layout(str(Path(given).expanduser().absolute()), str(Path(apart).expanduser().absolute()))


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run the command's coroutine to its end."""
    return asyncio.run(work)


def console(*, err: bool = False) -> Console:
    """Colours only on a terminal and without NO_COLOR; in a pipe lines keep their full width.

    Source: no-color.org."""
    from rich.console import Console

    from trueup.cli.show.clean import Cleaning

    stream = sys.stderr if err else sys.stdout
    terminal = stream.isatty()
    plain = bool(os.environ.get("NO_COLOR")) or not terminal or os.environ.get("TERM") == "dumb"
    width = None if terminal or os.environ.get("COLUMNS") else PIPE_WIDTH
    made = Console(file=stream, no_color=plain, highlight=False, width=width, emoji=False, markup=False)
    made.push_render_hook(Cleaning())
    return made


def emit(record: object, output: str, show: Callable[[Any, Console], None]) -> None:
    """Print a record: as JSON with stable keys, or as `show` draws it."""
    if output == "json":
        import msgspec

        text = msgspec.json.format(msgspec.json.encode(record, order="sorted"), indent=2)
        sys.stdout.write(text.decode() + "\n")
        sys.stdout.flush()
        return
    screen = console()
    if screen.is_terminal:
        show(record, screen)
        return
    with screen.capture() as drawn:
        show(record, screen)
    for line in drawn.get().splitlines():
        click.echo(line.rstrip())
