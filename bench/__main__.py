"""Every benchmark, or those named, each in a process of its own; then one table of name, value, unit, ratio and goal.
Those of `kubernetes.` build a control plane with Go and run only when they are named.

    python bench [NAME ...] [--write docs/performance.md]

With `--write` the table of each that ran, and the machine it ran on, take the place of what stands between its marks
in that file. Ends with 1 when something was lost; a speed that misses its goal is printed, and no more.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from msgspec import Struct

HERE = Path(__file__).parent
LONGEST_S = 1800.0
RUN = "import importlib, json, sys; json.dump(importlib.import_module(sys.argv[1]).main(), open(sys.argv[2], 'w'))"
WIDTHS = (54, 12, 9, 8, 16)
HEADINGS = ("figure", "value", "unit", "ratio", "goal")


class Figure(Struct, frozen=True):
    """One row. `value` and `ratio` name what the benchmark's `main` returned; `goal` is about the last of the two."""

    name: str
    value: str
    unit: str = ""
    ratio: str = ""
    goal: str = ""  # "<= 500"
    factor: float = 1.0


HEALTHY = "and until the ledger says healthy"
P99, BATCH, SPREAD = "append p99, 50 streams busy", "batched appends, 1 x 1000", "batched appends, 50 x 20"
ONE_EACH = "planner: 1% of objects, one each"
LOST = "acknowledged events lost, unsynced writes dropped"
FIGURES: dict[str, tuple[Figure, ...]] = {
    "push": (
        Figure("notice of a push to 3 new replicas ready", "notice to all replicas ready", "ms"),
        Figure("of it the build", "- of it the build", "ms"),
        Figure("of it container starts", "- of it container starts", "ms"),
        Figure("of it probe waits", "- of it probe waits", "ms"),
        Figure("of it Trueup's own", "Trueup's own", "ms", goal="<= 500"),
        Figure("from then until the ledger says healthy", HEALTHY, "ms"),
    ),
    "rollout": (
        Figure("rollouts of 3 replicas under 300 requests/s", "rollouts"),
        Figure("requests sent, a few of them for 5 s", "requests sent"),
        Figure("requests lost", "requests lost", goal="== 0"),
        Figure("a rollout, 5 s of draining included", "s each", "s"),
    ),
    "idle": (
        Figure("up and agent, 50 containers, CPU of a core", "up + agent, share of a core", "%", "", "<= 2", 100),
        Figure("up and agent, memory", "up + agent, MB", "MB", goal="<= 150"),
        *(
            each
            for part in ("up", "agent", "haproxy", "registry", "podman", "conmon")
            for each in (
                Figure(f"{part}, CPU of a core", f"{part}, share of a core", "%", factor=100),
                Figure(f"{part}, memory", f"{part}, MB", "MB"),
            )
        ),
    ),
    "passes": (
        Figure("decoding 10,000 objects with orjson", "orjson s", "ms", factor=1000),
        Figure("a pass, nothing changed", "nothing changed s", "ms", "nothing changed", "<= 0.1", 1000),
        Figure("a pass, 1% changed", "1% changed s", "ms", "1% changed", "<= 0.25", 1000),
        Figure("planner alone, 100 objects of 100 applications", f"{ONE_EACH} s", "ms", ONE_EACH, factor=1000),
    ),
    "ledger": (
        Figure("one awaited append, 50 streams busy, p99", P99, "ms", f"{P99} (ratio)"),
        Figure("appends, 1,000 events of one stream at once", BATCH, "events/s", f"{BATCH} (ratio)", ">= 0.5"),
        Figure("appends, 20 events of 50 streams at once", SPREAD, "events/s", f"{SPREAD} (ratio)", ">= 0.5"),
        Figure("ledger for a rollout", "ledger per rollout", "bytes"),
        Figure("records for a rollout", "records per rollout (findings, bundle, log)", "bytes"),
        Figure("ledger and records for an idle day", "ledger and records per idle day", "bytes"),
        Figure("power cuts played back", "power cuts played back"),
        Figure("acknowledged events lost in them", LOST, goal="== 0"),
    ),
    "render": (
        Figure(
            "a chart of 8 templates, warm, to a helm template process", "chart s", "ms", "chart ratio", ">= 10", 1000
        ),
        Figure("a small overlay, warm, to a kustomize build process", "overlay s", "ms", "overlay ratio", ">= 4", 1000),
        Figure(
            "2,000 overlays over 20 bases, cold, to 2 processes at a time", "overlays s", "s", "overlays ratio", ">= 3"
        ),
        Figure("one file of one base changed: renders of 2,000", "dependents", goal="== 100"),
        Figure("5,000 unrelated files added: renders", "unrelated renders", goal="== 0"),
        Figure("and the time to say so", "unrelated s", "ms", "", "<= 100", 1000),
        Figure("a pass over a commit that adds them to the 2,000 overlays", "pass s", "ms", "", "<= 100", 1000),
        Figure("and renders in it", "pass renders", goal="== 0"),
        Figure("2,000 overlays made one by one and kept", "kept s", "s"),
        Figure("the same after a restart", "restart s", "s"),
        Figure("and renders for it", "restart renders", goal="== 0"),
        Figure("memory over 10,000 renders, last tenth to first", "memory ratio", goal="<= 1.1"),
    ),
    "definitions": (
        Figure("decoding the YAML of 2,000 definitions with libyaml", "libyaml s", "ms", factor=1000),
        Figure("1,000 Applications, 1,000 Kustomizations read", "read s", "ms", "read", "<= 1.5", 1000),
        Figure("and resolved to what is rendered", "resolved s", "ms", "resolved", "<= 0.3", 1000),
    ),
    "help": (
        Figure("python -c 'import click'", "import click s", "ms", factor=1000),
        Figure("trueup --help", "trueup --help s", "ms", "ratio", "<= 2", 1000),
    ),
    "kubernetes.apply": (
        Figure("first apply of 10,000 objects, requests", "requests/s", "/s", "throughput", ">= 0.8"),
        Figure("a bare client with the same bodies", "bare requests/s", "/s"),
        Figure("its CPU, to the API server's", "cpu s", "s", "cpu", "<= 0.4"),
        Figure("parents written for each application", "parents each", goal="== 1"),
        Figure("calls that are no patch", "calls that are no patch"),
    ),
    "kubernetes.calm": (
        Figure("cold start, 10,000 objects, all judged", "cold start s", "s", "cold start", "<= 2"),
        Figure("a bare paged list of the same kinds", "bare list s", "s"),
        Figure("patches at the start", "patches at start", goal="== 0"),
        Figure("calls of a full pass, nothing changed", "calls of a pass", goal="== 0"),
        Figure("CPU of a full pass, nothing changed", "pass cpu s", "s", goal="<= 1"),
    ),
    "kubernetes.noise": (
        Figure("foreign status events reached", "events/s", "/s"),
        Figure("CPU of a core at 1,000 events/s, scaled", "cpu at 1,000/s", "%", goal="<= 50", factor=100),
        Figure("GETs because of them", "GETs", goal="== 0"),
        Figure("patches because of them", "patches", goal="== 0"),
    ),
    "kubernetes.drift": (
        Figure("changes at 100/s, 10,000 objects watched", "changes"),
        Figure("never put back", "never put back", goal="== 0"),
        Figure("put back, p50", "p50 s", "ms", factor=1000),
        Figure("put back, p99", "p99 s", "ms", goal="<= 1000", factor=1000),
        Figure("GETs for each edit", "GETs for each edit"),
        Figure("patches for each change", "patches for each change"),
    ),
    "kubernetes.memory": (
        Figure("peak at 2,500 objects of 6 KB", "peak MB at 2500", "MB"),
        Figure("peak at 5,000", "peak MB at 5000", "MB"),
        Figure("peak at 10,000", "peak MB at 10000", "MB", goal="<= 200"),
        Figure("for each object more", "KB for each object more", "KB"),
    ),
}


