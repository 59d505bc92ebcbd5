"""Rendered manifests: desired objects with the documents they were read from. Only records."""

from __future__ import annotations

from msgspec import Struct

from trueup.core.model import Finding, Object, Severity
from trueup.core.yamldoc import Doc


class Manifest(Struct, frozen=True):
    """One object and where its values stand. `doc` is what it was read from; for a rendered object what comes nearest
    to that: the document of the base that it comes from, the template, or the whole file."""

    object: Object
    doc: Doc  # of a sealed file: as it stands in Git, encrypted
    sealed: bool = False  # its file is encrypted by SOPS


class Rendered(Struct, frozen=True):
    """What a renderer made of an application's files. With an ERROR among `findings` nothing may be deployed."""

    manifests: tuple[Manifest, ...]
    findings: tuple[Finding, ...] = ()
    read: tuple[str, ...] = ()  # the files that renders of kustomizations, charts and Jsonnet read
    definitions: tuple[Manifest, ...] = ()  # what says what should run: consumed, never applied

    @property
    def objects(self) -> tuple[Object, ...]:
        return tuple(manifest.object for manifest in self.manifests)

    @property
    def valid(self) -> bool:
        return all(finding.severity is not Severity.ERROR for finding in self.findings)
