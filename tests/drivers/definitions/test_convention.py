"""What a tree is taken for, by its paths and the look of its files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import pytest

from trueup.core.found import Found
from trueup.core.model import Severity, TreeEntry
from trueup.drivers.definitions.convention import find, is_manifest, wanted

OBJECT = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"


def found(
    files: Mapping[str, str], modes: Mapping[str, int] | None = None, sizes: Mapping[str, int] | None = None
) -> Found:
    tree = {
        path: TreeEntry(
            (modes or {}).get(path, 0o100644),
            hashlib.sha1(text.encode()).hexdigest(),
            (sizes or {}).get(path, len(text)),
        )
        for path, text in files.items()
    }
    blobs = {tree[path].oid: files[path].encode() for path in wanted(tree)}
    return find(tree, blobs, "shop")


@pytest.mark.parametrize(
    ("path", "text", "taken"),
    [
        ("config/a.yaml", OBJECT, True), ("k8s/a.yml", OBJECT, True), ("a.yaml", OBJECT, True),
        ("services/web/deploy/a.yaml", OBJECT, True), ("infra/a.yaml", OBJECT, True),
        ("deploy/a.json", '{"apiVersion": "v1", "kind": "ConfigMap"}', True),
        ("a.json", '{"apiVersion":"v1",\n"kind":"ConfigMap"}', True),
        ("k8s/list.yaml", "- apiVersion: v1\n  kind: ConfigMap\n", True),
        ("k8s/flow.yaml", '{"apiVersion": "v1", "kind": "ConfigMap"}', True),
        ("k8s/forgot-kind.yaml", "apiVersion: v1\nmetadata: {name: a}\n", True),
        ("other/forgot-kind.yaml", "apiVersion: v1\nmetadata: {name: a}\n", False),
        ("config/settings.yaml", "debug: true\nkind: fast\n", False),
        ("tests/k8s/a.yaml", OBJECT, False), ("docs/a.yaml", OBJECT, False), ("examples/a.yaml", OBJECT, False),
        ("node_modules/x/k8s/a.yaml", OBJECT, False), (".github/a.yaml", OBJECT, False),
        (".hidden/a.yaml", OBJECT, False),
        ("skaffold.yaml", "apiVersion: skaffold/v4beta1\nkind: Config\n", False),
        ("kind.yaml", "apiVersion: kind.x-k8s.io/v1alpha4\nkind: Cluster\n", False),
        ("catalog-info.yaml", "apiVersion: backstage.io/v1alpha1\nkind: Component\n", False),
        ("config/datasources.yaml", "apiVersion: 1\ndatasources: []\nkind: x\n", False),
        ("k8s/readme.txt", OBJECT, False), ("package.json", '{"name": "x"}', False),
    ],
)  # fmt: skip
def test_what_is_a_manifest(path: str, text: str, taken: bool) -> None:
    assert found({path: text}).manifests == ((path,) if taken else ())


def test_what_stands_below_a_kustomization_or_chart_is_not_taken_for_plain() -> None:
    result = found({"k8s/base/kustomization.yaml": "resources: [a.yaml]\n", "k8s/base/a.yaml": OBJECT,
                    "k8s/base/sub/b.yaml": OBJECT, "chart/Chart.yaml": "apiVersion: v2\nname: x\n",
                    "chart/templates/a.yaml": OBJECT})  # fmt: skip
    assert (result.manifests, result.applications) == ((), ())
    assert [(f.rule, str(f.place), f.severity) for f in result.findings] == [
        ("application-unclear", "k8s/base/kustomization.yaml", Severity.ERROR),
    ]


def test_a_chart_beside_plain_manifests_is_a_warning() -> None:
    result = found({"chart/Chart.yaml": "name: x\n", "k8s/a.yaml": OBJECT})
    assert [(f.rule, f.severity) for f in result.findings] == [("chart-beside-manifests", Severity.WARNING)]
    assert result.manifests == ("k8s/a.yaml",)
    assert result.findings[0].fix.endswith("trueup.yaml: environments: [{name: chart, path: chart}]")


def test_links_and_huge_files_among_the_manifests_are_kept_for_the_renderer_to_refuse() -> None:
    result = found({"k8s/a.yaml": "../x", "k8s/b.yaml": OBJECT, "link.yaml": "x"},
                   {"k8s/a.yaml": 0o120000, "link.yaml": 0o120000}, {"k8s/b.yaml": 100 << 20})  # fmt: skip
    assert result.manifests == ("k8s/a.yaml", "k8s/b.yaml")


def test_submodules_are_noted() -> None:
    (note,) = found({"vendor-lib": "x"}, {"vendor-lib": 0o160000}).findings
    assert (note.rule, note.severity) == ("submodule", Severity.NOTE)


def test_dockerfiles_with_the_pipelines_that_build_them() -> None:
    result = found({
        "Dockerfile": "FROM a", "web/Dockerfile": "FROM a", "web/Dockerfile.dev": "FROM a",
        "x/Dockerfile.dockerignore": "",
        "tests/Dockerfile": "FROM a",
        ".github/workflows/a.yml": "jobs: {a: {steps: [{run: 'cd x; docker buildx build -q --platform linux/amd64 "
        "-t acme/web:$GITHUB_SHA -f web/Dockerfile.dev ./web/ && echo'}, {uses: docker/build-push-action@v6, "
        "with: {context: web, tags: \"a/b:1\\na/b:2\"}}]}}",
    })  # fmt: skip
    assert [(d.path, d.context, d.build.references if d.build else None) for d in result.dockerfiles] == [
        ("Dockerfile", ".", None),
        ("web/Dockerfile", "web", ("a/b:1", "a/b:2")),
        ("web/Dockerfile.dev", "web", ("acme/web:$GITHUB_SHA",)),
    ]


@pytest.mark.parametrize(
    ("path", "text", "context"),
    [
        ("api/Dockerfile", "FROM a\nCOPY requirements.txt .\n", "api"),
        ("api/Dockerfile", "FROM a\nCOPY api/requirements.txt libs/common/ /x/\n", "."),
        ("api/docker/Dockerfile", "FROM a\nCOPY requirements.txt .\nADD src/*.py /x/\n", "api"),
        ("build/Dockerfile", "FROM a\nCOPY go.mod .\nCOPY --from=b /y /y\n", "."),
        ("api/Dockerfile", "FROM a\nCOPY target/made-by-a-build.jar .\n", "api"),
        ("api/Dockerfile", "FROM a\nCOPY . .\n", "api"),
        ("api/Dockerfile", "nonsense", "api"),
        ("Dockerfile", "FROM a\nCOPY nothing .\n", "."),
    ],
)
def test_a_dockerfile_is_built_where_the_files_are_that_it_copies(path: str, text: str, context: str) -> None:
    others = {"api/requirements.txt": "", "api/src/a.py": "", "libs/common/b.py": "", "go.mod": ""}
    assert [(d.path, d.context) for d in found({path: text, **others}).dockerfiles] == [(path, context)]


def test_the_names_of_images_that_other_systems_build() -> None:
    result = found({
        "docker/Dockerfile": "FROM a",
        "Jenkinsfile": "def image = 'r.acme.io/till'\nnode { docker.build(\"${image}:${env.BUILD_NUMBER}\", "
        "'-f docker/Dockerfile .').push() }",
        ".gitlab-ci.yml": "variables: {IMAGE: $CI_REGISTRY_IMAGE/web}\nb:\n  script:\n"
        "  - docker build -t $IMAGE:1 $DIR\n",
    })  # fmt: skip
    gitlab, jenkins = result.pipelines
    assert [(b.references, b.context, b.dockerfile, b.place.line) for b in jenkins.builds] == [
        (("r.acme.io/till:${env.BUILD_NUMBER}",), ".", "docker/Dockerfile", 2)
    ]
    assert [(b.references, b.context, b.dockerfile) for b in gitlab.builds] == [
        (("$CI_REGISTRY/$CI_PROJECT_NAMESPACE/shop/web:1",), "", "")
    ]
    assert [(d.path, d.context) for d in result.dockerfiles] == [("docker/Dockerfile", ".")]


def test_pipelines_of_every_system() -> None:
    result = found({
        ".github/workflows/a.yml": "name: A\non: {push: {}, pull_request: {}}\njobs: {t: {steps: [{run: a}]}}",
        ".github/workflows/broken.yaml": "a: [", ".github/dependabot.yml": "version: 2",
        ".gitlab-ci.yml": "default: {image: x}\nt:\n  script:\n    - make a\n    - |\n"
        "      one \\\n        two\n      three\n",
        "Jenkinsfile": "pipeline { stages { stage('One') { steps { sh 'make a' \n sh \"\"\"\n b\n c\"\"\" } } } }",
    })  # fmt: skip
    assert [(p.path, p.system, p.name, p.triggers, p.jobs) for p in result.pipelines] == [
        (".github/workflows/a.yml", "github", "A", ("push", "pull_request"), ("t",)),
        (".github/workflows/broken.yaml", "github", "broken", (), ()),
        (".gitlab-ci.yml", "gitlab", ".gitlab-ci", ("push",), ("t",)),
        ("Jenkinsfile", "jenkins", "Jenkinsfile", ("webhook or poll",), ("One",)),
    ]
    told = [(c.place.line, c.text, c.where) for c in result.pipelines[2].commands]
    assert told == [(4, "make a", "job t"), (6, "one two", "job t"), (8, "three", "job t")]
    told = [(c.place.line, c.text, c.where) for c in result.pipelines[3].commands]
    assert told == [(1, "make a", "stage One"), (3, "b", "stage One"), (4, "c", "stage One")]


def test_monitoring_terraform_and_the_rest() -> None:
    result = found({
        "monitoring/prometheus-config.yml": "scrape_configs: []\n", "ops/p.yaml": "rule_files: [a]\n",
        "monitoring/rules.yml": "groups: []\n", "grafana/x.json": "{}", "a-dashboard.json": "{}", "other.json": "{}",
        "infra/main.tf": "", "app/requirements-dev.txt": "", "docker-compose.yml": "services: {}", "README.md": "",
        "k8s/kustomization": "", "tests/main.tf": "",
    })  # fmt: skip
    assert result.prometheus == ("monitoring/prometheus-config.yml", "ops/p.yaml")
    assert result.rules == ("monitoring/rules.yml",)
    assert result.dashboards == ("a-dashboard.json", "grafana/x.json")
    assert (result.terraform, result.requirements) == (("infra/main.tf",), ("app/requirements-dev.txt",))
    assert (result.compose, result.readme, result.kustomizations) == (("docker-compose.yml",), "README.md", ())


def test_an_empty_tree_is_nothing() -> None:
    assert found({}) == Found("shop")


def test_names_with_newlines_are_names() -> None:
    assert found({"k8s/a\nb.yaml": OBJECT}).manifests == ("k8s/a\nb.yaml",)


def test_bytes_that_are_no_text_decide_nothing() -> None:
    assert not is_manifest("a.yaml", b"\xff\xfe\x00")
    assert is_manifest("k8s/a.yaml", b"apiVersion: v1\nkind: \xff")
