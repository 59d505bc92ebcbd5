"""Which line of a crashed container's log says what went wrong. Pure; never more than one line."""

from __future__ import annotations

import re
from collections.abc import Sequence

LIMIT = 200  # characters

TRACEBACK = "Traceback (most recent call last):"
# What the runtimes of common languages print at the start of a line when they give up
_GIVEN_UP = re.compile(
    r"(panic: |fatal error: |thread '[^']*' panicked at|Exception in thread |Caused by: |Unhandled exception"
    r"|Uncaught |Fatal error: |PHP Fatal error: )"
    r"|([A-Za-z_$][\w$]*[.:]+)*[A-Za-z_$][\w$]*(Error|Exception)(:\s|$| \[)"
)
_CAUSE = re.compile(r"Caused by: ")
_SEVERE = re.compile(r"\b(fatal|emerg|panic|critical)\b", re.I)
_WRONG = re.compile(r"error|exception|denied|not found|no such file", re.I)


def telling(lines: Sequence[str]) -> str:
    """The line that most likely says what went wrong, "" when nothing was printed.

    The exception of the last Python traceback; else the last cause a runtime names, or the first line with which it
    gives up; else the last severe line, the last that speaks of an error, the last that says anything.
    """
    said = [line.rstrip() for line in lines if line.strip()]
    return (_raised(said) or _given_up(said) or _last(said, _SEVERE) or _last(said, _WRONG) or _end(said))[:LIMIT]


def _raised(said: Sequence[str]) -> str:
    at = max((i for i, line in enumerate(said) if line.strip() == TRACEBACK), default=-1)
    if at < 0:
        return ""
    margin = len(said[at]) - len(said[at].lstrip())
    return next((line.strip() for line in said[at + 1 :] if len(line) - len(line.lstrip()) <= margin), "")


def _given_up(said: Sequence[str]) -> str:
    found = [line for line in said if _GIVEN_UP.match(line)]
    causes = [line for line in found if _CAUSE.match(line)]
    return causes[-1] if causes else found[0] if found else ""


def _last(said: Sequence[str], pattern: re.Pattern[str]) -> str:
    return next((line.strip() for line in reversed(said) if pattern.search(line)), "")


def _end(said: Sequence[str]) -> str:
    return said[-1].strip() if said else ""
