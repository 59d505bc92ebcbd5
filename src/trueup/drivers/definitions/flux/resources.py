"""Flux's resources as they are written, as far as they decide what runs. Source: the api modules named in `fields`."""

from __future__ import annotations

from msgspec import Struct, field

from trueup.core.model import Json


class Reference(Struct, frozen=True, rename="camel", kw_only=True):
    name: str
    kind: str = ""
    namespace: str = ""
    api_version: str = ""


class GitRef(Struct, frozen=True, rename="camel", kw_only=True):
    branch: str = ""
    tag: str = ""
    semver: str = ""
    name: str = ""
    commit: str = ""


class ArtifactRef(Struct, frozen=True, rename="camel", kw_only=True):
    tag: str = ""
    semver: str = ""
    semver_filter: str = ""
    digest: str = ""


class GitSpec(Struct, frozen=True, rename="camel", kw_only=True):
    url: str
    ref: GitRef = GitRef()


class OciSpec(Struct, frozen=True, rename="camel", kw_only=True):
    url: str
    ref: ArtifactRef = ArtifactRef()


class HelmRepositorySpec(Struct, frozen=True, rename="camel", kw_only=True):
    url: str
    type: str = "default"


class HelmChartSpec(Struct, frozen=True, rename="camel", kw_only=True):
    chart: str
    source_ref: Reference
    version: str = "*"
    values_files: tuple[str, ...] = ()
    ignore_missing_values_files: bool = False


class BucketSpec(Struct, frozen=True, rename="camel", kw_only=True):
    bucket_name: str
    endpoint: str


class Target(Struct, frozen=True, rename="camel", kw_only=True):
    group: str = ""
    version: str = ""
    kind: str = ""
    name: str = ""
    namespace: str = ""
    label_selector: str = ""
    annotation_selector: str = ""


class Patch(Struct, frozen=True, rename="camel", kw_only=True):
    patch: str
    target: Target | None = None


class Image(Struct, frozen=True, rename="camel", kw_only=True):
    name: str
    new_name: str = ""
    new_tag: str = ""
    digest: str = ""


class Metadata(Struct, frozen=True, rename="camel", kw_only=True):
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class From(Struct, frozen=True, rename="camel", kw_only=True):
    kind: str
    name: str
    values_key: str = ""
    optional: bool = False
    target_path: str = ""
    literal: bool = False


class PostBuild(Struct, frozen=True, rename="camel", kw_only=True):
    substitute: dict[str, str] = {}
    substitute_from: tuple[From, ...] = ()


class KustomizationSpec(Struct, frozen=True, rename="camel", kw_only=True):
    source_ref: Reference
    path: str = ""
    target_namespace: str = ""
    name_prefix: str = ""
    name_suffix: str = ""
    components: tuple[str, ...] = ()
    ignore_missing_components: bool = False
    images: tuple[Image, ...] = ()
    patches: tuple[Patch, ...] = ()
    common_metadata: Metadata = Metadata()
    post_build: PostBuild = PostBuild()
    depends_on: tuple[Reference, ...] = ()
    suspend: bool = False


class ChartTemplate(Struct, frozen=True, rename="camel", kw_only=True):
    spec: HelmChartSpec


class Install(Struct, frozen=True, rename="camel", kw_only=True):
    skip_crds: bool = field(name="skipCRDs", default=False)
    disable_schema_validation: bool = False


class HelmReleaseSpec(Struct, frozen=True, rename="camel", kw_only=True):
    chart: ChartTemplate | None = None
    chart_ref: Reference | None = None
    release_name: str = ""
    target_namespace: str = ""
    values: Json = None
    values_from: tuple[From, ...] = ()
    depends_on: tuple[Reference, ...] = ()
    install: Install = Install()
    suspend: bool = False
