"""Definitions among the objects of a repository: consumed, never applied, and read. Pure."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from trueup.core.definition import Definitions, Read, ValuesFrom
from trueup.core.fields import How, Kind, Met, Tables, dotted
from trueup.core.manifests import Manifest
from trueup.core.model import Finding, Json, Severity
from trueup.core.objects import dig
from trueup.core.origin import Origin
from trueup.core.project import Project, wrong
from trueup.core.sealed import METADATA
from trueup.core.text import shown
from trueup.core.yamldoc import Doc, Node, PathStep
from trueup.drivers.definitions import DEFINITIONS

TABLES = Tables(kind for kinds, _ in DEFINITIONS.values() for kind in kinds)
_GROUPS = (b"argoproj.io/", b".toolkit.fluxcd.io/")
_READERS = {(kind.group, kind.name): read for kinds, read in DEFINITIONS.values() for kind in kinds}


def is_definition(manifest: Manifest) -> bool:
    """Whether an object says what should run rather than running."""
    ref = manifest.object.ref
    return (ref.group, ref.kind) in _READERS


def mentions(data: bytes) -> bool:
    """Whether a file could state a definition."""
    return any(group in data for group in _GROUPS)


def collect(manifests: Iterable[Manifest]) -> Definitions:
    """Every definition among these objects, each with what is wrong with it at its line."""
    read: list[Read] = []
    findings: list[Finding] = []
    for manifest in manifests:
        ref = manifest.object.ref
        kind = TABLES.kind(ref.group, ref.kind)
        if kind is None:
            continue
        origin, doc = Origin(kind.product, kind.name, ref.namespace, ref.name), _doc(manifest)
        met = tuple(TABLES.walk(ref.group, ref.kind, manifest.object.body))
        findings += _wrong(kind, origin, doc, met)
        try:
            definition = _READERS[ref.group, ref.kind](origin, doc)
        except msgspec.ValidationError as error:
            findings.append(_invalid(origin, doc, str(error)))
            continue
        if isinstance(definition, Project):
            findings += _wrong_project(definition)
        read.append(Read(definition, tuple(_different(met))))
    return Definitions(tuple(read), tuple(findings))


def _doc(manifest: Manifest) -> Doc:
    """The document of a manifest; for one that a render made something else of, the whole of it at the same place."""
    body, doc = manifest.object.body, manifest.doc
    if body is doc.body or body == doc.body:
        return doc
    place = doc.place()
    return Doc(doc.file, b"", Node(body, place.line, place.column))


def _wrong(kind: Kind, origin: Origin, doc: Doc, met: Iterable[Met]) -> Iterator[Finding]:
    for one in met:
        told = dotted(one.path)
        if one.field is None:
            near = (
                f"Did you mean {one.nearest}?" if one.nearest else f"See docs/definitions.md for {kind.name}'s fields."
            )
            message = f"{origin}: {kind.product} {kind.name} has no field {told}"
            place = doc.key_place(*one.path)
            yield Finding(Severity.ERROR, "definition-field-unknown", place, shown(message), shown(near))
        elif one.field.how is How.REFUSED:
            message = f"{origin}: {told} is not served: {one.field.note}"
            fix = f"Remove it, or keep this resource with {kind.product}."
            yield Finding(Severity.ERROR, "definition-not-served", doc.key_place(*one.path), shown(message), fix)


def _wrong_project(project: Project) -> Iterator[Finding]:
    for message in wrong(project):
        told = shown(f"{project.origin}: {message}")
        yield Finding(Severity.ERROR, "definition-invalid", project.place, told, "Argo CD refuses it too.")


def _different(met: Iterable[Met]) -> Iterator[tuple[str, str]]:
    yield from dict.fromkeys(
        (one.field.path, one.field.note) for one in met if one.field is not None and one.field.how is How.DIFFERENT
    )


_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")


def _invalid(origin: Origin, doc: Doc, said: str) -> Finding:
    """msgspec says what it expected and where: "Expected `str`, got `int` - at `$.spec.path`"."""
    message, _, at = said.partition(" - at `$")
    path: list[PathStep] = []
    for name, index in _STEP.findall(at.rstrip("`")):
        path.append(int(index) if index else name)
    while path and dig(doc.body, path) is None:
        path.pop()
    return Finding(
        Severity.ERROR, "definition-invalid", doc.place(*path), shown(f"{origin}: {message[:1].lower()}{message[1:]}"),
        f"Write {'.'.join(map(str, path)) or 'it'} as its schema says.",
    )  # fmt: skip


class Held:
    """What the ConfigMaps and Secrets hold that these objects state. A Secret's values are told to nobody else."""

    def __init__(self, manifests: Iterable[Manifest]) -> None:
        self._found = {
            (ref.kind, ref.namespace, ref.name): manifest.object.body
            for manifest in manifests
            if (ref := manifest.object.ref).kind in ("ConfigMap", "Secret")
            and not ref.group
            and METADATA not in manifest.object.body  # what SOPS encrypted is not readable here
        }

    def __call__(self, wanted: ValuesFrom) -> Mapping[str, str] | None:
        body = self._found.get((wanted.kind, wanted.namespace, wanted.name))
        return None if body is None else dict(_data(body))


def _data(body: Json) -> Iterator[tuple[str, str]]:
    secret = body.get("kind") == "Secret"
    for key, value in (body.get("data") or {}).items():
        if isinstance(value, str):
            yield key, _decoded(value) if secret else value
    for key, value in (body.get("stringData") or {}).items() if secret else ():
        yield key, str(value)


def _decoded(value: str) -> str:
    try:
        return base64.b64decode(value, validate=True).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return ""


def is_named(origin: Origin, name: str) -> bool:
    """Whether it goes by this name: "shop", "application/shop" or "argocd/shop"."""
    return name in (origin.name, str(origin), f"{origin.namespace}/{origin.name}")
