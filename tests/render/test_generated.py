"""Random overlays and values, rendered both ways."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from render.parts import Files, Repository, made, program, read
from render.samples import CHART, DEPLOYMENT, SERVICE
from trueup.core.render import Asked, Helm, Kustomize
from trueup.drivers.renderers.worker import RenderFailed, Workers

pytestmark = pytest.mark.integration

few = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

NAMES = st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True)
ODD = st.sampled_from(
    ["on", "n", "0777", "1e3", "12:30:00", "~", "", " padded ", "null", "2024-01-01", "a: b", "#x", "é"]
)
TEXTS = ODD | st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Co", "Cn", "Zl", "Zp"]), max_size=12
)
LABELS = st.dictionaries(NAMES, NAMES | st.sampled_from(["on", "007", "1e3"]), min_size=1, max_size=3)


def written(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


@st.composite
def bases(draw: st.DrawFn) -> dict[str, Any]:
    found: dict[str, Any] = {"resources": ["deployment.yaml", "service.yaml"]}
    if draw(st.booleans()):
        found["labels"] = [{"pairs": draw(LABELS), "includeSelectors": draw(st.booleans())}]
    if draw(st.booleans()):
        values = draw(st.dictionaries(NAMES, TEXTS.filter(lambda t: "'" not in t and '"' not in t), max_size=3))
        options = {"disableNameSuffixHash": draw(st.booleans()), "annotations": draw(LABELS)}
        found["configMapGenerator"] = [
            {"name": "settings", "literals": [f"{k}={v}" for k, v in values.items()] or ["a=b"], "options": options}
        ]
    return found


@st.composite
def overlays(draw: st.DrawFn) -> dict[str, Any]:
    found: dict[str, Any] = {"resources": ["../../base"]}
    for field in ("namePrefix", "nameSuffix", "namespace"):
        if draw(st.booleans()):
            found[field] = draw(NAMES)
    if draw(st.booleans()):
        found["commonAnnotations"] = draw(st.dictionaries(NAMES, TEXTS, min_size=1, max_size=3))
    if draw(st.booleans()):
        tag = draw(st.sampled_from(["1", "v2", "007"]))
        found["images"] = [{"name": "ghcr.io/acme/web", "newName": draw(NAMES), "newTag": tag}]
    if draw(st.booleans()):
        found["replicas"] = [{"name": "web", "count": draw(st.integers(0, 99))}]
    if draw(st.booleans()):
        value = draw(TEXTS | st.integers() | st.booleans())
        patch = [{"op": "add", "path": "/metadata/annotations", "value": {"odd": value}}]
        found["patches"] = [{"target": {"kind": "Service"}, "patch": written(patch)}]
    if draw(st.booleans()):
        spec = {"template": {"spec": {"nodeSelector": draw(LABELS), "priority": draw(st.integers(0, 9))}}}
        head = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}}
        found.setdefault("patches", []).append({"patch": written({**head, "spec": spec})})
    if draw(st.booleans()):
        found["sortOptions"] = {"order": draw(st.sampled_from(["fifo", "legacy"]))}
    return found


@given(base=bases(), overlay=overlays())
@few
def test_overlays(built: Path, kustomize_program: Path, base: dict[str, Any], overlay: dict[str, Any]) -> None:
    files = {
        "base/kustomization.yaml": written(base),
        "base/deployment.yaml": DEPLOYMENT,
        "base/service.yaml": SERVICE,
        "overlays/x/kustomization.yaml": written(overlay),
    }
    with tempfile.TemporaryDirectory() as folder:
        Repository(files).write(Path(folder))
        expected = printed([kustomize_program, "build", f"{folder}/overlays/x"])
    event("refused" if expected is None else "rendered")
    assert _render(built, Kustomize(path="overlays/x"), files) == expected


VALUES = st.recursive(
    TEXTS | st.integers(-(2**53), 2**53) | st.booleans() | st.none() | st.floats(-1e6, 1e6).map(lambda x: round(x, 3)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
SHOWN = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: shown}
data:
  json: {{ toJson .Values | quote }}
values: {{- toYaml .Values | nindent 2 }}
each: {{- range $key, $value := .Values }}
  - {{ $key }}: {{ $value | toString | quote }}
{{- end }}
"""


@given(values=st.dictionaries(NAMES, VALUES, max_size=4), more=st.dictionaries(NAMES, VALUES, max_size=2))
@few
def test_values(built: Path, helm_program: Path, values: dict[str, Any], more: dict[str, Any]) -> None:
    files = {
        **CHART,
        "chart/templates/shown.yaml": SHOWN,
        "a.yaml": written({"words": values}),
        "b.yaml": written({"words": more}),
    }
    with tempfile.TemporaryDirectory() as folder:
        Repository(files).write(Path(folder))
        named = ("--values", f"{folder}/a.yaml", "--values", f"{folder}/b.yaml")
        expected = printed([helm_program, "template", "r", f"{folder}/chart", "--include-crds", *named])
    event("refused" if expected is None else "rendered")
    asked = Helm(path="chart", release="r", values_files=("a.yaml", "b.yaml"))
    assert _render(built, asked, files) == expected


def printed(argv: Sequence[str | Path]) -> list[str] | None:
    """The objects a program prints; None when it refuses the input."""
    try:
        return read(program(argv))
    except AssertionError:
        return None


def _render(built: Path, asked: Asked, files: Files) -> list[str] | None:
    async def once() -> list[str] | None:
        async with Workers(built, size=1) as workers:
            try:
                return made(await workers.render(asked, Repository(files).given))
            except RenderFailed:
                return None

    return asyncio.run(once())
