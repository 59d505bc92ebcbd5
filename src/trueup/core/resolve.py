"""From what definitions state to applications that can be rendered from this repository. Pure.

A source that is elsewhere stays a part with its address; what cannot be served is a finding at its line.
"""

from __future__ import annotations

import contextlib
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec
from msgspec import Struct, structs

from trueup.core.application import Application, Part, Plain
from trueup.core.definition import (
    Address,
    Chart,
    Definitions,
    Destination,
    Detected,
    Files,
    Named,
    Overlay,
    Provision,
    Source,
    Stated,
    ValuesFrom,
)
from trueup.core.globs import matches
from trueup.core.model import Finding, Json, Place, Severity
from trueup.core.placing import joined
from trueup.core.project import IN_CLUSTER, IN_CLUSTER_URL, Project, permits_destination, permits_source
from trueup.core.render import Edit, Folders, Helm, Jsonnet, Kustomize
from trueup.core.text import shown
from trueup.core.yamldoc import YamlFault, documents

KUSTOMIZATIONS = ("kustomization.yaml", "kustomization.yml", "Kustomization")
_MANIFESTS = (".yaml", ".yml", ".json")

_NO_EDIT = Edit()
BESIDE = ".trueup-remote"  # where what is elsewhere is laid

Held = Callable[[ValuesFrom], Mapping[str, str] | None]


class Away(Struct, frozen=True):
    """What is elsewhere: a repository at a revision, or a chart in a range of versions."""

    address: Address
    chart: str = ""
    version: str = ""


class Repository(Struct, frozen=True):
    """What definitions are resolved against. `own`: the addresses of this repository, as `same` makes them; none are
    known for a folder without a remote. `held` is what a ConfigMap or Secret holds that the repository states.
    `mounts`: the folders in which what is elsewhere was laid beside it."""

    folders: Folders
    own: frozenset[str]
    is_manifest: Callable[[str], bool]
    held: Held
    mounts: Mapping[Away, str] = {}


class Resolved(Struct, frozen=True):
    """`application` is None when something of it is not served; `findings` say what."""

    stated: Stated
    application: Application | None
    findings: tuple[Finding, ...] = ()


class _Unserved(Exception):
    def __init__(self, place: Place, message: str, fix: str) -> None:
        super().__init__(message)
        self.finding = Finding(Severity.ERROR, "definition-not-served", place, shown(message), shown(fix))


def resolve(definitions: Definitions, repository: Repository) -> tuple[Resolved, ...]:
    """Each application in the order in which it is stated."""
    work = _work(definitions, repository)
    return tuple(work.resolve(stated) for stated in definitions.applications)


def resolve_one(stated: Stated, definitions: Definitions, repository: Repository) -> Resolved:
    return _work(definitions, repository).resolve(stated)


def elsewhere(stated: Stated, definitions: Definitions, repository: Repository) -> tuple[Away, ...]:
    """What an application is made from that is not in this repository."""
    return tuple(dict.fromkeys(_work(definitions, repository).elsewhere(stated)))


def _work(definitions: Definitions, repository: Repository) -> _Work:
    known = {(p.origin.kind, p.origin.namespace, p.origin.name): p for p in definitions.provisions}
    return _Work(repository, known, {project.origin.name: project for project in definitions.projects})


def same(url: str) -> str:
    """One text for every way to write a repository's address: without scheme, user, port of ssh, and `.git`."""
    text = url.strip()
    scp = re.fullmatch(r"(?:[^@/]+@)?([^:/]+):(?!//)(.+)", text)
    if scp and "://" not in text:
        text = f"{scp[1]}/{scp[2].lstrip('/')}"
    text = re.sub(r"^[a-z0-9+.-]+://(?:[^@/]*@)?", "", text, flags=re.IGNORECASE)
    host, slash, path = text.partition("/")
    host = re.sub(r":(22|80|443)$", "", host.lower())
    return (host + slash + path).rstrip("/").removesuffix(".git").rstrip("/")


