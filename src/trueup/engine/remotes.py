"""A revision with everything that its renders name elsewhere laid beside it, each pinned.

The parent fetches; the worker gets one tree, in which a remote base is a folder and a chart's dependency a file of
charts/. What a name was at the first look at a revision it stays for that revision: a base that moves is taken with the
next commit. The pins are in the names of what is laid beside it, and so in the trace and the key of every render.
"""

from __future__ import annotations

import asyncio
import hashlib
import posixpath
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import msgspec
from msgspec import Struct, structs

from trueup.core import bases, inflate, kusturl
from trueup.core.archive import Unpackable, unpack
from trueup.core.model import Oid, Place, Tree, TreeEntry
from trueup.core.render import Asked, Folders, Helm, Kustomize
from trueup.core.resolve import BESIDE, Away
from trueup.core.yamldoc import Doc, YamlFault, documents
from trueup.engine.pins import Pins
from trueup.ports import Given, RemoteRefused, Remotes, Renderer, RenderFailed

KUSTOMIZATIONS = ("kustomization.yaml", "kustomization.yml", "Kustomization")
MOST = 200  # remote parts of one render
KEPT = 20_000  # kustomizations known to name nothing elsewhere
FILE = 0o100644


class Beside:
    """Completes revisions. `remotes` fetches; `pins` remembers; `renderer` is for the charts of kustomizations, which
    without it are left to whoever renders the whole."""

    def __init__(self, remotes: Remotes, pins: Pins, renderer: Renderer | None = None) -> None:
        self._remotes, self._pins, self._renderer = remotes, pins, renderer
        self._local: Local = {}

    async def complete(self, asked: Asked, given: Given) -> Given:
        """`given`, with what `asked` names elsewhere. Raises RenderFailed, RendererDown, SourceError."""
        work = _Work(self._remotes, self._pins, given, self._renderer, self._local)
        if isinstance(asked, Kustomize):
            await work.kustomization(asked.path, asked.restrict)
        elif isinstance(asked, Helm):
            await work.chart(asked.path)
        return await work.given()

    async def mount(self, away: Away, given: Given) -> tuple[Given, str]:
        """`given` with a repository or a chart beside it, and the folder that it lies in. Raises RemoteRefused,
        SourceError."""
        work = _Work(self._remotes, self._pins, given, self._renderer, self._local)
        where = await work.mount(away)
        return await work.given(), where


class _Local(Struct, frozen=True):
    """What a kustomization lists that names nothing elsewhere."""

    entries: tuple[str, ...]
    namespace: str


Local: TypeAlias = dict[Oid, _Local]


class _Here(Struct, frozen=True):
    """A kustomization on the walk. `mount` is the remote repository that it may not leave, `namespace` the one that a
    chart without its own takes."""

    folder: str
    mount: str
    namespace: str
    restrict: bool


