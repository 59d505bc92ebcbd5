"""What `trueup --help` costs, as a ratio to importing click alone in the same Python. Goal: at most 2."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

ROUNDS = 15
CLICK = (sys.executable, "-c", "import click")
HELP = (sys.executable, "-c", "import sys; sys.argv = ['trueup', '--help']; from trueup.cli.main import main; main()")


def run_s(command: tuple[str, ...]) -> float:
    begun = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def main() -> dict[str, float]:
    """Alternate the two, so that whatever else the machine does falls on both; compare the medians."""
    for command in (CLICK, HELP):
        run_s(command)
    pairs = [(run_s(CLICK), run_s(HELP)) for _ in range(ROUNDS)]
    click_s, help_s = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = help_s / click_s
    print(f"import click      {click_s * 1000:8.1f} ms    1.00")
    print(f"trueup --help     {help_s * 1000:8.1f} ms    {ratio:.2f}  (goal: at most 2)")
    return {"import click s": click_s, "trueup --help s": help_s, "ratio": ratio}


if __name__ == "__main__":
    main()
