"""What a repository holds, found by convention. Only records; `drivers.definitions.convention` fills them."""

from __future__ import annotations

from msgspec import Struct

from trueup.core.application import Application
from trueup.core.model import Finding, Place


class Command(Struct, frozen=True):
    """One shell command line of a pipeline file, continuation lines joined."""

    place: Place
    text: str
    where: str = ""  # "job deploy"


class ImageBuild(Struct, frozen=True):
    """An image that a pipeline builds, as it says. Paths are from the repository's root, "" unknown."""

    references: tuple[str, ...]  # as written, with what the file itself states of its variables
    context: str
    dockerfile: str
    place: Place


class Pipeline(Struct, frozen=True):
    path: str
    system: str  # "github" | "gitlab" | "jenkins"
    name: str
    native: bool  # run by Trueup; else only shown
    triggers: tuple[str, ...] = ()
    jobs: tuple[str, ...] = ()
    commands: tuple[Command, ...] = ()
    builds: tuple[ImageBuild, ...] = ()


class Dockerfile(Struct, frozen=True):
    """`build` is the pipeline's own build of it; without one Trueup builds it from `context`."""

    path: str
    context: str
    build: ImageBuild | None = None


class Found(Struct, frozen=True):
    """Everything the conventions recognise in one commit's tree; paths are sorted."""

    name: str
    applications: tuple[Application, ...] = ()
    dockerfiles: tuple[Dockerfile, ...] = ()
    pipelines: tuple[Pipeline, ...] = ()
    terraform: tuple[str, ...] = ()
    prometheus: tuple[str, ...] = ()  # configurations
    rules: tuple[str, ...] = ()  # files of rule groups
    dashboards: tuple[str, ...] = ()
    requirements: tuple[str, ...] = ()
    kustomizations: tuple[str, ...] = ()
    charts: tuple[str, ...] = ()
    compose: tuple[str, ...] = ()
    readme: str = ""
    findings: tuple[Finding, ...] = ()

    @property
    def manifests(self) -> tuple[str, ...]:
        return tuple(path for application in self.applications for path in application.manifests)
