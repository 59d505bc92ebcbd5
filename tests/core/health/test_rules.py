"""A user's own rules as they are read from files, and which of them is for an object."""

from __future__ import annotations

import pytest

from trueup.core.health.rules import Cel, Lua, RulesWrong, Said, found, read, rule_for
from trueup.core.model import Health, Place

CONFIG = b"""\
apiVersion: v1
kind: ConfigMap
metadata: {name: argocd-cm}
data:
  url: https://argocd.example.org
  resource.customizations.health.example.org_Widget: |
    return {status = "Healthy"}
  resource.customizations.useOpenLibs.example.org_Widget: "true"
  resource.customizations.health.ConfigMap: |
    return {status = "Degraded"}
  resource.customizations.ignoreDifferences.all: |
    jsonPointers: [/a]
  resource.customizations: |
    "*.crossplane.io/*":
      health.lua: |
        return {status = "Progressing"}
    example.org/Gadget:
      health.lua.useOpenLibs: true
      health.lua: |
        return {status = "Suspended"}
      ignoreDifferences: |
        jsonPointers: [/a]
"""
FLUX = b"""\
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: apps}
spec:
  healthCheckExprs:
    - apiVersion: example.org/v1
      kind: Widget
      current: status.phase == 'Up'
      inProgress: status.phase == 'Rising'
      failed: status.phase == 'Down'
    - {apiVersion: v1, kind: Node, current: "true"}
"""


def test_an_argocd_cm_in_both_forms() -> None:
    rules = read(CONFIG, "argocd-cm.yaml")
    assert [(r.kind, r.how, str(r.place)) for r in rules] == [
        ("example.org/Widget", Lua('return {status = "Healthy"}\n', True), "argocd-cm.yaml:6"),
        ("ConfigMap", Lua('return {status = "Degraded"}\n'), "argocd-cm.yaml:9"),
        ("*.crossplane.io/*", Lua('return {status = "Progressing"}\n'), "argocd-cm.yaml:15"),
        ("example.org/Gadget", Lua('return {status = "Suspended"}\n', True), "argocd-cm.yaml:19"),
    ]


def test_flux_health_check_expressions() -> None:
    rules = read(FLUX, "flux.yaml")
    assert [(r.kind, r.how, r.place.line) for r in rules] == [
        (
            "example.org/Widget",
            Cel("status.phase == 'Up'", "status.phase == 'Rising'", "status.phase == 'Down'"),
            6,
        ),
        ("Node", Cel("true"), 11),
    ]
    alone = read(b"- {apiVersion: a.org/v1, kind: A, current: 'true'}\n", "list.yaml")
    assert [r.kind for r in alone] == ["a.org/A"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"a: b\n", "rules.yaml: states no rule"),
        (b"a: [\n", "rules.yaml:"),
        (b"- {kind: A}\n", "rules.yaml:1: the rule for A states no `current`"),
        (b"- {current: 'true'}\n", "rules.yaml:1: a rule needs apiVersion, kind and current"),
        (b"- {kind: A, current: true}\n", "rules.yaml:1: a rule needs"),
        (b"kind: ConfigMap\ndata:\n  resource.customizations: 'a: ['\n", "rules.yaml:3: resource.customizations holds"),
    ],
)
def test_what_is_no_rule_is_named(text: bytes, words: str) -> None:
    with pytest.raises(RulesWrong) as wrong:
        read(text, "rules.yaml")
    assert str(wrong.value).startswith(words)


@pytest.mark.parametrize(
    ("version", "kind", "number"),
    [
        ("example.org/v1", "Widget", 0),
        ("example.org/v1beta1", "Gadget", 3),
        ("v1", "ConfigMap", 1),
        ("v1", "Secret", -1),
        ("s3.aws.crossplane.io/v1", "Bucket", 2),
        ("crossplane.io/v1", "Bucket", -1),
    ],
)
def test_which_rule_is_for_an_object(version: str, kind: str, number: int) -> None:
    body = {"apiVersion": version, "kind": kind, "metadata": {"name": "a"}}
    rules = read(CONFIG, "cm.yaml")
    assert rule_for(rules, body) == number
    deleted = {**body, "metadata": {"name": "a", "deletionTimestamp": "2026-01-01T00:00:00Z"}}
    assert rule_for(rules, deleted) == -1


def test_what_a_rule_says() -> None:
    rule = read(CONFIG, "cm.yaml")[0]
    assert found(rule, Said("Healthy")).health is Health.HEALTHY
    said = found(rule, Said("Degraded", "no disk"))
    assert (said.health, said.reason, said.rule) == (Health.DEGRADED, "no disk", "lua")
    failed = found(rule, Said(fault="attempt to index nil", line=1))
    assert failed.health is Health.UNKNOWN
    assert failed.reason == "cm.yaml:7: the rule for example.org/Widget fails: attempt to index nil"
    assert rule.place == Place("cm.yaml", 6, 3)
