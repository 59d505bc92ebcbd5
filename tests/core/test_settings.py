"""`trueup.yaml`: what it states, and what it refuses with the nearest known key."""

from __future__ import annotations

import pytest

from trueup.core.model import Place
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


def test_every_key_is_documented() -> None:
    from pathlib import Path

    from trueup.core.settings import KEYS

    text = (Path(__file__).parents[2] / "docs/settings.md").read_text()
    for key, about in KEYS.items():
        assert f"| `{key}` | {about} |" in text
