"""The chart of Trueup's own rights states the same as the plain manifests beside it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = pytest.mark.integration
DEPLOY = Path(__file__).resolve().parents[2] / "deploy"


def sorted_documents(text: str) -> list[Any]:
    found = [doc for doc in yaml.safe_load_all(text) if doc]
    return sorted(found, key=lambda doc: (doc["kind"], doc["metadata"]["name"]))


def rendered(helm: Path, *words: str) -> list[Any]:
    argv = [helm, "template", "trueup", DEPLOY / "chart", *words]
    return sorted_documents(subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60).stdout)


def test_the_chart_is_the_plain_manifests(helm_program: Path) -> None:
    one = rendered(helm_program, "--namespace", "shop", "--set", "namespaced=true")
    assert one == sorted_documents((DEPLOY / "namespaced.yaml").read_text())
    every = rendered(helm_program, "--namespace", "trueup-system")
    plain = sorted_documents((DEPLOY / "cluster.yaml").read_text())
    assert every == [doc for doc in plain if doc["kind"] != "Namespace"]


def test_kinds_of_ones_own_are_added(helm_program: Path, tmp_path: Path) -> None:
    (tmp_path / "values.yaml").write_text("more: [{apiGroups: [cert-manager.io], resources: [certificates]}]\n")
    found = rendered(helm_program, "--values", str(tmp_path / "values.yaml"))
    (role,) = [doc for doc in found if doc["kind"] == "ClusterRole"]
    assert role["rules"][-1]["apiGroups"] == ["cert-manager.io"] and "patch" in role["rules"][-1]["verbs"]
