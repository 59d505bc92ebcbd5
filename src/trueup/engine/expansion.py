"""All definitions of a tree: those that stand in its files, and those that what they state renders to, and so on.

Bounded: a chain of definitions that comes back to itself is named by its path, and none is longer than `DEEPEST`.
"""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from msgspec import Struct

from trueup.core.application import Application, Part
from trueup.core.definition import Definitions, Generator, Read, Stated, ValuesFrom
from trueup.core.found import Found
from trueup.core.manifests import Manifest, Rendered
from trueup.core.model import Finding, Oid, Severity, Tree
from trueup.core.objects import dig
from trueup.core.origin import Origin
from trueup.core.placing import joined
from trueup.core.project import permits_kind
from trueup.core.render import Kustomize
from trueup.core.resolve import Repository, Resolved, resolve, same
from trueup.core.text import shown
from trueup.core.yamldoc import YamlFault, documents
from trueup.drivers.definitions import convention
from trueup.drivers.definitions.roots import KUSTOMIZATIONS
from trueup.drivers.renderers import plain
from trueup.engine.definitions import Held, collect, is_definition, mentions
from trueup.engine.generating import applications
from trueup.engine.rendering import Rendering
from trueup.ports import Given

DEEPEST = 16
MOST = 20_000  # definitions
MOST_SEEN = 200_000  # contents
_YAML = (".yaml", ".yml", ".json")


class Expanded(Struct, frozen=True):
    """`resolved` are the applications that definitions state, `parents` which of them made which."""

    definitions: Definitions
    resolved: tuple[Resolved, ...]
    parents: Mapping[Origin, Origin]
    findings: tuple[Finding, ...]
    repository: Repository  # what they were resolved against

    @property
    def said(self) -> tuple[Finding, ...]:
        """What is wrong with definitions, and what of them is not served."""
        return (*self.findings, *(finding for one in self.resolved for finding in one.findings))


class Expansion:
    """One tree's definitions. `own` are the addresses of its repository."""

    def __init__(
        self, given: Given, known: Mapping[Oid, bytes], found: Found, rendering: Rendering, own: Iterable[str]
    ) -> None:
        self._given, self._known, self._found, self._rendering = given, known, found, rendering
        self._own = frozenset(same(url) for url in own)
        self._manifests: list[Manifest] = []
        self._read: dict[Origin, Read] = {}
        self._findings: list[Finding] = []
        self._parents: dict[Origin, Origin] = {}
        self._generated: set[Origin] = set()

    async def all(self) -> Expanded:
        """Everything. Raises RendererDown, SourceError."""
        self._take(await self._stated(), None)
        done: dict[Origin, Resolved] = {}
        while True:
            await self._generate()
            repository, definitions = self._repository(), Definitions(tuple(self._read.values()))
            todo = [one for one in resolve(definitions, repository) if one.stated.origin not in done]
            if not todo:
                break
            for one in todo:
                done[one.stated.origin] = one
                await self._descend(one)
        return Expanded(definitions, tuple(done.values()), self._parents, tuple(self._findings), repository)

    async def _generate(self) -> None:
        """Take in what generators make that have not been asked yet."""
        for read in tuple(self._read.values()):
            stated = read.definition
            if isinstance(stated, Generator) and stated.origin not in self._generated:
                self._generated.add(stated.origin)
                made = await applications(stated, self._given, self._own, self._rendering.renderer)
                self._findings += made.findings
                self._take(made.manifests, stated.origin)

    async def _descend(self, one: Resolved) -> None:
        """Take in what an application of this repository renders to, as far as that is definitions."""
        application = one.application
        if application is None or any(part.repository for part in application.parts):
            return
        if self._depth(one.stated.origin) >= DEEPEST or not self._may_define(application):
            return
        rendered = await self._rendering.application(application, self._given, self._known)
        self._take(rendered.definitions, one.stated.origin)

    def _may_define(self, application: Application) -> bool:
        """Whether any file that it is made from mentions definitions: most applications need no render for that."""
        return any(self._mentions(part) for part in application.parts)

    def _mentions(self, part: Part) -> bool:
        folder, files = part.spec.path, self._mentioning
        if any(not folder or path == folder or path.startswith(folder + "/") for path in files):
            return True
        return isinstance(part.spec, Kustomize) and _reaches(folder, self._references, files)

    @functools.cached_property
    def _mentioning(self) -> set[str]:
        """Paths of files that could state a definition; a content is looked at once, whatever commits it is in."""
        known, seen = self._known, self._rendering.mentioning
        if len(seen) > MOST_SEEN:
            seen.clear()
        for oid in known.keys() - seen.keys():
            seen[oid] = mentions(known[oid])
        return {path for path, entry in self._given.folders.tree.items() if entry.oid in known and seen[entry.oid]}

    @functools.cached_property
    def _references(self) -> dict[str, set[str]]:
        """By the folder of a kustomization, what it refers to."""
        return {path.rpartition("/")[0]: set(self._refers(path)) for path in self._found.kustomizations}

    def _depth(self, origin: Origin) -> int:
        return len(self._chain(origin))

    def _chain(self, origin: Origin) -> tuple[Origin, ...]:
        chain = [origin]
        while (parent := self._parents.get(chain[-1])) is not None and parent not in chain:
            chain.append(parent)
        return tuple(reversed(chain))

    def _take(self, manifests: Sequence[Manifest], parent: Origin | None) -> None:
        found = collect(manifests)
        self._manifests += manifests
        self._findings += [f for f in found.findings if f not in self._findings]
        for one in found.read:
            origin = one.definition.origin
            if origin not in self._read:
                if len(self._read) >= MOST:
                    return
                self._read[origin] = one
            if parent is not None and origin != parent:  # one that states itself is how both products are set up
                chain = self._chain(parent)
                if origin in chain:
                    self._findings.append(_cycle(one, (*chain[chain.index(origin) :], origin)))
                else:
                    self._parents.setdefault(origin, parent)

    # --- what stands in files ------------------------------------------------------------------------

    async def _stated(self) -> list[Manifest]:
        """Definitions of files; of those below a kustomization as the outermost one gives them."""
        files = await asyncio.to_thread(self._files)
        folders = {path.rpartition("/")[0] for path in self._found.kustomizations}
        charts = {path.rpartition("/")[0] for path in self._found.charts}
        below = {path: folder for path in files if (folder := _nearest(path, folders)) is not None}
        manifests: list[Manifest] = []
        for path in files:
            if path not in below and _nearest(path, charts) is None:
                manifests += self._raw(path)
        roots = self._roots(set(below))
        for root in roots:
            application = Application(root or ".", (Part(Kustomize(path=root, restrict=False)),))
            rendered = await self._rendering.application(application, self._given, self._known)
            manifests += rendered.definitions
            self._findings += rendered.findings
        return manifests

    def _files(self) -> list[str]:
        tree = self._given.folders.tree
        return [
            path
            for path in sorted(self._mentioning)
            if path.endswith(_YAML)
            and path.rpartition("/")[2] not in KUSTOMIZATIONS
            and convention.is_manifest(path, self._known[tree[path].oid])
        ]

    def _raw(self, path: str) -> list[Manifest]:
        rendered = self._plain((path,))
        if not rendered.valid:
            self._findings += [f for f in rendered.findings if f.severity is Severity.ERROR]
        return [manifest for manifest in rendered.manifests if is_definition(manifest)]

    def _roots(self, files: set[str]) -> list[str]:
        """The outermost kustomizations that take in any of these files, and those of Flux's that no other refers to."""
        if not files:
            return []
        refers = self._references
        used = {target for targets in refers.values() for target in targets}
        return [folder for folder in sorted(refers) if folder not in used and _reaches(folder, refers, files)]

    def _refers(self, path: str) -> Iterator[str]:
        folder, tree = path.rpartition("/")[0], self._given.folders.tree
        try:
            body = next((doc.body for doc in documents(self._known.get(tree[path].oid, b""), path)), None)
        except YamlFault:
            return
        for key in ("resources", "bases", "components"):
            listed = dig(body, (key,))
            yield from (
                joined(folder, item) for item in (listed if isinstance(listed, list) else ()) if isinstance(item, str)
            )

    # --- what they are resolved against ----------------------------------------------------------------

    def _repository(self) -> Repository:
        tree = self._given.folders.tree
        return Repository(self._given.folders, self._own, lambda path: _holds(tree, self._known, path), self._values)

    def _values(self, wanted: ValuesFrom) -> Mapping[str, str] | None:
        return self._held(wanted)

    @functools.cached_property
    def _held(self) -> Held:
        """What the ConfigMaps and Secrets hold that plain files state."""
        tree = self._given.folders.tree
        paths = [path for path in self._found.manifests if _HELD.search(self._known.get(tree[path].oid, b""))]
        return Held(self._plain(paths).manifests)

    def _plain(self, paths: Sequence[str]) -> Rendered:
        namespace, files = self._rendering.namespace, self._rendering.files
        return plain.render(self._given.folders.tree, self._known, paths, namespace=namespace, kept=files)


