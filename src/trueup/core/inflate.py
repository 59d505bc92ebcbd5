"""Charts that a kustomization names under `helmCharts`: what each is rendered with, and the file without them. Pure.

Source: kustomize api v0.21.1, internal/builtins/HelmChartInflationGenerator.go and types/helmchartargs.go (where a
chart is looked for, which values come over which); konfig/general.go (the mark that keeps the chart's own namespace).
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence

import msgspec
from msgspec import Struct

from trueup.core.model import Json, Place
from trueup.core.render import Helm, Output
from trueup.core.yamldoc import Doc

MARK = "internal.config.kubernetes.io/helm-generated"
HELM = ("helmCharts", "helmGlobals")


class Unfit(ValueError):
    """What is asked for here is not served; the message says why."""


class Chart(Struct, frozen=True, rename="camel", kw_only=True):
    """One entry. Source: the field docs of types.HelmChart."""

    name: str = ""
    version: str = ""
    repo: str = ""
    release_name: str = ""
    namespace: str = ""
    additional_values_files: tuple[str, ...] = ()
    values_file: str = ""
    values_inline: dict[str, Json] = {}
    values_merge: str = "override"
    include_crds: bool = msgspec.field(default=False, name="includeCRDs")
    skip_hooks: bool = False
    api_versions: tuple[str, ...] = ()
    kube_version: str = ""
    name_template: str = ""
    skip_tests: bool = False
    debug: bool = False
    devel: bool = False

    @property
    def range(self) -> str:
        return self.version or (">0.0.0-0" if self.devel else "")


def charts(doc: Doc) -> tuple[tuple[Chart, Place], ...]:
    """Every entry with its place. Raises Unfit."""
    body = doc.body if isinstance(doc.body, dict) else {}
    listed = body.get("helmCharts")
    found = []
    for index, one in enumerate(listed if isinstance(listed, list) else ()):
        try:
            chart = msgspec.convert(one, Chart)
        except msgspec.ValidationError as error:
            raise Unfit(f"helmCharts[{index}]: {error}") from None
        found.append((chart, doc.place("helmCharts", index)))
    return tuple(found)


def homes(chart: Chart, doc: Doc, folder: str) -> str:
    """Where the chart's folder would be, were it here."""
    told = doc.body.get("helmGlobals")
    home = told.get("chartHome") if isinstance(told, dict) else None
    where = posixpath.join(folder, home if isinstance(home, str) and home else "charts")
    if chart.version and chart.repo:
        where = posixpath.join(where, f"{chart.name}-{chart.version}")
    return posixpath.normpath(posixpath.join(where, chart.name))


def asked(chart: Chart, at: str, folder: str, inline: str) -> Helm:
    """The render of a chart whose folder is `at`; `inline` is the file that its inline values were put into. Raises
    Unfit."""
    if not chart.release_name or chart.name_template:
        raise Unfit(f"chart {chart.name} has no releaseName, and would have another one each time")
    given = posixpath.normpath(posixpath.join(folder, chart.values_file)) if chart.values_file else ""
    match chart.values_merge or "override":
        case "override":
            files = [given, inline]
        case "merge":
            files = [inline, given or posixpath.join(at, "values.yaml")] if inline else [given]
        case "replace":
            files = [inline or given]
        case other:
            raise Unfit(f"valuesMerge of chart {chart.name} is {other!r}, and must be override, merge or replace")
    more = [posixpath.normpath(posixpath.join(folder, file)) for file in chart.additional_values_files]
    return Helm(
        path=at, release=chart.release_name, namespace=chart.namespace or "default",
        values_files=tuple(file for file in (*files, *more) if file), kube_version=chart.kube_version,
        api_versions=chart.api_versions, skip_crds=not chart.include_crds, skip_tests=chart.skip_tests,
        second_seed=False,
    )  # fmt: skip


def printed(chart: Chart, output: Output) -> bytes:
    """The objects as a file of resources, marked as a chart's."""
    bodies = [one.body for one in output.objects] + ([] if chart.skip_hooks else [one.body for one in output.hooks])
    return b"---\n".join(msgspec.json.encode(_marked(body)) + b"\n" for body in bodies)


def _marked(body: Json) -> Json:
    if not isinstance(body, dict):
        return body
    metadata: Json = body.get("metadata") or {}
    annotations: Json = metadata.get("annotations") or {}
    return {**body, "metadata": {**metadata, "annotations": {**annotations, MARK: "true"}}}


def without(doc: Doc, more: Sequence[str]) -> bytes:
    """The file with its charts as comments, and these files as resources; every other line stays where it is. Raises
    Unfit for a file that is not written in block style."""
    keys = doc.root.keys or {}
    starts = sorted((node.line, name) for name, node in keys.items())
    if any(node.column != 1 for node in keys.values()) or len({line for line, _ in starts}) != len(starts):
        raise Unfit("a kustomization with helmCharts must be written in block style, one field a line")
    if "bases" in keys:
        raise Unfit("`bases` beside helmCharts: list them under `resources`")
    lines = doc.data.splitlines(keepends=True)
    ends = [line for line, _ in starts[1:]] + [len(lines) + 1]
    for (start, name), end in zip(starts, ends, strict=True):
        if name in HELM:
            lines[start - 1 : end - 1] = [_comment(line) for line in lines[start - 1 : end - 1]]
    text = b"".join(lines)
    listed = msgspec.json.encode(list(more)).decode()
    return text + (b"" if text.endswith(b"\n") else b"\n") + f"bases: {listed}\n".encode()


def _comment(line: bytes) -> bytes:
    return line if line.lstrip().startswith(b"#") else b"#" + line
