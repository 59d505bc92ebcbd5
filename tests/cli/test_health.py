"""`trueup health` over what `kubectl get` gives."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from trueup.cli import exits
from trueup.cli.errors import Away, Stop

Trueup = Callable[..., Result]

LIST = """\
apiVersion: v1
kind: List
items:
- apiVersion: batch/v1
  kind: Job
  metadata: {name: migrate, namespace: shop}
  status: {conditions: [{type: Failed, status: "True", reason: BackoffLimitExceeded, message: too often}]}
- {apiVersion: v1, kind: ConfigMap, metadata: {name: settings, namespace: shop}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data, namespace: shop}
status: {phase: Pending}
"""


@pytest.fixture
def dump(tmp_path: Path) -> str:
    (tmp_path / "dump.yaml").write_text(LIST)
    return str(tmp_path / "dump.yaml")


def test_each_object_is_a_line(trueup: Trueup, dump: str) -> None:
    done = trueup("health", dump)
    assert done.stdout.splitlines() == [
        f"{dump}: shop/job/migrate: degraded: BackoffLimitExceeded: too often",
        f"{dump}: shop/configmap/settings: healthy",
        f"{dump}: shop/persistentvolumeclaim/data: progressing: the claim is Pending",
    ]
    assert done.exit_code == exits.DONE


def test_as_json_each_object_is_one_line(trueup: Trueup, dump: str) -> None:
    lines = [json.loads(line) for line in trueup("health", dump, "--output", "json").stdout.splitlines()]
    assert [(line["file"], line["ref"], line["health"]) for line in lines] == [
        (dump, "job/migrate", "degraded"),
        (dump, "configmap/settings", "healthy"),
        (dump, "persistentvolumeclaim/data", "progressing"),
    ]
    assert lines[0]["reason"] == "BackoffLimitExceeded: too often"


def test_the_exit_code_tells_the_worst(trueup: Trueup, dump: str, tmp_path: Path) -> None:
    assert trueup("health", dump, "--exit-code").exit_code == exits.FAILED
    claim = tmp_path / "claim.json"
    claim.write_text(json.dumps({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "d"}}))
    assert trueup("health", str(claim), "--exit-code").exit_code == exits.WAITS


def test_what_is_no_object_is_named(trueup: Trueup, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("a: 1\n")
    done = trueup("health", str(tmp_path / "x.yaml"))
    assert isinstance(done.exception, Stop) and "x.yaml: this is no Kubernetes object" in str(done.exception)
    assert isinstance(trueup("health", str(tmp_path / "none.yaml")).exception, Away)


@pytest.mark.integration
def test_rules_of_ones_own_count_before_the_built_in_ones(
    trueup: Trueup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Path(__file__).parents[2] / ".cache/trueup-render"
    if not worker.exists():
        pytest.skip("no render worker: `make render` builds it with Go 1.26")
    monkeypatch.setenv("TRUEUP_RENDER", str(worker))
    claim = "resource.customizations.health.PersistentVolumeClaim"
    (tmp_path / "cm.yaml").write_text(
        f"kind: ConfigMap\ndata:\n  {claim}: |\n    return {{status = 'Suspended', message = obj.status.phase}}\n"
    )
    (tmp_path / "flux.yaml").write_text("- {apiVersion: batch/v1, kind: Job, current: status.nothing == 1}\n")
    (tmp_path / "dump.yaml").write_text(LIST)
    rules = ("--rules", str(tmp_path / "cm.yaml"), "--rules", str(tmp_path / "flux.yaml"))
    result = trueup("health", str(tmp_path / "dump.yaml"), *rules, "--output", "json")
    said = {found["ref"]: (found["health"], found["reason"]) for found in map(json.loads, result.output.splitlines())}
    assert said["persistentvolumeclaim/data"] == ("suspended", "Pending")
    assert said["configmap/settings"] == ("healthy", "")
    health, reason = said["job/migrate"]
    assert health == "unknown"
    assert reason.endswith("flux.yaml:1: the rule for batch/Job fails: `current`: no such key: nothing")


def test_a_file_without_rules_is_named(trueup: Trueup, dump: str) -> None:
    done = trueup("health", dump, "--rules", dump)
    assert isinstance(done.exception, Stop) and f"{dump}: states no rule" in str(done.exception)
