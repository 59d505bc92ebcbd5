"""Draws `trueup check`, `inspect` and `plan`."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from trueup.cli.repository import Report
from trueup.core.model import Severity

SEVERITY = {Severity.ERROR: "bold red", Severity.WARNING: "yellow", Severity.NOTE: "cyan"}


def report(found: Report, console: Console) -> None:
    """One finding on two lines: where and what, then what to do."""
    for finding in found.findings:
        console.print(
            Text.assemble(
                (f"{finding.place}: ", "bold"),
                (f"{finding.severity.value}: ", SEVERITY[finding.severity]),
                finding.message,
                (f"  [{finding.rule}]", "dim"),
            ),
            soft_wrap=True,
        )
        if finding.fix:
            console.print(Text(f"    {finding.fix}"), soft_wrap=True)
    console.print(Text(_counted(found), "green" if not found.errors else "bold red"))


def _counted(found: Report) -> str:
    counts = ((found.errors, "error"), (found.warnings, "warning"), (found.notes, "note"))
    said = [f"{n} {word}{'s' if n > 1 else ''}" for n, word in counts if n]
    return ", ".join(said) if said else "nothing to say: no error, no warning"
