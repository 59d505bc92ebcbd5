"""Every benchmark has its file, its rows and its place in docs/performance.md."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]
WITHOUT_FIGURES = {"__main__", "load", "ledger_unsynced"}


def _bench() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_table", ROOT / "bench/__main__.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


BENCH = _bench()


def test_each_benchmark_is_in_the_table_and_in_the_document() -> None:
    files = {path.stem for path in (ROOT / "bench").glob("*.py")} - WITHOUT_FIGURES
    clusters = {f"kubernetes.{path.stem}" for path in (ROOT / "bench/kubernetes").glob("*.py")} - {"kubernetes.ground"}
    assert files | clusters == set(BENCH.FIGURES)
    for document, names in (("performance", files), ("kubernetes", clusters)):
        marks = re.findall(r"<!-- bench: ([\w.]+) -->", (ROOT / f"docs/{document}.md").read_text())
        assert sorted(marks) == sorted({*names, "machine"})


def test_a_goal_is_about_the_ratio_where_there_is_one() -> None:
    row = BENCH.row(BENCH.Figure("a", "s", "ms", "r", "<= 0.1", 1000), {"s": 0.5, "r": 0.05})
    assert row.cells == ("a", "500", "ms", "0.05", "<= 0.1 met")
    lost = BENCH.row(BENCH.Figure("lost", "n", goal="== 0"), {"n": 1})
    assert lost.met is False and lost.cells[-1] == "0 MISSED"


def test_a_table_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- bench: machine -->\n<!-- end -->\nb\n<!-- bench: help -->\nold\n<!-- end -->\nc\n")
    rows = [BENCH.row(BENCH.Figure("x", "x", goal=">= 2"), {"x": 3.0})]
    for _ in range(2):
        BENCH.write(page, {"help": rows})
        text = page.read_text()
        assert text.count("| x | 3 |  | >= 2 met |") == 1 and "old" not in text
        assert text.startswith("a\n") and text.endswith("<!-- end -->\nc\n") and "cores" in text
