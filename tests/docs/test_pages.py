"""What the pages promise: links lead somewhere, both READMEs say the same, every event and driver has its row."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from trueup.core.events import Fact
from trueup.core.ledger import FACTS

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
FENCE = re.compile(r"```.*?```", re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=[str(p.relative_to(ROOT)) for p in PAGES])
def test_every_link_leads_to_a_file(page: Path) -> None:
    text = FENCE.sub("", page.read_text())
    gone = [
        target
        for target in LINK.findall(text)
        if not target.startswith(("http:", "https:", "mailto:")) and not (page.parent / target).exists()
    ]
    assert not gone, f"{page.name} links to what is not there: {gone}"


def test_both_readmes_have_the_same_parts() -> None:
    english, chinese = ((ROOT / name).read_text() for name in ("README.md", "README.zh-CN.md"))
    for pattern in (r"^#+ ", r"^!\[", r"^    \S", r"^\|", r"^- "):
        counts = [len(re.findall(pattern, text, re.MULTILINE)) for text in (english, chinese)]
        assert counts[0] == counts[1], f"lines like {pattern!r}: {counts[0]} in English, {counts[1]} in Chinese"
    links = [sorted(set(LINK.findall(text)) - {"README.md", "README.zh-CN.md"}) for text in (english, chinese)]
    assert links[0] == links[1]
    commands = [re.findall(r"^    ((?:trueup|make) [a-z]+)", text, re.MULTILINE) for text in (english, chinese)]
    assert commands[0] == commands[1]


def test_every_command_in_the_readme_exists() -> None:
    from trueup.cli.main import COMMANDS

    known = {name for section in COMMANDS.values() for name in section}
    used = set(re.findall(r"^    trueup ([a-z]+)", (ROOT / "README.md").read_text(), re.MULTILINE))
    assert used and used <= known


@pytest.mark.parametrize("kind", FACTS, ids=[str(k.__struct_config__.tag) for k in FACTS])
def test_every_event_has_its_row(kind: type[Fact]) -> None:
    rows = (ROOT / "docs/events.md").read_text().splitlines()
    tag = str(kind.__struct_config__.tag)
    row = next((r for r in rows if r.startswith(f"| `{tag}` |")), "")
    assert row, f"docs/events.md does not tell of {tag}"
    missing = [name for name in kind.__struct_fields__ if f"`{name}`" not in row.rpartition(" | ")[2]]
    assert not missing, f"the row of {tag} lacks {missing}"


def test_every_rule_of_check_has_its_row() -> None:
    text = (ROOT / "docs/check.md").read_text()
    source = "\n".join(p.read_text() for p in (ROOT / "src/trueup/core/check").glob("*.py"))
    rules = set(re.findall(r'Rule\(\s*"([a-z0-9-]+)"', source))
    assert rules, "no rule was found in the source: this test has lost its way"
    assert not [rule for rule in rules if f"`{rule}`" not in text]


DRIVERS = {
    "forges": ("FORGES", "docs/git.md"),
    "formats": ("FORMATS", "docs/ci.md"),
    "executors": ("EXECUTORS", "docs/ci.md"),
    "notify": ("NOTIFY", "docs/git.md"),
    "builders": ("BUILDERS", "docs/images.md"),
    "sources": ("SOURCES", "docs/git.md"),
    "secrets": ("SECRETS", "docs/secrets.md"),
    "definitions": ("DEFINITIONS", "docs/definitions.md"),
}


@pytest.mark.parametrize("folder", sorted(DRIVERS))
def test_every_driver_is_told_of(folder: str) -> None:
    name, page = DRIVERS[folder]
    registry = getattr(importlib.import_module(f"trueup.drivers.{folder}"), name)
    text = (ROOT / page).read_text().lower()
    assert registry, f"drivers/{folder} has no entry"
    missing = [product for product in registry if product not in text]
    assert not missing, f"{page} does not tell of {missing}"
