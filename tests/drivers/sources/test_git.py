"""`Git` on repositories of this machine: what it reads, what it writes, what it refuses."""

from __future__ import annotations

import asyncio
import os
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from servers.git import ENVIRONMENT, EXECUTABLE, SUBMODULE, SYMLINK, Repo
from trueup.drivers.sources.git import Git, Settings
from trueup.drivers.sources.writing import Signing
from trueup.ports import CommitRefused, Pushed, Raced, Refused, SourceError

WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
async def git(repo: Repo, tmp_path: Path):  # type: ignore[no-untyped-def]
    async with Git(settings(repo, tmp_path)) as opened:
        yield opened


def settings(repo: Repo, tmp_path: Path, **more: object) -> Settings:
    values: dict[str, object] = {"url": repo.url, "folder": tmp_path / "state/git/1", "environment": ENVIRONMENT}
    return Settings(**values | more)  # type: ignore[arg-type]


def new_key(path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)


# --- fetching ------------------------------------------------------------------------------------


async def test_an_empty_repository_has_no_branches(git: Git) -> None:
    assert await git.fetch() == {}
    assert await git.may_push("main") is None


async def test_branches_come_move_and_vanish(git: Git, repo: Repo) -> None:
    first = repo.commit({"a": "1"})
    repo.move("feature/x", first)
    assert await git.fetch() == {"main": first, "feature/x": first}
    second = repo.commit({"a": "2"})
    repo.delete("feature/x")
    repo.move("feature", first)  # takes the place of a folder of branches
    assert await git.fetch() == {"main": second, "feature": first}
    repo.delete("main")
    assert await git.fetch() == {"feature": first}


async def test_rewritten_history_stays_readable(git: Git, repo: Repo) -> None:
    first = repo.commit({"a": "1"})
    lost = repo.commit({"a": "2"})
    await git.fetch()
    forced = repo.commit({"a": "3"}, parent=first)
    assert await git.fetch() == {"main": forced}
    assert not await git.is_ancestor(lost, forced)
    assert await git.is_ancestor(first, forced)
    assert (await git.commit(lost)).parents == (first,)
    assert [c.id for c in await git.between(lost, forced)] == [forced]


async def test_the_default_branch(git: Git, repo: Repo) -> None:
    repo.commit({"a": "1"}, branch="trunk")
    repo.git("symbolic-ref", "HEAD", "refs/heads/trunk")
    assert await git.default_branch() == "trunk"


async def test_a_repository_that_is_gone_is_named_and_what_is_here_stays_readable(git: Git, repo: Repo) -> None:
    first = repo.commit({"a": "1"})
    await git.fetch()
    repo.path.rename(repo.path.with_name("away"))
    with pytest.raises(SourceError, match=r"cannot fetch from .*no such repository"):
        await git.fetch()
    assert await git.blobs([(await git.tree(first))["a"].oid])


async def test_locks_of_a_killed_git_do_not_stop_the_next_start(repo: Repo, tmp_path: Path) -> None:
    first = repo.commit({"a": "1"})
    async with Git(settings(repo, tmp_path)) as git:
        await git.fetch()
        second = repo.commit({"a": "2"})
        lock = tmp_path / "state/git/1/refs/remotes/origin/main.lock"
        lock.touch()
        with pytest.raises(SourceError, match="another git process holds the clone"):
            await git.fetch()
    async with Git(settings(repo, tmp_path)) as git:
        assert await git.fetch() == {"main": second}
        assert not lock.exists()
        assert first != second


async def test_a_lock_of_a_living_reader_is_left_alone(git: Git, repo: Repo, tmp_path: Path) -> None:
    repo.commit({"a": "1"})
    await git.fetch()
    lock = tmp_path / "state/git/1/packed-refs.lock"
    lock.touch()
    async with Git(settings(repo, tmp_path)) as other:
        await other.fetch()
    assert lock.exists()


async def test_a_clone_cut_short_is_made_anew(repo: Repo, tmp_path: Path) -> None:
    first = repo.commit({"a": "1"})
    (tmp_path / "state/git/1/objects").mkdir(parents=True)
    async with Git(settings(repo, tmp_path)) as git:
        assert await git.fetch() == {"main": first}