class _Work:
    def __init__(
        self,
        repository: Repository,
        known: Mapping[tuple[str, str, str], Provision],
        projects: Mapping[str, Project],
    ) -> None:
        self._in, self._known, self._projects = repository, known, projects

    def resolve(self, stated: Stated) -> Resolved:
        findings: list[Finding] = []
        parts: list[Part] = []
        if stated.destination.server or stated.destination.name:
            findings.append(_other_cluster(stated, stated.destination))
        if (project := self._projects.get(stated.project)) is not None:
            findings += _not_permitted(project, stated)
        refs = {source.ref: source for source in stated.sources if source.ref}
        for source in stated.sources:
            try:
                parts += self._source(stated, source, refs)
            except _Unserved as unserved:
                findings.append(unserved.finding)
        if not stated.sources:
            findings.append(_none(stated))
        if findings:
            return Resolved(stated, None, tuple(findings))
        namespace = stated.destination.namespace or "default"
        return Resolved(stated, Application(stated.origin.name, tuple(parts), namespace=namespace, place=stated.place))

    def elsewhere(self, stated: Stated) -> Iterator[Away]:
        """Nothing of what is not served or permitted whatever it is made from: that is never fetched."""
        project = self._projects.get(stated.project)
        if stated.destination.server or stated.destination.name or (project and any(_not_permitted(project, stated))):
            return
        for source in stated.sources:
            with contextlib.suppress(_Unserved):
                address, found = self._address(stated, source)
                if address is not None:
                    yield _away(address, found)

    def _source(self, stated: Stated, source: Source, refs: Mapping[str, Source]) -> Iterator[Part]:
        address, source = self._address(stated, source)
        if source.ref and source.path is None and not source.chart:
            return  # only for the values files of others
        mount = self._mount(address, source)
        folder = self._folder(source, address, mount)
        if address is not None and not mount:
            yield Part(_elsewhere(source, folder), address.url, address.revision)
            return
        tool = self._detected(stated, source, folder)
        if isinstance(tool, Chart):
            yield Part(self._chart(stated, source, folder, tool, refs))
        elif isinstance(tool, Overlay):
            yield Part(self._overlay(source, folder, tool))
        elif isinstance(tool, Files):
            yield from self._files(source, folder, tool)

    # --- where it is -------------------------------------------------------------------------------

    def _address(self, stated: Stated, source: Source) -> tuple[Address | None, Source]:
        """Where a source is, None for this repository, and the source with what its provision says."""
        at = source.at
        seen: set[Named] = set()
        while isinstance(at, Named):
            found = self._known.get((at.kind, at.namespace, at.name))
            if found is None or at in seen:
                there = ", ".join(sorted(n for k, _, n in self._known if k == at.kind)) or "none"
                message = f"{stated.origin} is made from {at} of namespace {at.namespace}, which is not stated here"
                raise _Unserved(source.place, message, f"State it in this repository; there is: {there}.")
            seen.add(at)
            if found.chart and isinstance(source.tool, Chart):
                files, missing = found.values_files, found.ignore_missing
                tool = structs.replace(
                    source.tool, values_files=files, whole_values=bool(files), ignore_missing=missing
                )
                source = structs.replace(source, chart=found.chart, version=found.version, tool=tool)
            at = found.address
        if at.system == "git" and (same(at.url) in self._in.own or (not self._in.own and self._here(source))):
            return None, source
        return at, source

    def _mount(self, address: Address | None, source: Source) -> str:
        return "" if address is None else self._in.mounts.get(_away(address, source), "")

    def _here(self, source: Source) -> bool:
        """Whether a folder without a remote holds what the source names."""
        folder = _inside(source.path or source.chart or "")
        return folder is not None and self._in.folders.is_folder(folder)

    def _folder(self, source: Source, address: Address | None, mount: str) -> str:
        in_git = address is None or address.system == "git"
        told = source.path if source.path is not None else source.chart if in_git else ""
        folder = _inside(told or "")
        if folder is None:
            raise _Unserved(source.place, f"{told} leads out of the repository", "Name a folder within it.")
        folder = joined(mount, folder) if mount else folder
        if (address is None or mount) and not self._in.folders.is_folder(folder):
            near = ", ".join(
                name for name, mode, _ in self._in.folders.listing(posixpath.dirname(folder)) if mode == 0o040000
            )
            message = f"there is no folder {folder} in this commit"
            raise _Unserved(
                source.place, message, f"Name one from the root of the repository; beside it are: {near or 'none'}."
            )
        return folder

    def _detected(self, stated: Stated, source: Source, folder: str) -> Chart | Overlay | Files:
        if not isinstance(source.tool, Detected):
            return source.tool
        if self._exists(joined(folder, "Chart.yaml")):
            return Chart(release=stated.origin.name, namespace=stated.destination.namespace)
        if any(self._exists(joined(folder, name)) for name in KUSTOMIZATIONS):
            return Overlay(edit=_NO_EDIT)
        return Files()

    def _exists(self, path: str) -> bool:
        return path in self._in.folders.tree

    # --- how it is rendered ------------------------------------------------------------------------

    def _chart(self, stated: Stated, source: Source, folder: str, tool: Chart, refs: Mapping[str, Source]) -> Helm:
        if not self._exists(joined(folder, "Chart.yaml")):
            raise _Unserved(source.place, f"{folder or '.'} holds no Chart.yaml", "Name the folder of a chart.")
        files = [
            path for name in tool.values_files for path in self._values_file(stated, source, folder, tool, name, refs)
        ]
        own = joined(folder, "values.yaml")
        if tool.whole_values:
            if self._exists(own) and files[:1] != [own]:
                message = f"valuesFiles stand in the place of the chart's own values.yaml, which {folder} has besides"
                raise _Unserved(source.place, message, f"List {own} first, so that both mean the same.")
            files = [path for path in files if path != own]
        values = self._with_held(source, tool.from_objects, tool.values)
        text = values if isinstance(values, str) else msgspec.json.encode(values).decode() if values is not None else ""
        return Helm(
            path=folder, release=tool.release, namespace=tool.namespace or "default", values_files=tuple(files),
            values=text, set=tool.set, set_string=tool.set_string,
            set_file=tuple(f"{one.name}={self._relative(source, folder, one.value)}" for one in tool.set_file),
            kube_version=tool.kube_version, api_versions=tool.api_versions, skip_crds=tool.skip_crds,
            skip_schema=tool.skip_schema, skip_tests=tool.skip_tests,
        )  # fmt: skip

    def _values_file(
        self, stated: Stated, source: Source, folder: str, tool: Chart, name: str, refs: Mapping[str, Source]
    ) -> Iterator[str]:
        if re.match(r"[a-z]+://", name):
            raise _Unserved(
                source.place, f"values file {name} is remote and is not fetched", "Keep it in the repository."
            )
        if name.startswith("$"):
            ref, _, inside = name[1:].partition("/")
            if ref not in refs:
                raise _Unserved(source.place, f"no source has the ref {ref} that {name} names", "Give one `ref:`.")
            address, other = self._address(stated, refs[ref])
            mount = self._mount(address, other)
            if address is not None and not mount:
                message = f"{name} is in another repository, which is not read for values"
                raise _Unserved(source.place, message, "Keep the values in this repository.")
            path = joined(mount, self._relative(source, "", "/" + inside))
        else:
            in_root = tool.whole_values and not folder.startswith(BESIDE)
            path = self._relative(source, "" if in_root else folder, name)
        if any(letter in path for letter in "*?["):
            found = sorted(p for p in self._in.folders.tree if matches(path, p, "/"))
        else:
            found = [path] if self._exists(path) or not tool.ignore_missing else []
        yield from found

    def _relative(self, source: Source, folder: str, name: str) -> str:
        path = _inside(name) if name.startswith("/") else _inside(joined(folder, name))
        if path is None:
            raise _Unserved(source.place, f"{name} leads out of the repository", "Name a file within it.")
        return path

    def _overlay(self, source: Source, folder: str, tool: Overlay) -> Kustomize:
        held: dict[str, str] = {}
        for one in tool.from_objects:
            held |= self._held(source, one) or {}
        variables = {**{k: v.replace("\n", "") for k, v in held.items()}, **tool.edit.variables}
        edit = structs.replace(tool.edit, variables=variables)
        return Kustomize(path=folder, restrict=tool.restrict, edit=None if edit == _NO_EDIT else edit)

    def _with_held(self, source: Source, listed: Iterable[ValuesFrom], values: Json) -> Json:
        merged: Json = None
        for one in listed:
            held = self._held(source, one)
            if held is None:
                continue
            if one.key not in held:
                if one.optional:
                    continue
                message = f"{one.kind.lower()}/{one.name} holds no {one.key}"
                raise _Unserved(source.place, message, f"It has: {', '.join(held) or 'nothing'}.")
            if one.target:
                merged = over(merged, self._placed(source, one, held[one.key]))
                continue
            try:
                bodies = [doc.body for doc in documents(held[one.key].encode(), f"{one.name}:{one.key}")]
            except YamlFault as fault:
                raise _Unserved(source.place, f"{one.name}, {one.key}: {fault.message}", fault.fix) from fault
            merged = over(merged, bodies[0] if bodies else None)
        return over(merged, values) if merged is not None else values

    def _placed(self, source: Source, one: ValuesFrom, text: str) -> Json:
        """A mapping with one value at a path. Source: helm-controller v1.6.5, docs/spec/v2, "Values references"."""
        quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
        if "[" in one.target or (not one.literal and not quoted and any(letter in text for letter in ",{}=\\\n")):
            message = f"{one.kind.lower()}/{one.name}: its {one.key} at {one.target} is a list, or would be read as one"
            raise _Unserved(source.place, message, "Let the key hold a mapping of values, or write `literal: true`.")
        value: Json = text if one.literal else text[1:-1] if quoted else typed(text)
        for name in reversed([part.replace("\\.", ".") for part in re.split(r"(?<!\\)\.", one.target)]):
            value = {name: value}
        return value

    def _held(self, source: Source, one: ValuesFrom) -> Mapping[str, str] | None:
        found = self._in.held(one)
        if found is None and not one.optional:
            message = (
                f"{one.kind.lower()}/{one.name} of namespace {one.namespace} is not stated readable in this repository"
            )
            raise _Unserved(source.place, message, "State it here, or mark the reference `optional: true`.")
        return found

    def _files(self, source: Source, folder: str, tool: Files) -> Iterator[Part]:
        named = [path for path, mode, _ in self._in.folders.below(folder) if mode in (0o100644, 0o100755)]
        chosen = [
            path for path in named
            if (tool.recurse or "/" not in path)
            and (not tool.include or matches(tool.include, path))
            and not (tool.exclude and matches(tool.exclude, path))
        ]  # fmt: skip
        whole = [joined(folder, path) for path in chosen]
        plain = tuple(sorted(path for path in whole if path.endswith(_MANIFESTS) and self._in.is_manifest(path)))
        if plain:
            yield Part(Plain(paths=plain))
        for path in (p for p in whole if p.endswith(".jsonnet")):
            yield Part(
                Jsonnet(
                    path=path, libraries=tuple(self._relative(source, "", lib) for lib in tool.libraries),
                    external_text=tool.external_text, external_code=tool.external_code,
                    top_text=tool.top_text, top_code=tool.top_code,
                )
            )  # fmt: skip


