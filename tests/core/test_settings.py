"""`trueup.yaml`: what it states, and what it refuses with the nearest known key."""

from __future__ import annotations

import pytest

from trueup.core.model import DriftRules, Leave, Place
from trueup.core.settings import Settings, read


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("", Settings()),
        ("# nothing yet\n", Settings()),
        ("pipelines: {required: [test]}\n", Settings(("test",))),
        ("pipelines: {required: []}\n", Settings(())),
        ("accept: [NetworkPolicy]\n", Settings(None, ("NetworkPolicy",))),
        ("undo: pin\n", Settings(undo="pin")),
    ],
)
def test_states(text: str, settings: Settings) -> None:
    assert read(text.encode()) == (settings, ())


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("pipeline: {required: [test]}\n", 1, "did you mean 'pipelines'?"),
        ("pipelines:\n  require: [test]\n", 2, "did you mean 'required'?"),
        ("pipelines:\n  required: test\n", 2, "a list of names was expected"),
        ("pipelines: [test]\n", 1, "a mapping was expected, not a list"),
        ("accept:\n  - NetworkPolicys\n", 2, "did you mean 'NetworkPolicy'?"),
        ("accept: []\nundo: reverts\n", 2, "did you mean 'revert'?"),
        ("undo: false\n", 1, "False is no way to undo a bad commit"),
        ("environments:\n  - {name: a, path: b, undo: pinned}\n", 2, "did you mean 'pin'?"),
        ("- test\n", 1, "a mapping was expected, not a list"),
        ("pipelines: {\n", 1, ""),
    ],
)
def test_refuses_with_line_and_what_to_do(text: str, line: int, says: str) -> None:
    settings, findings = read(text.encode())
    assert settings == Settings()
    assert len(findings) == 1
    assert findings[0].place.file == "trueup.yaml" and findings[0].place.line >= line
    assert says in findings[0].message and findings[0].fix
    assert isinstance(findings[0].place, Place)


def test_an_environment_may_say_how_to_undo_by_itself() -> None:
    text = "undo: pin\nenvironments: [{name: production, path: config, undo: none}]\n"
    settings, findings = read(text.encode())
    assert (settings.undo_here, settings.undo, findings) == ("none", "pin", ())
    assert read(b"undo: pin\nenvironments: [{name: production, path: config}]\n")[0].undo_here == "pin"


def test_drift_is_read_as_argo_cd_names_it() -> None:
    text = """drift:
  repair: false
  leave:
    - {group: apps, kind: Deployment, name: web, namespace: shop, jsonPointers: [/spec/replicas]}
    - {jqPathExpressions: [.spec.x], managedFieldsManagers: [keda]}
"""
    settings, findings = read(text.encode())
    web = Leave(group="apps", kind="Deployment", name="web", namespace="shop", pointers=("/spec/replicas",))
    assert (settings.drift, findings) == (DriftRules((web, Leave(jq=(".spec.x",), managers=("keda",))), False), ())
    assert read(b"accept: []\n")[0].drift == DriftRules()


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("drift: yes please", 1, "a mapping was expected"),
        ("drift:\n  repare: true", 2, "unknown key 'repare' in drift"),
        ("drift:\n  repair: 1", 2, "true or false was expected"),
        ("drift:\n  leave: {}", 2, "a list of rules was expected"),
        ("drift:\n  leave: [x]", 2, "a mapping was expected"),
        ("drift:\n  leave:\n    - kind: Deployment", 3, "the rule names no field"),
        ("drift:\n  leave:\n    - jsonPointers: [spec]", 3, "'spec' is no JSON pointer to a field"),
        ("drift:\n  leave:\n    - jsonPointers: /spec", 3, "jsonPointers: a list of texts was expected"),
        ("drift:\n  leave:\n    - {pointers: [/a], jsonPointers: [/a]}", 3, "unknown key 'pointers' in a rule"),
        ("drift:\n  leave:\n    - {kind: 3, jsonPointers: [/a]}", 3, "kind: a text was expected"),
    ],
)
def test_faults_in_drift_have_their_line(text: str, line: int, message: str) -> None:
    settings, findings = read(text.encode())
    assert [(f.place.line, f.message) for f in findings] == [(line, message)]
    assert findings[0].fix and settings.drift == DriftRules()


def test_every_key_is_documented() -> None:
    from pathlib import Path

    from trueup.core.settings import KEYS

    text = (Path(__file__).parents[2] / "docs/settings.md").read_text()
    for key, about in KEYS.items():
        assert f"| `{key}` | {about} |" in text