async def test_a_person_s_git_variables_and_hooks_do_not_mislead(repo: Repo, tmp_path: Path) -> None:
    first = repo.commit({"a": "1"})
    config = tmp_path / "gitconfig"
    config.write_text(
        f"[core]\n\thooksPath = {tmp_path}/hooks\n[push]\n\tfollowTags = true\n[commit]\n\tgpgSign = true\n"
        "[safe]\n\tbareRepository = explicit\n"
    )
    (tmp_path / "hooks").mkdir()
    hook = tmp_path / "hooks/pre-push"
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    environment = ENVIRONMENT | {
        "GIT_DIR": "/nowhere",
        "GIT_INDEX_FILE": "/nowhere",
        "GIT_CONFIG_GLOBAL": str(config),
    }
    async with Git(settings(repo, tmp_path, environment=environment)) as git:
        assert await git.fetch() == {"main": first}
        ours = await git.make_commit(first, {"a": b"2"}, "Ours\n", when=WHEN)
        assert await git.push("main", ours, expect=first) == Pushed(ours)


# --- reading -------------------------------------------------------------------------------------


async def test_a_commit_is_read_whole(git: Git, repo: Repo) -> None:
    first = repo.commit({"a": "1"})
    side = repo.make({"b": "1"}, parent=first)
    merge = repo.commit({"c": "1"}, "Merge\n\nTrailer: x\n", merge=[side], author="Zoë <zoe@example.org>")
    await git.fetch()
    commit = await git.commit(merge)
    assert commit.parents == (first, side)
    assert commit.author == "Zoë <zoe@example.org>"
    assert commit.committer == "Ann <ann@example.org>"
    assert commit.message == "Merge\n\nTrailer: x\n"
    assert commit.time.tzinfo is UTC
    assert [c.id for c in await git.between(first, merge)] == [side, merge]
    assert [c.id for c in await git.between("", merge)] == [merge]


async def test_an_unknown_commit_says_why_it_may_be_missing(git: Git, repo: Repo) -> None:
    head = repo.commit({"a": "1"})
    await git.fetch()
    with pytest.raises(SourceError, match="history was rewritten"):
        await git.commit("1" * 40)
    assert await git.is_ancestor("1" * 40, head) is False
    assert [c.id for c in await git.between("1" * 40, head)] == [head]
    assert (await git.commit(head)).id == head  # the reader goes on after a miss


async def test_blobs_of_every_size_and_many_at_once(git: Git, repo: Repo) -> None:
    contents = {f"f{i}": f"{i}\n".encode() for i in range(150)} | {"empty": b"", "big": os.urandom(1_200_000)}
    head = repo.commit({**contents, "nul": b"\0\n\0"})
    await git.fetch()
    tree = await git.tree(head)
    assert tree["big"].size_bytes == 1_200_000
    blobs, again = await asyncio.gather(git.blobs([e.oid for e in tree.values()]), git.blobs([tree["f7"].oid]))
    assert again == {tree["f7"].oid: b"7\n"}
    for path, content in contents.items():
        assert blobs[tree[path].oid] == content


async def test_a_read_that_is_broken_off_does_not_mix_up_the_next(git: Git, repo: Repo) -> None:
    head = repo.commit({"big": os.urandom(1_500_000), "small": "s"})
    await git.fetch()
    tree = await git.tree(head)
    reading = asyncio.create_task(git.blobs([tree["big"].oid]))
    for _ in range(3):
        await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert await git.blobs([tree["small"].oid]) == {tree["small"].oid: b"s"}


# --- checkout ------------------------------------------------------------------------------------


