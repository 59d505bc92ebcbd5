"""Argo CD's resources as they are written, field by field. Source: Argo CD v3.5.7, manifests/crds."""

from __future__ import annotations

from msgspec import Struct, field

from trueup.core.model import Json


class Target(Struct, frozen=True, rename="camel", kw_only=True):
    group: str = ""
    version: str = ""
    kind: str = ""
    name: str = ""
    namespace: str = ""
    label_selector: str = ""
    annotation_selector: str = ""


class Patch(Struct, frozen=True, rename="camel", kw_only=True):
    patch: str = ""
    path: str = ""
    options: dict[str, bool] = {}
    target: Target | None = None


class Replicas(Struct, frozen=True, rename="camel", kw_only=True):
    name: str
    count: int | str


class Kustomize(Struct, frozen=True, rename="camel", kw_only=True):
    name_prefix: str = ""
    name_suffix: str = ""
    namespace: str = ""
    images: tuple[str, ...] = ()
    components: tuple[str, ...] = ()
    ignore_missing_components: bool = False
    common_labels: dict[str, str] = {}
    common_annotations: dict[str, str] = {}
    label_without_selector: bool = False
    label_include_templates: bool = False
    force_common_labels: bool = False
    force_common_annotations: bool = False
    replicas: tuple[Replicas, ...] = ()
    patches: tuple[Patch, ...] = ()


class Parameter(Struct, frozen=True, rename="camel", kw_only=True):
    name: str = ""
    value: str = ""
    force_string: bool = False


class FileParameter(Struct, frozen=True, rename="camel", kw_only=True):
    name: str = ""
    path: str = ""


class Helm(Struct, frozen=True, rename="camel", kw_only=True):
    release_name: str = ""
    values: str = ""
    values_object: Json = None
    value_files: tuple[str, ...] = ()
    ignore_missing_value_files: bool = False
    kube_version: str = ""
    api_versions: tuple[str, ...] = ()
    namespace: str = ""
    skip_crds: bool = False
    skip_schema_validation: bool = False
    skip_tests: bool = False
    parameters: tuple[Parameter, ...] = ()
    file_parameters: tuple[FileParameter, ...] = ()


class Variable(Struct, frozen=True, rename="camel", kw_only=True):
    name: str
    value: str = ""
    code: bool = False


class Jsonnet(Struct, frozen=True, rename="camel", kw_only=True):
    ext_vars: tuple[Variable, ...] = ()
    tlas: tuple[Variable, ...] = ()
    libs: tuple[str, ...] = ()


class Directory(Struct, frozen=True, rename="camel", kw_only=True):
    recurse: bool = False
    include: str = ""
    exclude: str = ""
    jsonnet: Jsonnet = Jsonnet()


class Source(Struct, frozen=True, rename="camel", kw_only=True):
    repo_url: str = field(name="repoURL", default="")
    target_revision: str = ""
    path: str | None = None
    chart: str = ""
    ref: str = ""
    name: str = ""
    helm: Helm | None = None
    kustomize: Kustomize | None = None
    directory: Directory | None = None


class Destination(Struct, frozen=True, rename="camel", kw_only=True):
    server: str = ""
    name: str = ""
    namespace: str = ""


class Difference(Struct, frozen=True, rename="camel", kw_only=True):
    kind: str
    group: str = ""
    name: str = ""
    namespace: str = ""
    json_pointers: tuple[str, ...] = ()
    jq_path_expressions: tuple[str, ...] = ()
    managed_fields_managers: tuple[str, ...] = ()


class Info(Struct, frozen=True, rename="camel", kw_only=True):
    name: str
    value: str


class Automated(Struct, frozen=True, rename="camel", kw_only=True):
    enabled: bool | None = None
    prune: bool = False
    self_heal: bool = False
    allow_empty: bool = False


class Backoff(Struct, frozen=True, rename="camel", kw_only=True):
    duration: str = ""
    factor: int | None = None
    max_duration: str = ""


class Retry(Struct, frozen=True, rename="camel", kw_only=True):
    limit: int = 5
    refresh: bool = False
    backoff: Backoff = Backoff()


class NamespaceMetadata(Struct, frozen=True, rename="camel", kw_only=True):
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class SyncPolicy(Struct, frozen=True, rename="camel", kw_only=True):
    automated: Automated | None = None
    sync_options: tuple[str, ...] = ()
    retry: Retry | None = None
    managed_namespace_metadata: NamespaceMetadata | None = None


