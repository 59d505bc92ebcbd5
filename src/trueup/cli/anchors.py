"""Reads the anchors of the ledger's checkpoints from the clones in the state folder."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from trueup.core.layout import Layout
from trueup.core.proof import TRAILER

GIT_S = 30.0
FORMAT = f"%H %(trailers:key={TRAILER},valueonly,separator=%x20)"


async def read_anchors(where: Layout) -> Mapping[str, str]:
    """What a checkpoint trailer says → the commit that carries it. Clones that cannot be read give none."""
    found: dict[str, str] = {}
    folder = Path(where.repositories)
    for clone in sorted(folder.iterdir()) if folder.is_dir() else []:
        for line in (await _log(clone)).splitlines():
            commit, _, value = line.partition(" ")
            if value.strip():
                found.setdefault(value.strip(), commit)
    return found


async def _log(clone: Path) -> str:
    command = ("git", "--git-dir", str(clone), "log", "--all", f"--grep=^{TRAILER}: ", f"--format={FORMAT}")
    git = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    out, _ = await asyncio.wait_for(git.communicate(), GIT_S)
    return out.decode(errors="replace")
