"""The few styles, signs and words that all views share. Colour never carries meaning alone."""

from __future__ import annotations

from datetime import datetime

from rich.table import Table
from rich.text import Text

from trueup.core.views.stages import StageState
from trueup.core.views.timeline import Tone

TONE = {Tone.GOOD: "green", Tone.BAD: "bold red", Tone.WAITS: "yellow", Tone.PLAIN: ""}
WORD = {
    "healthy": "green",
    "success": "green",
    "green": "green",
    "done": "green",
    "degraded": "bold red",
    "missing": "bold red",
    "condemned": "bold red",
    "failure": "bold red",
    "red": "bold red",
    "error": "yellow",
    "held": "yellow",
    "paused": "yellow",
    "unknown": "yellow",
    "progressing": "cyan",
    "running": "cyan",
    "applying": "cyan",
    "verifying": "cyan",
    "pending": "cyan",
    "superseded": "dim",
    "terminated": "yellow",
    "cancelled": "yellow",
    "skipped": "dim",
}
SIGN = {
    StageState.WAITING: ("·", "dim"),
    StageState.RUNNING: ("▸", "cyan"),
    StageState.DONE: ("✔", "green"),
    StageState.FAILED: ("✘", "bold red"),
    StageState.HELD: ("‖", "yellow"),
    StageState.SKIPPED: ("–", "dim"),
}


def word(text: str) -> Text:
    return Text(text, WORD.get(text, ""))


def when(time: datetime | None) -> str:
    """UTC as everywhere in Trueup: two machines never disagree about it."""
    return f"{time:%Y-%m-%d %H:%M:%S}Z" if time else ""


def grid(*styles: str) -> Table:
    """Aligned columns without lines; the last one takes what is left."""
    table = Table.grid(padding=(0, 2))
    for index, style in enumerate(styles):
        table.add_column(style=style, no_wrap=index < len(styles) - 1, overflow="fold")
    return table
