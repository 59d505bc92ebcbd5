"""Which kustomization, chart, Jsonnet file or folder of manifests is the application of a repository. Pure.

By convention it is the only one that no other refers to. Where that is not clear nothing is guessed: the finding has
the lines of trueup.yaml that say it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct

from trueup.core.application import Application, Part, Plain, Spec, plain
from trueup.core.model import Finding, Json, Place, Severity
from trueup.core.objects import dig
from trueup.core.placing import joined
from trueup.core.render import Helm, Jsonnet, Kustomize
from trueup.core.settings import FILE, Environment
from trueup.core.text import shown
from trueup.core.yamldoc import Schema, YamlFault, documents

KUSTOMIZATIONS = ("kustomization.yaml", "kustomization.yml", "Kustomization")
LIBRARIES = ("vendor", "lib")  # as jsonnet-bundler and Tanka lay them out
_REFERS = ("resources", "bases", "components")
_INFLATES = ("helmCharts", "helmGlobals", "helmChartInflationGenerator")
_DASHBOARDS = re.compile(r"(^|/)(dashboards?|grafana|monitoring|mixins?)(/|$)")


class Holding(Struct, frozen=True):
    """What of a repository can be an application. `text` has the contents that are read for it, by path."""

    name: str
    paths: frozenset[str]
    text: Mapping[str, bytes]
    manifests: tuple[str, ...]  # plain ones, outside of kustomizations and charts
    kustomizations: tuple[str, ...]
    charts: tuple[str, ...]
    jsonnet: tuple[str, ...]


class Roots(Struct, frozen=True):
    """Folders of kustomizations and charts that no other refers to, and Jsonnet files that none imports."""

    kustomizations: tuple[str, ...]
    charts: tuple[str, ...]
    jsonnet: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.kustomizations) + len(self.charts) + len(self.jsonnet)


def applications(
    holding: Holding, environments: Sequence[Environment]
) -> tuple[tuple[Application, ...], tuple[Finding, ...]]:
    """What is to run, or why that is not clear."""
    if environments:
        return _stated(holding, environments)
    roots = find_roots(holding)
    ours = holding.manifests
    if not len(roots):
        circle = not ours and any(
            dig(_body(holding, path), ("kind",)) != "Component" for path in holding.kustomizations
        )
        return ((plain(holding.name, ours),) if ours else ()), (_circle(holding),) if circle else ()
    if ours and not roots.kustomizations:
        return (plain(holding.name, ours),), tuple(_beside(holding, roots))
    if len(roots) == 1 and not ours:
        path = (*roots.kustomizations, *roots.charts, *roots.jsonnet)[0]
        return (Application(holding.name, (Part(_spec(holding, path, ())),), place=_place(holding, path)),), ()
    return (), (_unclear(holding, roots),)


# --- by trueup.yaml --------------------------------------------------------------------------------


def _stated(
    holding: Holding, environments: Sequence[Environment]
) -> tuple[tuple[Application, ...], tuple[Finding, ...]]:
    first = environments[0]
    if len(environments) > 1:
        names = ", ".join(environment.name for environment in environments[1:])
        message = f"one environment is run by this version, and {names} would be run besides {first.name}"
        return (), (_wrong(environments[1].place, message, f"Keep {first.name} alone."),)
    path = first.path
    files = tuple(p for p in holding.manifests if p == path or not path or p.startswith(path + "/"))
    missing = [value for value in first.values if value not in holding.paths]
    if missing:
        near = "Paths are from the root of the repository."
        return (), (_wrong(first.place, f"there is no values file {missing[0]} in this commit", near),)
    folders = {p.rpartition("/")[0] for p in (*holding.kustomizations, *holding.charts)}
    if path in folders or path in holding.jsonnet:
        spec = _spec(holding, path, first.values)
        if first.values and not isinstance(spec, Helm):
            return (), (_wrong(first.place, f"values are for charts, and {path or '.'} is none", "Remove `values`."),)
        return (Application(holding.name, (Part(spec),), first.name, place=first.place),), ()
    if files:
        return (Application(holding.name, (Part(Plain(paths=files)),), first.name, place=first.place),), ()
    there = ", ".join(sorted({*folders, *holding.jsonnet})) or "none"
    message = f"{path or '.'} holds no kustomization, chart or manifest"
    return (), (_wrong(first.place, message, f"Name a folder from the root of the repository; there is: {there}."),)


def _wrong(place: Place, message: str, fix: str) -> Finding:
    return Finding(Severity.ERROR, "application-unclear", place, shown(message), shown(fix))


# --- by convention ---------------------------------------------------------------------------------


def find_roots(holding: Holding) -> Roots:
    """What nothing else in the repository refers to."""
    kustomizations = {path.rpartition("/")[0]: path for path in holding.kustomizations}
    charts = {path.rpartition("/")[0]: path for path in holding.charts}
    used: set[str] = set()
    for folder, path in kustomizations.items():
        body = _body(holding, path)
        used.update({joined(folder, item) for key in _REFERS for item in _texts(dig(body, (key,)))} - {folder})
        if dig(body, ("kind",)) == "Component":
            used.add(folder)
        if any(dig(body, (key,)) for key in _INFLATES):
            used.update(chart for chart in charts if chart.startswith(folder + "/" if folder else ""))
    for folder, path in charts.items():
        body = _body(holding, path)
        if dig(body, ("type",)) == "library":
            used.add(folder)
        dependencies = dig(body, ("dependencies",))
        for one in dependencies if isinstance(dependencies, list) else ():
            where = dig(one, ("repository",))
            if isinstance(where, str) and where.startswith("file://"):
                used.add(joined(folder, where.removeprefix("file://")))
    within = {f for f in (*charts, *kustomizations) for c in charts if f != c and f.startswith(c + "/" if c else "")}
    return Roots(
        tuple(sorted(f for f in kustomizations if f not in used and f not in within)),
        tuple(sorted(f for f in charts if f not in used and f not in within)),
        _jsonnet_roots(holding),
    )


def _jsonnet_roots(holding: Holding) -> tuple[str, ...]:
    """`*.jsonnet` files that no other imports; dashboards and alerts are left to their tools."""
    named = [p for p in holding.jsonnet if not p.endswith(".libsonnet") and not _DASHBOARDS.search(p)]
    imported: set[str] = set()
    for path in holding.jsonnet:
        for name in re.findall(rb"""import(?:str)?\s+["']([^"']+)["']""", holding.text.get(path, b"")):
            told = name.decode("utf-8", "replace")
            imported.update((joined(path.rpartition("/")[0], told), *(joined(lib, told) for lib in LIBRARIES)))
    return tuple(sorted(set(named) - imported))


def _spec(holding: Holding, path: str, values: tuple[str, ...]) -> Spec:
    if path in holding.jsonnet:
        beside = path.rpartition("/")[0]
        folders = dict.fromkeys(joined(at, name) for at in ("", beside) for name in LIBRARIES)
        there = tuple(f for f in folders if any(p.startswith(f + "/") for p in holding.paths))
        return Jsonnet(path=path, libraries=there)
    chart = f"{path}/Chart.yaml" if path else "Chart.yaml"
    if chart in holding.charts and not _kustomization(holding, path):
        return Helm(path=path, release=release(holding.text.get(chart, b""), path, holding.name), values_files=values)
    return Kustomize(path=path)


def release(chart: bytes, path: str, name: str) -> str:
    """The name that a chart is released under when nobody states one: its own, so that it is the same everywhere."""
    try:
        body = next((doc.body for doc in documents(chart, path, schema=Schema.CORE)), None)
    except YamlFault:
        body = None
    own = dig(body, ("name",))
    return own if isinstance(own, str) and own else path.rpartition("/")[2] or name


def _kustomization(holding: Holding, folder: str) -> str:
    prefix = folder + "/" if folder else ""
    return next((prefix + name for name in KUSTOMIZATIONS if prefix + name in holding.kustomizations), "")


def _place(holding: Holding, path: str) -> Place:
    if path in holding.jsonnet:
        return Place(path)
    return Place(_kustomization(holding, path) or (f"{path}/Chart.yaml" if path else "Chart.yaml"))


def _body(holding: Holding, path: str) -> Json:
    try:
        return next((doc.body for doc in documents(holding.text.get(path, b""), path)), None)
    except YamlFault:
        return None  # the renderer names what is wrong with it


def _texts(value: Json) -> Iterator[str]:
    yield from (item for item in (value if isinstance(value, list) else ()) if isinstance(item, str))


# --- what to say -----------------------------------------------------------------------------------


def _unclear(holding: Holding, roots: Roots) -> Finding:
    shared = [path for path in (Plain(paths=holding.manifests).path,) if holding.manifests]
    told = [*(f or "." for f in (*roots.kustomizations, *roots.charts, *roots.jsonnet)), *(f or "." for f in shared)]
    place = _place(holding, (*roots.kustomizations, *roots.charts, *roots.jsonnet)[0])
    message = f"{', '.join(told[:8])} could each be what runs here, and nothing says which one does"
    return _wrong(place, message, f"Write into {FILE}: {lines(told)}")


def _circle(holding: Holding) -> Finding:
    told = ", ".join(holding.kustomizations[:8])
    fix = "Let one of them be listed by no other."
    return _wrong(Place(holding.kustomizations[0]), f"each of {told} is listed by another: none is what runs", fix)


def lines(paths: Sequence[str]) -> str:
    """The lines of trueup.yaml for the likeliest of several, on one line."""
    path = next((p for p in paths if re.search(r"prod", p)), paths[0])
    name = path.rpartition("/")[2].rpartition(".")[0] or path.rpartition("/")[2]
    return f"environments: [{{name: {name if name.strip('.') else 'production'}, path: {path}}}]"


def _beside(holding: Holding, roots: Roots) -> Iterator[Finding]:
    for folder in roots.charts:
        yield Finding(
            Severity.WARNING, "chart-beside-manifests", _place(holding, folder),
            "a Helm chart beside plain manifests: the manifests run, the chart does not",
            f"To run the chart instead, write into {FILE}: {lines([folder or '.'])}",
        )  # fmt: skip
