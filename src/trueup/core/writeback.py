"""Where a rendered image may be stated, best place first: splices to try, each to be proven by rendering again. Pure.

As `kustomize edit set image` and Argo CD Image Updater: the `images:` entry of the environment's own kustomization, or
one added there; a chart's values by the convention `repository`, `tag`, `digest`. What other environments read too is
never touched. Source: kustomize v5.8, `edit set image`; argocd-image-updater, docs/basics/update-methods.md.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

from msgspec import Struct

from trueup.core.application import Spec
from trueup.core.images import Splice, image_uses, pinned, repository_of
from trueup.core.model import BuiltImage
from trueup.core.objects import dig
from trueup.core.placing import joined
from trueup.core.render import Helm, Kustomize
from trueup.core.renderyaml import scalar
from trueup.core.yamldoc import Doc, Node, YamlFault, child, documents, node_at
from trueup.core.yamledit import Text, added, appended, at_end, replaced

Attempt: TypeAlias = tuple[Splice, ...]
KUSTOMIZATIONS = ("kustomization.yaml", "kustomization.yml", "Kustomization")
REPOSITORY = ("repository", "image", "name", "repo")
REGISTRY = ("registry", "imageRegistry", "hub")
TAG = ("tag", "imageTag", "version")
DIGEST = ("digest", "imageDigest", "sha256", "sha")


class Sought(Struct, frozen=True):
    """An image to be stated: the repository and the texts by which rendered objects name it now."""

    repository: str  # as written
    texts: tuple[str, ...]
    image: BuiltImage


class Files(Struct, frozen=True):
    """The files that a render read, as they stand. `shared` are read for other environments too: never edited."""

    texts: Mapping[str, bytes]
    shared: frozenset[str] = frozenset()

    def docs(self, path: str) -> tuple[Doc, ...]:
        try:
            return documents(self.texts[path], path)
        except (YamlFault, KeyError):
            return ()

    def own(self) -> Iterator[str]:
        yield from (path for path in sorted(self.texts) if path not in self.shared)


def attempts(spec: Spec, sought: Sought, files: Files) -> Iterator[Attempt]:
    """What to try, in order. An attempt that is not proven is dropped."""
    if isinstance(spec, Kustomize):
        yield from _kustomize(spec, sought, files)
    elif isinstance(spec, Helm):
        yield from _helm(spec, sought, files)
    yield from _literal(sought, files)
    if isinstance(spec, Kustomize):
        yield from _new_entry(spec, sought, files)


def what_to_do(spec: Spec, sought: Sought) -> str:
    """For a person, when no attempt was proven."""
    if isinstance(spec, Kustomize):
        return f"Add an entry for {sought.repository} to `images:` of {spec.path or '.'}/kustomization.yaml."
    if isinstance(spec, Helm):
        where = spec.values_files[-1] if spec.values_files else f"{spec.path or '.'}/values.yaml"
        return f"State `image: {{repository: {sought.repository}, tag: …}}` in {where}, and use both in the template."
    return f"Write {sought.texts[0]!r} once, as one text, in a file of this repository."


# --- Kustomize -------------------------------------------------------------------------------------


def kustomization_of(folder: str, known: Container[str]) -> str:
    """The kustomization of a folder among the paths known, or ""."""
    prefix = folder + "/" if folder else ""
    return next((prefix + name for name in KUSTOMIZATIONS if prefix + name in known), "")


def _kustomize(spec: Kustomize, sought: Sought, files: Files) -> Iterator[Attempt]:
    root = kustomization_of(spec.path, files.texts)
    named = [path for path in files.own() if path.rpartition("/")[2] in KUSTOMIZATIONS and path != root]
    for path in (root, *reversed(named)):
        if path in files.texts and path not in files.shared:
            yield from _entries(path, sought, files)
    yield from _manifests(sought, files)


def _entries(path: str, sought: Sought, files: Files) -> Iterator[Attempt]:
    text = Text(path, files.texts[path])
    for doc in files.docs(path):
        listed = child(doc.root, "images")
        for entry in listed.items if listed is not None and isinstance(listed.items, list) else ():
            named = dig(entry.value, ("newName",)) or dig(entry.value, ("name",))
            if named == sought.repository and (made := _entry(text, entry, sought.image)):
                yield made


def _entry(text: Text, entry: Node, image: BuiltImage) -> Attempt:
    """newTag and digest of an entry: each replaced where it is, added where it is not."""
    tag, digest = child(entry, "newTag"), child(entry, "digest")
    made: list[Splice | None] = []
    if tag is not None and image.tag:
        made.append(replaced(text, tag, image.tag))
    if digest is not None:
        made.append(replaced(text, digest, image.digest))
    elif tag is not None:
        made.append(added(text, entry, [("digest", image.digest)], after="newTag"))
    else:
        made.append(added(text, entry, _stated(image)))
    return () if None in made else tuple(splice for splice in made if splice is not None)


def _stated(image: BuiltImage) -> list[tuple[str, str]]:
    return [*([("newTag", image.tag)] if image.tag else []), ("digest", image.digest)]


def _manifests(sought: Sought, files: Files) -> Iterator[Attempt]:
    """The manifests themselves, when no other environment reads any of those that name the image."""
    found: list[Splice] = []
    for path in files.texts:
        for doc in files.docs(path):
            for use in image_uses(doc):
                if repository_of(use.text) != repository_of(sought.repository):
                    continue
                if use.start < 0 or path in files.shared:
                    return
                found.append(Splice(path, use.start, use.end, use.text, pinned(use.text, sought.image)))
    if found:
        yield tuple(found)


def _new_entry(spec: Kustomize, sought: Sought, files: Files) -> Iterator[Attempt]:
    """An entry more in the environment's own kustomization."""
    path = kustomization_of(spec.path, files.texts)
    docs = files.docs(path)
    if not path or len(docs) != 1 or path in files.shared:
        return
    text, listed = Text(path, files.texts[path]), child(docs[0].root, "images")
    pairs = [("name", sought.repository), *_stated(sought.image)]
    if listed is not None:
        made = appended(text, listed, pairs)
    else:
        lines = [f"{name}: {scalar(value)}" for name, value in pairs]
        made = at_end(text, docs[0], ["images:", f"- {lines[0]}", *(f"  {line}" for line in lines[1:])])
    if made is not None:
        yield (made,)


