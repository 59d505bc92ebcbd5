"""`trueup render`: print the objects that a folder states, as they would be applied. Offline; nothing is changed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import click
import msgspec
from msgspec import Struct

from trueup.cli import defined, exits
from trueup.cli.common import layout, run
from trueup.cli.errors import Away, Stop, Unknown
from trueup.core.application import Plain
from trueup.core.model import Json, Oid, Place, Severity
from trueup.core.objects import Malformed, order, ref_of
from trueup.core.render import Asked, Folders, Helm, Jsonnet, Kustomize, Pair
from trueup.core.render import Output as Rendered
from trueup.core.renderyaml import yaml_documents
from trueup.core.sealed import sealed_paths
from trueup.drivers.definitions.convention import is_manifest, wanted
from trueup.drivers.definitions.roots import release
from trueup.drivers.renderers import plain
from trueup.drivers.renderers.program import WORKER_UID, find
from trueup.drivers.renderers.recognise import Kind, Unclear, recognise
from trueup.drivers.renderers.worker import Given, Limits, RendererDown, RenderFailed, Workers
from trueup.drivers.sources import folder
from trueup.engine.study import find as find_in

MANIFESTS = (".yaml", ".yml", ".json")


class Options(Struct, frozen=True, kw_only=True):
    release: str = ""
    namespace: str = "default"
    values: tuple[str, ...] = ()
    set: tuple[str, ...] = ()
    set_string: tuple[str, ...] = ()
    set_file: tuple[str, ...] = ()
    kube_version: str = ""
    library: tuple[str, ...] = ()
    ext_str: tuple[str, ...] = ()
    ext_code: tuple[str, ...] = ()
    unrestricted: bool = False


@click.command()
@click.argument("path", default=".")
@click.option("--release", metavar="NAME", default="", help="Helm: the release's name. [default: the chart's]")
@click.option("--namespace", "-n", default="default", show_default=True, help="Helm: the release's namespace.")
@click.option("--values", "-f", metavar="FILE", multiple=True, help="Helm: a values file; later ones win.")
@click.option("--set", "set_", metavar="KEY=VALUE", multiple=True, help="Helm: one value.")
@click.option("--set-string", metavar="KEY=VALUE", multiple=True, help="Helm: one value, always a text.")
@click.option("--set-file", metavar="KEY=FILE", multiple=True, help="Helm: one value, the content of a file.")
@click.option("--kube-version", metavar="VERSION", default="", help="Helm: the version of Kubernetes templates see.")
@click.option("--library", "-J", metavar="DIR", multiple=True, help="Jsonnet: a library folder; later ones win.")
@click.option("--ext-str", metavar="NAME=TEXT", multiple=True, help="Jsonnet: an external variable.")
@click.option("--ext-code", metavar="NAME=CODE", multiple=True, help="Jsonnet: an external variable, as an expression.")
@click.option("--unrestricted", is_flag=True, help="Kustomize: files from outside of a kustomization's own folder too.")
@click.option(
    "--output", "-o", type=click.Choice(["yaml", "json"]), default="yaml", help="How to print. [default: yaml]"
)
def render(path: str, output: str, set_: tuple[str, ...], **given: object) -> None:
    """Print exactly what a folder or an application states: every object, in the order of its application.

    PATH holds a kustomization, a Helm chart or plain manifests, or is a Jsonnet file; without such a file or folder it
    is the name of an application that Argo CD's or Flux's resources state here (`trueup inspect` lists them), printed
    as that product would apply it, with what it is made from elsewhere. Files are read as they stand, without what Git
    ignores. For a PATH no network is reached; a chart's dependencies must be in its charts/ folder. Hooks of a chart
    come last. The root of a repository that holds neither is what `trueup up` would apply: what trueup.yaml names, or
    the only kustomization or chart in it.

    \b
    Examples:
      trueup render
      trueup render overlays/prod
      trueup render charts/shop --values prod.yaml --set image.tag=7
      trueup render main.jsonnet -J vendor --ext-str tag=1.0
      trueup render kustomization/apps
      trueup render config --output json | jq '.items[].kind'
    """
    options = msgspec.convert({**given, "set": set_}, Options)
    if Path(path).exists():
        bodies, said = run(objects(Path(path), options, os.environ.get("TRUEUP_RENDER", "")))
    elif options != Options():
        raise Stop(f"{path} is no file or folder, and what an application is rendered with stands in its definition")
    else:
        bodies, said = run(defined.objects(layout(None), _root(Path()), path))
    if output == "json":
        listed = {"apiVersion": "v1", "kind": "List", "items": bodies}
        click.echo(msgspec.json.format(msgspec.json.encode(listed, order="sorted"), indent=2).decode())
    else:
        sys.stdout.write(yaml_documents(bodies))
    for line in said:
        click.echo(f"trueup: warning: {line}", err=True)


async def objects(path: Path, options: Options, program: str) -> tuple[list[Json], tuple[str, ...]]:
    """The bodies under `path` in their order, and what to warn about. Raises Stop."""
    root = _root(path)
    files = _Files(root)
    inside = _inside(root, path)
    try:
        kind = recognise(files.folders, inside)
    except Unclear as error:
        raise Unknown(str(error)) from error
    asked = _application(files, root) if kind is Kind.PLAIN and not inside else None
    if asked is not None and options != Options():
        raise Stop(f"{asked.path} is what runs here: name it, and the options are for it", exits.USAGE)
    if asked is None:
        if kind is Kind.PLAIN:
            return _plain(files, inside)
        asked = _asked(kind, root, inside, options)
    rendered = await _rendered(files, asked, program)
    bodies = _ordered((o.origin or inside, body) for o in rendered.objects for body in _flat(o.body))
    warnings = [f"{w.place}: {w.message}. {w.fix}" for w in rendered.warnings]
    warnings += [f"{name}: gives something else each time it is rendered" for name in rendered.differs]
    warnings += [
        f"{kind_and_name(body)}: encrypted by SOPS, and printed as it stands in Git; it is applied in the clear"
        for body in bodies
        if any(True for _ in sealed_paths(body))
    ]
    return [*bodies, *(hook.body for hook in rendered.hooks)], tuple(warnings)


def _application(files: _Files, root: Path) -> Asked | None:
    """What the repository is said to run, by convention or by its trueup.yaml, when that is to be rendered. Raises Stop
    when it cannot be told."""
    tree = files.folders.tree
    found, _, wrong = find_in(tree, {tree[path].oid: files.read(path) for path in wanted(tree)}, root.name)
    errors = [f for f in (*wrong, *found.findings) if f.severity is Severity.ERROR]
    if errors:
        raise Stop("\n".join(f"{f.place}: {f.message}. {f.fix}" for f in errors))
    specs = (part.spec for application in found.applications for part in application.parts)
    return next((spec for spec in specs if not isinstance(spec, Plain)), None)


async def _rendered(files: _Files, asked: Asked, named: str) -> Rendered:
    program = find(named)
    if program is None:
        raise Away(f"no render worker{f' at {named}' if named else ''}: build it with `make render` (needs Go 1.26)")
    async with Workers(program, size=1, limits=Limits(uid=WORKER_UID)) as workers:
        try:
            return await workers.render(asked, Given("folder", files.folders, files.blobs))
        except RenderFailed as error:
            raise Stop(str(error)) from error
        except RendererDown as error:
            raise Away(str(error)) from error


class _Files:
    """A folder on disk as a tree; contents are read when they are asked for."""

    def __init__(self, root: Path) -> None:
        tree, _ = folder.read(root, lambda _: ())
        self.root, self.folders = root, Folders(tree)
        self._paths = {entry.oid: path for path, entry in tree.items()}

    async def blobs(self, oids: Sequence[Oid]) -> Mapping[Oid, bytes]:
        return {oid: self.read(self._paths[oid]) for oid in oids if oid in self._paths}

    def read(self, path: str) -> bytes:
        try:
            return (self.root / path).read_bytes()
        except OSError as error:
            raise Away(f"cannot read {self.root / path}: {error.strerror}") from error


def _root(path: Path) -> Path:
    """The repository that holds `path`; without one, the folder itself, or the current one when that holds it."""
    if not path.exists():
        raise Unknown(f"{path}: no such file or folder")
    here = (path if path.is_dir() else path.parent).resolve()
    asked = ["git", "-C", str(here), "rev-parse", "--show-toplevel"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=30)
    if done.returncode == 0 and done.stdout.strip():
        return Path(done.stdout.strip())
    current = Path.cwd()
    return current if here.is_relative_to(current) else here


def _inside(root: Path, path: Path) -> str:
    try:
        inside = path.resolve().relative_to(root.resolve()).as_posix()
    except ValueError:
        raise Stop(f"{path} lies outside of {root}", exits.USAGE) from None
    return "" if inside == "." else inside


def _asked(kind: Kind, root: Path, inside: str, options: Options) -> Asked:
    if kind is Kind.KUSTOMIZE:
        return Kustomize(path=inside, restrict=not options.unrestricted)
    if kind is Kind.HELM:
        return Helm(
            path=inside,
            release=options.release or _release(root, inside),
            namespace=options.namespace,
            values_files=tuple(_inside(root, Path(file)) for file in options.values),
            set=options.set,
            set_string=options.set_string,
            set_file=tuple(_file_value(root, one) for one in options.set_file),
            kube_version=options.kube_version,
        )
    return Jsonnet(
        path=inside,
        libraries=tuple(_inside(root, Path(one)) for one in options.library),
        external_text=tuple(_pair(one) for one in options.ext_str),
        external_code=tuple(_pair(one) for one in options.ext_code),
    )


def _release(root: Path, inside: str) -> str:
    """As the loop calls it: the chart's own name."""
    try:
        chart = (root / inside / "Chart.yaml").read_bytes()
    except OSError:
        chart = b""
    return release(chart, inside, root.name)


