"""What a folder or file is rendered with, by what stands there. Pure; asks a tree for names only."""

from __future__ import annotations

import enum

from trueup.core.render import Folders

KUSTOMIZATIONS = ("kustomization.yaml", "kustomization.yml", "Kustomization")


class Kind(enum.Enum):
    KUSTOMIZE = "kustomize"
    HELM = "helm"
    JSONNET = "jsonnet"
    PLAIN = "plain"


class Unclear(Exception):
    """Nothing there, or more than one thing; the message says which and what to do."""


def recognise(folders: Folders, path: str) -> Kind:
    """How `path` ("" is the root) is rendered. Raises Unclear."""
    if path in folders.tree:
        if path.endswith((".jsonnet", ".libsonnet")):
            return Kind.JSONNET
        if path.rpartition("/")[2] in (*KUSTOMIZATIONS, "Chart.yaml"):
            raise Unclear(f"{path} is a file of a folder: name the folder {path.rpartition('/')[0] or '.'}")
        return Kind.PLAIN
    if not folders.is_folder(path):
        raise Unclear(f"there is no {path or '.'} in this repository (is it ignored by Git?)")
    names = {name for name, _, _ in folders.listing(path)}
    kustomizations = sorted(names.intersection(KUSTOMIZATIONS))
    if len(kustomizations) > 1:
        raise Unclear(f"{path or '.'} holds {' and '.join(kustomizations)}: keep one of them")
    if kustomizations and "Chart.yaml" in names:
        raise Unclear(
            f"{path or '.'} holds {kustomizations[0]} and Chart.yaml: keep one, or move one to a folder below"
        )
    if kustomizations:
        return Kind.KUSTOMIZE
    return Kind.HELM if "Chart.yaml" in names else Kind.PLAIN
