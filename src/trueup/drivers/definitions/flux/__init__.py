"""Flux's resources → definitions. Pure. Source: Flux's api documentation, the versions named in `fields`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar

import msgspec
from msgspec import Struct

from trueup.core.definition import (
    Address,
    Aside,
    Chart,
    Definition,
    Destination,
    Named,
    Overlay,
    Provision,
    Source,
    Stated,
    ValuesFrom,
)
from trueup.core.model import Json
from trueup.core.objects import dig
from trueup.core.origin import Origin
from trueup.core.render import Edit, Image
from trueup.core.yamldoc import Doc
from trueup.drivers.definitions.flux import resources as r
from trueup.drivers.definitions.flux.fields import KINDS

__all__ = ["KINDS", "read"]

LONGEST_RELEASE = 53
_BUILT = ("path", "sourceRef", "patches", "images", "postBuild", "dependsOn", "components", "commonMetadata")


def read(origin: Origin, doc: Doc) -> Definition:
    """One resource of a kind of `KINDS`. Raises msgspec.ValidationError."""
    spec = doc.body.get("spec")
    match origin.kind:
        case "Kustomization":
            return _kustomization(origin, doc, _convert(spec, r.KustomizationSpec))
        case "HelmRelease":
            return _release(origin, doc, _convert(spec, r.HelmReleaseSpec))
        case "GitRepository" | "OCIRepository" | "HelmRepository" | "HelmChart" | "Bucket":
            return _provision(origin, doc, spec)
    return Aside(origin=origin, place=doc.place(), refers=tuple(_refers(origin, spec)), told=_told(spec, ()))


T = TypeVar("T")


class _Holder(Struct, Generic[T], frozen=True):
    """So that an error's path begins with `spec`."""

    spec: T


def _convert(spec: Json, into: type[T]) -> T:
    return msgspec.convert({"spec": spec}, _Holder[into]).spec  # type: ignore[valid-type]  # made at run time


def _kustomization(origin: Origin, doc: Doc, spec: r.KustomizationSpec) -> Stated:
    edit = Edit(
        namespace=spec.target_namespace,
        name_prefix=spec.name_prefix,
        name_suffix=spec.name_suffix,
        images=tuple(Image(i.name, i.new_name, i.new_tag, i.digest) for i in spec.images),
        patches=tuple(_patch(p) for p in spec.patches),
        components=spec.components,
        ignore_missing=spec.ignore_missing_components,
        generate=True,
        variables={k: v.replace("\n", "") for k, v in spec.post_build.substitute.items()},
        labels=spec.common_metadata.labels,
        annotations=spec.common_metadata.annotations,
    )
    tool = Overlay(edit=edit, restrict=False, from_objects=_from(origin, spec.post_build.substitute_from, ""))
    source = Source(
        at=_named(spec.source_ref, origin, "GitRepository"),
        place=doc.place("spec", "sourceRef"),
        path=spec.path,
        tool=tool,
    )
    return Stated(
        origin=origin,
        place=doc.place(),
        sources=(source,),
        destination=Destination(namespace=spec.target_namespace),
        depends_on=tuple(_named(one, origin, "Kustomization") for one in spec.depends_on),
        suspended=spec.suspend,
        told=_told(doc.body["spec"], _BUILT),
    )


def _release(origin: Origin, doc: Doc, spec: r.HelmReleaseSpec) -> Stated:
    """Source: helm-controller v1.6.5, docs/spec/v2/helmreleases.md, "Release name"."""
    namespace = spec.target_namespace or origin.namespace
    name = spec.release_name or "-".join(part for part in (spec.target_namespace, origin.name) if part)
    tool = Chart(
        release=name if spec.release_name else shortened(name),
        namespace=namespace,
        values=spec.values,
        from_objects=_from(origin, spec.values_from, "values.yaml"),
        skip_crds=spec.install.skip_crds,
        skip_schema=spec.install.disable_schema_validation,
    )
    stated = spec.chart.spec if spec.chart else None
    if stated is not None:
        tool = msgspec.structs.replace(
            tool,
            values_files=stated.values_files,
            whole_values=bool(stated.values_files),
            ignore_missing=stated.ignore_missing_values_files,
        )
        at, place = _named(stated.source_ref, origin, ""), doc.place("spec", "chart")
        chart, version = stated.chart, stated.version
    elif spec.chart_ref is not None:
        at, place, chart, version = _named(spec.chart_ref, origin, ""), doc.place("spec", "chartRef"), "", ""
    else:
        raise msgspec.ValidationError("Object missing required field `chart` or `chartRef` - at `$.spec`")
    return Stated(
        origin=origin,
        place=doc.place(),
        sources=(Source(at=at, place=place, chart=chart, version=version, tool=tool),),
        destination=Destination(namespace=namespace),
        depends_on=tuple(_named(one, origin, "HelmRelease") for one in spec.depends_on),
        suspended=spec.suspend,
        told=_told(doc.body["spec"], ("chart", "chartRef", "values", "valuesFrom", "dependsOn", "releaseName")),
    )


