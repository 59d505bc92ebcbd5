"""What other products' definitions say should run, as records that know no product. Only records and their names.

A driver reads a product's resources into these; `core.resolve` makes of them what Trueup runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from msgspec import Struct

from trueup.core.model import Finding, Json, Place
from trueup.core.origin import Origin
from trueup.core.project import Project
from trueup.core.render import Edit, Pair


class Address(Struct, frozen=True):
    """Where something is to be had. `system` is "git", "helm", "oci" or "bucket"; `revision` as it is stated."""

    system: str
    url: str
    revision: str = ""


class Named(Struct, frozen=True):
    """An address that another resource states."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind.lower()}/{self.name}"


class Detected(Struct, frozen=True, kw_only=True, tag="detected"):
    """Whatever the folder holds: a chart, a kustomization, else files."""


class Files(Struct, frozen=True, kw_only=True, tag="files"):
    """A folder of files: manifests and Jsonnet. `include` and `exclude` are patterns over paths from the folder."""

    recurse: bool = False
    include: str = ""
    exclude: str = ""
    libraries: tuple[str, ...] = ()
    external_text: tuple[Pair, ...] = ()
    external_code: tuple[Pair, ...] = ()
    top_text: tuple[Pair, ...] = ()
    top_code: tuple[Pair, ...] = ()


class Overlay(Struct, frozen=True, kw_only=True, tag="overlay"):
    """A kustomization with what is said over it. `from_objects`: variables from ConfigMaps and Secrets, in order,
    before those of `edit`."""

    edit: Edit
    restrict: bool = True
    from_objects: tuple[ValuesFrom, ...] = ()


class Chart(Struct, frozen=True, kw_only=True, tag="chart"):
    """A Helm chart with its values. `values_files` are as stated; `whole_values`: they stand in the place of the
    chart's own values.yaml rather than over it."""

    release: str
    namespace: str = ""
    values_files: tuple[str, ...] = ()
    whole_values: bool = False
    ignore_missing: bool = False
    from_objects: tuple[ValuesFrom, ...] = ()
    values: Json = None
    set: tuple[str, ...] = ()
    set_string: tuple[str, ...] = ()
    set_file: tuple[Pair, ...] = ()
    kube_version: str = ""
    api_versions: tuple[str, ...] = ()
    skip_crds: bool = False
    skip_schema: bool = False
    skip_tests: bool = False


class ValuesFrom(Struct, frozen=True):
    """Values that a ConfigMap or Secret holds. `key` "" is all of its keys; `target` is the path that the key's text is
    the value of, typed as Helm's `--set` types it unless `literal`."""

    kind: str
    namespace: str
    name: str
    key: str = ""
    optional: bool = False
    target: str = ""
    literal: bool = False


Tool: TypeAlias = Detected | Files | Overlay | Chart


class Source(Struct, frozen=True, kw_only=True):
    """One thing to render. With `chart` it is that chart of a repository of charts, else the folder `path`. `ref` names
    the source for values files of the others; one with nothing else to render has no `path`."""

    at: Address | Named
    place: Place
    path: str | None = None
    chart: str = ""
    version: str = ""  # of the chart, a range of them
    ref: str = ""
    tool: Tool = Detected()


class Destination(Struct, frozen=True):
    """`server` or `name` is the cluster, both "" the one that everything runs in."""

    server: str = ""
    name: str = ""
    namespace: str = ""


class Stated(Struct, frozen=True, kw_only=True):
    """An application as a definition states it. `told` is what `trueup inspect` says besides: how it is synced."""

    origin: Origin
    place: Place
    sources: tuple[Source, ...]
    destination: Destination = Destination()
    project: str = ""
    depends_on: tuple[Named, ...] = ()
    suspended: bool = False
    told: Mapping[str, Json] = {}


class Generator(Struct, frozen=True, kw_only=True):
    """A resource that makes applications. `body` is the whole of it, for its driver to make them from."""

    origin: Origin
    place: Place
    body: Json
    inputs: tuple[str, ...] = ()  # what it is made from: "git directories", "list", …


class Provision(Struct, frozen=True, kw_only=True):
    """A resource that states an address for others. `chart` and `values_files` are a HelmChart's."""

    origin: Origin
    place: Place
    address: Address | Named
    chart: str = ""
    version: str = ""
    values_files: tuple[str, ...] = ()
    ignore_missing: bool = False


class Aside(Struct, frozen=True, kw_only=True):
    """A resource that neither runs anything nor says where it is: an alert, a receiver, an image policy."""

    origin: Origin
    place: Place
    refers: tuple[Named, ...] = ()
    told: Mapping[str, Json] = {}


Definition: TypeAlias = Stated | Generator | Provision | Project | Aside


class Read(Struct, frozen=True):
    """One resource read. `different` are the fields that are served differently, each with how."""

    definition: Definition
    different: tuple[tuple[str, str], ...] = ()


class Definitions(Struct, frozen=True):
    """Every definition of a tree, and what is wrong with them."""

    read: tuple[Read, ...] = ()
    findings: tuple[Finding, ...] = ()

    @property
    def applications(self) -> tuple[Stated, ...]:
        return tuple(one.definition for one in self.read if isinstance(one.definition, Stated))

    @property
    def generators(self) -> tuple[Generator, ...]:
        return tuple(one.definition for one in self.read if isinstance(one.definition, Generator))

    @property
    def provisions(self) -> tuple[Provision, ...]:
        return tuple(one.definition for one in self.read if isinstance(one.definition, Provision))

    @property
    def projects(self) -> tuple[Project, ...]:
        return tuple(one.definition for one in self.read if isinstance(one.definition, Project))

    @property
    def asides(self) -> tuple[Aside, ...]:
        return tuple(one.definition for one in self.read if isinstance(one.definition, Aside))
