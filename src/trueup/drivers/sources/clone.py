"""The bare clone on disk: made whole or not at all, and swept of what a kill left behind. Holds no decisions."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from trueup.drivers.sources.program import Program
from trueup.ports import SourceError

_ALIVE = "trueup.alive"  # every git we start holds it open: while it is locked, somebody is at work here


async def prepare(folder: Path, environment: Mapping[str, str], timeout_s: float) -> Program:
    """Make the clone if there is none, and take away lock files whose owner was killed. Raises SourceError."""
    try:
        if not (folder / "HEAD").is_file():
            await _init(folder, environment, timeout_s)
        held = os.open(folder / _ALIVE, os.O_RDWR | os.O_CREAT, 0o600)
        _sweep(folder, held)
    except OSError as error:
        raise SourceError(
            f"cannot keep a clone in {folder}: {error}. Do: free some space, or check its rights."
        ) from error
    return Program(folder=folder, environment=environment, held=(held,))


def release(program: Program) -> None:
    for descriptor in program.held:
        os.close(descriptor)


async def _init(folder: Path, environment: Mapping[str, str], timeout_s: float) -> None:
    shutil.rmtree(folder, ignore_errors=True)  # no HEAD: an earlier attempt was cut short
    new = folder.with_name(folder.name + ".new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True, mode=0o700)
    done = await Program(new, environment).run("init", "--bare", "--quiet", "--template=", ".", timeout_s=timeout_s)
    if done.code:
        raise SourceError(f"cannot make a clone in {folder}: {done.err.strip()}. Do: check the folder and git.")
    new.rename(folder)


def _sweep(folder: Path, held: int) -> None:
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pass  # another reader, or a git that outlived its parent: its locks are its own
    else:
        for stale in (*folder.glob("*.lock"), *folder.glob("refs/**/*.lock"), *folder.glob("objects/**/*.lock")):
            stale.unlink(missing_ok=True)
        for scratch in folder.glob("trueup-*"):
            shutil.rmtree(scratch, ignore_errors=True)
        for part in folder.glob("objects/pack/tmp_*"):
            part.unlink(missing_ok=True)
    fcntl.flock(held, fcntl.LOCK_SH)
