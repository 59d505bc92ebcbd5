"""`trueup render` over folders as they stand."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from render.parts import PROGRAM, Repository, program, read
from render.samples import CHART, JSONNET, OVERLAYS, SERVICE
from trueup.cli import exits
from trueup.cli.errors import Away, Stop, Unknown

Trueup = Callable[..., Result]
EXAMPLES = Path(__file__).parents[2] / "examples"
integration = pytest.mark.integration


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    Repository({**OVERLAYS, **CHART, **JSONNET}).write(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def built() -> None:
    if not PROGRAM.exists():
        pytest.skip("no render worker: `make render` builds it with Go 1.26")


@integration
@pytest.mark.parametrize(
    ("words", "kinds"),
    [
        (("overlays/prod",), ["Namespace", "Secret", "ConfigMap", "Service", "Deployment", "Widget"]),
        (
            ("chart", "--values", "prod.yaml", "--release", "r", "--set", "replicas=1"),
            ["ConfigMap", "ConfigMap", "CustomResourceDefinition", "Service", "Deployment", "Pod", "Job"],
        ),
        (("main.jsonnet", "-J", "vendor", "--ext-str", "tag=1"), ["ConfigMap", "ConfigMap", "Deployment"]),
    ],
    ids=["kustomize", "helm", "jsonnet"],
)
@pytest.mark.usefixtures("built", "work")
def test_it_prints_every_object_in_order(trueup: Trueup, words: tuple[str, ...], kinds: list[str]) -> None:
    printed = trueup("render", *words)
    assert printed.exit_code == exits.DONE, printed.output
    assert [json.loads(one)["kind"] for one in read(printed.stdout)] == kinds
    listed = json.loads(trueup("render", *words, "--output", "json").stdout)
    assert [json.dumps(one, sort_keys=True) for one in listed["items"]] == read(printed.stdout)
    assert trueup("render", *words).stdout == printed.stdout


@integration
@pytest.mark.usefixtures("built")
def test_kustomize_reads_what_was_printed(trueup: Trueup, work: Path) -> None:
    """The same objects through Go's YAML: what is printed means the same there."""
    if not (PROGRAM.parent / "kustomize").exists():
        pytest.skip("no kustomize to compare with: `scripts/render tools` builds it with Go 1.26")
    printed = trueup("render", "overlays/prod").stdout
    Repository({"again/all.yaml": printed, "again/kustomization.yaml": "resources: [all.yaml]\n"}).write(work)
    again = read(program([PROGRAM.parent / "kustomize", "build", work / "again"]))
    assert sorted(again) == sorted(read(printed))


@integration
@pytest.mark.usefixtures("built", "work")
def test_a_fault_is_one_line_with_its_place(trueup: Trueup) -> None:
    done = trueup("render", "main.jsonnet", "--ext-str", "tag=1")
    assert isinstance(done.exception, Stop)
    assert str(done.exception).startswith("main.jsonnet:2: there is no deep.libsonnet")


@pytest.mark.usefixtures("work")
def test_plain_manifests_need_no_worker(trueup: Trueup) -> None:
    done = trueup("render", "base/service.yaml")
    assert done.exit_code == exits.DONE, done.output
    assert read(done.stdout) == read(SERVICE)


@pytest.mark.parametrize(
    ("words", "kind", "message"),
    [
        (("nothing",), Unknown, "no such file or folder"),
        (("base/kustomization.yaml",), Unknown, "name the folder base"),
        (("vendor",), Unknown, "holds no kustomization, no chart and no manifest"),
        (("main.jsonnet", "--ext-str", "tag"), Stop, "not of the form NAME=VALUE"),
        (("chart", "--values", "/etc/hostname"), Stop, "lies outside of"),
    ],
)
@pytest.mark.usefixtures("work")
def test_what_cannot_be_asked_for(trueup: Trueup, words: tuple[str, ...], kind: type[Exception], message: str) -> None:
    done = trueup("render", *words)
    assert isinstance(done.exception, kind), done.output
    assert message in str(done.exception)


@pytest.mark.usefixtures("work")
def test_without_the_worker_it_says_how_to_get_it(trueup: Trueup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUEUP_RENDER", "/nowhere/trueup-render")
    done = trueup("render", "overlays/prod")
    assert isinstance(done.exception, Away)
    assert "make render" in str(done.exception)


BOX = "ENC[AES256_GCM,data:aGk=,iv:aa,tag:bb,type:str]"


def test_what_sops_encrypted_is_named_and_not_left_out_in_silence(trueup: Trueup, work: Path) -> None:
    (work / "plain").mkdir()
    head = "apiVersion: v1\nkind: {kind}\nmetadata: {name: one}\n"
    sealed = head.replace("{kind}", "Secret") + f"stringData: {{a: '{BOX}'}}\nsops:\n  mac: {BOX}\n"
    (work / "plain/secret.yaml").write_text(sealed)
    (work / "plain/config.yaml").write_text(head.replace("{kind}", "ConfigMap"))
    done = trueup("render", "plain")
    assert [k["kind"] for k in json.loads(trueup("render", "plain", "-o", "json").stdout)["items"]] == ["ConfigMap"]
    assert "plain/secret.yaml: encrypted by SOPS, and not printed" in done.stderr


@integration
@pytest.mark.usefixtures("built")
@pytest.mark.parametrize(("variant", "name"), [("kustomize", "python-app-"), ("helm", "python-app")])
def test_the_root_of_a_repository_is_what_runs(
    trueup: Trueup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variant: str, name: str
) -> None:
    runpy.run_path(str(EXAMPLES / "make.py"))["make"](variant, tmp_path / "shop")
    monkeypatch.chdir(tmp_path / "shop")
    (settings, *rest) = json.loads(trueup("render", "--output", "json").stdout)["items"]
    assert settings["metadata"]["name"].startswith(name) and [one["kind"] for one in rest] == ["Service", "Deployment"]
    done = trueup("render", "--release", "other")
    assert isinstance(done.exception, Stop) and "name it, and the options are for it" in str(done.exception)


def test_a_root_that_is_not_clear_is_told_with_the_line_to_write(
    trueup: Trueup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runpy.run_path(str(EXAMPLES / "make.py"))["make"]("kustomize", tmp_path / "shop")
    (tmp_path / "shop/trueup.yaml").unlink()
    monkeypatch.chdir(tmp_path / "shop")
    done = trueup("render")
    assert isinstance(done.exception, Stop)
    assert "environments: [{name: production, path: deploy/production}]" in str(done.exception)