def typed(text: str) -> Json:
    """A value as `helm --set` types it. Source: helm v4.2.4, pkg/strvals/parser.go typedVal."""
    known: dict[str, Json] = {"true": True, "false": False, "null": None}
    if text.lower() in known:
        return known[text.lower()]
    whole = text == "0" or (text[:1] != "0" and re.fullmatch(r"[+-]?[0-9]{1,19}", text) is not None)
    return int(text) if whole and -(1 << 63) <= int(text) < 1 << 63 else text


def over(below: Json, above: Json) -> Json:
    """Values over others, as Helm merges them: mappings key by key, anything else as a whole."""
    if isinstance(below, dict) and isinstance(above, dict):
        return {**below, **{k: over(below[k], v) if k in below else v for k, v in above.items()}}
    return below if above is None else above


def _inside(path: str) -> str | None:
    """A path from the root of the repository, None when it leads out of it."""
    clean = posixpath.normpath("/" + path.lstrip("/"))[1:] if not path.startswith("../") else ".."
    depth = 0
    for part in path.split("/"):
        depth += -1 if part == ".." else 0 if part in ("", ".") else 1
        if depth < 0:
            return None
    return clean


def _away(address: Address, source: Source) -> Away:
    return Away(address, source.chart, source.version) if address.system != "git" else Away(address)


