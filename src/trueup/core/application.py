"""What is to run, as it is stated: a name, what its objects are rendered from, and where they belong. Only records.

Every kind of definition ends as this record: a convention, `trueup.yaml`, an Argo CD Application, a Flux Kustomization.
"""

from __future__ import annotations

from typing import TypeAlias

from msgspec import Struct

from trueup.core.model import Json, Place
from trueup.core.render import Helm, Jsonnet, Kustomize


class Plain(Struct, frozen=True, kw_only=True, tag="plain"):
    """Files that state objects as they are, from the repository's root, sorted."""

    paths: tuple[str, ...]

    @property
    def path(self) -> str:
        """The folder that all of them are in, "" for the root."""
        folders = [path.split("/")[:-1] for path in self.paths]
        shared: list[str] = []
        for parts in zip(*folders, strict=False):
            if len(set(parts)) > 1:
                break
            shared.append(parts[0])
        return "/".join(shared)


Spec: TypeAlias = Plain | Kustomize | Helm | Jsonnet


class Part(Struct, frozen=True):
    """One thing that an application is rendered from. `repository` "" is the one that states the application; else its
    address, at `revision`. `namespace`: of its objects that name none, "" the application's."""

    spec: Spec
    repository: str = ""
    revision: str = ""
    namespace: str = ""


class Application(Struct, frozen=True):
    """The objects of all `parts` together. `environment` "" when nobody names one; `place` is what states it."""

    name: str
    parts: tuple[Part, ...]
    environment: str = ""
    namespace: str = "default"  # of objects that name none
    place: Place | None = None
    made: tuple[tuple[Json, Place], ...] = ()  # objects beside those of its parts, and what asks for them

    @property
    def path(self) -> str:
        """Where it is stated, "" for the root."""
        return self.parts[0].spec.path if self.parts else ""

    @property
    def manifests(self) -> tuple[str, ...]:
        """The files among its parts that state objects as they are."""
        return tuple(path for part in self.parts if isinstance(part.spec, Plain) for path in part.spec.paths)


def plain(name: str, paths: tuple[str, ...]) -> Application:
    """An application of plain manifests."""
    return Application(name, (Part(Plain(paths=paths)),))
