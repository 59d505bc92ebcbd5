"""A render is kept by what it read: what concerns it renders again, what does not renders nothing."""

from __future__ import annotations

import pytest

from render.parts import Repository
from render.samples import CHART, JSONNET, OVERLAYS
from trueup.core.render import Asked, Helm, Jsonnet, Kustomize, Pair, Seen, changed, still_valid
from trueup.drivers.renderers.worker import Workers

pytestmark = pytest.mark.integration

PROD = Kustomize(path="overlays/prod")
SHOP = Helm(path="chart", release="r", values_files=("prod.yaml",))
MAIN = Jsonnet(path="main.jsonnet", libraries=("vendor",), external_text=(Pair("tag", "1"),))
ALL = {**OVERLAYS, **CHART, **JSONNET}


@pytest.mark.parametrize(
    ("asked", "path", "expected"),
    [
        (PROD, "base/service.yaml", False),
        (PROD, "components/probe/kustomization.yaml", False),
        (PROD, "base/kustomization.yml", False),  # a second one is an error upstream
        (PROD, "base/other.yaml", True),
        (PROD, "overlays/stage/kustomization.yaml", True),
        (SHOP, "chart/templates/new.yaml", False),
        (SHOP, "chart/values.yaml", False),
        (SHOP, "prod.yaml", False),
        (SHOP, "late.yaml", True),
        (SHOP, "chart/charts/cache/templates/config.yaml", False),
        (SHOP, "chart/secret/x.yaml", True),  # left out by .helmignore
        (MAIN, "lib/k.libsonnet", False),
        (MAIN, "deep.libsonnet", False),  # now found before the library's
        (MAIN, "vendor/other.libsonnet", True),
    ],
)
async def test_a_change_concerns_the_renders_that_read_it(
    workers: Workers, asked: Asked, path: str, expected: bool
) -> None:
    output = await workers.render(asked, Repository(ALL).given)
    assert still_valid(output.trace, Repository(ALL).folders)
    assert still_valid(output.trace, Repository({**ALL, path: "changed: true\n"}).folders) is expected


async def test_unrelated_files_render_nothing(workers: Workers) -> None:
    many = {f"docs/{i}/page-{i}.md": f"{i}" for i in range(5000)}
    folders = Repository({**ALL, **many}).folders
    for asked in (PROD, SHOP, MAIN):
        output = await workers.render(asked, Repository(ALL).given)
        assert changed(output.trace, folders) is None


async def test_a_removed_file_is_seen(workers: Workers) -> None:
    output = await workers.render(PROD, Repository(ALL).given)
    less = Repository({path: data for path, data in ALL.items() if path != "base/app.properties"})
    assert changed(output.trace, less.folders) == Seen(
        "base/app.properties", "file", Repository(ALL).folders.tree["base/app.properties"].oid
    )


async def test_contents_are_asked_for_once(workers: Workers) -> None:
    first, second = Repository(ALL), Repository({**ALL, "README": "new"})
    await workers.render(PROD, first.given)
    assert first.asked
    await workers.render(PROD, second.given)
    assert second.asked == []
