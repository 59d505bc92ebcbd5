"""A fault names the user's own file and line, and what to do; never a Go stack."""

from __future__ import annotations

import pytest

from render.parts import Files, Repository
from render.samples import CHART, DEPLOYMENT, JSONNET
from trueup.core.model import Place
from trueup.core.render import Asked, Helm, Jsonnet, Kustomize
from trueup.drivers.renderers.worker import RenderFailed, Workers

pytestmark = pytest.mark.integration

HEAD = "kind: Kustomization\n"
PATCH = "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: wbe\nspec: {replicas: 2}\n"
APP = Kustomize(path="app")
TOP = Kustomize(path="top")
SHOP = Helm(path="chart", release="r")
MAIN = Jsonnet(path="main.jsonnet")

CASES: dict[str, tuple[Asked, Files, str, str, str]] = {
    "a-resource-that-is-not-there": (
        APP,
        {"app/kustomization.yaml": HEAD + "resources:\n- deploymnt.yaml\n", "app/deployment.yaml": DEPLOYMENT},
        "app/kustomization.yaml:3",
        "there is no app/deploymnt.yaml",
        "Is it deployment.yaml?",
    ),
    "a-base-that-is-not-there": (
        TOP,
        {"top/kustomization.yaml": HEAD + "resources:\n- ../bas\n", "base/kustomization.yaml": HEAD},
        "top/kustomization.yaml:3",
        "there is no bas",
        "Is it base?",
    ),
    "a-fault-in-the-base": (
        TOP,
        {
            "top/kustomization.yaml": HEAD + "resources:\n- ../app\n",
            "app/kustomization.yaml": HEAD + "resources:\n- a.yaml\n",
            "app/a.yaml": "apiVersion: v1\nkind: ConfigMap\n metadata: {name: a}\n",
        },
        "app/a.yaml:3",
        "mapping values are not allowed",
        "Mend the YAML",
    ),
    "an-unknown-field": (
        APP,
        {"app/kustomization.yaml": HEAD + "\nresurces: [a.yaml]\n"},
        "app/kustomization.yaml:3",
        'knows no field "resurces"',
        "Is it resources?",
    ),
    "a-kustomization-that-is-no-yaml": (
        APP,
        {"app/kustomization.yaml": HEAD + "resources: [a.yaml\nx: y\n"},
        "app/kustomization.yaml:2",
        "did not find expected ',' or ']'",
        "Mend the YAML",
    ),
    "a-patch-without-a-target": (
        APP,
        {
            "app/kustomization.yaml": HEAD + "resources: [d.yaml]\npatches:\n- path: p.yaml\n",
            "app/d.yaml": DEPLOYMENT,
            "app/p.yaml": PATCH,
        },
        "app/p.yaml:4",
        "wbe",
        "Is it web?",
    ),
    "a-folder-without-a-kustomization": (
        TOP,
        {"top/kustomization.yaml": HEAD + "resources:\n- ../app\n", "app/x.yaml": DEPLOYMENT},
        "top/kustomization.yaml:3",
        "the folder app holds no kustomization.yaml",
        "Add one",
    ),
    "a-file-outside-of-its-own-folder": (
        APP,
        {"app/kustomization.yaml": HEAD + "resources:\n- ../d.yaml\n", "d.yaml": DEPLOYMENT},
        "app/kustomization.yaml:3",
        "d.yaml lies outside",
        "Move it",
    ),
    "it-includes-itself": (
        APP,
        {"app/kustomization.yaml": HEAD + "resources:\n- ../app\n"},
        "app/kustomization.yaml:3",
        "includes itself",
        "base",
    ),
    "two-that-include-each-other": (
        APP,
        {
            "app/kustomization.yaml": HEAD + "resources:\n- ../top\n",
            "top/kustomization.yaml": HEAD + "resources:\n- ../app\n",
        },
        "top/kustomization.yaml:3",
        "includes itself",
        "base",
    ),
    "a-remote-base": (
        APP,
        {"app/kustomization.yaml": HEAD + "resources:\n- github.com/acme/base?ref=v1\n"},
        "app/kustomization.yaml:3",
        "github.com/acme/base?ref=v1 is remote",
        "Copy it",
    ),
    "a-remote-file-on-loopback": (
        APP,
        {"app/kustomization.yaml": HEAD + "resources:\n- http://127.0.0.1/x.yaml\n"},
        "app/kustomization.yaml:3",
        "http://127.0.0.1/x.yaml is remote",
        "Copy it",
    ),
    "a-remote-patch": (
        APP,
        {
            "app/kustomization.yaml": HEAD + "resources: [d.yaml]\npatches:\n- path: http://169.254.169.254/p\n",
            "app/d.yaml": DEPLOYMENT,
        },
        "app/kustomization.yaml:4",
        "http://169.254.169.254/p is remote",
        "",
    ),
    "helm-charts": (
        APP,
        {"app/kustomization.yaml": HEAD + "helmCharts:\n- name: x\n"},
        "app/kustomization.yaml:2",
        "helmCharts is rendered by",
        "trueup plan",
    ),
    "a-key-stated-twice": (
        APP,
        {"app/kustomization.yaml": HEAD + "resources: [a.yaml]\n", "app/a.yaml": DEPLOYMENT + "kind: Deployment\n"},
        "app/a.yaml:",
        "already",
        "Mend",
    ),
    "a-tab": (
        APP,
        {
            "app/kustomization.yaml": HEAD + "resources: [a.yaml]\n",
            "app/a.yaml": "apiVersion: v1\nkind: X\n\tmetadata: {}\n",
        },
        "app/a.yaml:3",
        "character",
        "Mend",
    ),
    "no-kustomization-at-all": (APP, {"app/x.yaml": DEPLOYMENT}, "app", "no kustomization", ""),
    "a-template-that-fails": (
        SHOP,
        {**CHART, "chart/templates/f.yaml": '# a\n{{ fail "set a name" }}\n'},
        "chart/templates/f.yaml:2",
        "set a name",
        "",
    ),
    "a-required-value": (
        SHOP,
        {**CHART, "chart/templates/f.yaml": '\n\n{{ required "word is needed" .Values.word }}\n'},
        "chart/templates/f.yaml:3",
        "word is needed",
        "",
    ),
    "a-value-that-is-nil": (
        SHOP,
        {**CHART, "chart/templates/f.yaml": "a: {{ .Values.no.such.thing }}\n"},
        "chart/templates/f.yaml:1",
        "nil pointer",
        "value",
    ),
    "a-fault-in-a-subchart": (
        SHOP,
        {**CHART, "chart/charts/cache/templates/f.yaml": "\na: {{ .Values.no.such }}\n"},
        "chart/charts/cache/templates/f.yaml:2",
        "nil pointer",
        "",
    ),
    "a-template-that-does-not-parse": (
        SHOP,
        {**CHART, "chart/templates/f.yaml": "a: 1\nb: {{ if }}\n"},
        "chart/templates/f.yaml:2",
        "missing value for if",
        "",
    ),
    "output-that-is-no-yaml": (
        SHOP,
        {**CHART, "chart/templates/f.yaml": "kind: ConfigMap\napiVersion: v1\n bad: [\n"},
        "chart/templates/f.yaml",
        "what it renders is no YAML",
        "trueup render",
    ),
    "a-value-against-the-schema": (
        Helm(path="chart", release="r", values_files=("late.yaml", "bad.yaml")),
        {**CHART, "bad.yaml": "words: []\nreplicas: many\n"},
        "bad.yaml:2",
        "replicas: got string, want integer",
        "schema",
    ),
    "values-that-are-no-yaml": (
        SHOP,
        {**CHART, "chart/values.yaml": "a: 1\nb: [\n"},
        "chart/values.yaml:",
        "",
        "",
    ),
    "a-values-file-that-is-not-there": (
        Helm(path="chart", release="r", values_files=("no.yaml",)),
        CHART,
        "no.yaml",
        "no such values file",
        "",
    ),
    "a-dependency-that-is-not-there": (
        SHOP,
        {path: data for path, data in CHART.items() if not path.startswith("chart/charts/cache/")},
        "chart/Chart.yaml:7",
        "dependency cache is stated in Chart.yaml but is not in charts/",
        "helm dependency build chart",
    ),
    "a-library-chart": (
        Helm(path="chart/charts/common", release="r"),
        CHART,
        "chart/charts/common/Chart.yaml:4",
        "library charts are not installable",
        "",
    ),
    "no-chart": (Helm(path="base", release="r"), {"base/x": ""}, "base/Chart.yaml", "there is no Chart.yaml", ""),
    "another-kubernetes": (
        Helm(path="chart", release="r", kube_version="1.10.0"),
        CHART,
        "chart/Chart.yaml:5",
        "needs Kubernetes >=1.20.0-0",
        "",
    ),
    "jsonnet-that-does-not-parse": (MAIN, {"main.jsonnet": "{\n  a: 1,\n  b 2\n}"}, "main.jsonnet:3", "", ""),
    "jsonnet-that-fails": (
        MAIN,
        {**JSONNET, "main.jsonnet": "local x = import 'lib/x.libsonnet';\nx", "lib/x.libsonnet": "\nerror 'no tag'"},
        "lib/x.libsonnet:2",
        "no tag",
        "",
    ),
    "jsonnet-that-imports-nothing": (
        MAIN,
        {"main.jsonnet": "{}\n+ (import 'no.libsonnet')\n"},
        "main.jsonnet:2",
        "there is no no.libsonnet",
        "",
    ),
    "jsonnet-that-gives-a-number": (MAIN, {"main.jsonnet": "{a: {b: 3}}"}, "main.jsonnet", "$.a.b is 3", ""),
}


@pytest.mark.parametrize("name", CASES)
async def test_a_fault_names_its_place(workers: Workers, name: str) -> None:
    asked, files, place, message, fix = CASES[name]
    with pytest.raises(RenderFailed) as raised:
        await workers.render(asked, Repository(files).given)
    found = raised.value
    assert str(found.place).startswith(place), str(found)
    assert message in found.message, str(found)
    assert fix in found.fix, str(found)
    assert "goroutine" not in str(found) and "/root" not in str(found)
    assert isinstance(found.place, Place)
