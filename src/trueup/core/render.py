"""What a render reads and gives, and whether what it read is still the same. Pure: knows trees, never contents.

A render is kept with its trace: each file with its object id, each name that was absent, each listing. Another tree in
which all of that is the same gives the same objects, whatever else changed in it.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Iterable, Mapping

import msgspec
from msgspec import Struct

from trueup.core.model import Json, Oid, Place, Tree

FOLDER = 0o040000


class Seen(Struct, frozen=True, order=True):
    """One thing a render depends on. `what` is "file" (value: object id), "folder", "absent", "list" or "below"
    (value: a digest of the names)."""

    path: str
    what: str
    value: str = ""


class Image(Struct, frozen=True, rename={"new_name": "newName", "new_tag": "newTag"}):
    """An image by name, as a kustomization overrides it."""

    name: str
    new_name: str = ""
    new_tag: str = ""
    digest: str = ""


class Edit(Struct, frozen=True, kw_only=True):
    """What a definition says over the kustomization that it points at; the file itself stays as it is.

    `commands` are of `kustomize edit`. `generate`: a folder without a kustomization gets one of all its manifests.
    `variables`, `labels` and `annotations` are put into what was built.
    """

    commands: tuple[tuple[str, ...], ...] = ()
    namespace: str = ""
    name_prefix: str = ""
    name_suffix: str = ""
    images: tuple[Image, ...] = ()
    patches: tuple[Json, ...] = ()
    components: tuple[str, ...] = ()
    ignore_missing: bool = False
    generate: bool = False
    variables: Mapping[str, str] = {}
    labels: Mapping[str, str] = {}
    annotations: Mapping[str, str] = {}


class Kustomize(Struct, frozen=True, kw_only=True, tag="kustomize"):
    """`path` is the folder of the kustomization; `restrict` keeps each to its own folder, as upstream's default."""

    path: str
    restrict: bool = True
    edit: Edit | None = None


class Helm(Struct, frozen=True, kw_only=True, tag="helm"):
    """`path` is the chart's folder. Values: the chart's own, then files in order, `values` as YAML, `set`, …"""

    path: str
    release: str
    namespace: str = "default"
    upgrade: bool = False
    values_files: tuple[str, ...] = ()
    values: str = ""
    set: tuple[str, ...] = ()
    set_string: tuple[str, ...] = ()
    set_file: tuple[str, ...] = ()
    kube_version: str = ""
    api_versions: tuple[str, ...] = ()
    skip_crds: bool = False
    skip_schema: bool = False
    skip_tests: bool = False
    second_seed: bool = True


class Pair(Struct, frozen=True):
    name: str
    value: str


class Jsonnet(Struct, frozen=True, kw_only=True, tag="jsonnet"):
    """`path` is the file. `libraries` are folders; of two that hold a name the later one wins."""

    path: str
    libraries: tuple[str, ...] = ()
    external_text: tuple[Pair, ...] = ()
    external_code: tuple[Pair, ...] = ()
    top_text: tuple[Pair, ...] = ()
    top_code: tuple[Pair, ...] = ()


class Texts(Struct, frozen=True, kw_only=True, tag="template"):
    """`body` filled in once for each of `params`, every text and key in it: with Go's templates and sprig, or by
    names alone. `path` is the file to name when that fails. Reads nothing of a tree."""

    path: str
    body: Json
    params: tuple[Json, ...]
    go_template: bool = False
    options: tuple[str, ...] = ()


Asked = Kustomize | Helm | Jsonnet | Texts


class Made(Struct, frozen=True):
    """One object. `origin` is the template or file it comes from, "" when the renderer does not say."""

    body: Json
    origin: str = ""
    crd: bool = False


class Hook(Struct, frozen=True):
    """An object that is applied at its own time. Events and policies are Helm's words."""

    body: Json
    origin: str
    events: tuple[str, ...] = ()
    weight: int = 0
    deletion: tuple[str, ...] = ()


