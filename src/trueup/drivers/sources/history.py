"""A work tree's `.git` for a pipeline: the commit under its real id, with as much history as was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from trueup.core.model import Oid
from trueup.drivers.sources.program import Done, Program
from trueup.ports import SourceError

TIME_S = 300.0


async def write(
    clone: Path, environment: Mapping[str, str], commit: Oid, into: Path, *, branch: str, url: str, depth: int
) -> None:
    """Make `into`/.git from the bare clone; no file is checked out. `depth` 0: all history. Raises SourceError."""
    git = Program(into, environment)
    deep = ("--depth", str(depth)) if depth else ()
    named = f"refs/heads/{branch}"
    fetch = ("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--update-head-ok", *deep)
    for args in (
        ("init", "--quiet", "--initial-branch", branch, "."),
        (*fetch, clone.absolute().as_uri(), f"{commit}:{named}"),
        ("config", "remote.origin.url", url),
    ):
        _need(await git.run(*args, timeout_s=TIME_S), into)


def _need(done: Done, into: Path) -> None:
    if done.code:
        last = done.err.strip().splitlines()[-1:] or ["no reason given"]
        raise SourceError(f"cannot write the history into {into}: {last[0]}. Do: look at the disk, then retry.")