def _file_value(root: Path, text: str) -> str:
    pair = _pair(text)
    return f"{pair.name}={_inside(root, Path(pair.value))}"


def _pair(text: str) -> Pair:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise Stop(f"{text!r} is not of the form NAME=VALUE", exits.USAGE)
    return Pair(name, value)


def _plain(files: _Files, inside: str) -> tuple[list[Json], tuple[str, ...]]:
    """The bodies, and which files are not printed because they are encrypted."""
    tree = files.folders.tree
    prefix = inside + "/" if inside else ""
    named = [inside] if inside in tree else [p for p in tree if p.startswith(prefix) and p.endswith(MANIFESTS)]
    contents = {tree[path].oid: files.read(path) for path in named}
    paths = [path for path in named if path == inside or is_manifest(path, contents[tree[path].oid])]
    rendered = plain.render(tree, contents, paths)
    errors = [f for f in rendered.findings if f.severity is Severity.ERROR]
    if errors:
        raise Stop("\n".join(f"{f.place}: {f.message}. {f.fix}" for f in errors))
    sealed = tuple(
        f"{f.place}: encrypted by SOPS, and not printed; `trueup up` applies it"
        for f in rendered.findings
        if f.rule == plain.NOT_READ
    )
    if not rendered.objects and not sealed:
        raise Unknown(f"{inside or '.'} holds no kustomization, no chart and no manifest")
    return _ordered((str(one.place), one.body) for one in rendered.objects), sealed


def kind_and_name(body: Json) -> str:
    try:
        return str(ref_of(body))
    except Malformed:
        return "an object"


def _flat(body: Json) -> Iterable[Json]:
    if isinstance(body, dict) and body.get("kind") == "List" and isinstance(body.get("items"), list):
        for item in body["items"]:
            yield from _flat(item)
    else:
        yield body


def _ordered(placed: Iterable[tuple[str, Json]]) -> list[Json]:
    """In the order in which they are applied. Raises Stop for what is no object."""
    found = []
    for place, body in placed:
        try:
            found.append((order(ref_of(body)), body))
        except Malformed as fault:
            raise Stop(f"{Place(place)}: {fault.message}. {fault.fix}") from fault
    return [body for _, body in sorted(found, key=lambda pair: pair[0])]