def _elsewhere(source: Source, folder: str) -> Kustomize | Helm:
    if isinstance(source.tool, Chart):
        values = source.tool.values
        text = values if isinstance(values, str) else msgspec.json.encode(values).decode() if values is not None else ""
        return Helm(path=source.chart or folder, release=source.tool.release, values=text)
    return Kustomize(path=folder)


def _not_permitted(project: Project, stated: Stated) -> Iterator[Finding]:
    """What a project that is stated here does not allow of an application."""
    at = stated.destination
    server, name = (at.server, at.name) if at.server or at.name else (IN_CLUSTER_URL, IN_CLUSTER)
    refused = [
        (source.place, source.at.url)
        for source in stated.sources
        if isinstance(source.at, Address) and not permits_source(project, source.at.url)
    ]
    if not permits_destination(project, server, name, at.namespace):
        refused.append((stated.place, f"namespace {at.namespace or '(none)'} of {name or server}"))
    for place, what in refused:
        message = f"project {project.origin.name} ({project.place}) does not permit {what} to {stated.origin}"
        fix = "Permit it there, or name another project."
        yield Finding(Severity.ERROR, "definition-not-permitted", place, shown(message), fix)


def _other_cluster(stated: Stated, destination: Destination) -> Finding:
    told = destination.name or destination.server
    return Finding(
        Severity.ERROR, "definition-not-served", stated.place,
        shown(f"{stated.origin} belongs to the cluster {told}, and only the one that Trueup runs for is served"),
        "Name https://kubernetes.default.svc or in-cluster, or keep this application with its own tool.",
    )  # fmt: skip


def _none(stated: Stated) -> Finding:
    return Finding(
        Severity.ERROR, "definition-not-served", stated.place, shown(f"{stated.origin} states no source"),
        "Write `source:` or `sources:`.",
    )  # fmt: skip
