"""From an ApplicationSet to the Applications that it makes. Templates are filled in by the render worker.

Source: Argo CD v3.5.7, applicationset/generators and docs/operator-manual/applicationset.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from msgspec import Struct

from trueup.core.definition import Generator
from trueup.core.manifests import Manifest
from trueup.core.model import Finding, Json, Severity
from trueup.core.objects import Malformed, dig, make_object
from trueup.core.params import (
    Params,
    Unfit,
    chosen_files,
    chosen_folders,
    combined,
    filled_from,
    merge_all,
    of_file,
    of_folder,
    patched,
    selected,
)
from trueup.core.project import IN_CLUSTER, IN_CLUSTER_URL
from trueup.core.render import FOLDER, Folders, Texts
from trueup.core.resolve import same
from trueup.core.text import shown
from trueup.core.yamldoc import Doc, Node, YamlFault, documents
from trueup.ports import Given, Renderer, RenderFailed

MOST = 10_000  # applications of one set
FINALIZER = "resources-finalizer.argocd.argoproj.io"


class Made(Struct, frozen=True):
    manifests: tuple[Manifest, ...] = ()
    findings: tuple[Finding, ...] = ()


async def applications(stated: Generator, given: Given, own: frozenset[str], renderer: Renderer) -> Made:
    """The Applications of one set; none with a finding when something of it cannot be had."""
    work = _Set(stated, given, own, renderer)
    try:
        bodies = await work.all()
        return Made(tuple(_manifest(stated, body) for body in bodies))
    except (Unfit, Malformed) as error:
        return Made((), (_finding(stated, str(error)),))
    except RenderFailed as fault:
        return Made((), (_finding(stated, fault.message, fault.fix),))


def _finding(stated: Generator, message: str, fix: str = "") -> Finding:
    told = shown(f"{stated.origin}: {message}")
    return Finding(
        Severity.ERROR, "definition-not-served", stated.place, told, fix or "Mend the generator or template."
    )


def _manifest(stated: Generator, body: Json) -> Manifest:
    place = stated.place
    doc = Doc(place.file, b"", Node(body, place.line, place.column))
    return Manifest(make_object(body, place, namespace=stated.origin.namespace), doc)


class _Set:
    def __init__(self, stated: Generator, given: Given, own: frozenset[str], renderer: Renderer) -> None:
        spec = stated.body["spec"]
        self._origin, self._spec, self._given, self._own, self._renderer = stated.origin, spec, given, own, renderer
        self._nested = bool(spec.get("goTemplate"))
        self._options = tuple(spec.get("goTemplateOptions") or ())

    async def all(self) -> list[Json]:
        bodies: list[Json] = []
        for generator in self._spec.get("generators") or ():
            if len(bodies) > MOST:
                raise Unfit(f"it makes more than {MOST} applications")
            for kind in _kinds(generator):
                template = filled_from(dig(generator, (kind, "template")), self._spec.get("template") or {})
                bodies += await self._bodies(template, await self._params(generator, kind))
        names = Counter(str(dig(body, ("metadata", "name"))) for body in bodies)
        if twice := next((name for name, count in names.items() if count > 1), None):
            raise Unfit(f"it makes the application {twice} more than once: let the name hold what tells them apart")
        return bodies

    async def _bodies(self, template: Json, params: Sequence[Params]) -> list[Json]:
        filled = await self._fill(template, params)
        patches = await self._patches(params)
        return [self._body(patched(one, patch)) for one, patch in zip(filled, patches, strict=True)]

    async def _patches(self, params: Sequence[Params]) -> list[Json]:
        text = self._spec.get("templatePatch")
        if not text:
            return [{} for _ in params]
        patches = [_yaml(one) or {} for one in await self._fill(text, params)]
        if not all(isinstance(one, dict) for one in patches):
            raise Unfit("its templatePatch gives no mapping")
        return patches

    def _body(self, made: Json) -> Json:
        told = made.get("metadata") or {}
        if not isinstance(told, dict) or not isinstance(made.get("spec") or {}, dict):
            raise Unfit("its template and templatePatch give no Application")
        metadata = {k: told[k] for k in ("name", "labels", "annotations", "finalizers") if told.get(k)}
        keeps = dig(self._spec, ("syncPolicy", "preserveResourcesOnDeletion"))
        if "finalizers" not in metadata and not keeps:
            metadata["finalizers"] = [FINALIZER]
        metadata["namespace"] = self._origin.namespace
        return {
            "apiVersion": "argoproj.io/v1alpha1", "kind": "Application",
            "metadata": metadata, "spec": made.get("spec") or {},
        }  # fmt: skip

    async def _fill(self, body: Json, params: Sequence[Params], options: tuple[str, ...] | None = None) -> list[Json]:
        if not params:
            return []
        asked = Texts(
            path=str(self._origin), body=body, params=tuple(params), go_template=self._nested,
            options=self._options if options is None else options,
        )  # fmt: skip
        output = await self._renderer.render(asked, Given("", _NOTHING, self._given.blobs))
        return [made.body for made in output.objects]

    # --- generators --------------------------------------------------------------------------------

    async def _params(self, generator: Json, kind: str) -> list[Params]:
        stated = generator[kind] or {}
        match kind:
            case "list":
                found = self._list(stated)
            case "git":
                found = await self._git(stated)
            case "clusters":
                found = await self._clusters(stated)
            case "matrix":
                found = await self._matrix(stated)
            case "merge":
                sets = [await self._inner(one) for one in stated.get("generators") or ()]
                if len(sets) < 2:
                    raise Unfit("a merge needs two generators or more")
                found = merge_all(stated.get("mergeKeys") or (), sets, self._nested)
            case _:
                raise Unfit(f"the {kind} generator is not served")
        return [params for params in found if selected(params, generator.get("selector"))]

    async def _inner(self, generator: Json) -> list[Params]:
        kinds = _kinds(generator)
        if len(kinds) != 1:
            raise Unfit(f"a generator within another one is one generator, and this is {len(kinds)}")
        return await self._params(generator, kinds[0])

    def _list(self, stated: Json) -> list[Params]:
        more = _yaml(stated.get("elementsYaml") or "") or []
        if not isinstance(more, list) or not all(isinstance(one, dict) for one in more):
            raise Unfit("elementsYaml holds no list of mappings")
        elements = [*(stated.get("elements") or ()), *more]
        if self._nested:
            return [dict(one) for one in elements]
        found: list[Params] = []
        for one in elements:
            inner = one.get("values") or {}
            if not isinstance(inner, dict):
                raise Unfit("values of an element of a list are no mapping")
            values = {f"values.{k}": v for k, v in inner.items()}
            params = {**{k: v for k, v in one.items() if k != "values"}, **values}
            if wrong := next((k for k, v in params.items() if not isinstance(v, str)), None):
                raise Unfit(f"{wrong} of an element of a list is no text: quote it, or use goTemplate")
            found.append(params)
        return found

    async def _clusters(self, stated: Json) -> list[Params]:
        """Only the cluster that everything runs in is known; it has no labels, so no selector finds it."""
        if any(dig(stated, ("selector", key)) for key in ("matchLabels", "matchExpressions")):
            return []
        local = {"name": IN_CLUSTER, "nameNormalized": IN_CLUSTER, "server": IN_CLUSTER_URL, "project": ""}
        found = [await self._with_values(local, stated)]
        return [{"clusters": found}] if stated.get("flatList") else found

    async def _matrix(self, stated: Json) -> list[Params]:
        generators: Sequence[Json] = stated.get("generators") or ()
        if len(generators) != 2:
            raise Unfit(f"a matrix has two generators, and this one has {len(generators)}")
        found: list[Params] = []
        for first in await self._inner(generators[0]):
            second = await self._interpolated(generators[1], first)
            found += [combined(first, params, self._nested) for params in await self._inner(second)]
            if len(found) > MOST:
                raise Unfit(f"a matrix of it makes more than {MOST} sets of parameters")
        return found

    async def _interpolated(self, generator: Json, params: Params) -> Json:
        """A generator with the other one's parameters put in; its values only where they are of those."""
        kinds = _kinds(generator)
        if len(kinds) != 1:
            raise Unfit(f"a generator within another one is one generator, and this is {len(kinds)}")
        kind = kinds[0]
        values = dig(generator, (kind, "values")) or {}
        bare = {**generator, kind: {k: v for k, v in generator[kind].items() if k != "values"}}
        (filled,) = await self._fill(bare, [params])
        options = (*(o for o in self._options if not o.startswith("missingkey=")), "missingkey=error")
        for name, text in values.items():
            try:
                (made,) = await self._fill(text, [params], options)
            except RenderFailed:
                made = text  # it is about parameters of the generator itself
            filled[kind].setdefault("values", {})[name] = made
        return filled

    async def _git(self, stated: Json) -> list[Params]:
        url = stated.get("repoURL") or ""
        if self._own and same(url) not in self._own:
            raise Unfit(f"its git generator reads {url}, and only this repository is read")
        prefix = stated.get("pathParamPrefix") or ""
        folders = [(one["path"], bool(one.get("exclude"))) for one in stated.get("directories") or ()]
        files = [(one["path"], bool(one.get("exclude"))) for one in stated.get("files") or ()]
        if folders:
            paths = chosen_folders(_folders(self._given.folders), folders)
            found = [of_folder(path, self._nested, prefix) for path in paths]
        else:
            found = await self._git_files(chosen_files(self._given.folders.tree, files), prefix)
        return [await self._with_values(params, stated) for params in found]

    async def _git_files(self, paths: Sequence[str], prefix: str) -> list[Params]:
        tree = self._given.folders.tree
        contents = await self._given.blobs(list(dict.fromkeys(tree[path].oid for path in paths))) if paths else {}
        found: list[Params] = []
        for path in paths:
            body = _yaml(contents[tree[path].oid].decode("utf-8", "replace"), path)
            for one in body if isinstance(body, list) else [body or {}]:
                if not isinstance(one, dict):
                    raise Unfit(f"{path} holds neither a mapping nor a list of mappings")
                found.append(of_file(path, one, self._nested, prefix))
        return found

    async def _with_values(self, params: Params, stated: Json) -> Params:
        values = stated.get("values") or {}
        if not values:
            return params
        (filled,) = await self._fill(list(values.values()), [params])
        made = dict(zip(values, filled, strict=True))
        return {**params, "values": made} if self._nested else {**params, **{f"values.{k}": v for k, v in made.items()}}


_NOTHING = Folders({})


def _kinds(generator: Json) -> tuple[str, ...]:
    return tuple(key for key, value in generator.items() if key != "selector" and value is not None)


def _folders(folders: Folders, path: str = "") -> list[str]:
    """Every folder below, hidden ones left out, in the order of a walk."""
    found: list[str] = []
    for name, mode, _ in folders.listing(path):
        if mode == FOLDER and not name.startswith("."):
            inner = f"{path}/{name}" if path else name
            found += [inner, *_folders(folders, inner)]
    return found


def _yaml(text: str, file: str = "template") -> Json:
    try:
        return next((doc.body for doc in documents(text.encode(), file)), None)
    except YamlFault as fault:
        raise Unfit(f"{fault.place}: {fault.message}") from fault