class Row(Struct, frozen=True):
    name: str
    value: str
    unit: str
    ratio: str
    goal: str
    met: bool | None  # None: there is no goal

    @property
    def cells(self) -> tuple[str, ...]:
        told = {True: " met", False: " MISSED", None: ""}[self.met]
        return self.name, self.value, self.unit, self.ratio, self.goal.replace("== ", "") + told


def rows_of(bench: str, found: Mapping[str, float]) -> list[Row]:
    return [row(figure, found) for figure in FIGURES[bench] if figure.value in found]


def row(figure: Figure, found: Mapping[str, float]) -> Row:
    value = found[figure.value] * figure.factor
    ratio = found[figure.ratio] if figure.ratio else None
    met = meets(value if ratio is None else ratio, figure.goal) if figure.goal else None
    return Row(figure.name, shown(value), figure.unit, "" if ratio is None else f"{ratio:.2f}", figure.goal, met)


def meets(value: float, goal: str) -> bool:
    sign, limit = goal.split()
    return {"<=": value <= float(limit), ">=": value >= float(limit), "==": value == float(limit)}[sign]


def shown(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.2f}"


def run(bench: str) -> dict[str, float]:
    """What the benchmark's `main` returns; its own words go to the terminal as they come."""
    print(f"== {bench}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "figures.json")
        environment = {**os.environ, "PYTHONPATH": str(HERE)}
        argv = [sys.executable, "-c", RUN, bench, str(out)]
        subprocess.run(argv, check=True, timeout=LONGEST_S, env=environment)
        found: dict[str, float] = json.loads(out.read_text())
    return found


def table(rows: list[Row]) -> str:
    lines = [HEADINGS, *(each.cells for each in rows)]
    return "\n".join(
        "  ".join(
            c.ljust(w) if at in (0, 2, 4) else c.rjust(w) for at, (c, w) in enumerate(zip(x, WIDTHS, strict=True))
        )
        for x in lines
    )


# --- the document ------------------------------------------------------------------------------------


def machine() -> str:
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text())
    parts = [
        f"{os.cpu_count()} cores" + (f" of {cpu[1]}" if cpu else ""),
        f"{int(memory[1]) / 1048576:.0f} GiB" if memory else "",
        f"{platform.freedesktop_os_release().get('PRETTY_NAME', platform.system())}, Linux {platform.release()}",
        f"Python {platform.python_version()}",
        *(version(each) for each in (("podman", "--version"), ("haproxy", "-v"), ("git", "--version"))),
    ]
    return "; ".join(part for part in parts if part)


