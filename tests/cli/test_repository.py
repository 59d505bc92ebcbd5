"""`trueup check`, `inspect` and `plan` over the examples and over a bare repository."""

from __future__ import annotations

import json
import runpy
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from render.parts import PROGRAM
from trueup.cli import exits
from trueup.cli.errors import Away, explain
from trueup.ports import RendererDown

EXAMPLES = Path(__file__).parents[2] / "examples"
Trueup = Callable[..., Result]


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    """A bare repository of the example, as one that is pushed to."""
    identity = ("-c", "user.name=Ann", "-c", "user.email=ann@example.org", "-c", "init.defaultBranch=main")
    bare, work = tmp_path / "shop.git", ("--git-dir", str(tmp_path / "git"), "--work-tree", EXAMPLES / "python-app")
    for words in (("init", "-q"), ("add", "-A"), ("commit", "-q", "-m", "Say hello")):
        subprocess.run(["git", *identity, *work, *words], check=True, timeout=60)
    subprocess.run(["git", "clone", "-q", "--bare", tmp_path / "git", bare], check=True, timeout=60)
    return bare


def test_check_names_each_fault_with_its_line_and_what_to_do(trueup: Trueup) -> None:
    done = trueup("check", str(EXAMPLES / "tutorial"))
    assert done.exit_code == exits.FAILED
    assert ".github/workflows/test.yml:5: error: steps: stands at the top, without jobs:" in done.stdout
    lines = done.stdout.splitlines()
    assert lines[-1].startswith("2 errors, ")
    assert all(not line.startswith("    ") or line.strip() for line in lines)


def test_check_of_a_good_repository_ends_well(trueup: Trueup) -> None:
    done = trueup("check", str(EXAMPLES / "python-app"), "--strict")
    assert (done.exit_code, done.stdout) == (0, "nothing to say: no error, no warning\n")


def test_check_judges_for_the_target_that_is_meant(trueup: Trueup, tmp_path: Path) -> None:
    policy = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: all}\nspec: {podSelector: {}}\n"
    (tmp_path / "shop/config").mkdir(parents=True)
    (tmp_path / "shop/config/policy.yaml").write_text(policy)
    words = ("check", str(tmp_path / "shop"), "--state", str(tmp_path / "state"))
    here = trueup(*words)
    assert here.exit_code == exits.FAILED and "NetworkPolicy" in here.stdout
    assert trueup(*words, "--target", "kubernetes").exit_code == 0


def test_check_as_json_counts_and_lists(trueup: Trueup) -> None:
    found = json.loads(trueup("check", str(EXAMPLES / "tutorial"), "-o", "json").stdout)
    assert set(found) == {"errors", "findings", "notes", "repository", "warnings"}
    assert len(found["findings"]) == found["errors"] + found["warnings"] + found["notes"]
    assert set(found["findings"][0]) == {"fix", "message", "place", "rule", "severity"}


def test_inspect_shows_where_an_image_comes_from(trueup: Trueup) -> None:
    out = trueup("inspect", str(EXAMPLES / "python-app")).stdout
    assert "ghcr.io/example/python-app  built from app/Dockerfile by .github/workflows/deploy.yml" in out
    assert "deployment/python-app reads configmap/python-app" in out


def test_plan_of_a_commit_that_never_ran_creates_everything(trueup: Trueup, remote: Path, tmp_path: Path) -> None:
    state = str(tmp_path / "state")
    for more in ((), ("--commit", "main"), ("--commit", "HEAD")):
        done = trueup("plan", str(remote), *more, "--state", state)
        assert done.exit_code == 0, done.exception
        assert "+ create deployment/python-app" in done.stdout
        assert "ghcr.io/example/python-app is built once this is pushed" in done.stdout
    found = json.loads(trueup("plan", str(remote), "--state", state, "-o", "json").stdout)
    assert {c["action"] for c in found["changes"]} == {"create"} and len(found["commit"]) == 40


def test_check_reads_a_bare_repository_at_its_head(trueup: Trueup, remote: Path, tmp_path: Path) -> None:
    assert trueup("check", str(remote), "--state", str(tmp_path / "state")).stdout.startswith("nothing to say")


def test_what_is_not_there_is_said_in_one_line(trueup: Trueup, remote: Path, tmp_path: Path) -> None:
    assert isinstance(trueup("check", str(tmp_path / "nowhere"), "--state", str(tmp_path)).exception, Away)
    missing = trueup("plan", str(remote), "--commit", "deadbeef", "--state", str(tmp_path / "state")).exception
    assert "deadbeef" in str(missing)


def made(variant: str, into: Path) -> Path:
    runpy.run_path(str(EXAMPLES / "make.py"))["make"](variant, into)
    return into


rendered = pytest.mark.parametrize(
    ("variant", "place"),
    [("kustomize", "deploy/base/deployment.yaml:1"), ("helm", "chart/templates/deployment.yaml:2")],
)


@pytest.mark.integration
@rendered
def test_a_rendered_repository_is_read_by_check_inspect_and_plan(
    trueup: Trueup, tmp_path: Path, variant: str, place: str
) -> None:
    if not PROGRAM.exists():
        pytest.skip("no render worker: `make render` builds it with Go 1.26")
    repository, state = str(made(variant, tmp_path / "shop")), str(tmp_path / "state")
    assert trueup("check", repository, "--strict").stdout == "nothing to say: no error, no warning\n"
    found = json.loads(trueup("inspect", repository, "-o", "json").stdout)
    (application,) = found["applications"]
    assert application["renderer"] == variant
    assert {"kind": "Deployment", "name": "python-app", "place": place}.items() <= application["objects"][-1].items()
    for commit in ((), ("--commit", "main")):
        planned = json.loads(trueup("plan", repository, *commit, "--state", state, "-o", "json").stdout)
        assert [c["place"] for c in planned["changes"] if c["object"] == "deployment/python-app"] == [place]


@rendered
def test_without_a_render_worker_there_is_one_line_with_what_to_do(
    trueup: Trueup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variant: str, place: str
) -> None:
    monkeypatch.setenv("TRUEUP_RENDER", str(tmp_path / "nothing"))
    done = trueup("check", str(made(variant, tmp_path / "shop")))
    assert isinstance(done.exception, RendererDown)
    line, code = explain(done.exception)
    assert code == exits.AWAY and "build it with `make render` (needs Go 1.26)" in line
