"""What a repository says reaches a terminal as words only."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

from click.testing import Result
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.live import Live
from rich.text import Text

from trueup.cli.clean import clean
from trueup.cli.show.clean import Clean, Cleaning

EVIL = "fix\x1b]0;owned\x07\x1b[2J\x9b31m \u202egnp.exe"


@given(st.text())
def test_nothing_but_words_is_left(text: str) -> None:
    left = clean(text)
    assert len(left) == len(text)
    assert not any((c < " " and c not in "\t\n") or "\x7f" <= c < "\xa0" for c in left)
    assert clean(left) == left


def test_a_console_keeps_its_own_styles_and_drops_those_of_the_words() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, color_system="standard", width=200)
    console.push_render_hook(Cleaning())
    console.print(Text(EVIL, "bold red"), soft_wrap=True)
    text = out.getvalue()
    assert text.startswith("\x1b[1;31mfix") and text.endswith("\x1b[0m\n")
    assert text.count("\x1b") == 2 and "\x9b" not in text and "\u202e" not in text


def test_a_live_picture_is_clean_and_can_still_be_drawn_over() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=80, legacy_windows=False)
    console.push_render_hook(Cleaning())
    with Live(console=console, auto_refresh=False) as live:
        live.update(Clean(Text(EVIL)), refresh=True)
        live.console.print(Text(EVIL))
        live.update(Clean(Text("second")), refresh=True)
    text = out.getvalue()
    assert "\x1b]0;" not in text and "\x1b[2J" not in text, "the words steer the terminal"
    assert "\x1b[2K" in text, "the picture is not drawn over"


def test_a_subject_with_escapes_is_shown_harmless(state: Callable[..., Path], trueup: Callable[..., Result]) -> None:
    folder = str(state("undone", subject=EVIL))
    for command in (("status",), ("history",), ("why", "web"), ("ledger", "timeline")):
        out = trueup(*command, "--state", folder).stdout
        assert "owned" in out, f"{command} does not show the subject"
        assert "\x1b" not in out and "\x9b" not in out
