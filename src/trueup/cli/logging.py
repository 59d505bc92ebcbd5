"""Operators' logs: a constant message and key=value fields, in a file of the state folder."""

from __future__ import annotations

import logging
import logging.handlers
from pathlib import Path

from trueup.core.layout import Layout

KEPT_BYTES, KEPT_FILES = 4 << 20, 3
_KNOWN = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class Fields(logging.Formatter):
    """The message, then what was given as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        fields = "".join(f" {k}={v!r}" for k, v in vars(record).items() if k not in _KNOWN)
        line, _, trace = super().format(record).partition("\n")
        return f"{line}{fields}" + (f"\n{trace}" if trace else "")


class OneLine(Fields):
    """Without the traceback, which stands in the file."""

    def format(self, record: logging.LogRecord) -> str:
        return super().format(record).partition("\n")[0]


def log_to(where: Layout, *, terminal: bool) -> None:
    """Log to `up.log` in the state folder, and in a pipe also warnings to standard error."""
    root = Path(where.root)
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    kept = logging.handlers.RotatingFileHandler(
        where / "up.log", maxBytes=KEPT_BYTES, backupCount=KEPT_FILES, encoding="utf-8", delay=True
    )
    kept.setFormatter(Fields("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logger = logging.getLogger("trueup")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(kept)
    if not terminal:
        seen = logging.StreamHandler()
        seen.setLevel(logging.WARNING)
        seen.setFormatter(OneLine("%(levelname)s %(message)s"))
        logger.addHandler(seen)
