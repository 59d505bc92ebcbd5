"""Writes the table of rules into docs/check.md: python scripts/check_rules.py"""

from __future__ import annotations

import re
from pathlib import Path

from trueup.core.check import RULES

DOCUMENT = Path(__file__).parent.parent / "docs" / "check.md"


def main() -> None:
    rows = [f"| `{rule.id}` | {rule.severity.value} | {rule.says} |" for rule in sorted(RULES, key=lambda r: r.id)]
    table = "\n".join(["| Rule | Severity | What it says |", "|---|---|---|", *rows])
    text = DOCUMENT.read_text()
    DOCUMENT.write_text(re.sub(r"\| Rule \|.*?(?=\n\n|\Z)", lambda _: table, text, flags=re.DOTALL))


if __name__ == "__main__":
    main()
