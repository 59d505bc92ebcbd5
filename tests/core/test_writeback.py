"""Which places are tried for an image, in which order, and what is never touched. No renderer: nothing is proven."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from trueup.core.application import Spec
from trueup.core.images import splice, splices_by_file
from trueup.core.model import BuiltImage, Place
from trueup.core.render import Helm, Jsonnet, Kustomize
from trueup.core.writeback import Files, Sought, attempts, paths_in, shared, what_to_do

DIGEST = "sha256:" + "a" * 64
IMAGE = BuiltImage("acme/web", "v2", DIGEST, "", Place("Dockerfile"))
SOUGHT = Sought("acme/web", ("acme/web:v1",), IMAGE)
POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: a, image: acme/web:v1}]}\n"
PROD = Kustomize(path="prod")


def tried(spec: Spec, files: Mapping[str, str], shared: frozenset[str] = frozenset()) -> list[dict[str, str]]:
    """Each attempt as the files that it changes."""
    texts = {path: text.encode() for path, text in files.items()}
    return [
        {path: splice(texts[path], splices).decode() for path, splices in splices_by_file(attempt).items()}
        for attempt in attempts(spec, SOUGHT, Files(texts, shared))
    ]


def test_an_entry_comes_before_the_manifest_and_a_new_entry_last() -> None:
    files = {
        "prod/kustomization.yaml": "resources: [a.yaml]\nimages: [{name: acme/web, newTag: v1}]\n",
        "prod/a.yaml": POD,
    }
    assert [list(one) for one in tried(PROD, files)] == [["prod/kustomization.yaml"], ["prod/a.yaml"], ["prod/a.yaml"]]
    bare = {**files, "prod/kustomization.yaml": "resources: [a.yaml]\n"}
    assert [list(one) for one in tried(PROD, bare)] == [["prod/a.yaml"], ["prod/a.yaml"], ["prod/kustomization.yaml"]]
    assert tried(PROD, bare)[-1]["prod/kustomization.yaml"] == (
        f"resources: [a.yaml]\nimages:\n- name: acme/web\n  newTag: v2\n  digest: {DIGEST}\n"
    )


def test_what_others_read_is_never_touched() -> None:
    files = {
        "prod/kustomization.yaml": "resources: [../base]\n",
        "base/kustomization.yaml": "resources: [a.yaml]\nimages: [{name: acme/web, newTag: v1}]\n",
        "base/a.yaml": POD,
    }
    common = frozenset({"base/kustomization.yaml", "base/a.yaml"})
    assert [list(one) for one in tried(PROD, files, common)] == [["prod/kustomization.yaml"]]


def test_an_entry_that_names_another_image_is_left() -> None:
    files = {"prod/kustomization.yaml": "images: [{name: acme/web, newName: other/web, newTag: v1}]\n"}
    assert tried(PROD, files) == []


def test_values_of_the_environment_come_before_those_of_the_chart_which_stay() -> None:
    files = {
        "chart/values.yaml": "image: {repository: acme/web, tag: v1}\n",
        "prod.yaml": "image: {tag: v1}\n",
        "late.yaml": "other: 1\n",
    }
    spec = Helm(path="chart", release="r", values_files=("prod.yaml", "late.yaml"))
    found = tried(spec, files)
    assert found[0] == {"prod.yaml": f"image: {{tag: v2@{DIGEST}}}\n"}
    assert found[-1] == {"late.yaml": f"other: 1\nimage:\n  tag: v2@{DIGEST}\n"}
    assert all("chart/values.yaml" not in one for one in found)


@pytest.mark.parametrize(
    ("values", "first"),
    [
        (f"i: {{repository: acme/web, digest: {'0' * 64}, tag: v1}}\n", f"digest: {DIGEST}, tag: v2"),
        ("i: {registry: acme, repository: web, tag: v1}\n", f"tag: v2@{DIGEST}"),
        ("deep: {er: [{x: 1}], image: {name: acme/web, version: v1}}\n", f"version: v2@{DIGEST}"),
        ("image: acme/web:v1\n", f"image: acme/web:v2@{DIGEST}"),
        ("image: {repository: acme/web}\n", f'repository: acme/web, tag: "v2@{DIGEST}"'),
    ],
)
def test_values_by_the_spellings_of_charts(values: str, first: str) -> None:
    spec = Helm(path="chart", release="r")
    assert first in tried(spec, {"chart/values.yaml": values})[0]["chart/values.yaml"]


def test_a_text_that_stands_twice_or_within_a_longer_one_is_no_place() -> None:
    spec = Jsonnet(path="main.jsonnet")
    assert tried(spec, {"main.jsonnet": "['acme/web:v1', 'acme/web:v1']"}) == []
    assert tried(spec, {"main.jsonnet": "['x/acme/web:v1', 'acme/web:v12']"}) == []
    assert tried(spec, {"main.jsonnet": "['acme/web:v1']"}) == [{"main.jsonnet": f"['acme/web:v2@{DIGEST}']"}]


@pytest.mark.parametrize("spec", [PROD, Helm(path="", release="r"), Jsonnet(path="a.jsonnet")])
def test_there_is_always_something_to_do(spec: Spec) -> None:
    assert "acme/web" in what_to_do(spec, SOUGHT)


def test_what_another_overlay_reaches_is_shared_through_others_too() -> None:
    texts = {
        "prod/kustomization.yaml": "resources: [../base, own.yaml]\n",
        "base/kustomization.yml": "resources: [web.yaml]\npatches: [{path: p.yaml}]\n",
        "dev/kustomization.yaml": "resources: [../middle]\n",
        "middle/Kustomization": "resources: [../base]\n",
    }
    read = ["prod/kustomization.yaml", "prod/own.yaml", "base/kustomization.yml", "base/web.yaml", "base/p.yaml"]
    named = {path: paths_in(text.encode(), path) for path, text in texts.items()}
    assert shared(read, named) == {"base/kustomization.yml", "base/web.yaml", "base/p.yaml"}
    del named["dev/kustomization.yaml"], named["middle/Kustomization"]
    assert shared(read, named) == frozenset()
