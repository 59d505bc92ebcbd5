"""What is replaced rather than merged, as operations; and what is never made anew for it."""

from __future__ import annotations

import pytest

from trueup.core.model import Place
from trueup.core.objects import make_object
from trueup.drivers.targets.kubernetes.replacing import may_make_anew, operations

OPTIONS = "argocd.argoproj.io/sync-options"


def test_nothing_of_what_stood_stays() -> None:
    live = {
        "apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "1", "b": "by hand"}, "binaryData": {"x": ""},
        "metadata": {"name": "a", "uid": "u", "labels": {"l": "1"}, "annotations": {"n": "1"}},
    }  # fmt: skip
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "data": {"a": "2"},
        "metadata": {"name": "a", "labels": {"m": "2"}},
    }
    assert operations(live, body) == [
        {"op": "add", "path": "/data", "value": {"a": "2"}},
        {"op": "remove", "path": "/binaryData"},
        {"op": "add", "path": "/metadata/labels", "value": {"m": "2"}},
        {"op": "remove", "path": "/metadata/annotations"},
    ]


@pytest.mark.parametrize(
    ("kind", "notes", "may"),
    [
        ("ConfigMap", {OPTIONS: "Replace=true"}, True),
        ("PersistentVolumeClaim", {OPTIONS: "Replace=true"}, False),
        ("Namespace", {OPTIONS: "Prune=false,Replace=true"}, False),
        ("PersistentVolumeClaim", {OPTIONS: "Force=true"}, True),
        ("PersistentVolumeClaim", {"trueup.io/replace": "true"}, True),
        ("ConfigMap", {"kustomize.toolkit.fluxcd.io/force": "enabled"}, True),
        ("ConfigMap", {OPTIONS: "Prune=false"}, False),
        ("ConfigMap", {}, False),
    ],
)
def test_what_may_be_deleted_and_made_anew(kind: str, notes: dict[str, str], may: bool) -> None:
    body = {"apiVersion": "v1", "kind": kind, "metadata": {"name": "a", "annotations": notes}}
    assert may_make_anew(make_object(body, Place("a.yaml", 1))) is may
