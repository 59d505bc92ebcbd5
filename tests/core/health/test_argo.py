"""Our health of projects' kinds beside what Argo CD's rules say (argo.yaml); each difference is named and stays so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from trueup.core.health.live import live_health

FILE = Path(__file__).with_name("argo.yaml")
CASES = [
    pytest.param(kind, *case, id=f"{kind} {number} {case[0]}")
    for kind, cases in yaml.safe_load(FILE.read_text()).items()
    for number, case in enumerate(cases)
]


def body_of(kind: str, given: dict[str, Any]) -> dict[str, Any]:
    group, _, name = kind.partition("/")
    status = dict(given.get("status") or {})
    if "conditions" in given:
        words = {type: str(text).split(" ", 1) for type, text in given["conditions"].items()}
        status["conditions"] = [{"type": t, "status": w[0], "reason": w[1] if len(w) > 1 else ""}
                                for t, w in words.items()]  # fmt: skip
    metadata = {"name": "a", **({"generation": given["generation"]} if "generation" in given else {})}
    body = {"apiVersion": f"{group}/v1", "kind": name, "metadata": metadata, "spec": given.get("spec") or {}}
    return {**body, "status": status} if status else body


@pytest.mark.parametrize(("kind", "argo", "given", "note"), [
    pytest.param(*case.values, *([{}] if len(case.values) == 3 else []), id=case.id) for case in CASES
])  # fmt: skip
def test_as_argo_cd_or_for_a_reason(kind: str, argo: str, given: dict[str, Any], note: dict[str, str]) -> None:
    found = live_health(body_of(kind, given))
    assert found.health.value == note.get("differs", argo), found
    assert not note or (note["differs"] != argo and note["because"])
