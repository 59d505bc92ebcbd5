"""Rendered manifests: desired objects with the documents they were read from. Only records."""

from __future__ import annotations

from msgspec import Struct

from trueup.core.model import Finding, Object, Severity
from trueup.core.yamldoc import Doc


class Manifest(Struct, frozen=True):
    """One object and where each of its values stands."""

    object: Object
    doc: Doc


class Rendered(Struct, frozen=True):
    """What a renderer made of an application's files. With an ERROR among `findings` nothing may be deployed."""

    manifests: tuple[Manifest, ...]
    findings: tuple[Finding, ...] = ()

    @property
    def objects(self) -> tuple[Object, ...]:
        return tuple(manifest.object for manifest in self.manifests)

    @property
    def valid(self) -> bool:
        return all(finding.severity is not Severity.ERROR for finding in self.findings)
