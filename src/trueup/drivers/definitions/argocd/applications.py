"""Argo CD's Application → what it says should run. Pure. Source: Argo CD v3.5.7, docs/user-guide."""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from trueup.core.definition import (
    Address,
    Chart,
    Destination,
    Detected,
    Files,
    Overlay,
    Source,
    Stated,
    Tool,
)
from trueup.core.model import Json
from trueup.core.origin import Origin
from trueup.core.render import Edit, Pair
from trueup.core.yamldoc import Doc
from trueup.drivers.definitions.argocd import resources as r

IN_CLUSTER, IN_CLUSTER_URL = "in-cluster", "https://kubernetes.default.svc"


def application(origin: Origin, doc: Doc) -> Stated:
    """Raises msgspec.ValidationError."""
    spec = msgspec.convert(doc.body, r.Application).spec
    steps = [("sources", i) for i in range(len(spec.sources))] if spec.sources else [("source",)]
    listed = spec.sources or ((spec.source,) if spec.source else ())
    sources = tuple(_source(doc, one, ("spec", *step), origin.name, spec.destination.namespace)
                    for one, step in zip(listed, steps, strict=False))  # fmt: skip
    return Stated(
        origin=origin,
        place=doc.place(),
        sources=sources,
        destination=_destination(spec.destination),
        project=spec.project or "default",
        told=_told(doc.body),
    )


def _destination(stated: r.Destination) -> Destination:
    """The cluster that Argo CD itself runs in is the one that Trueup runs in, by either of its names."""
    if stated.server == IN_CLUSTER_URL or stated.name == IN_CLUSTER:
        return Destination(namespace=stated.namespace)
    return Destination(stated.server, stated.name, stated.namespace)


def _source(doc: Doc, stated: r.Source, path: tuple[str | int, ...], name: str, namespace: str) -> Source:
    system = "git"
    if stated.chart:
        system = "helm" if "://" in stated.repo_url and not stated.repo_url.startswith("oci://") else "oci"
    elif stated.repo_url.startswith("oci://"):
        system = "oci"
    return Source(
        at=Address(system, stated.repo_url, stated.target_revision),
        place=doc.place(*path),
        path=stated.path,
        chart=stated.chart,
        version=stated.target_revision if stated.chart else "",
        ref=stated.ref,
        tool=_tool(stated, name, namespace),
    )


def _tool(stated: r.Source, name: str, namespace: str) -> Tool:
    if stated.helm is not None or stated.chart:
        return _chart(stated.helm or r.Helm(), name, namespace)
    if stated.kustomize is not None:
        return Overlay(edit=_edit(stated.kustomize))
    if stated.directory is not None:
        return _files(stated.directory)
    return Detected()


def detected_chart(name: str, namespace: str) -> Chart:
    """What a folder that turns out to be a chart is rendered with."""
    return _chart(r.Helm(), name, namespace)


def _chart(helm: r.Helm, name: str, namespace: str) -> Chart:
    plain = [p for p in helm.parameters if not p.force_string]
    forced = [p for p in helm.parameters if p.force_string]
    return Chart(
        release=helm.release_name or name,
        namespace=helm.namespace or namespace,
        values_files=helm.value_files,
        ignore_missing=helm.ignore_missing_value_files,
        values=helm.values_object if helm.values_object is not None else helm.values or None,
        set=tuple(f"{p.name}={_comma(p.value)}" for p in plain),
        set_string=tuple(f"{p.name}={_comma(p.value)}" for p in forced),
        set_file=tuple(Pair(p.name, p.path) for p in helm.file_parameters),
        kube_version=helm.kube_version,
        api_versions=helm.api_versions,
        skip_crds=helm.skip_crds,
        skip_schema=helm.skip_schema_validation,
        skip_tests=helm.skip_tests,
    )


def _comma(value: str) -> str:
    """A comma in a parameter is part of its value, where --set would begin another one."""
    return re.sub(r"(?<!\\),", r"\\,", value)


def _edit(stated: r.Kustomize) -> Edit:
    return Edit(
        commands=tuple(_commands(stated)),
        patches=tuple(_patch(one) for one in stated.patches),
        components=stated.components,
        ignore_missing=stated.ignore_missing_components,
    )


def _commands(stated: r.Kustomize) -> Iterator[tuple[str, ...]]:
    """As Argo CD runs them. Source: Argo CD v3.5.7, util/kustomize/kustomize.go Build."""
    if stated.name_prefix:
        yield "set", "nameprefix", "--", stated.name_prefix
    if stated.name_suffix:
        yield "set", "namesuffix", "--", stated.name_suffix
    if stated.images:
        yield "set", "image", *stated.images
    if stated.replicas:
        yield "set", "replicas", *(f"{one.name}={one.count}" for one in stated.replicas)
    if stated.common_labels:
        flags = (("--force", stated.force_common_labels), ("--without-selector", stated.label_without_selector),
                 ("--include-templates", stated.label_include_templates))  # fmt: skip
        chosen = (flag for flag, on in flags if on)
        yield "add", "label", *chosen, *(f"{k}:{v}" for k, v in stated.common_labels.items())
    if stated.common_annotations:
        chosen = (flag for flag in ("--force",) if stated.force_common_annotations)
        yield "add", "annotation", *chosen, *(f"{k}:{v}" for k, v in stated.common_annotations.items())
    if stated.namespace:
        yield "set", "namespace", "--", stated.namespace


def _patch(stated: r.Patch) -> Json:
    body = msgspec.to_builtins(stated)
    return {key: value for key, value in body.items() if value}


def _files(stated: r.Directory) -> Files:
    jsonnet = stated.jsonnet
    return Files(
        recurse=stated.recurse,
        include=stated.include,
        exclude=stated.exclude,
        libraries=jsonnet.libs,
        external_text=tuple(Pair(v.name, v.value) for v in jsonnet.ext_vars if not v.code),
        external_code=tuple(Pair(v.name, v.value) for v in jsonnet.ext_vars if v.code),
        top_text=tuple(Pair(v.name, v.value) for v in jsonnet.tlas if not v.code),
        top_code=tuple(Pair(v.name, v.value) for v in jsonnet.tlas if v.code),
    )


_TOLD = ("syncPolicy", "ignoreDifferences", "info", "revisionHistoryLimit")


def _told(body: Json) -> dict[str, Json]:
    told = {key: body["spec"][key] for key in _TOLD if body["spec"].get(key)}
    if finalizers := body["metadata"].get("finalizers"):
        told["finalizers"] = finalizers
    return told