class _Work:
    """One completion."""

    def __init__(self, remotes: Remotes, pins: Pins, given: Given, renderer: Renderer | None, local: Local) -> None:
        self._renderer, self._local = renderer, local
        self._remotes, self._pins, self._before = remotes, pins, given
        self._revision = given.pins or given.name
        self._tree: dict[str, TreeEntry] | Tree = given.folders.tree
        self._folders = given.folders
        self._contents: dict[Oid, bytes] = {}
        self._elsewhere: dict[Oid, kusturl.Base] = {}
        self._mounted: set[str] = set()
        self._inherited: dict[str, Place] = {}  # kustomization → its chart whose namespace is another one's
        self._count = 0

    async def given(self) -> Given:
        if not self._count:
            return self._before
        added = sorted((p, e.oid) for p, e in self._tree.items() if self._before.folders.tree.get(p) != e)
        name = hashlib.sha256(f"{self._before.name}\0{added}".encode()).hexdigest()
        return Given(name, self._folders, self._blobs, self._revision)

    async def _blobs(self, oids: Sequence[Oid]) -> Mapping[Oid, bytes]:
        found = {oid: self._contents[oid] for oid in oids if oid in self._contents}
        away: dict[kusturl.Base, list[Oid]] = {}
        for oid in oids:
            if oid not in found and oid in self._elsewhere:
                away.setdefault(self._elsewhere[oid], []).append(oid)
        for base, wanted in away.items():
            found |= await self._remotes.blobs(base, wanted)
        rest = [oid for oid in oids if oid not in found]
        return {**found, **(await self._before.blobs(rest) if rest else {})}

    def _add(self, path: str, data: bytes) -> None:
        self._add_all({path: data})

    def _add_all(self, files: Mapping[str, bytes]) -> None:
        named = {path: (_oid(data), data) for path, data in files.items()}
        self._contents |= dict(named.values())
        self._lay({path: TreeEntry(FILE, oid, len(data)) for path, (oid, data) in named.items()})

    def _lay(self, entries: Mapping[str, TreeEntry]) -> None:
        self._tree = {**self._tree, **entries}
        self._folders = Folders(self._tree)

    async def _read(self, path: str) -> Doc | None:
        """The file's only document; None when it is not there or is something else, which the renderer then says."""
        entry = self._tree.get(path)
        if entry is None or entry.mode & 0o170000 != 0o100000:
            return None
        data = (await self._blobs([entry.oid])).get(entry.oid, b"")
        try:
            found = documents(data, path)
        except YamlFault:
            return None
        return found[0] if len(found) == 1 else None

    def _counted(self, place: Place, text: str, restrict: bool = True) -> None:
        self._count += 1
        if self._count > MOST:
            raise RenderFailed(place, f"more than {MOST} remote parts", "Look for bases that name one another.")
        if not restrict:
            raise RenderFailed(
                place, f"{text} is remote, and is not fetched without load restrictions",
                "Render it with them, or copy it into this repository.",
            )  # fmt: skip

    async def mount(self, away: Away) -> str:
        self._count += 1
        address = away.address
        if address.system == "git":
            ref = "" if address.revision == "HEAD" else address.revision
            return (await self._remote(kusturl.Base(address.url, ref=ref), ""))[0]
        repository, name, versions = address.url, away.chart, away.version
        if address.system == "oci":
            repository = repository if "://" in repository else f"oci://{repository}"
            if not name:  # the address is the chart's own
                repository, _, name = repository.rstrip("/").rpartition("/")
                versions = address.revision
        elif address.system != "helm":
            raise RemoteRefused(f"{address.url} is a bucket, and none is read")
        return await self._published(repository, name, versions)

    async def _published(self, repository: str, name: str, versions: str) -> str:
        """The folder of a chart as it was published, laid beside."""
        what = f"chart {repository} {name} {versions}"

        async def fetch() -> tuple[str, bytes]:
            archive = await self._remotes.chart(repository, name, versions)
            return archive.version, archive.data

        _, data = await self._pins.named(self._revision, what, fetch)
        try:
            files = await asyncio.to_thread(unpack, data)
        except Unpackable as error:
            raise RemoteRefused(f"{name} of {repository}: {error}") from error
        where = f"{BESIDE}/chart/{hashlib.sha256(data).hexdigest()[:24]}"
        self._add_all({f"{where}/{path}": content for path, content in files.items()})
        return where

    # --- kustomize -------------------------------------------------------------------------------

    async def kustomization(self, path: str, restrict: bool) -> None:
        """Walk from a kustomization to all that it names, here and elsewhere."""
        mount = "/".join(path.split("/")[:3]) if path.startswith(f"{BESIDE}/") else ""
        waiting, seen = [_Here(path, mount, "", restrict)], dict[str, str]()
        while waiting:
            here = waiting.pop()
            folder, above = here.folder, here.namespace
            if folder in seen:
                self._once(folder, seen[folder], above)
                continue
            seen[folder] = above
            file = next((f for n in KUSTOMIZATIONS if (f := posixpath.join(folder, n)) in self._tree), "")
            known = self._local.get(self._tree[file].oid) if file and not here.mount else None
            if known is not None:
                waiting += [structs.replace(here, folder=at, namespace=known.namespace or above)
                            for text in known.entries if (at := bases.below(folder, text)) is not None]  # fmt: skip
                continue
            doc = await self._read(file) if file else None
            if doc is not None:
                self._remember(self._tree[file].oid, doc)
                own = str(doc.body.get("namespace") or "") if isinstance(doc.body, dict) else ""
                here = structs.replace(here, namespace=own or above)
                onward = await self._entries(doc, here)
                if self._renderer is not None:
                    await self._inflate(await self._read(file) or doc, here, self._renderer)
                waiting += [structs.replace(here, folder=where, mount=within) for where, within in onward]

    def _remember(self, oid: Oid, doc: Doc) -> None:
        """That a kustomization names nothing elsewhere: it is not read again."""
        body = doc.body if isinstance(doc.body, dict) else {}
        texts = tuple(entry.text for entry in bases.entries(doc))
        if len(self._local) > KEPT:
            self._local.clear()
        if not body.get("helmCharts") and all(kusturl.read(text) is None for text in texts):
            self._local[oid] = _Local(texts, str(body.get("namespace") or ""))

    def _once(self, folder: str, before: str, now: str) -> None:
        """A chart without a namespace takes that of whoever lists its kustomization: of one, not of two."""
        place = self._inherited.get(folder)
        if place is not None and before != now:
            raise RenderFailed(
                place, f"this chart is reached with two namespaces, {before or 'none'} and {now or 'none'}",
                "State the chart's own `namespace`.",
            )  # fmt: skip

    async def _entries(self, doc: Doc, here: _Here) -> list[tuple[str, str]]:
        """What it lists, here and elsewhere: (folder, mount). Its file names what was laid beside it from then on."""
        folder, mount = here.folder, here.mount
        onward: list[tuple[str, str]] = []
        names: dict[tuple[str | int, ...], str] = {}
        for entry in bases.entries(doc):
            local = bases.below(folder, entry.text)
            if local is not None and (local in self._tree or self._folders.is_folder(local)):
                if mount and not f"{local}/".startswith(f"{mount}/"):
                    raise RenderFailed(
                        entry.place, f"{entry.text} leads out of its own repository", "Name a base in it."
                    )
                onward.append((local, mount))
                continue
            remote = kusturl.read(entry.text)
            if remote is None:
                continue  # missing here: the renderer names what is near
            self._counted(entry.place, entry.text, here.restrict)
            try:
                where, within = await self._remote(remote, folder)
            except RemoteRefused as error:
                raise RenderFailed(
                    entry.place, str(error), "Correct the address, or copy it into this repository."
                ) from None
            names[entry.path] = posixpath.relpath(where, folder or ".")
            if within:
                onward.append((where, within))
        if names:
            self._rewrite(doc, names)
        return onward

    async def _remote(self, remote: kusturl.Base | kusturl.File, folder: str) -> tuple[str, str]:
        """(where it lies now, the mount that it may not leave: "" for a file)"""
        if isinstance(remote, kusturl.File):
            data = await self._pins.file(self._revision, remote.url, self._remotes.file)
            return self._put_beside(folder, data), ""
        commit = await self._pins.text(
            self._revision, f"git {remote.url} {remote.ref}", lambda: self._remotes.commit(remote)
        )
        name = hashlib.sha256(remote.url.encode()).hexdigest()[:16]
        mount = f"{BESIDE}/{name}/{commit}"
        if mount not in self._mounted:
            tree = await self._remotes.tree(remote, commit)
            self._elsewhere |= {entry.oid: remote for entry in tree.values()}
            self._lay({f"{mount}/{path}": entry for path, entry in tree.items()})
            self._mounted.add(mount)
        at = posixpath.join(mount, remote.path) if remote.path else mount
        if not self._folders.is_folder(at):
            raise RemoteRefused(f"there is no folder {remote.path or '.'} in {remote.url} at {commit[:12]}")
        return at, mount

    def _rewrite(self, doc: Doc, names: Mapping[tuple[str | int, ...], str]) -> None:
        made = bases.rewritten(doc, names)
        if isinstance(made, bases.Entry):
            raise RenderFailed(
                made.place, f"{made.text} is written with escapes or over lines", "Write the address on one line."
            )
        self._add(doc.file, made)

    async def _inflate(self, doc: Doc, here: _Here, renderer: Renderer) -> None:
        """Render what a kustomization names under helmCharts, and list that as resources in its place."""
        folder, place, made = here.folder, doc.place("helmCharts"), []
        try:
            for chart, place in inflate.charts(doc):  # the place of the one that fails
                self._counted(place, f"chart {chart.name}", here.restrict)
                at = await self._chart_at(chart, doc, folder, place)
                values = msgspec.json.encode(chart.values_inline)
                inline = self._put_beside(folder, values) if chart.values_inline else ""
                if not chart.namespace:
                    self._inherited[folder] = place
                chart = structs.replace(chart, namespace=chart.namespace or here.namespace)
                asked = inflate.asked(chart, at, folder, inline)
                self._own_values(asked, folder, here.mount, place)
                output = await renderer.render(asked, await self.given())
                made.append(posixpath.relpath(self._put_beside(folder, inflate.printed(chart, output)), folder or "."))
            if made:
                self._add(doc.file, inflate.without(doc, made))
        except (inflate.Unfit, RemoteRefused) as error:
            raise RenderFailed(place, str(error), "Correct it here.") from None

    async def _chart_at(self, chart: inflate.Chart, doc: Doc, folder: str, place: Place) -> str:
        """The folder of a chart: of this repository, or laid beside it."""
        home = inflate.homes(chart, doc, folder)
        if posixpath.join(home, "Chart.yaml") in self._tree:
            if folder and not home.startswith(f"{folder}/") and not chart.values_file:
                message = f"{home}/values.yaml is not below {folder}"
                raise RenderFailed(place, message, "Put the chart there, or name a valuesFile that is.")
            await self.chart(home)
            return home
        if not chart.repo:
            raise RenderFailed(place, f"there is no chart at {home}, and no `repo:` that it comes from", "Name one.")
        return await self._published(chart.repo, chart.name, chart.range)

    def _own_values(self, asked: Helm, folder: str, mount: str, place: Place) -> None:
        """Values files are the kustomization's or the chart's own, as upstream's load restrictions have it."""
        own = f"{folder}/" if folder else ""
        for file in asked.values_files:
            chart = file.startswith(f"{asked.path}/")
            if file.startswith("../") or not (chart or (file.startswith(own) and file.startswith(mount))):
                raise RenderFailed(place, f"the values file {file} is not below {folder or '.'}", "Put it there.")

    def _put_beside(self, folder: str, data: bytes) -> str:
        path = posixpath.join(folder, f"{BESIDE}-{hashlib.sha256(data).hexdigest()[:24]}.yaml")
        self._add(path, data)
        return path

    # --- charts ----------------------------------------------------------------------------------

    async def chart(self, path: str) -> None:
        """Lay what is missing of a chart's dependencies into its charts/."""
        doc = await self._read(posixpath.join(path, "Chart.yaml"))
        wanted = [one for one in (bases.dependencies(doc) if doc else ()) if not self._has(path, one.name)]
        remote = [one for one in wanted if one.repository]
        if doc is None or not remote:
            return
        lock = await self._read(posixpath.join(path, "Chart.lock"))
        versions: Mapping[str, str] = {}
        if lock is not None:
            found = bases.locked(lock.body, doc.body)
            if found is None:
                raise RenderFailed(
                    lock.place(), "Chart.lock is out of step with Chart.yaml",
                    f"Run `helm dependency update {path or '.'}`, and commit Chart.lock.",
                )  # fmt: skip
            versions = found
        for one in remote:
            self._counted(one.place, one.name)
            try:
                await self._dependency(path, structs.replace(one, version=versions.get(one.name, one.version)))
            except RemoteRefused as error:
                raise RenderFailed(one.place, str(error), "Correct it in Chart.yaml, or commit charts/.") from None

    def _has(self, path: str, name: str) -> bool:
        folder = posixpath.join(path, "charts")
        return any(n == name or n.startswith(f"{name}-") for n, _, _ in self._folders.listing(folder))

    async def _dependency(self, path: str, one: bases.Dependency) -> None:
        if one.repository.startswith("file://"):
            self._alias(path, one)
            return
        what = f"chart {one.repository} {one.name} {one.version}"

        async def fetch() -> tuple[str, bytes]:
            archive = await self._remotes.chart(one.repository, one.name, one.version)
            return archive.version, archive.data

        version, data = await self._pins.named(self._revision, what, fetch)
        self._add(posixpath.join(path, "charts", f"{one.name}-{version}.tgz"), data)

    def _alias(self, path: str, one: bases.Dependency) -> None:
        """A chart of the same repository, laid into charts/ as Helm packs it there."""
        folder = bases.below(path, one.repository.removeprefix("file://"))
        if folder is None or posixpath.join(folder, "Chart.yaml") not in self._tree:
            raise RemoteRefused(f"there is no chart at {one.repository} in this repository")
        at = posixpath.join(path, "charts", one.name)
        self._lay(
            {f"{at}/{name}": self._tree[posixpath.join(folder, name)] for name, _, _ in self._folders.below(folder)}
        )


def _oid(data: bytes) -> Oid:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
