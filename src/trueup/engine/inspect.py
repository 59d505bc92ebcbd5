"""What a repository holds and how it hangs together, as one record: for `trueup inspect`, printed or as JSON. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from msgspec import Struct

from trueup.core.application import Application
from trueup.core.check.pipelines import SECOND_WRITER
from trueup.core.definition import Address, Aside, Definition, Generator, Named, Provision, Stated
from trueup.core.found import Command, Found, ImageBuild
from trueup.core.images import repository_of
from trueup.core.manifests import Manifest, Rendered
from trueup.core.model import Finding, Json, Place
from trueup.core.objects import POD_SPECS, containers, dig
from trueup.core.reference import split
from trueup.core.resolve import Resolved
from trueup.core.variables import could_be
from trueup.engine.expansion import Expanded
from trueup.engine.study import buildable


class ObjectView(Struct, frozen=True, omit_defaults=True):
    kind: str
    name: str
    namespace: str
    place: str
    replicas: int | None = None


class Link(Struct, frozen=True):
    """`subject` and `object` are "deployment/web", a file, or an image; `how` is "selects", "reads", "runs", …"""

    subject: str
    how: str
    object: str


class ImageView(Struct, frozen=True, omit_defaults=True):
    """An image of the manifests and where it comes from. `built_by` is a pipeline's place, "trueup", or "" (pulled)."""

    repository: str
    written: tuple[str, ...]
    places: tuple[str, ...]
    digest: str = ""
    dockerfile: str = ""
    context: str = ""
    built_by: str = ""


class PipelineView(Struct, frozen=True):
    path: str
    system: str
    name: str
    native: bool
    triggers: tuple[str, ...]
    jobs: tuple[str, ...]
    commands: tuple[str, ...]  # "job test: pytest app"
    builds: tuple[str, ...]  # "app/Dockerfile → ghcr.io/acme/app:$GITHUB_SHA"


class ApplicationView(Struct, frozen=True):
    """`renderer` is "plain", "kustomize", "helm" or "jsonnet"; `environment` is what trueup.yaml calls it."""

    name: str
    environment: str
    renderer: str
    path: str
    manifests: tuple[str, ...]  # the files that state it
    objects: tuple[ObjectView, ...]


class DefinitionView(Struct, frozen=True, omit_defaults=True):
    """A resource of Argo CD or Flux. `served_differently` and `not_served` name fields and why."""

    kind: str
    name: str
    namespace: str
    product: str
    place: str
    sources: tuple[str, ...] = ()  # "this repository, apps/shop"
    renderers: tuple[str, ...] = ()  # of an application that is served: "kustomize", "helm", …
    depends_on: tuple[str, ...] = ()
    stated_by: str = ""  # the application that renders to it
    suspended: bool = False
    told: Mapping[str, Json] = {}
    served_differently: tuple[str, ...] = ()
    not_served: tuple[str, ...] = ()


class Inspection(Struct, frozen=True):
    """Everything found. The JSON of this record is what `trueup inspect --output json` prints."""

    name: str
    applications: tuple[ApplicationView, ...]
    images: tuple[ImageView, ...]
    links: tuple[Link, ...]
    definitions: tuple[DefinitionView, ...]
    pipelines: tuple[PipelineView, ...]
    second_writers: tuple[str, ...]  # "Jenkinsfile:17: `helm upgrade` in stage Deploy …"
    dockerfiles: tuple[str, ...]
    terraform: tuple[str, ...]
    prometheus: tuple[str, ...]
    rules: tuple[str, ...]
    dashboards: tuple[str, ...]
    compose: tuple[str, ...]
    not_rendered: tuple[str, ...]  # kustomizations and charts that no application here is made from
    readme: str
    errors: int
    warnings: int
    notes: int


