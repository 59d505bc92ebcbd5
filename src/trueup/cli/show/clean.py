"""Cleans what a console draws: the words, never the console's own styles and movements."""

from __future__ import annotations

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderableType, RenderHook, RenderResult
from rich.segment import Segment

from trueup.cli.clean import clean


class Clean:
    """A renderable whose words are cleaned when they are drawn; its own styles stay."""

    def __init__(self, inner: RenderableType) -> None:
        self._inner = inner

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for segment in console.render(self._inner, options):
            yield segment if segment.control else Segment(clean(segment.text), segment.style)


class Cleaning(RenderHook):
    """Makes everything that a console prints clean. What a Live draws by itself it must wrap in `Clean`."""

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        return [Clean(each) for each in renderables]
