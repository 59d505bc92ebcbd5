"""What a commit's files would have to say for its objects to run with the images built: edits that are proven.

Plain manifests are spliced where they state an image. For what is rendered each place is tried and proven by rendering
again: the image, and only it, has changed. Where that cannot be had the objects run pinned all the same, and the
finding says what to do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from msgspec import Struct

from trueup.core.application import Application, Part, Plain
from trueup.core.found import Found
from trueup.core.images import Bound, SpliceMismatch, Unmatched, bind, repository_of, splice, splices_by_file
from trueup.core.manifests import Rendered
from trueup.core.model import BuiltImage, Finding, Json, Object, Oid, Severity, TreeEntry
from trueup.core.objects import containers
from trueup.core.reference import split
from trueup.core.render import Folders
from trueup.core.resolve import BESIDE
from trueup.core.sealed import is_sealed
from trueup.core.text import shown
from trueup.core.writeback import Attempt, Files, Sought, attempts, paths_in, shared, what_to_do
from trueup.engine.means import NONE, Means
from trueup.engine.rendering import Rendering
from trueup.ports import Given

READ_BYTES = 1 << 20  # a larger file is not looked at for where an image is stated
MOST_NAMED = 20_000  # kustomizations
MOST = 40  # attempts for one image


class Stated(Struct, frozen=True):
    """`objects` run; `edits` make the files say so, path → content; `findings` say of what they cannot."""

    objects: tuple[Object, ...]
    edits: Mapping[str, bytes]
    findings: tuple[Finding, ...] = ()


class View(Struct, frozen=True):
    """A commit as read: its tree, the contents at hand, and what it gives without images."""

    given: Given
    blobs: Mapping[Oid, bytes]
    found: Found
    rendered: Rendered
    means: Means = NONE


async def state(view: View, images: Sequence[BuiltImage], rendering: Rendering) -> Stated | Unmatched:
    """The objects with these images, and how Git comes to state them. Raises RendererDown, SourceError."""
    bound = bind(view.rendered.objects, images)
    if isinstance(bound, Unmatched):
        return bound
    work = _Work(view, rendering)
    await work.splice(bound)
    sought = _sought(view.rendered.objects, bound)
    if not sought or not view.found.applications:
        return Stated(bound.objects, work.edits)
    findings = [found for one in sought if (found := await work.find_place(one)) is not None]
    if not work.edits:
        return Stated(bound.objects, {}, tuple(findings))
    again = bind(work.rendered.objects, images)
    objects = bound.objects if isinstance(again, Unmatched) else again.objects
    return Stated(objects, work.edits, tuple(findings))


def _sought(objects: Sequence[Object], bound: Bound) -> tuple[Sought, ...]:
    """The images of rendered objects that do not say yet what is to run."""
    texts: dict[str, tuple[str, list[str]]] = {}
    for before, after in zip(objects, bound.objects, strict=True):
        for was, now in zip(before.images, after.images, strict=True):
            if was.start < 0 and was.text != now.text:
                known = texts.setdefault(split(was.text)[0], (now.text, []))[1]
                known += [was.text] if was.text not in known else []
    found = []
    for repository, (wanted, olds) in texts.items():
        _, tag, digest = split(wanted)
        found.append(Sought(repository, tuple(olds), BuiltImage(repository, tag, digest, "", bound.objects[0].place)))
    return tuple(found)


class _Work:
    """One search: what has been edited so far, and what it renders to."""

    def __init__(self, view: View, rendering: Rendering) -> None:
        self._view, self._rendering = view, rendering
        self.edits: dict[str, bytes] = {}
        self.rendered = view.rendered
        self._contents: dict[str, bytes] = {}

    async def splice(self, bound: Bound) -> None:
        for path, splices in splices_by_file(bound.splices).items():
            if path.startswith(BESIDE):
                continue  # another repository's file
            data = await self._read(path)
            try:
                spliced = splice(data, splices)
            except SpliceMismatch:
                continue
            if spliced != data:
                self.edits[path] = spliced

    async def find_place(self, sought: Sought) -> Finding | None:
        """Edit the files so that this image is stated; None when that is proven, else why not."""
        application = self._view.found.applications[0]
        parts = [part for part in application.parts if not isinstance(part.spec, Plain)]
        for part in parts:
            files = await self._files(part)
            for count, attempt in enumerate(attempts(part.spec, sought, files)):
                if count >= MOST:
                    break
                if await self._try(application, sought, _applied(files, attempt)):
                    return None
        place = next((u.place for o in self.rendered.objects for u in o.images if u.text in sought.texts), None)
        message = (
            f"no file here can be made to say which {sought.repository} runs: it runs pinned, and Git does not say it"
        )
        chance = [f.place.file for f in self._view.rendered.findings if f.rule == "render-differs"]
        fix = f"Let {chance[0]} give the same each time." if chance else what_to_do(parts[0].spec, sought)
        assert place is not None
        return Finding(Severity.WARNING, "image-not-spliceable", place, shown(message), shown(fix))

    async def _try(self, application: Application, sought: Sought, edits: Mapping[str, bytes]) -> bool:
        if not edits:
            return False
        every = {**self.edits, **edits}
        given = edited(self._view.given, every)
        known = {**self._view.blobs, **{given.folders.tree[path].oid: data for path, data in every.items()}}
        rendered = await self._rendering.application(application, given, known, self._view.means)
        if not rendered.valid or not only_image(self.rendered.objects, rendered.objects, sought):
            return False
        self.edits, self.rendered = every, rendered
        return True

    async def _files(self, part: Part) -> Files:
        found = self._view.found
        tree = self._view.given.folders.tree
        ours = [p for p in self._view.rendered.read if p in tree and not p.startswith(BESIDE)]
        paths = [p for p in ours if tree[p].size_bytes <= READ_BYTES]
        texts = {path: self.edits.get(path) or await self._read(path) for path in paths}
        texts = {path: data for path, data in texts.items() if not is_sealed(path, data)}  # an edit would break its MAC
        used = frozenset[str]()
        if any(path not in texts for path in found.kustomizations):
            used = shared(texts, {path: await self._named(path) for path in found.kustomizations})
        return Files({path: data for path, data in texts.items() if _is_text(data)}, used)

    async def _named(self, path: str) -> tuple[str, ...]:
        """What a kustomization names; known by its content, for there may be thousands."""
        key = (path, self._view.given.folders.tree[path].oid)
        known = self._rendering.named
        if key not in known:
            if len(known) > MOST_NAMED:
                known.clear()
            known[key] = paths_in(await self._read(path), path)
        return known[key]

    async def _read(self, path: str) -> bytes:
        if path not in self._contents:
            oid = self._view.given.folders.tree[path].oid
            known = self._view.blobs.get(oid)
            self._contents[path] = known if known is not None else (await self._view.given.blobs([oid]))[oid]
        return self._contents[path]


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _applied(files: Files, attempt: Attempt) -> dict[str, bytes]:
    """The files as an attempt leaves them; only those that change."""
    made = {path: splice(files.texts[path], splices) for path, splices in splices_by_file(attempt).items()}
    return {path: data for path, data in made.items() if data != files.texts[path]}


def only_image(before: Sequence[Object], after: Sequence[Object], sought: Sought) -> bool:
    """Whether the image sought is stated by its digest wherever it is used, and nothing else is another."""
    if [one.ref for one in before] != [one.ref for one in after]:
        return False
    wanted = repository_of(sought.repository)
    changed = False
    for was, now in zip(before, after, strict=True):
        for old, new in zip(was.images, now.images, strict=False):
            written, (repository, _, digest) = split(old.text)[0], split(new.text)
            if repository_of(old.text) == wanted and repository != written:
                return False
            if written == sought.repository and digest != sought.image.digest:
                return False
            changed |= old.text != new.text
        if _without(was.body, wanted) != _without(now.body, wanted):
            return False
    return changed


def _without(body: Json, repository: str) -> Json:
    """A body with the images of one repository told by it alone."""
    changed = {path: repository for path, one in containers(body) if _uses(one, repository)}
    return _put(body, (), changed) if changed else body


def _uses(container: Json, repository: str) -> bool:
    return isinstance(container.get("image"), str) and repository_of(container["image"]) == repository


def _put(value: Json, at: tuple[str | int, ...], changed: Mapping[tuple[str | int, ...], str]) -> Json:
    if at in changed:
        return {**value, "image": changed[at]}
    if not any(path[: len(at)] == at for path in changed):
        return value
    if isinstance(value, dict):
        return {key: _put(one, (*at, key), changed) for key, one in value.items()}
    return [_put(one, (*at, index), changed) for index, one in enumerate(value)]


def edited(given: Given, edits: Mapping[str, bytes]) -> Given:
    """The same tree with other contents, under a name of its own."""
    tree = dict(given.folders.tree)
    contents: dict[Oid, bytes] = {}
    for path, data in sorted(edits.items()):
        oid = blob_id(data, tree[path].oid)
        tree[path] = TreeEntry(tree[path].mode, oid, len(data))
        contents[oid] = data
    name = hashlib.sha256("\0".join([given.name, *(f"{p}\0{tree[p].oid}" for p in sorted(edits))]).encode()).hexdigest()

    async def blobs(oids: Sequence[Oid]) -> Mapping[Oid, bytes]:
        own = {oid: contents[oid] for oid in oids if oid in contents}
        rest = [oid for oid in oids if oid not in own]
        return {**(await given.blobs(rest) if rest else {}), **own}

    return Given(name, Folders(tree), blobs, given.pins or given.name)


def blob_id(data: bytes, beside: Oid) -> Oid:
    """The id that Git gives these bytes, in the hash of the repository that `beside` is from."""
    algorithm = hashlib.sha256 if len(beside) == 64 else hashlib.sha1
    return algorithm(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
