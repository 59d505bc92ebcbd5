"""Commits made without a work tree have the tree that `git add` and `git commit` in a work tree would give."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from servers.git import ANN, ENVIRONMENT, Repo
from trueup.drivers.sources.git import Git, Settings

WHEN = datetime(2026, 1, 2, tzinfo=UTC)
names = st.sampled_from(["a", "b", "a.b", "a-b", "é", "x y", "n\nl", 'quo"te', "tab\t", "-dash", "*"])
paths = st.lists(names, min_size=1, max_size=3).map("/".join)
contents = st.binary(max_size=12)


def conflict_free(files: dict[str, bytes]) -> dict[str, bytes]:
    """No path is a folder of another one."""
    return {p: c for p, c in files.items() if not any(o != p and o.startswith(p + "/") for o in files)}


trees = st.dictionaries(paths, contents, min_size=1, max_size=6).map(conflict_free)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(before=trees, after=trees, executable=st.booleans())
def test_a_splice_gives_the_tree_of_a_work_tree_commit(
    before: dict[str, bytes], after: dict[str, bytes], executable: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = asyncio.run(both(Path(folder), before, after, executable))
    assert ours == theirs


async def both(folder: Path, before: dict[str, bytes], after: dict[str, bytes], executable: bool) -> tuple[str, str]:
    repo = Repo(folder / "repo.git")
    mode = 0o100755 if executable else 0o100644
    parent = repo.commit({path: (mode, content) for path, content in before.items()})
    edits: dict[str, bytes | None] = dict.fromkeys(before.keys() - after.keys())
    edits |= {path: content for path, content in after.items() if before.get(path) != content}
    async with Git(Settings(url=repo.url, folder=folder / "clone", environment=ENVIRONMENT)) as git:
        await git.fetch()
        ours = (await git.commit(await git.make_commit(parent, edits, "Ours\n", when=WHEN))).tree
    return ours, work_tree(folder / "work", repo, after)


def work_tree(work: Path, repo: Repo, after: dict[str, bytes]) -> str:
    def git(*args: str) -> str:
        done = subprocess.run(["git", *args], cwd=work, env=ENVIRONMENT | ANN, capture_output=True, check=True)
        return done.stdout.decode().strip()

    work.mkdir()
    git("clone", "--quiet", repo.url, ".")
    executable = {p for p in work.rglob("*") if p.is_file() and os.access(p, os.X_OK)}
    for child in work.iterdir():
        if child.name != ".git":
            shutil.rmtree(child) if child.is_dir() else child.unlink()
    for path, content in after.items():
        (work / path).parent.mkdir(parents=True, exist_ok=True)
        (work / path).write_bytes(content)
        (work / path).chmod(0o755 if work / path in executable else 0o644)
    git("-c", "core.autocrlf=false", "add", "--all", "--force")
    git("commit", "--quiet", "--allow-empty", "-m", "Theirs")
    return git("rev-parse", "HEAD^{tree}")
