"""The examples as repositories: every variant is made, is the same each time, and its tests pass."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def make() -> ModuleType:
    spec = importlib.util.spec_from_file_location("examples_make_itself", EXAMPLES / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def git(repository: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(repository), *arguments], check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def test_every_variant_is_one_commit_and_always_the_same(make: ModuleType, tmp_path: Path) -> None:
    for variant in make.VARIANTS:
        for path in make.make(variant, tmp_path / variant):
            assert git(path, "rev-list", "--count", "main").strip() == "1"
            assert git(path, "status", "--porcelain") == ""
    (again,) = make.make("standard", tmp_path / "again")
    assert git(again, "rev-parse", "main") == git(tmp_path / "standard", "rev-parse", "main")


def test_what_a_variant_holds(make: ModuleType, tmp_path: Path) -> None:
    def files(variant: str, index: int = 0) -> set[str]:
        repository = make.make(variant, tmp_path / f"{variant}{index}")[index]
        return set(git(repository, "ls-files").split())

    standard = files("standard")
    assert {"app/Dockerfile", "app/requirements.txt", "app/your-application.py", "config/kubernetes-deployment.yaml",
            ".github/workflows/test.yml", ".github/workflows/deploy.yml", "monitoring/prometheus-config.yml",
            "monitoring/grafana-dashboard.json", "infrastructure/terraform/main.tf",
            "README.md"} <= standard  # fmt: skip
    assert files("build-push-action") == standard
    assert "Jenkinsfile" in files("jenkins")
    gitlab = files("gitlab")
    assert ".gitlab-ci.yml" in gitlab
    assert not any(name.startswith(".github") for name in gitlab)
    code, config = files("split", 0), files("split", 1)
    assert not any(name.startswith("config/") for name in code)
    assert "config/kubernetes-deployment.yaml" in config
    assert code | config == standard


def test_wrong_use_says_what_to_do(make: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x").write_text("")
    assert make.main(["standard", str(tmp_path)]) == 1
    assert "is not empty: give a new folder" in capsys.readouterr().err
    assert make.main(["nope", str(tmp_path / "new")]) == 1
    assert "there are standard" in capsys.readouterr().err
    assert make.main([]) == 2


def test_the_example_passes_its_own_tests(make: ModuleType, tmp_path: Path) -> None:
    (repository,) = make.make("standard", tmp_path / "standard")
    report = tmp_path / "report.xml"
    process = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", "app"],
        cwd=repository, env={k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}, timeout=60,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    assert process.returncode == 0, process.stdout
    assert 'failures="0"' in report.read_text()
