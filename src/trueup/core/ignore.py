"""`.dockerignore` and COPY patterns as predicates over paths. Pure.

Source: moby/patternmatcher `patternmatcher.go`, and Go's `path/filepath.Match`.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence

from msgspec import Struct


class Rule(Struct, frozen=True):
    pattern: str  # as a regular expression over a whole path
    keep: bool  # "!": takes back in what an earlier rule left out


def rules(text: str) -> tuple[Rule, ...]:
    """Read a `.dockerignore`: one pattern a line, `#` comments, `!` exceptions; the last match decides."""
    found: list[Rule] = []
    for line in text.removeprefix("\ufeff").splitlines():
        if line.startswith("#") or not line.strip():
            continue
        pattern = line.strip()
        keep = pattern.startswith("!")
        pattern = posixpath.normpath(pattern.lstrip("!").strip() if keep else pattern).lstrip("/")
        if pattern and pattern != ".":
            found.append(Rule(expression(pattern), keep))
    return tuple(found)


def ignored(path: str, given: Sequence[Rule]) -> bool:
    """Whether `path` ("/" separated, relative to the context) or a folder above it is left out."""
    parts = path.split("/")
    above = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
    out = False
    for rule in given:
        if rule.keep == out and any(re.fullmatch(rule.pattern, name) for name in above):
            out = not rule.keep
    return out


def expression(pattern: str) -> str:
    """A Go pattern as a regular expression: `*` and `?` stop at "/", `**` does not, `[a-z]` is a class."""
    out: list[str] = []
    at = 0
    while at < len(pattern):
        char = pattern[at]
        if pattern.startswith("**/", at):
            out.append("(?:.*/)?")
            at += 3
            continue
        if pattern.startswith("**", at):
            out.append(".*")
            at += 2
            continue
        if char == "[" and (close := pattern.find("]", at + 2)) > 0:
            inner = pattern[at + 1 : close]
            negated = inner.startswith("^")
            inner = re.sub(r"([\\\[\]&~|])", r"\\\1", inner.removeprefix("^"))
            out.append(f"[{'^' if negated else ''}{inner}]")
            at = close + 1
            continue
        if char == "\\" and at + 1 < len(pattern):
            out.append(re.escape(pattern[at + 1]))
            at += 2
            continue
        out.append("[^/]*" if char == "*" else "[^/]" if char == "?" else re.escape(char))
        at += 1
    text = "(?s:" + "".join(out) + ")"
    try:
        re.compile(text)
    except re.error:  # "[z-a]": Go calls it a bad pattern; it matches nothing but itself
        return re.escape(pattern)
    return text


def seen(path: str, patterns: Sequence[str] | None) -> bool:
    """Whether COPY with these source patterns reads `path`: it matches, or a folder above it does."""
    if patterns is None:
        return True
    parts = path.split("/")
    above = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
    return any(re.fullmatch(expression(posixpath.normpath(p)), name) for p in patterns for name in above)
