"""How answers of a probe become a state: thresholds, delays, and what follows. Pure.

Source: Kubernetes, "Configure Liveness, Readiness and Startup Probes"; kubelet prober/worker.go.
"""

from __future__ import annotations

import enum

from msgspec import Struct
from msgspec.structs import replace

from trueup.core.kinds import Container, Probe


class Role(enum.Enum):
    STARTUP = "startup"
    READINESS = "readiness"
    LIVENESS = "liveness"


class Record(Struct, frozen=True):
    """The run of equal answers of one probe, and the result that stands."""

    passing: bool
    run: int = 0
    last: bool | None = None
    message: str = ""  # of the last failure

    def heard(self, probe: Probe, ok: bool, message: str = "") -> Record:
        """The state after one more answer."""
        run = self.run + 1 if ok is self.last else 1
        needed = probe.success_threshold if ok else probe.failure_threshold
        passing = ok if run >= needed else self.passing
        return replace(self, passing=passing, run=run, last=ok, message="" if ok else message)


def initial(role: Role, ready: bool = False) -> Record:
    """What stands before the first answer: not ready, not started, alive. `ready` is for an adopted container."""
    return Record(passing=ready or role is Role.LIVENESS)


def probes(container: Container) -> dict[Role, Probe]:
    stated = {
        Role.STARTUP: container.startup_probe,
        Role.READINESS: container.readiness_probe,
        Role.LIVENESS: container.liveness_probe,
    }
    return {role: probe for role, probe in stated.items() if probe is not None}


def dead(role: Role, probe: Probe, record: Record) -> bool:
    """Whether this probe's state ends the container."""
    if role is Role.STARTUP:
        return record.last is False and record.run >= probe.failure_threshold
    return role is Role.LIVENESS and not record.passing


def port_number(container: Container, port: int | str) -> int:
    """The number of a port named in a probe or Service; 0 when no port of the container has that name."""
    if isinstance(port, int):
        return port
    if port.isdigit():
        return int(port)
    return next((p.container_port for p in container.ports if p.name == port), 0)
