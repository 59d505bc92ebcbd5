"""docs/git.md names every product there is."""

from __future__ import annotations

import re
from pathlib import Path

from trueup.drivers.forges import FORGES
from trueup.drivers.notify import NOTIFY

DOCS = Path(__file__).parents[3] / "docs/git.md"


def section(title: str) -> set[str]:
    """First cells of the tables under a heading."""
    text = DOCS.read_text().partition(f"## {title}\n")[2].partition("\n## ")[0]
    return set(re.findall(r"^\| (\w+) \|", text, re.MULTILINE)) - {"product"}


def test_every_product_has_its_row() -> None:
    assert section("Webhooks") == set(FORGES)
    assert set(FORGES) <= section("Credentials")
    assert section("Notifications") == set(NOTIFY)


def test_the_settings_are_those_that_are_read() -> None:
    sources = Path(__file__).parents[3] / "src/trueup/drivers/sources"
    read = set()
    for name in ("credentials.py", "writing.py"):
        read |= set(re.findall(r'values\.get\("(TRUEUP_\w+)"', (sources / name).read_text()))
    credentials = DOCS.read_text().partition("## Credentials\n")[2].partition("\n## ")[0]
    assert set(re.findall(r"`(TRUEUP_\w+)`", credentials)) == read
