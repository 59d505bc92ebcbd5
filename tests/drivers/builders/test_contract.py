"""What every ports.Builder does, over memory and the real buildah."""

from __future__ import annotations

from pathlib import Path

import pytest

from trueup.drivers.builders.memory import MemoryBuilder
from trueup.ports import Builder, BuildFailed, BuildRequest


@pytest.fixture(params=["memory", pytest.param("buildah", marks=pytest.mark.integration)])
def builder(request: pytest.FixtureRequest) -> Builder:
    if request.param == "memory":
        return MemoryBuilder()
    found: Builder = request.getfixturevalue("buildah")
    return found


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    (folder / "app").mkdir(parents=True)
    (folder / "app/Dockerfile").write_text("FROM docker.io/library/tiny:1\nCOPY x /x\n")
    (folder / "app/x").write_text("1")
    return folder


def asked(workspace: Path, *tags: str, **other: object) -> BuildRequest:
    fields = {"tags": tags or ("ghcr.io/acme/app:1",), "commit": "c" * 40, "time_s": 1_700_000_000, **other}
    return BuildRequest(context=workspace / "app", dockerfile="app/Dockerfile", workspace=workspace, **fields)  # type: ignore[arg-type]  # keywords of a record


def quiet(data: bytes) -> None:
    pass


async def test_the_same_inputs_are_built_once(builder: Builder, workspace: Path) -> None:
    first, cached = await builder.build(asked(workspace), quiet)
    assert not cached
    again, cached = await builder.build(asked(workspace, "ghcr.io/acme/app:2"), quiet)
    assert cached
    assert (again.digest, again.key) == (first.digest, first.key)
    assert (again.repository, again.tag, str(again.place)) == ("ghcr.io/acme/app", "2", "app/Dockerfile")


async def test_any_input_that_changes_makes_a_new_image(builder: Builder, workspace: Path) -> None:
    first, _ = await builder.build(asked(workspace), quiet)
    labelled, cached = await builder.build(asked(workspace, labels=(("a", "b"),)), quiet)
    assert (cached, labelled.key == first.key, labelled.digest == first.digest) == (False, False, False)
    (workspace / "app/x").write_text("2")
    changed, cached = await builder.build(asked(workspace), quiet)
    assert (cached, changed.key == first.key, changed.digest == first.digest) == (False, False, False)


async def test_tag_and_push_keep_the_digest(builder: Builder, workspace: Path) -> None:
    first, _ = await builder.build(asked(workspace, "app:1"), quiet)
    await builder.tag("app:1", "ghcr.io/acme/other:2")
    assert await builder.push("ghcr.io/acme/other:2", quiet) == first.digest
    assert await builder.push("app:1", quiet) == first.digest


async def test_what_was_not_built_is_refused(builder: Builder, workspace: Path) -> None:
    with pytest.raises(BuildFailed, match="not built here"):
        await builder.push("never:1", quiet)
    with pytest.raises(BuildFailed, match="not built here"):
        await builder.tag("never:1", "x:1")


@pytest.mark.parametrize("tags", [("Bad/Name",), ("app:$BUILD_ID",)])
async def test_names_that_are_none_are_refused(builder: Builder, workspace: Path, tags: tuple[str, ...]) -> None:
    with pytest.raises(BuildFailed, match=r"Bad|BUILD_ID"):
        await builder.build(asked(workspace, *tags), quiet)


async def test_a_missing_dockerfile_is_named(builder: Builder, workspace: Path) -> None:
    (workspace / "app/Dockerfile").unlink()
    with pytest.raises(BuildFailed, match="app/Dockerfile"):
        await builder.build(asked(workspace), quiet)
