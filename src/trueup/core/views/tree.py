"""The objects of an application on a cluster with what others made of them, down to pods. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct

from trueup.core.health.live import live_health
from trueup.core.health.pods import trouble
from trueup.core.model import Health, Json, Ref


class Branch(Struct, frozen=True):
    """One object, with what it owns."""

    object: str
    namespace: str
    health: str
    reason: str = ""
    below: tuple[Branch, ...] = ()


def tree(roots: Sequence[tuple[Ref, Json]], others: Iterable[Json]) -> tuple[Branch, ...]:
    """`roots`: what was applied with what is there, None for what is not; `others` hang below by owner references.

    A ReplicaSet that holds no pod is left out: Deployments keep those of earlier templates."""
    owned: dict[str, list[Json]] = {}
    for body in others:
        for owner in body["metadata"].get("ownerReferences") or ():
            owned.setdefault(str(owner.get("uid")), []).append(body)
    return tuple(_root(ref, body, owned) for ref, body in roots)


def _root(ref: Ref, body: Json, owned: dict[str, list[Json]]) -> Branch:
    if body is None:
        return Branch(str(ref), ref.namespace, Health.MISSING.value, "not there")
    return _branch(body, owned, frozenset())


def _branch(body: Json, owned: dict[str, list[Json]], above: frozenset[str]) -> Branch:
    metadata = body["metadata"]
    uid = str(metadata["uid"])
    listed = sorted(owned.get(uid, ()), key=lambda b: (str(b["kind"]), str(b["metadata"]["name"])))
    kept = [b for b in listed if not _empty(b) and b["metadata"]["uid"] not in above]
    found = live_health(body)
    reason = found.reason
    if body["kind"] == "Pod" and (ill := trouble(body)) is not None:
        reason = ill.words.removeprefix(f"pod {metadata['name']} ")
    below = tuple(_branch(b, owned, above | {uid}) for b in kept)
    name = f"{str(body['kind']).lower()}/{metadata['name']}"
    return Branch(name, metadata.get("namespace", ""), found.health.value, reason, below)


def _empty(body: Json) -> bool:
    return body["kind"] == "ReplicaSet" and not (body.get("spec") or {}).get("replicas")