_HELD = re.compile(rb"kind:\s*[\"']?(ConfigMap|Secret)\b")


def not_permitted(stated: Stated, rendered: Rendered, expanded: Expanded | None) -> tuple[Finding, ...]:
    """The objects of an application that its project, where it is stated here, does not permit."""
    projects = expanded.definitions.projects if expanded is not None else ()
    project = next((one for one in projects if one.origin.name == stated.project), None)
    if project is None:
        return ()
    return tuple(
        Finding(
            Severity.ERROR, "definition-not-permitted", manifest.object.place,
            shown(f"project {project.origin.name} ({project.place}) does not permit {manifest.object.ref}"),
            "Permit its kind there, or take it out.",
        )
        for manifest in (*rendered.manifests, *rendered.definitions)
        if not permits_kind(project, manifest.object.ref)
    )  # fmt: skip


def _holds(tree: Tree, known: Mapping[Oid, bytes], path: str) -> bool:
    data = known.get(tree[path].oid) if path in tree else None  # laid beside the tree: not known yet
    return data is None or convention.is_manifest(path, data)


def _nearest(path: str, folders: set[str]) -> str | None:
    folder = path.rpartition("/")[0]
    while True:
        if folder in folders:
            return folder
        if not folder:
            return None
        folder = folder.rpartition("/")[0]


def _reaches(folder: str, refers: Mapping[str, set[str]], files: set[str]) -> bool:
    waiting, seen = [folder], {folder}
    while waiting:
        for target in refers.get(waiting.pop(), ()):
            if target in files:
                return True
            if target not in seen:
                seen.add(target)
                waiting.append(target)
    return False


def _cycle(one: Read, chain: Sequence[Origin]) -> Finding:
    told = " → ".join(str(origin) for origin in chain)
    message = f"these applications state one another: {told}"
    fix = "Take one of them out of what another one renders to."
    return Finding(Severity.WARNING, "definition-cycle", one.definition.place, shown(message), fix)