# --- Helm ------------------------------------------------------------------------------------------


def _helm(spec: Helm, sought: Sought, files: Files) -> Iterator[Attempt]:
    own = f"{spec.path}/values.yaml" if spec.path else "values.yaml"
    read = [path for path in (own, *spec.values_files) if path in files.texts]
    docs = {path: found[0] for path in read if len(found := files.docs(path)) == 1}
    places = dict.fromkeys(at for doc in docs.values() for at in _mappings(doc.root, sought, docs))
    writable = [path for path in reversed(spec.values_files or (own,)) if path in docs and path not in files.shared]
    for path in writable:
        text, doc = Text(path, files.texts[path]), docs[path]
        for at in places:
            if (mapping := node_at(doc.root, at)) is not None:
                yield from _values(text, mapping, sought)
        yield from _whole(text, doc.root, sought)
    for path in writable[:1]:
        for at in places:
            yield from _deepened(Text(path, files.texts[path]), docs[path], at, sought)


def _mappings(root: Node, sought: Sought, docs: Mapping[str, Doc]) -> Iterator[tuple[str, ...]]:
    """The paths of mappings that name the repository, in one key or as registry and repository."""
    waiting: list[tuple[tuple[str, ...], Node]] = [((), root)]
    while waiting:
        at, node = waiting.pop(0)
        if not isinstance(node.items, dict):
            continue
        waiting += [((*at, name), below) for name, below in node.items.items()]
        registries = [r for key in REGISTRY for doc in docs.values() if isinstance(r := dig(doc.body, (*at, key)), str)]
        for key in REPOSITORY:
            name = dig(node.value, (key,))
            if not isinstance(name, str) or not name:
                continue
            if sought.repository in (name, *(f"{registry}/{name}" for registry in registries)):
                yield at


