"""Every file in workload_cases/ is one pass of the Deployment controller: what is there, what must follow."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from trueup.core.kinds import DeploymentSpec
from trueup.core.workload import Create, Decision, Progress, Replica, Revision, Stop, decide

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
CASES = sorted((Path(__file__).parent / "workload_cases").glob("*.yaml"))
TEMPLATE = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "web"}]}}


def spec(replicas: int, extra: dict[str, Any]) -> DeploymentSpec:
    body = {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": TEMPLATE, **extra}
    return msgspec.convert(body, DeploymentSpec)


def replicas(template: str, stated: dict[str, Any]) -> list[Replica]:
    ready, count = stated["ready"], stated.get("only", stated["wanted"])
    since = NOW - timedelta(seconds=stated.get("ready_s_ago", 100))
    out = [
        Replica(name=f"{template}-ready-{i}", template=template, created=NOW, ready_since=since) for i in range(ready)
    ]
    out += [
        Replica(name=f"{template}-unready-{i}", template=template, created=NOW, restarts=stated.get("restarts", 0))
        for i in range(count - ready)
    ]
    return out + [
        Replica(name=f"{template}-stopping-{i}", template=template, created=NOW, stopping=True)
        for i in range(stated.get("stopping", 0))
    ]


def one_pass(case: dict[str, Any]) -> Decision:
    have = case.get("have", {})
    stated = dict(case.get("progress", {}))
    moved = stated.pop("moved_s_ago", 1)
    progress = Progress()
    if stated:
        stated["counts"] = tuple(stated["counts"])
        progress = Progress(**stated, moved_at=NOW - timedelta(seconds=moved))
    elif have:
        progress = Progress(template="before", replicas=case["replicas"], moved_at=NOW)
    return decide(
        spec(case["replicas"], case.get("spec", {})),
        case["want"],
        [Revision(template=t, number=i + 1, wanted=h["wanted"]) for i, (t, h) in enumerate(have.items())],
        [r for t, h in have.items() for r in replicas(t, h)],
        progress,
        None,
        generation=4,
        now=NOW,
    )


@pytest.mark.parametrize("path", CASES, ids=[p.stem for p in CASES])
def test_case(path: Path) -> None:
    case = yaml.safe_load(path.read_text())
    decision, expect = one_pass(case), case["expect"]
    created = Counter(a.template for a in decision.actions if isinstance(a, Create))
    stopped = [a.replica for a in decision.actions if isinstance(a, Stop)]
    conditions = {c["type"]: c["reason"] for c in decision.status["conditions"]}
    seen = {
        "create": dict(created),
        "total_create": sum(created.values()),
        "stop": dict(Counter(name.split("-")[0] for name in stopped)),
        "stop_names": stopped,
        "status": {k: decision.status[k] for k in expect.get("status", {})},
        "conditions": {k: conditions[k] for k in expect.get("conditions", {})},
        "proven": [r.template for r in decision.revisions if r.proven],
        "look_again_in_s": (decision.look_again - NOW).total_seconds() if decision.look_again else None,
    }
    assert {key: seen[key] for key in expect} == expect


def test_every_case_expects_something() -> None:
    assert len(CASES) >= 20
    assert all(yaml.safe_load(p.read_text())["expect"] for p in CASES)
