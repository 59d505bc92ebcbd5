"""The kinds the host serves, as records: exactly the fields it acts on, named as Kubernetes names them.

What is not a field here is either in `core.support` (inert or refused, by name) or unknown.
Source: Kubernetes API reference v1.31, apps/v1 and core/v1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from msgspec import Struct, field

IntOrString: TypeAlias = int | str


class Field(Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """An object of the Kubernetes API."""


class Metadata(Field, frozen=True):
    name: str
    namespace: str = "default"
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


# --- probes and hooks ------------------------------------------------------------------------------


class Header(Field, frozen=True):
    name: str
    value: str = ""


class HttpGet(Field, frozen=True):
    port: IntOrString
    path: str = "/"
    host: str = ""
    scheme: str = "HTTP"
    http_headers: tuple[Header, ...] = ()


class TcpSocket(Field, frozen=True):
    port: IntOrString
    host: str = ""


class ExecAction(Field, frozen=True):
    command: tuple[str, ...]


class Probe(Field, frozen=True):
    http_get: HttpGet | None = None
    tcp_socket: TcpSocket | None = None
    exec: ExecAction | None = None
    initial_delay_seconds: int = 0
    period_seconds: int = 10
    timeout_seconds: int = 1
    success_threshold: int = 1
    failure_threshold: int = 3


class SleepAction(Field, frozen=True):
    seconds: int


class Handler(Field, frozen=True):
    exec: ExecAction | None = None
    sleep: SleepAction | None = None


class Lifecycle(Field, frozen=True):
    pre_stop: Handler | None = None


# --- environment -----------------------------------------------------------------------------------


class KeyRef(Field, frozen=True):
    name: str
    key: str
    optional: bool = False


class FieldRef(Field, frozen=True):
    field_path: str
    api_version: str = "v1"


class ValueFrom(Field, frozen=True):
    config_map_key_ref: KeyRef | None = None
    secret_key_ref: KeyRef | None = None
    field_ref: FieldRef | None = None


class EnvVar(Field, frozen=True):
    name: str
    value: str = ""
    value_from: ValueFrom | None = None


class NameRef(Field, frozen=True):
    name: str
    optional: bool = False


class EnvFrom(Field, frozen=True):
    config_map_ref: NameRef | None = None
    secret_ref: NameRef | None = None
    prefix: str = ""


# --- containers and volumes ------------------------------------------------------------------------


class ContainerPort(Field, frozen=True):
    container_port: int
    name: str = ""
    protocol: str = "TCP"


class Resources(Field, frozen=True):
    limits: dict[str, int | float | str] = {}


class VolumeMount(Field, frozen=True):
    name: str
    mount_path: str
    sub_path: str = ""
    read_only: bool = False


class Capabilities(Field, frozen=True):
    add: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()


class SecurityContext(Field, frozen=True):
    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_non_root: bool = False
    read_only_root_filesystem: bool = False
    allow_privilege_escalation: bool = True
    capabilities: Capabilities = Capabilities()


class Container(Field, frozen=True):
    name: str
    image: str
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    working_dir: str = ""
    env: tuple[EnvVar, ...] = ()
    env_from: tuple[EnvFrom, ...] = ()
    ports: tuple[ContainerPort, ...] = ()
    resources: Resources = Resources()
    volume_mounts: tuple[VolumeMount, ...] = ()
    image_pull_policy: str = ""
    startup_probe: Probe | None = None
    readiness_probe: Probe | None = None
    liveness_probe: Probe | None = None
    lifecycle: Lifecycle = Lifecycle()
    security_context: SecurityContext = SecurityContext()


class KeyToPath(Field, frozen=True):
    key: str
    path: str
    mode: int | None = None


class ConfigMapVolume(Field, frozen=True):
    name: str
    items: tuple[KeyToPath, ...] = ()
    default_mode: int = 0o644
    optional: bool = False


class SecretVolume(Field, frozen=True):
    secret_name: str
    items: tuple[KeyToPath, ...] = ()
    default_mode: int = 0o644
    optional: bool = False


class EmptyDir(Field, frozen=True):
    medium: str = ""


class HostPath(Field, frozen=True):
    path: str
    type: str = ""


class Volume(Field, frozen=True):
    name: str
    config_map: ConfigMapVolume | None = None
    secret: SecretVolume | None = None
    empty_dir: EmptyDir | None = None
    host_path: HostPath | None = None


class PodSecurityContext(Field, frozen=True):
    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_non_root: bool = False
    fs_group: int | None = None


class PodSpec(Field, frozen=True):
    containers: tuple[Container, ...]
    init_containers: tuple[Container, ...] = ()
    volumes: tuple[Volume, ...] = ()
    restart_policy: str = "Always"
    termination_grace_period_seconds: int = 30
    security_context: PodSecurityContext = PodSecurityContext()
    hostname: str = ""


class TemplateMetadata(Field, frozen=True):
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    name: str = ""
    namespace: str = ""


class PodTemplate(Field, frozen=True):
    spec: PodSpec
    metadata: TemplateMetadata = TemplateMetadata()


# --- Deployment ------------------------------------------------------------------------------------


class Selector(Field, frozen=True):
    match_labels: dict[str, str] = {}


class RollingUpdate(Field, frozen=True):
    max_surge: IntOrString = "25%"
    max_unavailable: IntOrString = "25%"


class Strategy(Field, frozen=True):
    type: str = "RollingUpdate"
    rolling_update: RollingUpdate = RollingUpdate()


class DeploymentSpec(Field, frozen=True):
    selector: Selector
    template: PodTemplate
    replicas: int = 1
    strategy: Strategy = Strategy()
    min_ready_seconds: int = 0
    progress_deadline_seconds: int = 600
    revision_history_limit: int = 10
    paused: bool = False


class Deployment(Field, frozen=True):
    api_version: str
    kind: str
    metadata: Metadata
    spec: DeploymentSpec


# --- Service ---------------------------------------------------------------------------------------


class ServicePort(Field, frozen=True):
    port: int
    name: str = ""
    target_port: IntOrString | None = None
    protocol: str = "TCP"
    app_protocol: str = ""
    node_port: int = 0


class ServiceSpec(Field, frozen=True):
    ports: tuple[ServicePort, ...] = ()
    selector: dict[str, str] = {}
    type: str = "ClusterIP"
    cluster_ip: str = field(default="", name="clusterIP")
    session_affinity: str = "None"


class Service(Field, frozen=True):
    api_version: str
    kind: str
    metadata: Metadata
    spec: ServiceSpec


# --- configuration ---------------------------------------------------------------------------------


class ConfigMap(Field, frozen=True):
    api_version: str
    kind: str
    metadata: Metadata
    data: dict[str, str] = {}
    binary_data: dict[str, str] = {}
    immutable: bool = False


class Secret(Field, frozen=True):
    api_version: str
    kind: str
    metadata: Metadata
    data: dict[str, str] = {}
    string_data: dict[str, str] = {}
    type: str = "Opaque"
    immutable: bool = False


class Namespace(Field, frozen=True):
    api_version: str
    kind: str
    metadata: Metadata
    spec: dict[str, Any] = {}


Served: TypeAlias = Deployment | Service | ConfigMap | Secret | Namespace

SERVED: Mapping[tuple[str, str], type[Served]] = {
    ("apps/v1", "Deployment"): Deployment,
    ("v1", "Service"): Service,
    ("v1", "ConfigMap"): ConfigMap,
    ("v1", "Secret"): Secret,
    ("v1", "Namespace"): Namespace,
}