def _values(text: Text, mapping: Node, sought: Sought) -> Iterator[Attempt]:
    """A mapping's tag and digest in the ways that charts read them, the most exact first."""
    image = sought.image
    tags = [node for key in TAG if (node := child(mapping, key)) is not None]
    digests = [(key, node) for key in DIGEST if (node := child(mapping, key)) is not None]
    both = f"{image.tag}@{image.digest}" if image.tag else ""
    for _, node in digests:
        for value in (image.digest, image.digest.removeprefix("sha256:")):
            stated = replaced(text, node, value)
            named = [one for tag in tags if image.tag and (one := replaced(text, tag, image.tag)) is not None]
            if stated is not None:
                yield (stated, *named)
                yield (stated,)
    for tag in tags:
        if both and (one := replaced(text, tag, both)) is not None:
            yield (one,)
    if both and not tags and (more := added(text, mapping, [("tag", both)])) is not None:
        yield (more,)


def _whole(text: Text, root: Node, sought: Sought) -> Iterator[Attempt]:
    """A value that is the whole reference."""
    waiting = [root]
    while waiting:
        node = waiting.pop(0)
        if node.items is not None:
            waiting += node.items.values() if isinstance(node.items, dict) else node.items
        elif isinstance(node.value, str) and node.value in sought.texts:
            one = replaced(text, node, pinned(node.value, sought.image))
            if one is not None:
                yield (one,)


def _deepened(text: Text, doc: Doc, at: Sequence[str], sought: Sought) -> Iterator[Attempt]:
    """The tag in a values file that says nothing of the image yet."""
    image = sought.image
    if not at or not image.tag or (isinstance(doc.body, dict) and at[0] in doc.body):
        return
    lines = ["  " * depth + f"{name}:" for depth, name in enumerate(at)]
    made = at_end(text, doc, [*lines, "  " * len(at) + f"tag: {scalar(f'{image.tag}@{image.digest}')}"])
    if made is not None:
        yield (made,)


# --- any text --------------------------------------------------------------------------------------


def _literal(sought: Sought, files: Files) -> Iterator[Attempt]:
    """The whole reference as it stands in one place of all that was read."""
    for old in sought.texts:
        pattern = re.compile(rb"(?<![\w./:@-])" + re.escape(old.encode()) + rb"(?![\w./:@-])")
        found = [(path, match.start()) for path, data in files.texts.items() for match in pattern.finditer(data)]
        if len(found) == 1 and found[0][0] not in files.shared:
            path, start = found[0]
            yield (Splice(path, start, start + len(old.encode()), old, pinned(old, sought.image)),)


# --- what other environments read ------------------------------------------------------------------


def shared(read: Iterable[str], named: Mapping[str, Collection[str]]) -> frozenset[str]:
    """The files of `read` that a kustomization outside of it refers to, directly or through others. `named`: a
    kustomization → the paths in it."""
    mine = frozenset(read)
    waiting = [path for path in named if path not in mine]
    visited: set[str] = set(waiting)
    while waiting:
        for at in named[waiting.pop()]:
            for found in (at, kustomization_of(at, named)):
                if found and found not in visited and (found in mine or found in named):
                    visited.add(found)
                    waiting += [found] if found in named else []
    return mine & visited


def paths_in(data: bytes, path: str) -> tuple[str, ...]:
    """Every text of a kustomization that may name a file or folder, as a path from the root."""
    folder = path.rpartition("/")[0]
    found: dict[str, None] = {}
    try:
        waiting = [doc.root for doc in documents(data, path)]
    except YamlFault:
        return ()
    while waiting:
        node = waiting.pop()
        if node.items is not None:
            waiting += node.items.values() if isinstance(node.items, dict) else node.items
        elif isinstance(node.value, str) and 0 < len(node.value) < 1000 and "\n" not in node.value:
            found[joined(folder, node.value)] = None
    return tuple(found)
