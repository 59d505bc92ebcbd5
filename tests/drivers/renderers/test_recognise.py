"""What a folder is rendered with."""

from __future__ import annotations

import pytest

from trueup.core.model import TreeEntry
from trueup.core.render import Folders
from trueup.drivers.renderers.recognise import Kind, Unclear, recognise

PATHS = (
    "app/kustomization.yml", "chart/Chart.yaml", "chart/templates/a.yaml", "main.jsonnet", "plain/a.yaml",
    "two/kustomization.yaml", "two/Kustomization", "both/kustomization.yaml", "both/Chart.yaml", "README.md",
)  # fmt: skip
FOLDERS = Folders({path: TreeEntry(0o100644, f"{i:040x}") for i, path in enumerate(PATHS)})


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("app", Kind.KUSTOMIZE),
        ("chart", Kind.HELM),
        ("chart/templates", Kind.PLAIN),
        ("main.jsonnet", Kind.JSONNET),
        ("plain", Kind.PLAIN),
        ("plain/a.yaml", Kind.PLAIN),
        ("", Kind.PLAIN),
    ],
)
def test_it_follows_from_the_names(path: str, kind: Kind) -> None:
    assert recognise(FOLDERS, path) is kind


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("two", "two holds Kustomization and kustomization.yaml: keep one of them"),
        ("both", "both holds kustomization.yaml and Chart.yaml"),
        ("app/kustomization.yml", "name the folder app"),
        ("gone", "there is no gone in this repository"),
    ],
)
def test_what_is_unclear_says_what_to_do(path: str, message: str) -> None:
    with pytest.raises(Unclear, match=message):
        recognise(FOLDERS, path)
