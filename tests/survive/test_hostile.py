"""A hostile repository goes through the loop: one clear verdict each, on one line, without a traceback; and its
neighbour, watched by the same loop, is rolled out all the same."""

from __future__ import annotations

import datetime as dt
import logging
import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from engine.world import DEPLOYMENT, World
from servers.git import SUBMODULE, SYMLINK, Content, Repo
from trueup.app import checker
from trueup.core.candidate import CandidateState, Verdict
from trueup.drivers.sources.git import Git, Settings
from trueup.engine.application import application_id
from trueup.engine.loop import Watched, source_id
from trueup.engine.study import RepositoryStudy

pytestmark = pytest.mark.integration  # the real Git, which takes most of the time

GOOD: Mapping[str, Content] = {"config/web.yaml": DEPLOYMENT, "app/main": "v1\n", "app/Dockerfile": "FROM scratch\n"}
# the neighbour states objects of its own: one that two applications state is refused to the later
BESIDE: Mapping[str, Content] = {**GOOD, "config/web.yaml": DEPLOYMENT.replace("{name: web}", "{name: beside}")}
SERVICE = """\
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
"""
MANIFEST = DEPLOYMENT.encode()
BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{new}: &{new} [{','.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


class Street(World):
    """Two repositories watched by one loop, studied as `trueup up` studies them."""

    def __init__(self, root: Path) -> None:
        super().__init__(root / "world")
        self.sources.clear()
        self.watched.clear()
        self.hostile, self.neighbour = Repo(root / "srv/hostile.git"), Repo(root / "srv/neighbour.git")
        for repo in (self.hostile, self.neighbour):
            url = str(repo.path)
            id = source_id(url, "main")
            self.sources[id] = Git(Settings(url=url, folder=root / "clones" / repo.path.name, environment=os.environ))
            self.watched[id] = Watched(url, "main", repo.path.stem, "both")
        self.hostile_id, self.neighbour_id = self.watched
        self.study = RepositoryStudy(  # type: ignore[assignment]  # the real one fills the same roles
            self.sources,
            {id: w.name for id, w in self.watched.items()},
            dict.fromkeys(self.watched, "refs/heads/main"),
            checker(dt.date(2026, 1, 1)),
        )

    async def verdict(self, commit: str, name: str = "hostile") -> CandidateState:
        """The Candidate of a commit, when all has come to rest; the neighbour's push is rolled out by then."""
        calm = self.neighbour.commit({**BESIDE, "app/main": f"beside {commit}\n"})
        await self.settle()
        assert self.runs_of(self.neighbour_id) == f"beside {commit}\n"
        assert (await self.candidate(calm, self.neighbour_id)).verdict is Verdict.GREEN
        return await self.candidate(commit, self.hostile_id)

    async def red(self, files: Mapping[str, Content]) -> str:
        """Why a push of these files is red, on one line."""
        found = await self.verdict(self.hostile.commit(files))
        assert found.verdict is Verdict.RED, found
        assert found.reason and "\n" not in found.reason and "Traceback" not in found.reason
        assert self.runs_of(self.hostile_id) in ("", "v1\n"), "what ran before stays"
        return found.reason

    def runs_of(self, source: str) -> str:
        self.application = application_id(source, "default")
        return self.running()


@pytest.fixture
async def street(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> AsyncIterator[Street]:
    made = Street(tmp_path)
    async with made:
        yield made
        assert made.loop is not None and not made.loop.problems
    assert not [r for r in caplog.records if r.exc_info or r.levelno >= logging.ERROR], "a pass failed unforeseen"


async def test_a_good_push_is_good_here(street: Street) -> None:
    found = await street.verdict(street.hostile.commit(GOOD))
    assert found.verdict is Verdict.GREEN
    assert street.runs_of(street.hostile_id) == "v1\n"


async def test_a_yaml_bomb_is_named_and_what_ran_stays(street: Street) -> None:
    await street.verdict(street.hostile.commit(GOOD))
    reason = await street.red({"config/web.yaml": BOMB + DEPLOYMENT})
    assert reason.startswith("config/web.yaml:") and "alias" in reason
    assert street.runs_of(street.hostile_id) == "v1\n"


async def test_deep_nesting_is_named(street: Street) -> None:
    reason = await street.red({"config/web.yaml": "apiVersion: v1\nkind: " + "[" * 100_000})
    assert reason.startswith("config/web.yaml:2") and "deep" in reason


async def test_a_manifest_of_100_mb_is_named_and_not_read(street: Street) -> None:
    reason = await street.red({"config/web.yaml": MANIFEST + b"# " + b"x" * (100 << 20) + b"\n"})
    assert reason.startswith("config/web.yaml") and "100 MiB; a manifest may have 10 MiB" in reason


async def test_a_manifest_that_is_a_link_out_of_the_repository_is_not_followed(street: Street) -> None:
    reason = await street.red({**GOOD, "config/passwd.yaml": (SYMLINK, "/etc/passwd")})
    assert reason == "config/passwd.yaml: a symbolic link, which is not followed"


@pytest.mark.parametrize("name", ["..", ".git"])
async def test_a_path_that_leads_out_condemns_the_commit_alone(street: Street, name: str) -> None:
    await street.verdict(street.hostile.commit(GOOD))
    inner = street.hostile.raw_tree([(0o100644, "web.yaml", street.hostile.blob(MANIFEST))])
    tree = street.hostile.raw_tree([(0o040000, name, inner)])
    commit = street.hostile.commit_tree(tree, "climb out", parents=[street.hostile.head() or ""])
    street.hostile.move("main", commit)
    found = await street.verdict(commit)
    assert found.verdict is Verdict.RED and name in found.reason and "\n" not in found.reason
    assert street.runs_of(street.hostile_id) == "v1\n"
    mended = street.hostile.commit({**GOOD, "app/main": "v2\n"}, parent=street.hostile.git("rev-parse", f"{commit}^"))
    assert (await street.verdict(mended)).verdict is Verdict.GREEN
    assert street.runs_of(street.hostile_id) == "v2\n"


async def test_a_file_name_with_a_newline_forges_no_line(street: Street) -> None:
    reason = await street.red({**GOOD, "config/a\nweb.yaml:1: all is well.yaml": "apiVersion: v1\nkind: [\n"})
    assert "\\n" in reason


async def test_a_manifest_kept_in_lfs_is_named_and_not_taken_for_removed(street: Street) -> None:
    await street.verdict(street.hostile.commit(GOOD))
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 12\n"
    reason = await street.red({"config/web.yaml": pointer})
    assert reason.startswith("config/web.yaml") and "LFS" in reason
    assert street.runs_of(street.hostile_id) == "v1\n"


async def test_a_submodule_is_named(street: Street) -> None:
    commit = street.hostile.commit({**GOOD, "config/more": (SUBMODULE, "1" * 40)})
    found = await street.verdict(commit)
    assert found.verdict is Verdict.GREEN  # what is beside it is whole
    findings = await street.study.read(street.sources[street.hostile_id], commit)  # type: ignore[attr-defined]
    assert [f.rule for f in findings.findings if "submodule" in f.message and f.place.file == "config/more"]


async def test_an_empty_repository_waits(street: Street) -> None:
    street.neighbour.commit(BESIDE)
    await street.settle()
    assert street.runs_of(street.neighbour_id) == "v1\n"
    state = await street.source_state(street.hostile_id)
    assert not state.candidates and not state.down
    found = await street.verdict(street.hostile.commit(GOOD))
    assert found.verdict is Verdict.GREEN and found.number == 1


async def test_a_commit_without_a_file_removes_nothing_by_itself(street: Street) -> None:
    await street.verdict(street.hostile.commit({**GOOD, "config/service.yaml": SERVICE}))
    found = await street.verdict(street.hostile.commit(dict.fromkeys([*GOOD, "config/service.yaml"])))
    assert found.verdict is Verdict.GREEN
    assert street.runs_of(street.hostile_id) == "v1\n"
    assert street.loop is not None
    approval, held = await street.loop.applications.held(street.application)
    assert approval and held == 2
