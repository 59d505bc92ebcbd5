"""Health of a Service on the host."""

from __future__ import annotations

from msgspec import Struct

from trueup.core.model import Fault, Health, Judgement, Ref


class ServiceFacts(Struct, frozen=True, kw_only=True):
    """`trouble`: why one of its ports is not served."""

    address: str  # "" while it has none
    ready: int
    replicas: int
    headless: bool = False
    trouble: str = ""


def service(ref: Ref, facts: ServiceFacts) -> Judgement:
    """A Service is healthy once it is served; which replicas are behind it is their workload's matter."""
    if facts.trouble:
        return Judgement(ref, Health.DEGRADED, facts.trouble, Fault.WORLD)
    if not facts.address and not facts.headless:
        return Judgement(ref, Health.PROGRESSING, "waits for its address")
    behind = f"{facts.ready}/{facts.replicas} replicas ready" if facts.replicas else "no replica matches its selector"
    return Judgement(ref, Health.HEALTHY, f"{facts.address or 'headless'}, {behind}")
