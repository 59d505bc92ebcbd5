"""Argo CD's resources → definitions. Pure."""

from __future__ import annotations

import msgspec

from trueup.core.definition import Definition, Generator
from trueup.core.model import Json
from trueup.core.origin import Origin
from trueup.core.yamldoc import Doc
from trueup.drivers.definitions.argocd import resources as r
from trueup.drivers.definitions.argocd.applications import application
from trueup.drivers.definitions.argocd.fields import KINDS
from trueup.drivers.definitions.argocd.projects import project

__all__ = ["KINDS", "read"]


def read(origin: Origin, doc: Doc) -> Definition:
    """One resource of a kind of `KINDS`. Raises msgspec.ValidationError."""
    if origin.kind == "Application":
        return application(origin, doc)
    if origin.kind == "ApplicationSet":
        spec = msgspec.convert(doc.body, r.ApplicationSet).spec
        _check(spec.generators, "spec")
        return Generator(origin=origin, place=doc.place(), body=doc.body, inputs=tuple(_inputs(spec.generators)))
    return project(origin, doc)


def _check(generators: tuple[Json, ...], at: str) -> None:
    """Each generator, and those within it. Raises msgspec.ValidationError, with the path from the resource's root."""
    for number, one in enumerate(generators):
        here = f"{at}.generators[{number}]"
        try:
            stated = msgspec.convert(one, r.SetGenerator)
        except msgspec.ValidationError as error:
            message, mark, path = str(error).partition(" - at `$")
            raise msgspec.ValidationError(f"{message} - at `$.{here}{path if mark else '`'}") from error
        for name, several in (("matrix", stated.matrix), ("merge", stated.merge)):
            if several is not None:
                _check(several.generators, f"{here}.{name}")


def _inputs(generators: tuple[Json, ...]) -> list[str]:
    found: list[str] = []
    for one in generators:
        for key, value in one.items() if isinstance(one, dict) else ():
            if key in ("matrix", "merge") and isinstance(value, dict):
                found.append(f"{key}({', '.join(_inputs(tuple(value.get('generators') or ())))})")
            elif key not in ("selector", "template"):
                found.append(key)
    return found
