"""Every builder is named in the docs, and can be imported by its name."""

from __future__ import annotations

import importlib
from pathlib import Path

from trueup.drivers.builders import BUILDERS

DOCS = Path(__file__).parents[3] / "docs/images.md"


def test_each_builder_is_documented_and_there() -> None:
    table = DOCS.read_text().split("## Builders")[1].split("##")[0]
    named = {line.split("`")[1] for line in table.splitlines() if line.startswith("| `")}
    assert named == set(BUILDERS)
    for module in BUILDERS.values():
        assert importlib.import_module(module).__doc__
