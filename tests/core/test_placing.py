"""Where a rendered object is said to stand."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from trueup.core.placing import Places, joined
from trueup.core.render import Asked, Helm, Jsonnet, Kustomize, Made
from trueup.core.yamldoc import documents

PROD = Kustomize(path="prod")


def place(asked: Asked, kind: str, name: str, files: Mapping[str, str], origin: str = "") -> str:
    docs = {path: documents(text.encode(), path) for path, text in files.items() if path.endswith(".yaml")}
    texts = {path: text.encode() for path, text in files.items()}
    return str(Places(asked, docs, texts).of(Made({"kind": kind, "metadata": {"name": name}}, origin)).place())


def pod(name: str) -> str:
    return f"kind: Pod\nmetadata: {{name: {name}}}\n"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("web", "base/pods.yaml:1"), ("web-api", "base/pods.yaml:4"), ("prod-web-api-v2", "base/pods.yaml:4"),
        ("prod-web", "base/pods.yaml:1"), ("other", "prod"),
    ],
)  # fmt: skip
def test_the_same_name_or_the_longest_that_it_holds(name: str, expected: str) -> None:
    files = {"base/pods.yaml": pod("web") + "---\n" + pod("web-api")}
    assert place(PROD, "Pod", name, files) == expected


def test_a_resource_comes_before_its_patch() -> None:
    files = {
        "base/kustomization.yaml": "resources: [web.yaml]\n", "base/web.yaml": "\n\n" + pod("web"),
        "a-patch.yaml": pod("web"), "z-patch.yaml": pod("web"),
    }  # fmt: skip
    assert place(PROD, "Pod", "web", files) == "base/web.yaml:3"


def test_what_is_generated_stands_at_its_entry() -> None:
    files = {"prod/kustomization.yaml": "secretGenerator:\n- name: a\n- name: keys\n"}
    assert place(PROD, "Secret", "keys-5g8h2", files) == "prod/kustomization.yaml:3"


def test_a_template_names_its_line_when_it_has_the_kind_once() -> None:
    chart = Helm(path="chart", release="r")
    once, twice = "# x\nkind: Pod\n---\nkind: Service\n", "kind: Pod\n---\nkind: Pod\n"
    assert place(chart, "Pod", "a", {"t.tpl": once}, "t.tpl") == "t.tpl:2"
    assert place(chart, "Pod", "a", {"t.tpl": twice}, "t.tpl") == "t.tpl"
    assert place(Jsonnet(path="a.jsonnet"), "Pod", "a", {}) == "a.jsonnet"


@pytest.mark.parametrize(
    ("folder", "path", "expected"),
    [("a/b", "../c", "a/c"), ("", "./a/", "a"), ("a", "../../b", "../b"), ("a", ".", "a"), ("a", "..", "")],
)
def test_paths_are_joined_as_a_kustomization_means_them(folder: str, path: str, expected: str) -> None:
    assert joined(folder, path) == expected
