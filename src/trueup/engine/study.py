"""Reads one commit of a source once: what it holds, what is wrong with it, which pipelines it starts, what it states.

Runs no repository code and touches no target. What was read is kept by commit; a cache that may vanish.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from msgspec import Struct, structs

from trueup.core import plan as planner
from trueup.core.bundle import make_bundle
from trueup.core.candidate import ApplicationState, CandidateState
from trueup.core.check import merged
from trueup.core.found import Dockerfile, Found, Pipeline
from trueup.core.images import Unmatched, repository_of
from trueup.core.manifests import Rendered
from trueup.core.mask import Masker
from trueup.core.model import (
    BuiltImage,
    Bundle,
    Finding,
    Live,
    Object,
    Oid,
    Place,
    Plan,
    Severity,
    Tree,
)
from trueup.core.pipeline import Graph, Happened, Parsed, triggers
from trueup.core.policy import Policy
from trueup.core.reference import split
from trueup.core.render import Folders
from trueup.core.sealed import hidden
from trueup.core.settings import FILE, Settings
from trueup.core.settings import read as read_settings
from trueup.drivers import formats
from trueup.drivers.definitions import convention
from trueup.drivers.renderers.worker import Workers
from trueup.engine.candidate import Buildable, Look, is_required
from trueup.engine.deploying import by_definitions
from trueup.engine.elsewhere import lay_beside, without_beside
from trueup.engine.expansion import Expanded, Expansion, not_permitted
from trueup.engine.means import NONE, Means
from trueup.engine.planning import BundleRefused
from trueup.engine.remotes import Beside
from trueup.engine.rendering import Rendering
from trueup.engine.stating import Stated, View, state
from trueup.engine.trees import differing
from trueup.ports import CommitRefused, Given, Renderer, Source, Unsealer

Check = Callable[[Tree, Mapping[Oid, bytes], Found, Rendered, frozenset[str]], Sequence[Finding]]
KEPT = 64  # commits
KEPT_FILES = 4096  # manifests: a commit reads only those that it changes


class Reading(Struct, frozen=True):
    """Everything read of one commit. The contents in `view` are of the files that matter: manifests, pipelines,
    Dockerfiles, monitoring, Terraform."""

    view: View
    pipelines: tuple[Parsed, ...]
    findings: tuple[Finding, ...]
    settings: Settings = Settings()
    expanded: Expanded | None = None  # what Argo CD's and Flux's definitions state

    @property
    def tree(self) -> Tree:
        """The commit's own files."""
        return without_beside(self.view.given.folders).tree

    @property
    def found(self) -> Found:
        return self.view.found

    @property
    def rendered(self) -> Rendered:
        return self.view.rendered