def inspect(
    found: Found, rendered: Rendered, findings: Sequence[Finding], expanded: Expanded | None = None
) -> Inspection:
    """The record of one commit; `findings` are all that were made of it (`engine.study.Reading` has the three)."""
    count = {level: sum(f.severity.value == level for f in findings) for level in ("error", "warning", "note")}
    return Inspection(
        name=found.name,
        applications=tuple(_application(each, rendered) for each in found.applications),
        images=_images(found, rendered),
        links=tuple(dict.fromkeys((*_links(rendered.manifests), *(_made(expanded) if expanded else ())))),
        definitions=tuple(_definitions(expanded)) if expanded else (),
        pipelines=tuple(_pipelines(found)),
        second_writers=tuple(f"{f.place}: {f.message}" for f in findings if f.rule == SECOND_WRITER.id),
        dockerfiles=tuple(dockerfile.path for dockerfile in found.dockerfiles),
        terraform=found.terraform,
        prometheus=found.prometheus,
        rules=found.rules,
        dashboards=found.dashboards,
        compose=found.compose,
        not_rendered=tuple(p for p in (*found.kustomizations, *found.charts) if p not in rendered.read),
        readme=found.readme,
        errors=count["error"],
        warnings=count["warning"],
        notes=count["note"],
    )


def _application(application: Application, rendered: Rendered) -> ApplicationView:
    files = (*application.manifests, *rendered.read)
    objects = tuple(_object(m) for m in rendered.manifests)
    kinds = dict.fromkeys(type(part.spec).__name__.lower() for part in application.parts)
    return ApplicationView(
        application.name, application.environment, ", ".join(kinds), application.path, files, objects
    )


def _object(manifest: Manifest) -> ObjectView:
    ref, replicas = manifest.object.ref, dig(manifest.object.body, ("spec", "replicas"))
    return ObjectView(
        ref.kind, ref.name, ref.namespace, str(manifest.object.place), replicas if isinstance(replicas, int) else None
    )


# --- definitions -------------------------------------------------------------------------------------


def _definitions(expanded: Expanded) -> Iterator[DefinitionView]:
    resolved = {one.stated.origin: one for one in expanded.resolved}
    for read in expanded.definitions.read:
        each = read.definition
        origin, one = each.origin, resolved.get(each.origin)
        parent = expanded.parents.get(origin)
        yield DefinitionView(
            origin.kind, origin.name, origin.namespace, origin.product, str(each.place),
            sources=tuple(_sources(each, one)),
            renderers=tuple(type(p.spec).__name__.lower() for p in one.application.parts)
            if one and one.application else (),
            depends_on=tuple(str(d) for d in each.depends_on) if isinstance(each, Stated) else (),
            stated_by=str(parent) if parent else "",
            suspended=isinstance(each, Stated) and each.suspended,
            told=each.told if isinstance(each, (Stated, Aside)) else {},
            served_differently=tuple(f"{path}: {how}" for path, how in read.different),
            not_served=tuple(f"{f.place}: {f.message}" for f in (one.findings if one else ())),
        )  # fmt: skip


def _sources(each: Definition, one: Resolved | None) -> Iterator[str]:
    if isinstance(each, Stated):
        elsewhere = {p.repository for p in one.application.parts if p.repository} if one and one.application else set()
        for source in each.sources:
            at, path = source.at, source.chart or (source.path if source.path is not None else "")
            told = f"{at.url}@{at.revision}" if isinstance(at, Address) and at.revision else _at(at)
            own = bool(one and one.application) and not elsewhere
            yield ", ".join(part for part in ("this repository" if own else told, path) if part)
    elif isinstance(each, Generator):
        yield from each.inputs
    elif isinstance(each, Provision):
        at = each.address
        yield f"{at.url}@{at.revision}" if isinstance(at, Address) and at.revision else _at(at)


def _at(at: Address | Named) -> str:
    return at.url if isinstance(at, Address) else str(at)


def _made(expanded: Expanded) -> Iterator[Link]:
    """How definitions depend on one another."""
    for read in expanded.definitions.read:
        each = read.definition
        subject = str(each.origin)
        if isinstance(each, Stated):
            named = [source.at for source in each.sources if isinstance(source.at, Named)]
            yield from (Link(subject, "is made from", str(at)) for at in named)
            yield from (Link(subject, "waits for", str(other)) for other in each.depends_on)
        elif isinstance(each, Provision) and isinstance(each.address, Named):
            yield Link(subject, "is made from", str(each.address))
        elif isinstance(each, Aside):
            yield from (Link(subject, "refers to", str(other)) for other in each.refers)
    yield from (Link(str(parent), "states", str(child)) for child, parent in expanded.parents.items())


