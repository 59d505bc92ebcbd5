"""Parameters of ApplicationSets. Source: Argo CD v3.5.7, docs/operator-manual/applicationset."""

from __future__ import annotations

from typing import Any

import pytest

from trueup.core.params import (
    Unfit,
    as_text,
    chosen_files,
    chosen_folders,
    combined,
    filled_from,
    flat,
    merge_all,
    normalize,
    of_file,
    of_folder,
    patched,
    selected,
)


def test_a_folder_without_go_templates() -> None:
    assert of_folder("cluster-addons/argo_workflows", False, "") == {
        "path": "cluster-addons/argo_workflows", "path.basename": "argo_workflows",
        "path.basenameNormalized": "argo-workflows", "path[0]": "cluster-addons", "path[1]": "argo_workflows",
    }  # fmt: skip
    assert of_folder("a/b", False, "my")["my.path.basename"] == "b"


def test_a_folder_with_go_templates() -> None:
    told = {"path": "a/b", "basename": "b", "basenameNormalized": "b", "segments": ["a", "b"]}
    assert of_folder("a/b", True, "") == {"path": told}
    assert of_folder("a/b", True, "my") == {"my": {"path": told}}


def test_a_file_flattens_what_it_holds_only_without_go_templates() -> None:
    body = {"aws": {"account": 123456, "big": 12345678}, "names": ["x", "y"], "on": True}
    found = of_file("conf/eu/config.json", body, False, "")
    assert {k: v for k, v in found.items() if not k.startswith("path")} == {
        "aws.account": "123456", "aws.big": "1.2345678e+07", "names.0": "x", "names.1": "y", "on": "true",
    }  # fmt: skip
    assert (found["path"], found["path.filename"], found["path[1]"]) == ("conf/eu", "config.json", "eu")
    assert of_file("config.json", {"a": {"b": 1}}, True, "")["a"] == {"b": 1}


def test_which_folders() -> None:
    folders = ["apps", "apps/shop", "apps/shop/base", "apps/old", "other/shop"]
    assert chosen_folders(folders, [("apps/*", False), ("apps/old", True)]) == ["apps/shop"]
    assert chosen_folders(folders, [("apps/old", True), ("*", False)]) == ["apps"]


def test_which_files() -> None:
    files = ["c/eu/config.json", "c/us/deep/config.json", "c/us/other.yaml", "d/config.json"]
    assert chosen_files(files, [("c/**/config.json", False)]) == files[:2]
    assert chosen_files(files, [("c/*/config.json", False), ("c/us", True)]) == files[:1]


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.0, "1"), (0.0, "0"), (100000.0, "100000"), (1000000.0, "1e+06"), (1.5, "1.5"), (-2.25, "-2.25"),
     (0.0001, "0.0001"), (0.00001, "1e-05"), (None, "<nil>"), (False, "false"), ({}, "map[]"), ([], "[]")],
)  # fmt: skip
def test_values_as_go_prints_them(value: Any, text: str) -> None:
    assert as_text(value) == text


def test_a_matrix_refuses_two_values_for_one_name() -> None:
    assert combined({"a": "1"}, {"b": "2"}, False) == {"a": "1", "b": "2"}
    with pytest.raises(Unfit, match="both generators of a matrix give a"):
        combined({"a": "1"}, {"a": "2"}, False)
    assert combined({"a": {"x": 1}}, {"a": {"x": 2, "y": 3}}, True) == {"a": {"x": 1, "y": 3}}


def test_a_merge_lets_later_generators_override() -> None:
    first: list[dict[str, Any]] = [{"server": "a", "on": "false"}, {"server": "b", "on": "true"}]
    assert merge_all(["server"], [first, [{"server": "b", "on": "no"}, {"server": "c", "on": "x"}]], False) == [
        {"server": "a", "on": "false"}, {"server": "b", "on": "no"},
    ]  # fmt: skip
    with pytest.raises(Unfit, match="twice"):
        merge_all(["on"], [[*first, {"server": "c", "on": "true"}], []], False)
    with pytest.raises(Unfit, match="mergeKeys"):
        merge_all([], [first, []], False)


def test_selectors_look_at_flat_names() -> None:
    params = {"metadata": {"labels": {"env": "prod"}}, "server": "https://a"}
    assert selected(params, None)
    assert selected(params, {"matchLabels": {"metadata.labels.env": "prod", "server": "https://a"}})
    assert not selected(params, {"matchExpressions": [{"key": "server", "operator": "In", "values": ["b"]}]})
    assert selected(params, {"matchExpressions": [{"key": "zone", "operator": "DoesNotExist"}]})
    with pytest.raises(Unfit):
        selected(params, {"matchExpressions": [{"key": "zone", "operator": "Like"}]})


def test_templates_and_patches() -> None:
    base = {"metadata": {"name": "{{a}}"}, "spec": {"project": "default", "source": {"path": "x"}}}
    own = {"metadata": {}, "spec": {"project": "", "source": {"path": "y"}}}
    assert filled_from(own, base) == {
        "metadata": {"name": "{{a}}"}, "spec": {"project": "default", "source": {"path": "y"}},
    }  # fmt: skip
    assert patched({"a": {"b": 1, "c": 2}, "l": [1]}, {"a": {"b": None}, "l": [2]}) == {"a": {"c": 2}, "l": [2]}
    assert dict(flat({"a": {}, "b": [{"c": 1}]})) == {"a": {}, "b.0.c": 1}
    assert normalize("My_App.v1-") == "my-app.v1"
