"""Judges one object from its body and the facts about it: how it is, why, and whose fault that is. Pure."""

from __future__ import annotations

from typing import TypeAlias

from trueup.core.health.deployment import WorkloadFacts, deployment
from trueup.core.health.service import ServiceFacts, service
from trueup.core.model import Health, Judgement, Ref

__all__ = ["Facts", "Plain", "ServiceFacts", "WorkloadFacts", "assess"]


class Plain:
    """No facts but that the object is held; for what has no state of its own."""


Facts: TypeAlias = WorkloadFacts | ServiceFacts | Plain


def assess(ref: Ref, facts: Facts, inert: tuple[str, ...] = ()) -> Judgement:
    """The health of one object. `inert` are its parts without effect; a whole kind is among them by its name."""
    match facts:
        case WorkloadFacts():
            return deployment(ref, facts)
        case ServiceFacts():
            return service(ref, facts)
        case _:
            reason = "kept, without effect on one host" if ref.kind in inert else ""
            return Judgement(ref, Health.HEALTHY, reason)
