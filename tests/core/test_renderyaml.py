"""What is printed as YAML is read back as the same object."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueup.core.renderyaml import yaml_documents
from trueup.core.yamldoc import documents

TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    [
        "on",
        "No",
        "0777",
        "1e3",
        "12:30:00",
        "~",
        "",
        " x",
        "x ",
        "a: b",
        "a #b",
        "#a",
        "- a",
        "a\nb\n",
        "a\n\nb",
        "\na",
        "=",
        "<<",
    ]
)
VALUES = st.recursive(
    TEXTS | st.integers(-(2**63), 2**63 - 1) | st.booleans() | st.none() | st.floats(-1e6, 1e6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS.filter(bool), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(TEXTS.filter(bool), VALUES, min_size=1, max_size=4))
def test_it_is_read_back_as_it_was(body: dict[str, Any]) -> None:
    (doc,) = documents(yaml_documents([body]).encode(), "printed.yaml")
    assert doc.body == body


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"kind": "A", "apiVersion": "v1"}, "---\napiVersion: v1\nkind: A\n"),
        ({"a": [{"b": 1, "c": []}, "on"]}, '---\na:\n- b: 1\n  c: []\n- "on"\n'),
        ({"text": "one\ntwo\n"}, "---\ntext: |\n  one\n  two\n"),
        ({"image": "ghcr.io/acme/web:1.0", "m": 0.5, "e": {}}, "---\ne: {}\nimage: ghcr.io/acme/web:1.0\nm: 0.5\n"),
    ],
)
def test_it_reads_well(body: dict[str, Any], expected: str) -> None:
    assert yaml_documents([body]) == expected
