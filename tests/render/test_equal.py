"""The worker gives what the reference programs of the same library versions give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from render.parts import Repository, made, program, read
from render.samples import CHART, JSONNET, OVERLAYS
from trueup.core.render import Helm, Jsonnet, Kustomize, Pair
from trueup.drivers.renderers.worker import Workers

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("path", ["base", "overlays/prod"])
async def test_kustomize_build(workers: Workers, kustomize_program: Path, tmp_path: Path, path: str) -> None:
    repository = Repository(OVERLAYS)
    repository.write(tmp_path)
    output = await workers.render(Kustomize(path=path), repository.given)
    assert made(output) == read(program([kustomize_program, "build", tmp_path / path]))
    assert len(output.objects) >= 4


@pytest.mark.parametrize(
    ("asked", "flags"),
    [
        (Helm(path="chart", release="one"), ()),
        (Helm(path="chart", release="two", namespace="shop"), ("--namespace", "shop")),
        (
            Helm(path="chart", release="r", values_files=("prod.yaml", "late.yaml")),
            ("--values", "prod.yaml", "--values", "late.yaml"),
        ),
        (
            Helm(path="chart", release="r", set=("replicas=9", "words={x,y}"), set_string=("image.tag=010",)),
            ("--set", "replicas=9", "--set", "words={x,y}", "--set-string", "image.tag=010"),
        ),
        (
            Helm(path="chart", release="r", set_file=("template=note.txt",), upgrade=True),
            ("--set-file", "template=note.txt", "--is-upgrade"),
        ),
        (
            Helm(path="chart", release="r", kube_version="1.29.1", api_versions=("example.org/v1",)),
            ("--kube-version", "1.29.1", "--api-versions", "example.org/v1"),
        ),
        (Helm(path="chart", release="r", set=("cache.enabled=false",)), ("--set", "cache.enabled=false")),
    ],
    ids=["as-it-is", "namespace", "values-in-order", "set", "set-file", "capabilities", "condition"],
)
async def test_helm_template(
    workers: Workers,
    helm_program: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    asked: Helm,
    flags: Sequence[str],
) -> None:
    repository = Repository(CHART)
    repository.write(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HELM_CACHE_HOME", str(tmp_path / "cache"))
    output = await workers.render(asked, repository.given)
    printed = program([helm_program, "template", asked.release, "chart", "--include-crds", *flags])
    assert made(output) == read(printed)
    assert [hook.events for hook in output.hooks] == [("test",), ("pre-install", "pre-upgrade")]
    assert output.hooks[1].weight == -5
    assert output.notes == f"Reach {asked.release}.\n"
    assert output.differs == ()


async def test_jsonnet(workers: Workers) -> None:
    asked = Jsonnet(
        path="main.jsonnet",
        libraries=("vendor",),
        external_text=(Pair("tag", "2.0"),),
        top_code=(Pair("replicas", "3"),),
    )
    output = await workers.render(asked, Repository(JSONNET).given)
    names: Mapping[str, object] = {one.body["metadata"]["name"]: one.body for one in output.objects}
    assert list(names) == ["a", "b", "web"]
    web = output.objects[2].body
    assert web["spec"]["replicas"] == 3
    assert web["spec"]["template"]["spec"]["containers"][0]["image"] == "acme/web:2.0"
    assert output.objects[0].body["data"]["text"] == "some text\n"
    assert output.objects[1].body["data"]["text"] == "vendored"