class RepositoryStudy:
    """Study, Stating and Planning of the loop, over real files.

    `sources` and `names` are by source id, as are `addresses`, by which definitions may name a repository; `check` is
    the linter; without a `renderer` only plain manifests are read.
    """

    def __init__(
        self,
        sources: Mapping[str, Source],
        names: Mapping[str, str],
        refs: Mapping[str, str],
        check: Check,
        policy: Policy | None = None,
        renderer: Renderer | None = None,
        unsealer: Unsealer | None = None,
        beside: Mapping[str, Beside] | None = None,
        namespace: str = "default",
        addresses: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self._sources, self._names, self._refs, self._check = sources, names, refs, check
        self._policy, self._unsealer, self._beside = policy or Policy(), unsealer, beside or {}
        self._kept: OrderedDict[tuple[int, str], asyncio.Task[Reading]] = OrderedDict()
        self._stated: OrderedDict[tuple[str, tuple[tuple[str, str, str], ...]], Stated | Unmatched] = OrderedDict()
        self._rendering = Rendering(renderer or Workers(None), namespace)
        self._addresses = addresses or {}

    # --- reading ---------------------------------------------------------------------------------

    async def read(self, source: Source, commit: Oid, name: str = "") -> Reading:
        """What `commit` holds. Raises SourceError, NoKey."""
        key = (id(source), commit)
        if key not in self._kept:
            self._kept[key] = asyncio.create_task(self._read(source, commit, name or self._name(source)))
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        task = self._kept[key]
        try:
            return await asyncio.shield(task)
        except BaseException:
            if task.done():
                self._kept.pop(key, None)
            raise

    def _name(self, source: Source) -> str:
        return next((self._names[i] for i, s in self._sources.items() if s is source), "app")

    async def _read(self, source: Source, commit: Oid, name: str) -> Reading:
        tree = await source.tree(commit)
        blobs = await source.blobs(sorted({tree[path].oid for path in convention.wanted(tree)}))
        if len(self._rendering.files) > KEPT_FILES:
            self._rendering.files.clear()
        given = Given(commit, Folders(tree), source.blobs)
        own = self._addresses.get(self._id(source), ())
        return await study(given, blobs, name, self._check, self._rendering, self._means(source), own)

    def _id(self, source: Source) -> str:
        return next((i for i, s in self._sources.items() if s is source), "")

    def _means(self, source: Source) -> Means:
        id = self._id(source)
        opener = partial(self._unsealer.open, id) if self._unsealer is not None else None
        return Means(opener, self._beside.get(id))

    async def look(self, source: str, commit: str, before: str = "") -> Look:
        reading = await self.read(self._sources[source], commit)
        changed: tuple[str, ...] | None = None
        if before:
            with contextlib.suppress(
                CommitRefused
            ):  # then this push, which mends it, is taken as a change of everything
                changed = differing(await self._sources[source].tree(before), reading.tree)
        happened = Happened(event="push", ref=self._refs[source], changed=changed)
        graphs = (p.graph for p in reading.pipelines if p.native and p.graph is not None)
        return Look(
            reading.findings,
            reading.rendered.objects,
            tuple(g for g in graphs if triggers(g, happened)),
            buildable(reading.found, reading.rendered.objects),
            reading.settings.required,
            reading.settings.undo_here,
        )

    async def graphs(self, source: str, commit: str) -> Sequence[Graph]:
        reading = await self.read(self._sources[source], commit)
        return tuple(p.graph for p in reading.pipelines if p.native and p.graph is not None)

    # --- what Git states -------------------------------------------------------------------------

    async def stated(self, source: Source, commit: Oid) -> Mapping[str, str]:
        reading = await self.read(source, commit)
        return {repository_of(u.text): split(u.text)[2] for o in reading.rendered.objects for u in o.images}

    async def edits(self, source: Source, commit: Oid, images: Sequence[BuiltImage]) -> Mapping[str, bytes]:
        """Files of `commit` with these digests stated; none when the images and manifests do not go together."""
        if not images:
            return {}
        found = await self._state(await self.read(source, commit), images)
        return {} if isinstance(found, Unmatched) else found.edits

    async def _state(self, reading: Reading, images: Sequence[BuiltImage]) -> Stated | Unmatched:
        """Kept: the same question comes again with every pass of the loop."""
        key = (reading.view.given.name, tuple((image.repository, image.tag, image.digest) for image in images))
        if key not in self._stated:
            self._stated[key] = await state(reading.view, images, self._rendering)
            while len(self._stated) > KEPT:
                self._stated.popitem(last=False)
        self._stated.move_to_end(key)
        return self._stated[key]

    # --- what runs -------------------------------------------------------------------------------

    async def bundle(self, application: ApplicationState, candidate: CandidateState) -> Bundle:
        reading = await self.read(self._sources[candidate.source], candidate.commit)
        errors = [f for f in reading.rendered.findings if f.severity is Severity.ERROR]
        if errors:
            raise BundleRefused(f"{errors[0].place}: {errors[0].message}. {errors[0].fix}")
        stated = await self._state(reading, tuple(candidate.images.values()))
        if isinstance(stated, Unmatched):
            raise BundleRefused(stated.reason)
        bundle = make_bundle(application.id, candidate.id, stated.objects)
        return structs.replace(bundle, accepted=reading.settings.accept, drift=reading.settings.drift)

    def plan(self, desired: Bundle, live: Live, approved: frozenset[str]) -> Plan:
        return planner.release(planner.plan(desired, live, self._policy), approved)

    def approval(self, plan: Plan) -> str:
        return planner.approval(plan)


def find(tree: Tree, blobs: Mapping[Oid, bytes], name: str) -> tuple[Found, Settings, tuple[Finding, ...]]:
    """What a tree holds by convention and by its trueup.yaml, and what is wrong with that file."""
    settings, wrong = (
        read_settings(blobs[tree[FILE].oid]) if FILE in tree and tree[FILE].oid in blobs else (Settings(), ())
    )
    return convention.find(tree, blobs, name, settings.environments), settings, wrong


async def study(
    given: Given,
    blobs: Mapping[Oid, bytes],
    name: str,
    check: Check,
    rendering: Rendering,
    means: Means = NONE,
    own: Sequence[str] = (),
) -> Reading:
    """From a tree and the contents that matter to everything known about them. `own`: the addresses of the repository,
    as definitions may name it. No finding quotes a value that SOPS encrypted. Raises RendererDown, SourceError, NoKey.
    """
    tree = given.folders.tree
    found, settings, wrong = await asyncio.to_thread(find, tree, blobs, name)
    expanded = await Expansion(given, blobs, found, rendering, own).all()
    if means.beside is not None and own and not settings.environments:
        expanded, given = await lay_beside(expanded, given, means.beside)
    found, said = by_definitions(found, settings, expanded, own)
    blobs = await _with_manifests(found, given, blobs) if expanded.resolved else blobs
    rendered = Rendered(())
    for application in found.applications:
        rendered = await rendering.application(application, given, blobs, means)
    view = View(given, blobs, found, rendered, means)
    unstated = await _unstated(view, rendering)
    if found.applications and expanded.resolved and not settings.environments:
        said = (*said, *await _not_permitted(expanded, given, blobs, rendering, means))
    reading = await asyncio.to_thread(_judged, view, settings, (*wrong, *unstated, *said), check)
    return structs.replace(reading, expanded=expanded)


async def _unstated(view: View, rendering: Rendering) -> tuple[Finding, ...]:
    """A warning for each image built here that no file can be made to state: known before anything is built."""
    if not view.rendered.read or not view.rendered.valid:
        return ()
    images = tuple(
        BuiltImage(one.repository, "0", "sha256:" + "0" * 64, "", Place(one.dockerfile))
        for one in buildable(view.found, view.rendered.objects)
    )
    found = await state(view, images, rendering) if images else None
    return found.findings if isinstance(found, Stated) else ()


async def _not_permitted(
    expanded: Expanded, given: Given, blobs: Mapping[Oid, bytes], rendering: Rendering, means: Means
) -> tuple[Finding, ...]:
    """The objects that a project does not permit to an application of it."""
    projects = {project.origin.name for project in expanded.definitions.projects}
    found: list[Finding] = []
    for one in expanded.resolved:
        if one.application is not None and one.stated.project in projects:
            rendered = await rendering.application(one.application, given, blobs, means)
            found += not_permitted(one.stated, rendered, expanded)
    return tuple(found)


async def _with_manifests(found: Found, given: Given, blobs: Mapping[Oid, bytes]) -> Mapping[Oid, bytes]:
    """Contents with those of manifests that a definition names in a folder that is passed over else (`examples`)."""
    tree = given.folders.tree
    paths = [path for application in found.applications for path in application.manifests]
    missing = [tree[path].oid for path in paths if path in tree and tree[path].oid not in blobs]
    return {**blobs, **await given.blobs(missing)} if missing else blobs


def _judged(view: View, settings: Settings, wrong: Sequence[Finding], check: Check) -> Reading:
    tree, blobs, found, rendered = view.given.folders.tree, view.blobs, view.found, view.rendered
    pipelines = tuple(
        parsed
        for pipeline in found.pipelines
        if (data := blobs.get(tree[pipeline.path].oid)) is not None
        and (parsed := formats.parse(pipeline.path, data)) is not None
    )
    findings = merged(
        (
            *wrong,
            *found.findings,
            *rendered.findings,
            *(finding for parsed in pipelines for finding in parsed.findings),
            *check(tree, blobs, found, rendered, frozenset(settings.accept)),
        )
    )
    findings = _weighed(findings, found, settings)
    masker = Masker(text for m in rendered.manifests if m.sealed for text in hidden(m.object.body))
    findings = tuple(structs.replace(f, message=masker.text(f.message)) for f in findings)
    return Reading(view, pipelines, findings, settings)


def _weighed(findings: Sequence[Finding], found: Found, settings: Settings) -> tuple[Finding, ...]:
    """What is wrong with a workflow that decides nothing about a push holds no push up: a warning."""
    idle = frozenset(p.path for p in found.pipelines if p.native and not _decides(p, settings))
    return merged(structs.replace(f, severity=Severity.WARNING) if _is_error_in(f, idle) else f for f in findings)


def _is_error_in(finding: Finding, files: frozenset[str]) -> bool:
    return finding.severity is Severity.ERROR and finding.place.file in files


def _decides(pipeline: Pipeline, settings: Settings) -> bool:
    started = not pipeline.triggers or "push" in pipeline.triggers
    return started and is_required(pipeline.name, pipeline.path, settings.required)


def buildable(found: Found, objects: Sequence[Object]) -> tuple[Buildable, ...]:
    """The images that Trueup can build itself when no pipeline of this push did: one a Dockerfile.

    A Dockerfile belongs to the manifests' image whose last path component is what a pipeline calls it, or its
    folder, or the repository; or it is the only Dockerfile and there is only one image to build.
    """
    used = list(dict.fromkeys(repository_of(u.text) for o in objects for u in o.images))
    result: list[Buildable] = []
    for dockerfile in found.dockerfiles:
        repository = _repository(dockerfile, found, used)
        if repository:
            result.append(Buildable(repository, "", dockerfile.path, dockerfile.context))
    return tuple({b.repository: b for b in reversed(result)}.values())


def _repository(dockerfile: Dockerfile, found: Found, used: Sequence[str]) -> str:
    names = [n for n in _names(dockerfile, found.name) if n]
    for name in names:
        match = [r for r in used if r == name or r.rpartition("/")[2] == name.rpartition("/")[2]]
        if len(match) == 1:
            return match[0]
    own = [r for r in used if not r.startswith("docker.io/library/")]
    if len(found.dockerfiles) == 1 and len(own) == 1:
        return own[0]
    if len(found.dockerfiles) == 1 and len(used) == 1:
        return used[0]
    return "" if used else (names[0] if names else "")


def _names(dockerfile: Dockerfile, repository: str) -> Iterable[str]:
    if dockerfile.build is not None:
        for reference in dockerfile.build.references:
            name = split(reference)[0]
            if "$" not in name:
                yield name
    folder = dockerfile.path.rpartition("/")[0].rpartition("/")[2]
    yield folder
    yield repository
