"""From an application's parts to its objects, each with the place of the user's own file. Runs no repository code.

Plain manifests are read here; kustomizations, charts and Jsonnet by the renderer. A fault of the repository is a
finding; a renderer that is not there raises, so that nothing is called the repository's fault that is the machine's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, MutableMapping

from trueup.core.application import Application, Part, Plain
from trueup.core.manifests import Manifest, Rendered
from trueup.core.model import Finding, ImageUse, Json, Oid, Place, Severity, Tree
from trueup.core.objects import Malformed, containers, dotted, make_object
from trueup.core.placing import Places
from trueup.core.render import Asked, Kustomize, Made, Output
from trueup.core.sealed import is_sealed
from trueup.core.text import shown
from trueup.core.yamldoc import Doc, Node, YamlFault, documents
from trueup.drivers.renderers import plain
from trueup.engine.definitions import is_definition
from trueup.engine.means import NONE, Means
from trueup.engine.opening import OPEN_ONLY, Clear, Left, clear, placed
from trueup.ports import Given, Renderer, RenderFailed

Files = MutableMapping[tuple[str, Oid], tuple[Manifest, ...]]
Docs = MutableMapping[tuple[str, Oid], tuple[Doc, ...]]
KEPT_DOCS = 4096
DOC_BYTES = 1 << 20  # a larger file is not searched for where an object is stated
_YAML = (".yaml", ".yml", ".json", "/Kustomization")


class Rendering:
    """Renders parts. What it keeps may vanish at any time. `namespace`: of objects that name none, where the
    application has no other."""

    def __init__(self, renderer: Renderer, namespace: str = "default") -> None:
        self.renderer, self.namespace = renderer, namespace
        self._docs: Docs = {}
        self.named: dict[tuple[str, Oid], tuple[str, ...]] = {}  # what kustomizations name, by path and content
        self.mentioning: dict[Oid, bool] = {}  # whether a content could state a definition
        self.files: Files = {}  # plain manifests read before, by path and content

    async def application(
        self, application: Application, given: Given, known: Mapping[Oid, bytes], means: Means = NONE
    ) -> Rendered:
        """All objects of all parts. `known` are contents at hand.
        Raises RendererDown, SourceError, NoKey."""
        found = [await self.part(application, part, given, known, means) for part in application.parts]
        every = [manifest for one in found for manifest in one.manifests]
        there = {manifest.object.ref for manifest in every}
        every += [one for one in map(_made, application.made) if one.object.ref not in there]
        manifests = tuple(manifest for manifest in every if not is_definition(manifest))
        stated = tuple(manifest for manifest in every if is_definition(manifest))
        findings = [finding for one in found for finding in one.findings]
        twice = plain.stated_twice(manifests) if len(found) > 1 else ()
        read = sorted({path for one in found for path in one.read})
        return Rendered(manifests, (*findings, *twice), tuple(read), stated)

    async def part(
        self,
        application: Application,
        part: Part,
        given: Given,
        known: Mapping[Oid, bytes],
        means: Means = NONE,
    ) -> Rendered:
        tree = given.folders.tree
        namespace = part.namespace or application.namespace
        namespace = self.namespace if namespace == "default" else namespace
        if part.repository:
            place = application.place or Place(".")
            message = f"{part.repository} is another repository, which this version does not read"
            return Rendered((), (Finding(Severity.ERROR, "render-failed", place, shown(message), "Copy it here."),))
        if isinstance(part.spec, Plain):
            paths, files = part.spec.paths, self.files if namespace == self.namespace else None
            opened = await means.opener(_sealed(paths, tree, known)) if means.opener is not None else {}
            return await asyncio.to_thread(
                plain.render, tree, known, paths, namespace=namespace, kept=files, opened=opened
            )
        try:
            given = await means.beside.complete(part.spec, given) if means.beside is not None else given
            output = await self.renderer.render(part.spec, given)
        except RenderFailed as fault:
            wrong = Finding(Severity.ERROR, "render-failed", fault.place, shown(fault.message), shown(fault.fix))
            return Rendered((), (wrong,))
        contents = await self._contents(part.spec, output, given, known)
        secrets = await clear(await _read_by(output, given, known), means.opener)
        tree = given.folders.tree
        return await asyncio.to_thread(self._placed, part.spec, output, tree, contents, namespace, secrets)

    async def _contents(
        self, asked: Asked, output: Output, given: Given, known: Mapping[Oid, bytes]
    ) -> Mapping[str, bytes]:
        """The files read that can say where an object is stated, by path."""
        tree = given.folders.tree
        if isinstance(asked, Kustomize):
            paths = [s.path for s in output.trace if s.what == "file" and f"/{s.path}".endswith(_YAML)]
        else:
            paths = sorted({*(o.origin for o in output.objects), *(h.origin for h in output.hooks)} & tree.keys())
        missing = [oid for oid in dict.fromkeys(tree[path].oid for path in paths) if oid not in known]
        fetched = await given.blobs(missing) if missing else {}
        contents = {path: known.get(tree[path].oid, fetched.get(tree[path].oid, b"")) for path in paths}
        return {path: data for path, data in contents.items() if len(data) <= DOC_BYTES}

    def _placed(
        self,
        asked: Asked,
        output: Output,
        tree: Tree,
        contents: Mapping[str, bytes],
        namespace: str,
        secrets: Clear,
    ) -> Rendered:
        docs = self._read(tree, contents) if isinstance(asked, Kustomize) else {}
        places = Places(asked, docs, contents)
        manifests: list[Manifest] = []
        findings: list[Finding] = [*_warnings(output), *secrets.findings]
        every = (*output.objects, *(Made(hook.body, hook.origin) for hook in output.hooks))
        for made in every if not secrets.findings else ():
            for one in _flat(made):
                doc = places.of(one)
                try:
                    body = placed(one.body, secrets.values)
                    made_object = make_object(body, doc.place(), _uses(body, doc), namespace=namespace)
                    manifests.append(Manifest(made_object, doc, sealed=body is not one.body))
                except Left as fault:
                    findings.append(Finding(Severity.ERROR, "sops-not-opened", doc.place(), str(fault), OPEN_ONLY))
                except Malformed as fault:
                    message = f"{asked.path or '.'} gives something that is no object: {fault.message}"
                    findings.append(Finding(Severity.ERROR, "manifest-invalid", doc.place(), shown(message), fault.fix))
        read = tuple(sorted({seen.path for seen in output.trace if seen.what == "file"}))
        return Rendered(tuple(manifests), (*findings, *plain.stated_twice(manifests)), read)

    def _read(self, tree: Tree, contents: Mapping[str, bytes]) -> dict[str, tuple[Doc, ...]]:
        if len(self._docs) > KEPT_DOCS:
            self._docs.clear()
        found: dict[str, tuple[Doc, ...]] = {}
        for path, data in contents.items():
            key = (path, tree[path].oid)
            if key not in self._docs:
                try:
                    self._docs[key] = documents(data, path)
                except YamlFault:
                    self._docs[key] = ()  # read all the same by the renderer's own rules
            found[path] = self._docs[key]
        return found


def _sealed(paths: Iterable[str], tree: Tree, known: Mapping[Oid, bytes]) -> dict[str, bytes]:
    """Those of the files that SOPS encrypted, by path."""
    contents = ((path, known.get(tree[path].oid, b"")) for path in paths if path in tree)
    return {path: data for path, data in contents if is_sealed(path, data)}


async def _read_by(output: Output, given: Given, known: Mapping[Oid, bytes]) -> dict[str, bytes]:
    """The files that a render read and SOPS may have encrypted, by path."""
    read = {s.path: s.value for s in output.trace if s.what == "file"}
    missing = [oid for oid in dict.fromkeys(read.values()) if oid not in known]
    fetched = await given.blobs(missing) if missing else {}
    return {path: known.get(oid, fetched.get(oid, b"")) for path, oid in read.items()}


def _made(asked: tuple[Json, Place]) -> Manifest:
    """An object that no file states as it is, at the place of what asks for it."""
    body, place = asked
    return Manifest(make_object(body, place), Doc(place.file, b"", Node(body, place.line, place.column or 1)))


def _flat(made: Made) -> Iterator[Made]:
    body = made.body
    if isinstance(body, dict) and body.get("kind") == "List" and isinstance(body.get("items"), list):
        for item in body["items"]:
            yield from _flat(Made(item, made.origin, made.crd))
    else:
        yield made


def _uses(body: Json, doc: Doc) -> tuple[ImageUse, ...]:
    """The images of a rendered workload. What a file states of them is not for a splice: a template or a field of a
    kustomization may make something else of it."""
    return tuple(
        ImageUse(each["image"], doc.place(*path, "image"), -1, -1, dotted((*path, "image")))
        for path, each in containers(body)
        if isinstance(each.get("image"), str)
    )


def _warnings(output: Output) -> Iterator[Finding]:
    for warned in output.warnings:
        yield Finding(Severity.WARNING, "render-warning", warned.place, shown(warned.message), shown(warned.fix))
    for name in output.differs:
        yield Finding(
            Severity.WARNING, "render-differs", Place(name), "it gives something else each time it is rendered",
            "State the value in a Secret or in values; until then it changes whenever the chart or its values do.",
        )  # fmt: skip
