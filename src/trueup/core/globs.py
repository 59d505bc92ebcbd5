"""Patterns over names and paths as Argo CD reads them: * ? [a-z] {one,other}; with separators, ** crosses them. Pure.

Source: gobwas/glob v0.2.3, readme and syntax.
"""

from __future__ import annotations

import functools
import re


def matches(pattern: str, text: str, separators: str = "") -> bool:
    """Whether the whole text matches. A pattern that cannot be read matches nothing."""
    compiled = _compiled(pattern, separators)
    return compiled is not None and compiled.fullmatch(text) is not None


@functools.lru_cache(maxsize=4096)
def _compiled(pattern: str, separators: str) -> re.Pattern[str] | None:
    try:
        return re.compile(_regex(pattern, separators), re.DOTALL)
    except (re.error, ValueError):
        return None


def _regex(pattern: str, separators: str) -> str:
    one = f"[^{re.escape(separators)}]" if separators else "."
    out: list[str] = []
    depth = at = 0
    while at < len(pattern):
        letter = pattern[at]
        if letter == "\\" and at + 1 < len(pattern):
            at += 1
            out.append(re.escape(pattern[at]))
        elif letter == "*":
            double = pattern[at : at + 2] == "**"
            at += double
            out.append(".*" if double else one + "*")
        elif letter == "?":
            out.append(one)
        elif letter == "[":
            end = pattern.index("]", at + 1)
            inside = pattern[at + 1 : end]
            negated = inside.startswith("!")
            out.append(f"[{'^' if negated else ''}{_range(inside[negated:])}]")
            at = end
        elif letter == "{":
            depth += 1
            out.append("(?:")
        elif letter == "}" and depth:
            depth -= 1
            out.append(")")
        elif letter == "," and depth:
            out.append("|")
        else:
            out.append(re.escape(letter))
        at += 1
    return "".join(out)


def _range(inside: str) -> str:
    if not inside:
        raise ValueError("an empty range")
    return "".join(letter if letter == "-" else re.escape(letter) for letter in inside)
