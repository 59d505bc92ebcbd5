"""Which kustomization, chart or Jsonnet file is the application: by convention, by trueup.yaml, or refused by name."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import pytest

from trueup.core.application import Application, Plain, Spec
from trueup.core.model import Finding, TreeEntry
from trueup.core.render import Helm, Jsonnet, Kustomize
from trueup.core.settings import read
from trueup.drivers.definitions.convention import find, wanted

OBJECT = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"
BASE = {"k8s/base/kustomization.yaml": "resources: [web.yaml]\n", "k8s/base/web.yaml": OBJECT}
PROD = {"k8s/overlays/prod/kustomization.yaml": "resources: [../../base/]\ncomponents: [../../parts/tls]\n"}
DEV = {"k8s/overlays/dev/kustomization.yaml": "bases: [../../base]\n"}
PART = {"k8s/parts/tls/kustomization.yaml": "kind: Component\n"}
CHART = {"deploy/chart/Chart.yaml": "apiVersion: v2\nname: shop\nversion: 1.0.0\n",
         "deploy/chart/values.yaml": "a: 1\n", "deploy/chart/templates/a.yaml": OBJECT}  # fmt: skip


def found(files: Mapping[str, str]) -> tuple[tuple[Application, ...], tuple[Finding, ...]]:
    tree = {p: TreeEntry(0o100644, hashlib.sha1(t.encode()).hexdigest(), len(t)) for p, t in files.items()}
    blobs = {tree[path].oid: files[path].encode() for path in wanted(tree)}
    settings, wrong = read(files.get("trueup.yaml", "").encode())
    assert not wrong, wrong
    result = find(tree, blobs, "repository", settings.environments)
    return result.applications, result.findings


def spec(files: Mapping[str, str]) -> Spec:
    (application,), _ = found(files)
    (part,) = application.parts
    return part.spec


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"kustomization.yaml": "resources: [a.yaml]\n", "a.yaml": OBJECT}, Kustomize(path="")),
        ({"deploy/Kustomization": "resources: [a.yaml]\n", "deploy/a.yaml": OBJECT}, Kustomize(path="deploy")),
        (BASE, Kustomize(path="k8s/base")),
        (BASE | PROD | PART, Kustomize(path="k8s/overlays/prod")),
        (CHART, Helm(path="deploy/chart", release="shop")),
        (CHART | {"deploy/chart/charts/sub/Chart.yaml": "name: sub\n"}, Helm(path="deploy/chart", release="shop")),
        (CHART | {"deploy/lib/Chart.yaml": "name: lib\ntype: library\n"}, Helm(path="deploy/chart", release="shop")),
        (
            {"a/Chart.yaml": "name: a\ndependencies: [{name: b, repository: 'file://../b'}]\n",
             "b/Chart.yaml": "name: b\n"},
            Helm(path="a", release="a"),
        ),
        (
            {"main.jsonnet": "import 'lib/web.libsonnet'\n", "lib/web.libsonnet": "{}", "vendor/k.libsonnet": "{}"},
            Jsonnet(path="main.jsonnet", libraries=("vendor", "lib")),
        ),
        (
            {"env/main.jsonnet": "(import 'a.jsonnet') + {}", "env/a.jsonnet": "{}", "grafana/x.jsonnet": "{}"},
            Jsonnet(path="env/main.jsonnet"),
        ),
        ({"x.jsonnet": "{}", "k8s/a.yaml": OBJECT}, Plain(paths=("k8s/a.yaml",))),
    ],
)  # fmt: skip
def test_the_only_one_that_no_other_refers_to_is_the_application(files: Mapping[str, str], expected: Spec) -> None:
    assert spec(files) == expected


@pytest.mark.parametrize(
    ("files", "named", "lines"),
    [
        (BASE | PROD | DEV, "k8s/overlays/dev, k8s/overlays/prod", "{name: prod, path: k8s/overlays/prod}"),
        (BASE | CHART, "k8s/base, deploy/chart", "{name: base, path: k8s/base}"),
        (BASE | {"extra/a.yaml": OBJECT}, "k8s/base, extra", "{name: base, path: k8s/base}"),
        ({"kustomization.yaml": "resources: []\n", **CHART}, ".", "{name: production, path: .}"),
    ],
)  # fmt: skip
def test_several_are_refused_with_the_lines_to_write(files: Mapping[str, str], named: str, lines: str) -> None:
    applications, (finding,) = found(files)
    assert applications == ()
    assert finding.rule == "application-unclear"
    assert finding.message.startswith(named)
    assert finding.fix == f"Write into trueup.yaml: environments: [{lines}]"


@pytest.mark.parametrize("files", [BASE | PROD | DEV, BASE | CHART, {"kustomization.yaml": "{}\n", **CHART}])
def test_the_lines_told_are_taken(files: Mapping[str, str]) -> None:
    _, (finding,) = found(files)
    applications, findings = found(dict(files) | {"trueup.yaml": finding.fix.partition("trueup.yaml: ")[2] + "\n"})
    assert len(applications) == 1 and findings == ()


def test_kustomizations_that_list_one_another_are_named() -> None:
    applications, (finding,) = found({"a/kustomization.yaml": "resources: [../b]\n",
                                      "b/kustomization.yaml": "resources: [../a]\n"})  # fmt: skip
    assert applications == ()
    assert finding.message.startswith("each of a/kustomization.yaml, b/kustomization.yaml is listed by another")
    assert found(PART) == ((), ()), "components alone run nowhere"
    assert spec({"a/kustomization.yaml": "resources: [../a]\n"}) == Kustomize(path="a"), (
        "the renderer says what is wrong"
    )


def test_trueup_yaml_names_the_environment_its_path_and_values() -> None:
    stated = "environments:\n  - name: production\n    path: ./deploy/chart/\n    values: [deploy/prod.yaml]\n"
    (application,), findings = found(BASE | CHART | {"deploy/prod.yaml": "a: 2\n", "trueup.yaml": stated})
    assert (application.name, application.environment, findings) == ("repository", "production", ())
    assert application.parts[0].spec == Helm(path="deploy/chart", release="shop", values_files=("deploy/prod.yaml",))
    assert str(application.place) == "trueup.yaml:2"


def test_trueup_yaml_may_name_a_folder_of_plain_manifests() -> None:
    stated = "environments: [{name: production, path: extra}]\n"
    assert spec(BASE | {"extra/a.yaml": OBJECT, "trueup.yaml": stated}) == Plain(paths=("extra/a.yaml",))


@pytest.mark.parametrize(
    ("stated", "line", "words"),
    [
        ("- {name: a, path: k8s/base}\n- {name: b, path: k8s/x}", 3, "one environment is run by this version, and b"),
        ("- {name: a, path: k8s/bas}", 2, "k8s/bas holds no kustomization, chart or manifest"),
        ("- {name: a, path: k8s/base, values: [b.yaml]}", 2, "there is no values file b.yaml"),
        ("- {name: a, path: k8s/base, values: [k8s/base/web.yaml]}", 2, "values are for charts, and k8s/base is none"),
    ],
)  # fmt: skip
def test_environments_that_cannot_run_are_named_by_line(stated: str, line: int, words: str) -> None:
    applications, (finding,) = found(BASE | {"trueup.yaml": f"environments:\n{stated}\n"})
    assert applications == ()
    assert (str(finding.place), finding.rule) == (f"trueup.yaml:{line}", "application-unclear")
    assert finding.message.startswith(words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("environments: {name: a}", "a list of environments was expected"),
        ("environments: [a]", "a mapping of name and path was expected, not text"),
        ("environments: [{name: a}]", "path: a text was expected"),
        ("environments: [{name: a, path: b, value: c}]", "unknown key 'value' in environments[0]: did you mean 'valu"),
        ("environments: [{name: a, path: ../b}]", "'../b' leads out of the repository"),
        ("environments: [{name: a, path: b, values: c}]", "environments[0].values: a list of names was expected"),
        ("environments: [{name: a, path: b}, {name: a, path: c}]", "the environment 'a' is stated twice"),
    ],
)  # fmt: skip
def test_environments_are_checked_key_by_key(text: str, words: str) -> None:
    settings, findings = read(text.encode())
    assert settings.environments == ()
    assert words in " | ".join(finding.message for finding in findings)
