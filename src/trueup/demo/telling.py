"""Tells the play as it happens: plain lines in a pipe, colours and a live count of requests on a terminal."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Console
from rich.live import Live
from rich.text import Text

from trueup.core.views.timeline import Moment, Tone
from trueup.demo.traffic import Count

STYLE = {Tone.GOOD: "green", Tone.BAD: "bold red", Tone.WAITS: "yellow", Tone.PLAIN: ""}


class Telling:
    """One line a thing, with the time since the curtain rose. `live` shows a last line that changes."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._began_s = time.monotonic()
        self._live: Live | None = None

    def elapsed_s(self) -> float:
        return time.monotonic() - self._began_s

    def open(self) -> None:
        if self.console.is_terminal:
            self._live = Live(Text(), console=self.console, auto_refresh=False, transient=True)
            self._live.start()

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def status(self, count: Count) -> None:
        """The last line of a terminal; nothing in a pipe."""
        if self._live is not None:
            self._live.update(Text(f"  {clock(self.elapsed_s())}  {counted(count)}", "dim"), refresh=True)

    def act(self, title: str) -> None:
        self._print(Text(""))
        self._print(Text(title, "bold"))

    def say(self, text: str, tone: Tone = Tone.PLAIN) -> None:
        """Something the play does or has seen itself."""
        self._line("▸", text, STYLE[tone])

    def moment(self, moment: Moment) -> None:
        """Something the ledger says."""
        self._line(" ", moment.text, STYLE[moment.tone] or "dim")

    def lines(self, lines: Sequence[str]) -> None:
        for line in lines:
            self._print(Text(line))

    def _line(self, sign: str, text: str, style: str) -> None:
        self._print(Text.assemble((f"{clock(self.elapsed_s())} ", "dim"), (f"{sign} ", "cyan"), (text, style)))

    def _print(self, text: Text) -> None:
        self.console.print(text, soft_wrap=True)


def clock(seconds: float) -> str:
    """ "1:05": minutes and seconds."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02}"


def counted(count: Count) -> str:
    """ "12,345 requests sent, 0 lost; answered by version 1.0.0: 12,345"."""
    if not count.sent:
        return "no requests yet"
    by = ", ".join(f"version {version}: {n:,}" for version, n in count.versions)
    return f"{count.sent:,} requests sent, {count.lost:,} lost{f'; answered by {by}' if by else ''}"