def version(argv: tuple[str, ...]) -> str:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return ""
    number = re.search(r"\d+(\.\d+)+", done.stdout)
    return f"{argv[0]} {number[0]}" if number else ""


def markdown(rows: list[Row]) -> str:
    stamp, load = datetime.now(UTC), os.getloadavg()[1]
    lines = ["| figure | value | ratio | goal |", "|---|---:|---:|---|"]
    for each in rows:
        name, value, unit, ratio, goal = each.cells
        lines.append(f"| {name} | {f'{value} {unit}'.strip()} | {ratio} | {goal} |")
    noted = f"Measured {stamp:%Y-%m-%d %H:%M} UTC, load of the last five minutes {load:.1f}."
    return "\n".join([*lines, "", noted])


def write(path: Path, found: Mapping[str, list[Row]]) -> None:
    """Put each table, and the machine, between its marks."""
    text = path.read_text()
    for name, body in {
        "machine": machine(),
        **{bench: markdown(rows) for bench, rows in found.items() if rows},
    }.items():
        begin, end = f"<!-- bench: {name} -->", "<!-- end -->"
        if begin not in text:
            raise SystemExit(f"{path}: there is no {begin}; put it, and {end} after it, where the table shall stand")
        before, _, rest = text.partition(begin)
        text = f"{before}{begin}\n{body}\n{end}{rest.partition(end)[2]}"
    path.write_text(text)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(FIGURES))
    parser.add_argument("--write", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in FIGURES]
    if unknown:
        parser.error(f"no benchmark {unknown[0]!r}; there are {', '.join(FIGURES)}")
    names = arguments.names or [name for name in FIGURES if not name.startswith("kubernetes.")]
    found = {name: rows_of(name, run(name)) for name in names}
    rows = [each for listed in found.values() for each in listed]
    print(f"\n{machine()}\n\n{table(rows)}")
    if arguments.write:
        write(arguments.write, found)
    return 1 if any(each.met is False and each.goal == "== 0" for each in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
