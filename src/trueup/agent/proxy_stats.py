"""Requests, errors and time per version of a Service, summed over workers that come and go. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from trueup.agent.haproxy_cli import Load


class VersionStats(Struct, frozen=True):
    """Totals since the agent started. In a TCP port a connection counts as a request, a failed connect as an error.

    `latency_s` is estimated: requests since the last look times their mean over HAProxy's last 1024."""

    namespace: str
    service: str
    version: str
    requests: int = 0
    errors_5xx: int = 0
    latency_s: float = 0.0


class Totals(Struct, frozen=True):
    """`seen` is what each worker last counted for each of its servers: (pid, listener, server) → Load."""

    seen: Mapping[tuple[int, str, str], Load] = {}
    sums: Mapping[tuple[str, str, str], VersionStats] = {}


def add(totals: Totals, look: Mapping[int, list[Load]]) -> Totals:
    """Add one look at all workers. A counter below the last look belongs to a new server of the same name."""
    sums = dict(totals.sums)
    now = {(pid, load.listener, load.server): load for pid, rows in look.items() for load in rows}
    for key, load in now.items():
        _add(sums, load, totals.seen.get(key))
    return Totals(now, sums)


def _add(sums: dict[tuple[str, str, str], VersionStats], load: Load, before: Load | None) -> None:
    fresh = before is None or before.requests > load.requests
    requests = load.requests - (0 if fresh or before is None else before.requests)
    errors = load.errors_5xx - (0 if fresh or before is None else before.errors_5xx)
    namespace, service, _ = load.listener.split(":", 2)
    key = (namespace, service, load.server.partition(":")[2])
    sum_ = sums.get(key) or VersionStats(*key)
    sums[key] = VersionStats(
        *key,
        requests=sum_.requests + requests,
        errors_5xx=sum_.errors_5xx + max(errors, 0),
        latency_s=sum_.latency_s + requests * load.mean_ms / 1000,
    )