def shortened(name: str) -> str:
    """Helm takes names of 53 letters: a longer one ends in a digest of itself.

    Source: helm-controller v1.6.5, internal/release/name.go ShortenName."""
    if len(name) <= LONGEST_RELEASE:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:12]
    return f"{name[: LONGEST_RELEASE - len(digest) - 1]}-{digest}"


def _provision(origin: Origin, doc: Doc, spec: Json) -> Provision:
    place = doc.place()
    if origin.kind == "GitRepository":
        git = _convert(spec, r.GitSpec)
        ref = git.ref
        revision = ref.commit or ref.name or ref.semver or ref.tag or ref.branch or "master"
        return Provision(origin=origin, place=place, address=Address("git", git.url, revision))
    if origin.kind == "OCIRepository":
        oci = _convert(spec, r.OciSpec)
        revision = oci.ref.digest or oci.ref.semver or oci.ref.tag or "latest"
        return Provision(origin=origin, place=place, address=Address("oci", oci.url, revision))
    if origin.kind == "HelmRepository":
        helm = _convert(spec, r.HelmRepositorySpec)
        return Provision(origin=origin, place=place, address=Address("oci" if helm.type == "oci" else "helm", helm.url))
    if origin.kind == "Bucket":
        bucket = _convert(spec, r.BucketSpec)
        return Provision(
            origin=origin, place=place, address=Address("bucket", f"{bucket.endpoint}/{bucket.bucket_name}")
        )
    chart = _convert(spec, r.HelmChartSpec)
    return Provision(
        origin=origin,
        place=place,
        address=_named(chart.source_ref, origin, ""),
        chart=chart.chart,
        version=chart.version,
        values_files=chart.values_files,
        ignore_missing=chart.ignore_missing_values_files,
    )


def _named(reference: r.Reference, origin: Origin, kind: str) -> Named:
    return Named(reference.kind or kind, reference.namespace or origin.namespace, reference.name)


def _from(origin: Origin, listed: Sequence[r.From], key: str) -> tuple[ValuesFrom, ...]:
    return tuple(
        ValuesFrom(o.kind, origin.namespace, o.name, o.values_key or key, o.optional, o.target_path, o.literal)
        for o in listed
    )


def _patch(stated: r.Patch) -> Json:
    body = msgspec.to_builtins(stated)
    target = {key: value for key, value in (body["target"] or {}).items() if value}
    return {"patch": stated.patch, **({"target": target} if target else {})}


def _refers(origin: Origin, spec: Json) -> Iterator[Named]:
    """What an alert, a receiver, a policy or an automation is about."""
    single = {"imageRepositoryRef": "ImageRepository", "providerRef": "Provider", "sourceRef": "GitRepository"}
    for key, kind in single.items():
        if isinstance(name := dig(spec, (key, "name")), str):
            stated = dig(spec, (key, "kind")), dig(spec, (key, "namespace"))
            yield Named(str(stated[0] or kind), str(stated[1] or origin.namespace), name)
    for key in ("eventSources", "resources"):
        for one in dig(spec, (key,)) or ():
            if isinstance(name := dig(one, ("name",)), str):
                yield Named(str(dig(one, ("kind",))), str(dig(one, ("namespace",)) or origin.namespace), name)


def _told(spec: Json, besides: Sequence[str]) -> dict[str, Json]:
    return {k: v for k, v in spec.items() if k not in besides and v} if isinstance(spec, dict) else {}