class ApplicationSpec(Struct, frozen=True, rename="camel", kw_only=True):
    project: str = "default"
    destination: Destination = Destination()
    source: Source | None = None
    sources: tuple[Source, ...] = ()
    ignore_differences: tuple[Difference, ...] = ()
    info: tuple[Info, ...] = ()
    revision_history_limit: int | None = None
    sync_policy: SyncPolicy | None = None


class Application(Struct, frozen=True, rename="camel", kw_only=True):
    spec: ApplicationSpec


class Resource(Struct, frozen=True, rename="camel", kw_only=True):
    group: str = ""
    kind: str = ""
    name: str = ""


class Kind(Struct, frozen=True, rename="camel", kw_only=True):
    group: str = ""
    kind: str = ""


class Role(Struct, frozen=True, rename="camel", kw_only=True):
    name: str
    description: str = ""
    groups: tuple[str, ...] = ()
    policies: tuple[str, ...] = ()


class Window(Struct, frozen=True, rename="camel", kw_only=True):
    kind: str = ""
    schedule: str = ""
    duration: str = ""
    time_zone: str = "UTC"
    applications: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    clusters: tuple[str, ...] = ()
    manual_sync: bool = False
    and_operator: bool = False
    sync_overrun: bool = False
    description: str = ""


class Orphaned(Struct, frozen=True, rename="camel", kw_only=True):
    warn: bool = False
    ignore: tuple[Resource, ...] = ()


class ProjectSpec(Struct, frozen=True, rename="camel", kw_only=True):
    description: str = ""
    source_repos: tuple[str, ...] = ()
    source_namespaces: tuple[str, ...] = ()
    destinations: tuple[Destination, ...] = ()
    cluster_resource_whitelist: tuple[Resource, ...] = ()
    cluster_resource_blacklist: tuple[Resource, ...] = ()
    namespace_resource_whitelist: tuple[Kind, ...] | None = None
    namespace_resource_blacklist: tuple[Kind, ...] = ()
    roles: tuple[Role, ...] = ()
    sync_windows: tuple[Window, ...] = ()
    orphaned_resources: Orphaned | None = None


class Project(Struct, frozen=True, rename="camel", kw_only=True):
    spec: ProjectSpec


class Expression(Struct, frozen=True, rename="camel", kw_only=True):
    key: str
    operator: str
    values: tuple[str, ...] = ()


class Selector(Struct, frozen=True, rename="camel", kw_only=True):
    match_labels: dict[str, str] = {}
    match_expressions: tuple[Expression, ...] = ()


class Template(Struct, frozen=True, rename="camel", kw_only=True):
    metadata: dict[str, Json] = {}
    spec: dict[str, Json] = {}


class List(Struct, frozen=True, rename="camel", kw_only=True):
    elements: tuple[dict[str, Json], ...] = ()
    elements_yaml: str = ""
    template: Template | None = None


class PathItem(Struct, frozen=True, rename="camel", kw_only=True):
    path: str
    exclude: bool = False


class Git(Struct, frozen=True, rename="camel", kw_only=True):
    repo_url: str = field(name="repoURL", default="")
    revision: str = ""
    directories: tuple[PathItem, ...] = ()
    files: tuple[PathItem, ...] = ()
    path_param_prefix: str = ""
    values: dict[str, str] = {}
    requeue_after_seconds: int | None = None
    template: Template | None = None


class Clusters(Struct, frozen=True, rename="camel", kw_only=True):
    selector: Selector = Selector()
    values: dict[str, str] = {}
    flat_list: bool = False
    template: Template | None = None


class Several(Struct, frozen=True, rename="camel", kw_only=True):
    """A matrix or a merge: generators within a generator stay as they are written until they are filled in."""

    generators: tuple[dict[str, Json], ...] = ()
    merge_keys: tuple[str, ...] = ()
    template: Template | None = None


class SetGenerator(Struct, frozen=True, rename="camel", kw_only=True):
    list: List | None = None
    git: Git | None = None
    clusters: Clusters | None = None
    matrix: Several | None = None
    merge: Several | None = None
    selector: Selector | None = None


class ApplicationSetSpec(Struct, frozen=True, rename="camel", kw_only=True):
    generators: tuple[dict[str, Json], ...] = ()
    template: Template = Template()
    template_patch: str = ""
    go_template: bool = False
    go_template_options: tuple[str, ...] = ()


class ApplicationSet(Struct, frozen=True, rename="camel", kw_only=True):
    spec: ApplicationSetSpec
