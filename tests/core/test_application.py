"""Where an application is stated, by its parts."""

from __future__ import annotations

import pytest

from trueup.core.application import Application, Part, Plain, plain
from trueup.core.render import Kustomize


@pytest.mark.parametrize(
    ("paths", "shared"),
    [
        ((), ""), (("a.yaml",), ""), (("k8s/a.yaml",), "k8s"), (("k8s/a.yaml", "k8s/web/b.yaml"), "k8s"),
        (("x/k8s/a.yaml", "y/k8s/b.yaml"), ""), (("x/a/k/a.yaml", "x/b/k/b.yaml"), "x"),
    ],
)  # fmt: skip
def test_the_folder_that_plain_manifests_share(paths: tuple[str, ...], shared: str) -> None:
    assert plain("shop", paths).path == shared
    assert plain("shop", paths).manifests == paths


def test_only_plain_parts_are_manifests() -> None:
    parts = (Part(Kustomize(path="overlays/prod")), Part(Plain(paths=("extra/a.yaml",))))
    application = Application("shop", parts, "prod")
    assert (application.path, application.manifests) == ("overlays/prod", ("extra/a.yaml",))
