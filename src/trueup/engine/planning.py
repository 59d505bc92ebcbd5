"""What the engine asks of whoever knows manifests and policy: Bundles of Candidates, and plans."""

from __future__ import annotations

from typing import Protocol

from trueup.core.candidate import ApplicationState, CandidateState
from trueup.core.model import Bundle, Live, Plan


class BundleRefused(Exception):
    """The manifests and the images do not go together; the message names both places."""


class Planning(Protocol):
    """From a Candidate to a Bundle, from a Bundle and reality to a Plan."""

    async def bundle(self, application: ApplicationState, candidate: CandidateState) -> Bundle:
        """Raises BundleRefused."""
        ...

    def plan(self, desired: Bundle, live: Live, approved: frozenset[str]) -> Plan: ...

    def approval(self, plan: Plan) -> str:
        """Hash over the held changes; "" when none is held."""
        ...
