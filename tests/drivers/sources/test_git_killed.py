"""kill -9 at any moment of fetching, committing and pushing: the next start reads and writes as if nothing had been."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from servers.git import ENVIRONMENT, Repo
from trueup.drivers.sources.git import Git, Settings
from trueup.ports import Pushed, SourceError

pytestmark = pytest.mark.integration

BUSY = """
import asyncio, os, sys
from datetime import UTC, datetime
from pathlib import Path
from trueup.drivers.sources.git import Git, Settings

async def main():
    async with Git(Settings(url=sys.argv[1], folder=Path(sys.argv[2]), environment=dict(os.environ))) as git:
        while True:
            head = (await git.fetch())["main"]
            ours = await git.make_commit(head, {"busy": os.urandom(8)}, "Busy", when=datetime.now(UTC))
            print(await git.push("main", ours, expect=head), flush=True)

asyncio.run(main())
"""


async def test_a_kill_at_any_moment_leaves_nothing_to_mend(repo: Repo, tmp_path: Path) -> None:
    repo.commit({"a": "1"})
    clone = tmp_path / "clone"
    chance = random.Random(7)
    for round in range(6):
        await start_and_kill(repo, clone, pushes=chance.randrange(1, 4), delay_s=chance.random() / 20)
        theirs = repo.commit({f"theirs{round}": "1"})
        async with Git(Settings(url=repo.url, folder=clone, environment=ENVIRONMENT)) as git:
            ours = await push_ours(git, bytes([round]))
            assert await git.is_ancestor(theirs, ours)
        assert repo.head() == ours
    assert "missing" not in repo.git("fsck", "--connectivity-only")
    assert not list(clone.glob("**/*.lock"))


async def start_and_kill(repo: Repo, clone: Path, *, pushes: int, delay_s: float) -> None:
    """Kill it some instant after so many of its pushes."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", BUSY, repo.url, str(clone), stdout=asyncio.subprocess.PIPE, env=ENVIRONMENT
    )
    assert process.stdout
    async with asyncio.timeout(30):
        for _ in range(pushes):
            assert b"Pushed" in await process.stdout.readline()
        await asyncio.sleep(delay_s)
        process.kill()
        await process.wait()


async def push_ours(git: Git, content: bytes) -> str:
    """A git that outlived its parent may still hold a lock, or push: then again, as the loop does."""
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(SourceError):
                head = (await git.fetch())["main"]
                ours = await git.make_commit(head, {"ours": content}, "Ours\n", when=datetime.now(UTC))
                if await git.push("main", ours, expect=head) == Pushed(ours):
                    return ours
            await asyncio.sleep(0.02)