async def test_checkout_writes_what_was_committed(git: Git, repo: Repo, tmp_path: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
    head = repo.commit(
        {
            "a": "text\r\n",
            ".gitattributes": "* text eol=lf\nskipped export-ignore\n",
            "skipped": "x",
            "bin/run": (EXECUTABLE, "#!/bin/sh\n"),
            "same/one": "twice",
            "same/two": (EXECUTABLE, "twice"),
            "new\nline": "n",
            b"caf\xe9".decode(errors="surrogateescape"): "latin",
            "empty": "",
            "big": os.urandom(1_200_000),
            "link": (SYMLINK, "bin/run"),
            "up/link": (SYMLINK, "../a"),
            "model.bin": pointer,
            "vendor/lib": (SUBMODULE, "1" * 40),
        }
    )
    await git.fetch()
    into = tmp_path / "work"
    assert await git.checkout(head, into) == (
        "model.bin: a Git LFS pointer, its content is not fetched",
        "vendor/lib: a submodule, its content is not fetched",
    )
    assert (into / "a").read_bytes() == b"text\r\n"
    assert (into / "skipped").read_text() == "x"
    assert (into / "new\nline").read_text() == "n"
    assert (into / os.fsdecode(b"caf\xe9")).read_text() == "latin"
    assert (into / "big").read_bytes() == repo.read(head, "big")
    assert (into / "link").readlink() == Path("bin/run")
    assert (into / "up/link").read_bytes() == b"text\r\n"
    assert os.access(into / "bin/run", os.X_OK)
    assert os.access(into / "same/two", os.X_OK) and not (into / "same/one").stat().st_mode & 0o111
    assert not (into / "vendor/lib").exists()


async def test_symlinks_that_lead_out_are_left_out_by_whatever_way(git: Git, repo: Repo, tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("secret")
    head = repo.commit(
        {
            "absolute": (SYMLINK, "/etc/passwd"),
            "dots": (SYMLINK, "../outside"),
            "sub/first": (SYMLINK, ".."),  # to the root of the tree: inside
            "chain": (SYMLINK, "sub/first/../outside"),
            "self": (SYMLINK, "."),
            "nowhere": (SYMLINK, "not/there"),
            "loop": (SYMLINK, "loop"),
            "neighbour": (SYMLINK, "../work-other/x"),
        }
    )
    await git.fetch()
    into = tmp_path / "work"
    left_out = await git.checkout(head, into)
    assert [line.partition(":")[0] for line in left_out] == ["absolute", "chain", "dots", "neighbour"]
    assert sorted(p.name for p in into.iterdir()) == ["loop", "nowhere", "self", "sub"]


@pytest.mark.parametrize("name", ["..", ".", ".git", ".GIT", "a/../../b"])
async def test_a_hostile_path_is_refused_and_nothing_is_written(
    name: str, git: Git, repo: Repo, tmp_path: Path
) -> None:
    blob = repo.blob("evil")
    inner = repo.raw_tree([(0o100644, "config", blob)])
    tree = repo.raw_tree([(0o40000, name, inner)])
    repo.move("main", repo.commit_tree(tree, "Evil"))
    head = (await git.fetch())["main"]
    with pytest.raises(CommitRefused, match="is refused: path"):
        await git.checkout(head, tmp_path / "work")
    with pytest.raises(CommitRefused):
        await git.tree(head)
    assert not (tmp_path / "work").exists()
    good = repo.commit({"a": "1"}, parent="")
    assert await git.fetch() == {"main": good}


async def test_a_tree_that_states_a_name_twice_cannot_write_through_its_own_link(
    git: Git, repo: Repo, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    link, blob = repo.blob(str(outside)), repo.blob("evil")
    for inner_mode, inner in ((0o100644, blob), (SYMLINK, link)):
        folder = repo.raw_tree([(inner_mode, "evil", inner)])
        tree = repo.raw_tree([(SYMLINK, "x", link), (0o40000, "x", folder)])
        repo.move("main", repo.commit_tree(tree, "Evil"))
        head = (await git.fetch())["main"]
        with pytest.raises(SourceError, match="stated twice"):
            await git.checkout(head, tmp_path / f"work{inner_mode}")
        assert not any(outside.iterdir())


async def test_a_checkout_goes_into_a_folder_of_its_own(git: Git, repo: Repo, tmp_path: Path) -> None:
    head = repo.commit({"a": "1"})
    await git.fetch()
    (tmp_path / "work").mkdir()
    (tmp_path / "work/mine").write_text("mine")
    with pytest.raises(FileExistsError, match="is not empty"):
        await git.checkout(head, tmp_path / "work")


# --- writing -------------------------------------------------------------------------------------


async def test_the_same_arguments_give_the_same_commit(git: Git, repo: Repo, tmp_path: Path) -> None:
    parent = repo.commit({"a": "1", "bin/run": (EXECUTABLE, "x"), "gone": "x", "d/e": "x", "link": (SYMLINK, "a")})
    await git.fetch()
    blob = repo.blob("restored")
    edits = {
        "bin/run": b"y",
        "gone": None,
        "d/e": None,
        "d/e/f": b"folder for file",
        "new": b"",
        "link": b"file now",
        "old": (EXECUTABLE, (await git.tree(parent))["a"].oid),
    }
    ids = {await git.make_commit(parent, edits, "Ours\n\nTrailer: x\n", when=WHEN) for _ in range(2)}
    ids |= {await git.make_commit(parent, edits, "Ours\n\nTrailer: x\n", when=WHEN.astimezone(tz=None))}
    assert len(ids) == 1
    (ours,) = ids
    commit = await git.commit(ours)
    assert (commit.author, commit.time, commit.message, commit.parents) == (
        "Trueup <trueup@localhost>",
        WHEN,
        "Ours\n\nTrailer: x\n",
        (parent,),
    )
    modes = {path: entry.mode for path, entry in (await git.tree(ours)).items()}
    assert modes == {
        "a": 0o100644,
        "bin/run": EXECUTABLE,
        "d/e/f": 0o100644,
        "link": 0o100644,
        "new": 0o100644,
        "old": EXECUTABLE,
    }
    assert blob not in {entry.oid for entry in (await git.tree(ours)).values()}
    assert ours != await git.make_commit(parent, edits, "Ours\n\nTrailer: x\n", when=WHEN + timedelta(seconds=1))


@pytest.mark.parametrize("path", ["../a", ".git/config", "a//b", "/a", "a/.GIT/x", ""])
async def test_a_hostile_path_is_never_committed(path: str, git: Git, repo: Repo) -> None:
    parent = repo.commit({"a": "1"})
    await git.fetch()
    with pytest.raises(ValueError, match="cannot be committed"):
        await git.make_commit(parent, {path: b"x"}, "Evil\n", when=WHEN)


async def test_commits_are_signed_when_a_key_is_given(repo: Repo, tmp_path: Path) -> None:
    key = tmp_path / "signing"
    new_key(key)
    parent = repo.commit({"a": "1"})
    async with Git(settings(repo, tmp_path, signing=Signing("ssh", str(key)))) as git:
        await git.fetch()
        ours = await git.make_commit(parent, {"a": b"2"}, "Signed\n", when=WHEN)
        assert await git.push("main", ours, expect=parent) == Pushed(ours)
        assert (await git.commit(ours)).message == "Signed\n"
    allowed = tmp_path / "allowed"
    allowed.write_text(f"trueup@localhost {(tmp_path / 'signing.pub').read_text()}")
    repo.git("-c", "gpg.format=ssh", "-c", f"gpg.ssh.allowedSignersFile={allowed}", "verify-commit", ours)


async def test_a_missing_signing_key_is_named(repo: Repo, tmp_path: Path) -> None:
    parent = repo.commit({"a": "1"})
    async with Git(settings(repo, tmp_path, signing=Signing("ssh", str(tmp_path / "none")))) as git:
        await git.fetch()
        with pytest.raises(SourceError, match="signing key"):
            await git.make_commit(parent, {"a": b"2"}, "Signed\n", when=WHEN)


# --- pushing -------------------------------------------------------------------------------------


async def test_a_push_knows_races_from_refusals(git: Git, repo: Repo) -> None:
    first = repo.commit({"a": "1"})
    await git.fetch()
    ours = await git.make_commit(first, {"a": b"2"}, "Ours\n", when=WHEN)
    theirs = repo.commit({"b": "1"})
    assert await git.push("main", ours, expect=first) == Raced(theirs)
    await git.fetch()
    again = await git.make_commit(theirs, {"a": b"2"}, "Ours\n", when=WHEN)
    repo.refuse("no commits on a Friday")
    refused = await git.push("main", again, expect=theirs)
    assert isinstance(refused, Refused)
    assert "pre-receive hook declined" in refused.reason and "no commits on a Friday" in refused.reason
    repo.accept()
    assert await git.push("main", again, expect=theirs) == Pushed(again)
    assert await git.push("main", again, expect=theirs) == Pushed(again)  # after a crash: once more is harmless


async def test_an_update_hook_that_moves_the_branch_itself_is_a_race(git: Git, repo: Repo) -> None:
    first = repo.commit({"a": "1"})
    await git.fetch()
    ours = await git.make_commit(first, {"a": b"2"}, "Ours\n", when=WHEN)
    other = repo.make({"b": "1"}, parent=first)
    repo.hook("update", f"unset GIT_QUARANTINE_PATH; git update-ref refs/heads/main {other}")
    assert await git.push("main", ours, expect=first) == Raced(other)


async def test_branches_are_made_only_where_none_is(git: Git, repo: Repo) -> None:
    first = repo.commit({"a": "1"})
    await git.fetch()
    ours = await git.make_commit(first, {"a": b"2"}, "Ours\n", when=WHEN)
    assert await git.push("trueup/undo-1", ours, expect=None) == Pushed(ours)
    assert await git.push("trueup/undo-1", first, expect=None) == Raced(ours)
    repo.delete("main")
    assert await git.push("main", ours, expect=first) == Raced(None)


async def test_a_stale_lock_on_the_remote_is_no_refusal(git: Git, repo: Repo) -> None:
    first = repo.commit({"a": "1"})
    await git.fetch()
    ours = await git.make_commit(first, {"a": b"2"}, "Ours\n", when=WHEN)
    (repo.path / "refs/heads/main.lock").touch()
    with pytest.raises(SourceError, match="cannot push main"):
        await git.push("main", ours, expect=first)


async def test_a_checked_out_branch_says_what_to_do_and_then_follows(tmp_path: Path) -> None:
    bare = Repo(tmp_path / "origin.git")
    first = bare.commit({"a": "1"})
    work = tmp_path / "work"
    bare.git("clone", "--quiet", str(bare.path), str(work))
    async with Git(Settings(url=str(work), folder=tmp_path / "clone", environment=ENVIRONMENT)) as git:
        await git.fetch()
        advice = "config receive.denyCurrentBranch updateInstead"
        refused = await git.may_push("main")
        assert isinstance(refused, Refused) and advice in refused.reason
        assert await git.may_push("other") is None
        ours = await git.make_commit(first, {"a": b"2"}, "Ours\n", when=WHEN)
        refused = await git.push("main", ours, expect=first)
        assert isinstance(refused, Refused) and advice in refused.reason
        bare.git("-C", str(work), "config", "receive.denyCurrentBranch", "updateInstead")
        assert await git.may_push("main") is None
        (work / "a").write_text("being edited")
        refused = await git.push("main", ours, expect=first)
        assert isinstance(refused, Refused) and "commit or stash" in refused.reason
        (work / "a").write_text("1")
        assert await git.push("main", ours, expect=first) == Pushed(ours)
        assert (work / "a").read_text() == "2"


# --- cancelling ----------------------------------------------------------------------------------


def is_alive(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except FileNotFoundError:
        return False


async def test_cancelling_leaves_no_process_behind(git: Git, repo: Repo, tmp_path: Path) -> None:
    first = repo.commit({"a": "1"})
    await git.fetch()
    ours = await git.make_commit(first, {"a": b"2"}, "Ours\n", when=WHEN)
    started, pid = tmp_path / "started", tmp_path / "pid"
    repo.hook("pre-receive", f"echo $$ > {pid}; touch {started}; exec sleep 600")
    pushing = asyncio.create_task(git.push("main", ours, expect=first))
    async with asyncio.timeout(10):
        while not started.exists():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    pushing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pushing
    async with asyncio.timeout(10):
        while is_alive(pid.read_text().strip()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert repo.head() == first
