"""Text from repositories, made fit to be shown on one line of a terminal."""

from __future__ import annotations

LIMIT = 600


def shown(text: str, limit: int = LIMIT) -> str:
    """The text on one line: what does not print is escaped, so that it can forge no line and move no cursor, and
    what is too long is cut."""
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
