from __future__ import annotations

import json
import os
import shutil
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from trueup.core.layout import Layout
from trueup.drivers.builders.buildah import Buildah
from trueup.engine.housekeeping import DAY_S, Housekeeping, Keep, Kind, Limits
from trueup.engine.registry import Registry
from trueup.ports import BuildRequest

pytestmark = pytest.mark.integration


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    missing = [tool for tool in ("buildah", "skopeo", "docker-registry") if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    return Layout(str(tmp_path / "state"))


@pytest.fixture
async def registry(layout: Layout) -> AsyncIterator[Registry]:
    found = Registry(layout)
    yield found
    await found.stop()


@pytest.fixture
async def builder(layout: Layout, registry: Registry, tmp_path: Path) -> AsyncIterator[Buildah]:
    found = Buildah(layout, registry, environ=os.environ, storage=str(tmp_path / "storage"), pull=False)
    yield found
    await found.tools.buildah("rm", "-a")
    await found.tools.buildah("rmi", "-af")


def later(days: float) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


async def built(builder: Buildah, tmp_path: Path, name: str, data: bytes) -> str:
    workspace = tmp_path / "workspace"
    workspace.mkdir(exist_ok=True)
    (workspace / "x").write_bytes(data)
    (workspace / "Dockerfile").write_text("FROM scratch\nCOPY x /x\n")
    request = BuildRequest(
        context=workspace, dockerfile="Dockerfile", workspace=workspace, tags=(name,), commit="c" * 40
    )
    image, _ = await builder.build(request, lambda data: None)
    return image.digest


async def test_what_runs_stays_and_the_old_goes(
    layout: Layout, registry: Registry, builder: Buildah, tmp_path: Path
) -> None:
    runs = await built(builder, tmp_path, "acme/runs:1", os.urandom(1000))
    old = await built(builder, tmp_path, "acme/old:1", os.urandom(60_000))
    held = await built(builder, tmp_path, "acme/held:1", os.urandom(1000))
    await builder.tools.buildah("from", "--pull-never", "docker.io/acme/held:1")
    used = await builder.tools.image_id("docker.io/acme/held:1")
    keep, limits = Keep(digests=frozenset([runs])), Limits(images_age_s=DAY_S)
    now = Housekeeping(layout, registry, builder, lambda: later(0))
    assert await now.survey(keep, limits) == ()
    tomorrow = Housekeeping(layout, registry, builder, lambda: later(2))
    listed = await tomorrow.survey(keep, limits)
    assert {item.name for item in listed if item.kind is Kind.IMAGE} == {old, held}
    assert {stored.digest for stored in registry.stored()} == {runs, old, held}, "a survey removes nothing"
    promised = next(item.size_bytes for item in listed if item.name == old)
    assert 60_000 < promised < 65_000
    won = await tomorrow.collect(listed)
    assert won >= promised
    assert {stored.digest for stored in registry.stored()} == {runs}
    assert await builder.tools.image_id(f"docker.io/acme/runs@{runs}")
    assert not await builder.tools.image_id("docker.io/acme/old:1")
    assert await builder.tools.image_id(used), "an image that a container uses stays"
    again = await built(builder, tmp_path, "acme/old:1", b"other")
    assert again != old


async def test_above_the_size_the_oldest_go_first(
    layout: Layout, registry: Registry, builder: Buildah, tmp_path: Path
) -> None:
    digests = [await built(builder, tmp_path, f"acme/app:{n}", os.urandom(40_000)) for n in range(3)]
    times = {digest: file for file in (Path(layout.root) / "builder").glob("*/*.json") for digest in [file.read_text()]}
    for age, digest in enumerate(reversed(digests)):
        for text, file in times.items():
            if digest in text:
                file.write_text(_aged(text, age))
    for link in (Path(layout.registry) / "data").rglob("link"):
        os.utime(link, (1, 1))
    keeper = Housekeeping(layout, registry, builder, lambda: later(1))
    listed = await keeper.survey(Keep(digests=frozenset([digests[1]])), Limits(images_bytes=100_000))
    assert [item.name for item in listed if item.kind is Kind.IMAGE] == [digests[0]]


def _aged(text: str, days: int) -> str:

    entry = json.loads(text)
    entry["time_s"] -= days * DAY_S
    return json.dumps(entry)


async def test_workspaces_logs_and_contexts(layout: Layout, registry: Registry, builder: Buildah) -> None:
    for name in ("runs/A/src", "runs/B/src", "logs/A", "logs/B", "logs/C", "builder/contexts/x"):
        folder = Path(layout.root) / name
        folder.mkdir(parents=True)
        (folder / "file").write_bytes(b"x" * 5000)
    (Path(layout.workspaces) / "B/out").symlink_to("/etc")
    keeper = Housekeeping(layout, registry, builder, lambda: later(2))
    keep = Keep(runs=frozenset(["run/A"]))
    listed = await keeper.survey(keep, Limits(logs_bytes=20_000))
    found = {(item.kind, Path(item.name).name) for item in listed}
    assert {(Kind.WORKSPACE, "B"), (Kind.CONTEXT, "x")} <= found
    assert not {(Kind.WORKSPACE, "A"), (Kind.LOG, "A")} & found
    assert len([item for item in listed if item.kind is Kind.LOG]) == 1
    assert await keeper.collect(listed) > 10_000
    assert sorted(os.listdir(layout.workspaces)) == ["A"]
    assert Path("/etc/passwd").exists()
    assert await keeper.survey(keep, Limits(logs_bytes=20_000)) == ()


async def test_build_layers_that_nothing_stands_on(
    layout: Layout, registry: Registry, builder: Buildah, tmp_path: Path
) -> None:
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    (workspace / "x").write_text("1")
    (workspace / "Dockerfile").write_text("FROM scratch AS a\nCOPY x /x\nFROM scratch\nCOPY --from=a /x /y\n")
    request = BuildRequest(context=workspace, dockerfile="Dockerfile", workspace=workspace, tags=("acme/two:1",))
    await builder.build(request, lambda data: None)
    young = Housekeeping(layout, registry, builder, lambda: later(6))
    assert await young.survey(Keep(), Limits()) == ()
    keeper = Housekeeping(layout, registry, builder, lambda: later(8))
    listed = [item for item in await keeper.survey(Keep(), Limits()) if item.kind is Kind.LAYER]
    assert listed
    await keeper.collect(listed)
    assert [i for i in await keeper.survey(Keep(), Limits()) if i.kind is Kind.LAYER] == []
    assert await builder.tools.image_id("docker.io/acme/two:1")
