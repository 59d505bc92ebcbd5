"""Where the programs written in Go are: beside an installed Trueup, or built by `make render` in a checkout."""

from __future__ import annotations

from pathlib import Path

import trueup

NAME = "trueup-render"
SOPS_PROGRAM = "trueup-sops"
ABSENT = (
    "there is no render worker, which Kustomize, Helm and Jsonnet need: build it with `make render` (needs Go 1.26), "
    "or name one with TRUEUP_RENDER"
)
WORKER_UID = 60999  # below the range of the process executor


def find(named: str = "", program: str = NAME) -> Path | None:
    """The program; `named` comes before any other place. None when it was never built."""
    package = Path(trueup.__file__).parent
    places = [Path(named)] if named else [package / "_bin" / program, package.parents[1] / ".cache" / program]
    return next((place.absolute() for place in places if place.is_file()), None)
