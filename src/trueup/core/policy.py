"""What a plan may do by itself, and what waits for a person. Data and small predicates; nothing is decided twice."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from msgspec import Struct

from trueup.core.model import Json
from trueup.core.objects import annotation


class Policy(Struct, frozen=True):
    """Of one application in one environment. The defaults are what `trueup up` does without a configuration."""

    prune: bool = True  # objects that Git no longer states are deleted
    max_delete_share: float = 1 / 3  # the deletion breaker: a larger share of what is owned waits for a person
    min_deletes: int = 2  # the breaker never holds fewer deletions than this
    guarded: frozenset[str] = frozenset({"Namespace", "PersistentVolumeClaim", "CustomResourceDefinition"})


# annotation → (values that keep an object, where that is documented)
# Source: Argo CD "Sync Options"; Helm "Tips and Tricks"; Flux Kustomization "Controlling the apply behavior"
KEEPS: dict[str, frozenset[str]] = {
    "argocd.argoproj.io/sync-options": frozenset({"Prune=false", "Delete=false", "Prune=confirm", "Delete=confirm"}),
    "helm.sh/resource-policy": frozenset({"keep"}),
    "kustomize.toolkit.fluxcd.io/prune": frozenset({"disabled"}),
    "trueup.io/prune": frozenset({"false"}),
}


def kept_by(body: Json) -> str:
    """The annotation that keeps an object from being deleted, as `name: value`; "" when nothing does."""
    return _kept(body, KEEPS)


# At the end of its application an object goes although it asked not to be pruned. Source: Argo CD "App Deletion"
KEEPS_AT_END = {**KEEPS, "argocd.argoproj.io/sync-options": frozenset({"Delete=false", "Delete=confirm"})}


def kept_at_end(body: Json) -> str:
    """The annotation that keeps an object when its application is taken away."""
    return _kept(body, KEEPS_AT_END)


def _kept(body: Json, keeps: Mapping[str, frozenset[str]]) -> str:
    for name, values in keeps.items():
        for value in annotation(body, name).split(","):
            if value.strip() in values:
                return f"{name}: {value.strip()}"
    return ""


def breaks(policy: Policy, deletes: int, owned: int) -> bool:
    """Whether so many deletions at once trip the breaker. Deleting everything always does, from `min_deletes` on."""
    return deletes >= policy.min_deletes and deletes > policy.max_delete_share * owned


def share(deletes: Sequence[object] | Collection[object], owned: int) -> str:
    """For a message: "3 of 5 objects (60%)"."""
    return f"{len(deletes)} of {owned} objects ({100 * len(deletes) // max(owned, 1)}%)"
