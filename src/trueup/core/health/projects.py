"""Health of projects' kinds that a row of `facts` cannot say: a function each. Pure.

Source of each rule: argo-cd `resource_customizations/<group>/<kind>/health.lua`, and the project's API documentation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from trueup.core.health.conditions import conditions, told
from trueup.core.model import Health, Json

Rule = Callable[[Json, Json, Json], tuple[Health, str]]
Told = tuple[Health, str]


def _gateway(body: Json, spec: Json, status: Json) -> Told:
    """The Gateway's own conditions, then those of its listeners."""
    listeners = status.get("listeners") or ()
    if not status.get("conditions") and not listeners:
        return Health.PROGRESSING, "no controller has taken it up yet"
    groups = [("", conditions(status)), *((f"listener {one.get('name', '')}: ", conditions(one)) for one in listeners)]
    return _programmed(groups)


def _programmed(groups: Iterable[tuple[str, Mapping[str, Mapping[str, str]]]]) -> Told:
    for name, have in groups:
        for type in ("ResolvedRefs", "Accepted"):
            if have.get(type, {}).get("status") == "False":
                return Health.DEGRADED, name + told(have[type])
        if "Programmed" in have and have["Programmed"].get("status") != "True":
            return Health.PROGRESSING, name + told(have["Programmed"])
    return Health.HEALTHY, ""


def _route(body: Json, spec: Json, status: Json) -> Told:
    """Of the parents that have seen this generation; the others' words are of an earlier one."""
    generation = body["metadata"].get("generation")
    groups = []
    for parent in status.get("parents") or ():
        seen = {c.get("observedGeneration") for c in parent.get("conditions") or ()}
        if seen and (generation is None or generation in seen):
            groups.append((f"parent {(parent.get('parentRef') or {}).get('name', '')}: ", conditions(parent)))
    return _programmed(groups) if groups else (Health.PROGRESSING, "no parent has taken it up yet")


def _elasticsearch(body: Json, spec: Json, status: Json) -> Told:
    wanted = sum(node.get("count", 0) for node in spec.get("nodeSets") or ())
    there, phase, health = status.get("availableNodes"), status.get("phase", ""), status.get("health", "")
    if phase == "Invalid":
        return Health.DEGRADED, "Invalid"
    if there is None or there < wanted or phase != "Ready":
        return Health.PROGRESSING, f"{there or 0}/{wanted} nodes available{f'; {phase}' if phase else ''}"
    return (Health.HEALTHY, "green") if health == "green" else (Health.DEGRADED, f"health is {health or 'unknown'}")


def _longhorn_volume(body: Json, spec: Json, status: Json) -> Told:
    state, robustness = status.get("state", ""), status.get("robustness", "")
    if robustness == "faulted":
        return Health.DEGRADED, "faulted: its data is not available"
    if state == "detached" or (state == "attached" and robustness == "healthy"):
        return Health.HEALTHY, state
    rebuilds = "; its replicas are rebuilt" if robustness == "degraded" else ""
    return Health.PROGRESSING, f"{state or 'its controller has said nothing yet'}{rebuilds}"


def _virtual_machine(body: Json, spec: Json, status: Json) -> Told:
    have, words = conditions(status), str(status.get("printableStatus") or "")
    if have.get("Paused", {}).get("status") == "True":
        return Health.SUSPENDED, words or "paused"
    ready = have.get("Ready")
    if ready is None:
        return Health.PROGRESSING, words or "its controller has said nothing yet"
    if ready.get("status") == "True":
        return Health.HEALTHY, ""
    return (
        (Health.PROGRESSING, words or "starting") if status.get("created") else (Health.SUSPENDED, words or "stopped")
    )


_INSTANCE = {"Failed": Health.DEGRADED, "Pending": Health.PROGRESSING, "Scheduling": Health.PROGRESSING,
             "Scheduled": Health.PROGRESSING, "Succeeded": Health.SUSPENDED, "Unknown": Health.UNKNOWN}  # fmt: skip


def _virtual_machine_instance(body: Json, spec: Json, status: Json) -> Told:
    have, phase = conditions(status), status.get("phase", "")
    if phase in _INSTANCE:
        return _INSTANCE[phase], phase
    if have.get("Paused", {}).get("status") == "True":
        return Health.SUSPENDED, told(have["Paused"])
    ready = have.get("Ready")
    if ready is None:
        return Health.PROGRESSING, phase
    return (Health.HEALTHY, "") if ready.get("status") == "True" else (Health.DEGRADED, told(ready))


def _data_volume(body: Json, spec: Json, status: Json) -> Told:
    phase, running = status.get("phase", ""), conditions(status).get("Running", {})
    if phase == "Succeeded":
        return Health.HEALTHY, ""
    if phase == "Paused":
        return Health.SUSPENDED, phase
    if running.get("status") == "False" and running.get("reason") == "Error":
        return Health.DEGRADED, told(running)
    return (Health.DEGRADED if phase in ("Failed", "Unknown") else Health.PROGRESSING), phase


def _managed_certificate(body: Json, spec: Json, status: Json) -> Told:
    for domain in status.get("domainStatus") or ():
        if domain.get("status") == "FailedNotVisible":
            return Health.DEGRADED, f"{domain.get('domain', 'a domain')} is not visible"
    state = str(status.get("certificateStatus") or "")
    if state in ("ProvisioningFailed", "ProvisioningFailedPermanently", "RenewalFailed"):
        return Health.DEGRADED, state
    return (Health.HEALTHY, "") if state == "Active" else (Health.PROGRESSING, state or "not provisioned yet")


_ROUTES = ("HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute", "UDPRoute")
PROJECTS: dict[tuple[str, str], Rule] = {
    ("gateway.networking.k8s.io", "Gateway"): _gateway,
    **{("gateway.networking.k8s.io", kind): _route for kind in _ROUTES},
    ("elasticsearch.k8s.elastic.co", "Elasticsearch"): _elasticsearch,
    ("longhorn.io", "Volume"): _longhorn_volume,
    ("kubevirt.io", "VirtualMachine"): _virtual_machine,
    ("kubevirt.io", "VirtualMachineInstance"): _virtual_machine_instance,
    ("cdi.kubevirt.io", "DataVolume"): _data_volume,
    ("networking.gke.io", "ManagedCertificate"): _managed_certificate,
}
