"""One container of a pod as Podman's API wants it. Pure; never calls Podman.

Source: Podman 4.3 specgen.SpecGenerator and specgen.PodSpecGenerator.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from trueup.agent.network import NetworkFacts
from trueup.core.admission import quantity
from trueup.core.kinds import Container, PodTemplate
from trueup.core.layout import LABEL_APPLICATION, LABEL_ROLE, LABEL_STATE
from trueup.core.pods import expand

LABEL_POD = "trueup.pod"
LABEL_CONTAINER = "trueup.container"
LABEL_TEMPLATE = "trueup.template"
LABEL_WORKLOAD = "trueup.workload"
LOG_BYTES = 10 << 20
CPU_PERIOD_US = 100_000


class Mount(Struct, frozen=True):
    source: str
    destination: str
    read_only: bool


class Place(Struct, frozen=True, kw_only=True):
    """Where a container stands: whose it is and which pod, namespace and network it belongs to."""

    state: str
    application: str
    namespace: str
    pod: str
    workload: str
    template: str
    shared: str = ""  # Podman's pod, when it shares an address
    network: NetworkFacts


def container_name(pod: str, container: str, alone: bool) -> str:
    return pod if alone else f"{pod}-{container}"


def labels(place: Place, container: str) -> dict[str, str]:
    return {
        LABEL_STATE: place.state,
        LABEL_ROLE: "replica",
        LABEL_APPLICATION: place.application,
        LABEL_POD: place.pod,
        LABEL_CONTAINER: container,
        LABEL_TEMPLATE: place.template,
        LABEL_WORKLOAD: place.workload,
    }


def container_spec(
    place: Place,
    name: str,
    container: Container,
    template: PodTemplate,
    image: str,
    env: Mapping[str, str],
    mounts: Sequence[Mount],
) -> dict[str, Any]:
    """The body of POST /containers/create."""
    security, pod = container.security_context, template.spec.security_context
    spec: dict[str, Any] = {
        "name": name,
        "image": image,
        "labels": labels(place, container.name),
        "env": dict(env),
        "mounts": [_mount(m) for m in mounts],
        "read_only_filesystem": security.read_only_root_filesystem,
        "no_new_privileges": not security.allow_privilege_escalation,
        "cap_add": list(security.capabilities.add),
        "cap_drop": list(security.capabilities.drop),
        "stop_timeout": int(template.spec.termination_grace_period_seconds),
        "log_configuration": {"driver": "k8s-file", "size": LOG_BYTES},
        "restart_policy": "no",
        "image_volume_mode": "anonymous",
        "resource_limits": _limits(container),
    }
    user = security.run_as_user if security.run_as_user is not None else pod.run_as_user
    group = security.run_as_group if security.run_as_group is not None else pod.run_as_group
    if user is not None:
        spec["user"] = f"{user}:{group}" if group is not None else str(user)
    if pod.fs_group is not None:
        spec["groups"] = [str(pod.fs_group)]
    if container.working_dir:
        spec["work_dir"] = container.working_dir
    if container.command:
        spec["entrypoint"] = [expand(word, env) for word in container.command]
        spec["command"] = []
    if container.args:
        spec["command"] = [expand(word, env) for word in container.args]
    return spec | (_shared(place) if place.shared else _own(place, template))


def pod_spec(place: Place, template: PodTemplate) -> dict[str, Any]:
    """The body of POST /pods/create: an address shared by the containers of one pod."""
    return {
        "name": f"{place.pod}-pod",
        "labels": {LABEL_STATE: place.state, LABEL_POD: place.pod, LABEL_ROLE: "replica"},
        "infra_name": f"{place.pod}-infra",
        "shared_namespaces": ["net", "uts", "ipc"],
        "hostname": template.spec.hostname or place.pod,
        **_network(place),
    }


def _own(place: Place, template: PodTemplate) -> dict[str, Any]:
    return {"hostname": template.spec.hostname or place.pod, **_network(place)}


def _shared(place: Place) -> dict[str, Any]:
    return {"pod": place.shared}


def _network(place: Place) -> dict[str, Any]:
    facts = place.network
    return {
        "netns": {"nsmode": "bridge"},
        "networks": {facts.name: {}},
        "dns_server": [facts.dns],
        "dns_search": list(facts.search(place.namespace)),
        "dns_option": list(facts.options),
    }


def _mount(mount: Mount) -> dict[str, Any]:
    options = ["rbind", "rprivate", "ro" if mount.read_only else "rw"]
    return {"type": "bind", "source": mount.source, "destination": mount.destination, "options": options}


def _limits(container: Container) -> dict[str, Any]:
    limits, out = container.resources.limits, {}
    if "memory" in limits:
        size = int(quantity(limits["memory"]))
        out["memory"] = {"limit": size, "swap": size}
    if "cpu" in limits:
        out["cpu"] = {"quota": max(int(quantity(limits["cpu"]) * CPU_PERIOD_US), 1000), "period": CPU_PERIOD_US}
    return out