class Warned(Struct, frozen=True):
    place: Place
    message: str
    fix: str


class Output(Struct, frozen=True):
    """What a render gave, with what it read. `differs` names the templates that give something else each time."""

    objects: tuple[Made, ...]
    hooks: tuple[Hook, ...] = ()
    notes: str = ""
    warnings: tuple[Warned, ...] = ()
    differs: tuple[str, ...] = ()
    trace: tuple[Seen, ...] = ()


def key(asked: Asked, versions: str) -> str:
    """Names a request apart from what it reads. `versions` tells one set of renderers from another."""
    return hashlib.sha256(versions.encode() + b"\0" + msgspec.json.encode(asked)).hexdigest()


class Folders:
    """A tree as folders. Built once for a tree; each look-up costs little. Paths have no "/" at either end."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self._names = sorted(path for path in tree if _told(path))
        self._lists: dict[str, tuple[tuple[str, int, Oid], ...]] = {}
        self._digests: dict[tuple[str, str], str] = {}

    def is_folder(self, path: str) -> bool:
        if not path:
            return True
        prefix = path + "/"
        at = bisect_left(self._names, prefix)
        return at < len(self._names) and self._names[at].startswith(prefix)

    def listing(self, path: str) -> tuple[tuple[str, int, Oid], ...]:
        """(name, mode, object id) of what stands in a folder, by name; nothing when there is no such folder."""
        if path not in self._lists:
            self._lists[path] = tuple(self._listing(path))
        return self._lists[path]

    def _listing(self, path: str) -> Iterable[tuple[str, int, Oid]]:
        prefix = path + "/" if path else ""
        folders: set[str] = set()
        found: list[tuple[str, int, Oid]] = []
        for whole in self._span(prefix):
            name, slash, _ = whole[len(prefix) :].partition("/")
            if not slash:
                found.append((name, self.tree[whole].mode, self.tree[whole].oid))
            elif name not in folders:
                folders.add(name)
                found.append((name, FOLDER, ""))
        return sorted(found)

    def below(self, path: str) -> tuple[tuple[str, int, Oid], ...]:
        """(path from the folder, mode, object id) of every file below a folder, by path."""
        prefix = path + "/" if path else ""
        return tuple((name[len(prefix) :], self.tree[name].mode, self.tree[name].oid) for name in self._span(prefix))

    def _span(self, prefix: str) -> Iterable[str]:
        at = bisect_left(self._names, prefix)
        while at < len(self._names) and self._names[at].startswith(prefix):
            yield self._names[at]
            at += 1

    def now(self, seen: Seen) -> Seen:
        """The same question, asked of this tree."""
        path = seen.path
        if seen.what in ("list", "below"):
            return Seen(path, seen.what, self._digest(path, seen.what))
        entry = self.tree.get(path)
        if entry is not None:
            return Seen(path, "file", entry.oid)
        return Seen(path, "folder" if self.is_folder(path) else "absent")

    def _digest(self, path: str, what: str) -> str:
        if (path, what) not in self._digests:
            entries = self.listing(path) if what == "list" else self.below(path)
            self._digests[path, what] = listed(entries)
        return self._digests[path, what]


def listed(entries: Iterable[tuple[str, int, Oid]]) -> str:
    """The digest of a listing: names and kinds, not contents. Source: render/tree.go computes the same."""
    return hashlib.sha256(b"".join(b"%o %s\0" % (mode, name.encode()) for name, mode, _ in entries)).hexdigest()


def _told(path: str) -> bool:
    """Names that are no UTF-8 are kept from renderers: no file of theirs can name them."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def changed(trace: Iterable[Seen], folders: Folders) -> Seen | None:
    """The first thing of a trace that is no longer so in this tree; None when all of it holds."""
    return next((seen for seen in trace if folders.now(seen) != seen), None)


def still_valid(trace: Iterable[Seen], folders: Folders) -> bool:
    """Whether a render with this trace gives the same objects from this tree."""
    return changed(trace, folders) is None