# --- images and pipelines ----------------------------------------------------------------------------


def _images(found: Found, rendered: Rendered) -> tuple[ImageView, ...]:
    sources = {each.repository: each for each in buildable(found, rendered.objects)}
    uses: dict[str, list[tuple[str, Place]]] = {}
    for each in rendered.objects:
        for use in each.images:
            uses.setdefault(repository_of(use.text), []).append((use.text, use.place))
    views = []
    for repository, written in sorted(uses.items()):
        source, build = sources.get(repository), _build_of(repository, found)
        views.append(
            ImageView(
                repository,
                tuple(dict.fromkeys(text for text, _ in written)),
                tuple(str(place) for _, place in written),
                next((split(text)[2] for text, _ in written), ""),
                build.dockerfile if build else source.dockerfile if source else "",
                build.context if build else source.context if source else "",
                str(build.place) if build else "trueup" if source else "",
            )
        )
    return tuple(views)


def _build_of(repository: str, found: Found) -> ImageBuild | None:
    """The build of a pipeline that Trueup runs, by the whole name, else by its last part."""
    builds = [build for pipeline in found.pipelines if pipeline.native for build in pipeline.builds]
    for part in (str, _last):
        for build in builds:
            if any(could_be(part(repository_of(each)), part(repository)) for each in build.references):
                return build
    return None


def _last(repository: str) -> str:
    return repository.rpartition("/")[2]


def _pipelines(found: Found) -> Iterator[PipelineView]:
    for each in found.pipelines:
        builds = tuple(f"{b.dockerfile or '?'} → {', '.join(b.references) or '(no tag)'}" for b in each.builds)
        commands = tuple(_told(command) for command in each.commands)
        yield PipelineView(each.path, each.system, each.name, each.native, each.triggers, each.jobs, commands, builds)


def _told(command: Command) -> str:
    return f"{command.where}: {command.text}" if command.where else command.text


# --- objects among themselves ------------------------------------------------------------------------


def _links(manifests: Iterable[Manifest]) -> Iterator[Link]:
    listed = tuple(manifests)
    for each in listed:
        subject = str(each.object.ref)
        for _, container in containers(each.object.body):
            if isinstance(container.get("image"), str):
                yield Link(subject, "runs", repository_of(container["image"]))
        for kind, name in _reads(each):
            yield Link(subject, "reads", f"{kind}/{name}")
        if each.object.ref.kind == "Service":
            yield from (Link(subject, "selects", str(other.object.ref)) for other in listed if _selects(each, other))


def _selects(service: Manifest, other: Manifest) -> bool:
    selector = dig(service.object.body, ("spec", "selector"))
    path = POD_SPECS.get(other.object.ref.kind)
    labels = dig(other.object.body, (*path[:-1], "metadata", "labels")) if path else None
    same = service.object.ref.namespace == other.object.ref.namespace
    return bool(selector and isinstance(selector, dict) and isinstance(labels, dict) and same
                and selector.items() <= labels.items())  # fmt: skip


_REFERENCES = {"configMapRef": "configmap", "configMapKeyRef": "configmap", "secretRef": "secret",
               "secretKeyRef": "secret", "configMap": "configmap"}  # fmt: skip


def _reads(manifest: Manifest) -> Iterator[tuple[str, str]]:
    """(kind, name) of every ConfigMap and Secret that the pods of a workload read. Iterative: bodies may be deep."""
    path = POD_SPECS.get(manifest.object.ref.kind)
    waiting: list[Json] = [dig(manifest.object.body, path)] if path else []
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting += value
        elif isinstance(value, dict):
            waiting += value.values()
            for key, kind in _REFERENCES.items():
                if isinstance(name := dig(value, (key, "name")), str):
                    yield kind, name
            if isinstance(name := dig(value, ("secret", "secretName")), str):
                yield "secret", name
