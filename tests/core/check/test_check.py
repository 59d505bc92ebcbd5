"""The rules over data cases (tests/check/*.yaml), the examples included; and the documents that list them."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from trueup.core.check import RULES, check, merged, worst
from trueup.core.check.endoflife import ENDS, version_of
from trueup.core.check.pipelines import installed, writes
from trueup.core.check.promql import findings as promql_findings
from trueup.core.check.terraform import Unclosed, blocks
from trueup.core.check.wellknown import ACTIONS
from trueup.core.model import Finding, Place, Severity, TreeEntry
from trueup.drivers.definitions import convention
from trueup.drivers.renderers import plain

ROOT = Path(__file__).parents[3]
CASES = sorted((ROOT / "tests" / "check").glob("*.yaml"))
TODAY = date(2025, 11, 23)


def examples() -> ModuleType:
    spec = importlib.util.spec_from_file_location("examples_make", ROOT / "examples" / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def files_of(case: Mapping[str, Any], scratch: Path) -> dict[str, bytes]:
    if "files" in case:
        return {path: text.encode() for path, text in case["files"].items()}
    folder = ROOT / case["folder"] if "folder" in case else scratch / "example"
    if "variant" in case:
        examples().write(case["variant"], folder)
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def findings_of(files: Mapping[str, bytes], name: str = "shop", today: date = TODAY) -> tuple[Finding, ...]:
    tree = {path: TreeEntry(0o100644, hashlib.sha1(data).hexdigest(), len(data)) for path, data in files.items()}
    blobs = {tree[path].oid: data for path, data in files.items()}
    found = convention.find(tree, blobs, name)
    rendered = plain.render(tree, blobs, found.manifests)
    checked = check(tree, blobs, found, rendered, today=today)
    return merged((*found.findings, *rendered.findings, *checked))


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_case(path: Path, tmp_path: Path) -> None:
    case = yaml.safe_load(path.read_text())
    got = findings_of(files_of(case, tmp_path), case.get("name", "shop"))
    assert [f"{f.severity.value} {f.place} {f.rule}" for f in got] == case["expect"]
    told = [f"{f.rule} {f.message} {f.fix}" for f in got]
    for rule, parts in (case.get("says") or {}).items():
        said = [text for text in told if text.startswith(rule)]
        assert all(any(part in text for text in said) for part in parts), (rule, told)
    assert not any(word in text for word in case.get("never", ()) for text in told)
    assert {f.rule for f in got} <= {rule.id for rule in RULES}
    assert all(f.message and f.fix for f in got)


def test_an_empty_repository_has_nothing_wrong() -> None:
    assert findings_of({}) == ()
    assert findings_of({"README.md": b"x", "src/main.py": b""}) == ()


def test_the_day_decides_what_is_past_its_end() -> None:
    files = {"Dockerfile": b"FROM python:3.12-slim\n"}
    assert findings_of(files, today=date(2028, 10, 31)) == ()
    assert [f.rule for f in findings_of(files, today=date(2028, 11, 1))] == ["end-of-life"]


@pytest.mark.parametrize(
    ("image", "says"),
    [
        ("python:3.12-slim-buster", "debian 10"),
        ("node:24-alpine3.18", "alpine 3.18"),
        ("ruby:3.4-focal", "ubuntu 20.04"),
        ("golang:1.24", "golang 1.24"),
        ("ubuntu:25.04", "ubuntu 25.04"),
        ("node:25", "node 25"),
    ],
)
def test_what_an_image_stands_on_has_an_end_too(image: str, says: str) -> None:
    (found,) = findings_of({"Dockerfile": f"FROM {image}\n".encode()}, today=date(2026, 11, 25))
    assert says in found.message


def test_the_images_that_jobs_run_in_and_beside_have_an_end_too() -> None:
    files = {
        ".github/workflows/a.yml": b"on: push\njobs:\n  a:\n    runs-on: x\n    container: {image: 'node:16'}\n"
        b"    services:\n      db:\n        image: postgres:11\n    steps: [{run: a}]\n  b:\n    container: ruby:2.7\n",
        ".gitlab-ci.yml": b"image: php:7.4\nt:\n  image: {name: 'golang:1.20'}\n  services:\n  - postgres:10\n"
        b"  - {name: 'debian:9', alias: x}\n  script: [a]\n",
    }
    found = [f for f in findings_of(files, today=date(2026, 11, 25)) if f.rule == "end-of-life"]
    assert [(f.place.file[1:4], f.place.line, f.message.split(" gets")[0]) for f in found] == [
        ("git", 5, "node 16"), ("git", 8, "postgres 11"), ("git", 11, "ruby 2.7"),
        ("git", 1, "php 7.4"), ("git", 3, "golang 1.20"), ("git", 5, "postgres 10"), ("git", 6, "debian 9"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "image", ["python:3.13-slim-trixie", "node:24-alpine", "node:24-alpine3.23", "golang:1.26-bookworm", "postgres:16"]
)
def test_what_is_still_looked_after_is_not_named(image: str) -> None:
    assert findings_of({"Dockerfile": f"FROM {image}\n".encode()}, today=date(2026, 11, 25)) == ()


@pytest.mark.parametrize(
    ("product", "tag", "version"),
    [
        ("python", "3.7-slim", "3.7"), ("python", "3.7.17", "3.7"), ("python", "3", ""), ("python", "latest", ""),
        ("python", "3.71", ""), ("debian", "buster-slim", "10"), ("debian", "10.13", "10"),
        ("node", "16.2-alpine", "16"),
        ("ubuntu", "18.04", "18.04"), ("python", "", ""), ("alpine", "3.18.4", "3.18"),
    ],
)  # fmt: skip
def test_versions_of_tags(product: str, tag: str, version: str) -> None:
    assert version_of(tag, ENDS[product]) == version


@pytest.mark.parametrize(
    ("command", "verb"),
    [
        ("kubectl apply -f x", "kubectl apply"), ("kubectl -n a apply -f x", "kubectl apply"),
        ("kubectl --namespace=a apply", "kubectl apply"), ("kubectl get pods", ""), ("kubectl", ""),
        ("kubectl apply --dry-run=server -f x", ""), ("kubectl apply --dry-run=none -f x", "kubectl apply"),
        ("/usr/bin/helm upgrade a b", "helm upgrade"), ("helm template a", ""), ("helm list", ""),
        ("argocd app sync x", "argocd app sync"), ("argocd app get x", ""), ("argocd login x", ""),
        ("kubectl rollout restart x", "kubectl rollout restart"), ("kubectl rollout status x", ""),
        ("flux reconcile kustomization x", "flux reconcile"), ("helmfile -e prod sync", "helmfile sync"),
    ],
)  # fmt: skip
def test_what_writes_to_the_target(command: str, verb: str) -> None:
    assert writes(command.split()) == verb


@pytest.mark.parametrize(
    ("command", "names"),
    [
        ("pip install a b==1 c[x]>=2", ["a", "b", "c"]), ("pip3 install -r r.txt -U a", ["a"]), ("pip install .", []),
        ("pip install -e . ./x git+ssh://y", []), ("python3 -m pip install a", ["a"]), ("uv pip install a", ["a"]),
        ("pip download a", []), ("npm install a", []), ("pip install -i http://x a", ["a"]), ("pip", []),
    ],
)  # fmt: skip
def test_what_pip_installs_from_an_index(command: str, names: list[str]) -> None:
    assert installed(command.split()) == names


@pytest.mark.parametrize(
    ("text", "rules"),
    [
        ('sum by (job) (rate(x{a="upsample(b)"}[5m])) # nope(x)', []),
        ("up == 0 and on(job) absent(x) or vector(1)", []),
        ('label_replace(x, "a", "$1", "b", "(.*)")', []),
        ("rate(x[${window}])", []),
        ('x{job="$job"} > [[limit]]', []),
        ("holt_winters(x[5m], 0.5, 0.5)", []),
        ("histogram_quantile(0.9, sum by (le) (rate(x_bucket[5m])))", []),
        ("avrg(x)", ["promql-unknown-function"]),
        ("upsample(x) + nope(y)", ["promql-unknown-function", "promql-unknown-function"]),
        ("", ["promql-invalid"]),
        ("rate(x[5m]", ["promql-invalid"]),
        ("(" * 3000 + "x" + ")" * 1000, ["promql-invalid"]),
        ("-" * 4000 + "x", ["promql-invalid"]),
        ("abs(" * 25 + "x" + ")" * 25, ["promql-invalid"]),
        ("abs(" * 20 + "x" + ")" * 20, []),
        ("+".join(["x"] * 150), []),
        ("x" * 5000, ["promql-invalid"]),
    ],
)
def test_expressions(text: str, rules: list[str]) -> None:
    assert [f.rule for f in promql_findings(text, Place("r.yml", 1))] == rules


def test_hcl_blocks_survive_strings_comments_and_heredocs() -> None:
    text = 'a "b" {\n x = "}${f("{")}"\n # }\n}\nc { y = <<E\n }\nE\n}\nd = { e = 1 }\n'
    assert [(b.kind, b.labels, b.line) for b in blocks(text)] == [("a", ("b",), 1), ("c", (), 5)]
    for wrong, line in [("a {\n", 1), ("x = 1\n}", 2), ("\n/* x", 2), ('\n\nx = "a', 3), ("x = <<E\na\n", 1)]:
        with pytest.raises(Unclosed) as error:
            list(blocks(wrong))
        assert error.value.line == line


def test_a_finding_that_says_more_replaces_the_other() -> None:
    place = Place("a.yml", 3, 1)
    more = Finding(Severity.ERROR, "action-unknown", Place("a.yml", 3, 9), "m", "f")
    less = Finding(Severity.ERROR, "workflow-unsupported-action", place, "m", "f")
    elsewhere = Finding(Severity.ERROR, "workflow-unsupported-action", Place("a.yml", 4), "m", "f")
    assert merged([less, more, elsewhere, more]) == (more, elsewhere)
    assert worst([less]) is Severity.ERROR
    assert worst([]) is None


def test_tables_are_sane() -> None:
    ids = [rule.id for rule in RULES]
    assert len(ids) == len(set(ids))
    assert all(rule.says.endswith(".") for rule in RULES)
    assert all(name == name.lower() for names in ACTIONS.values() for name in names)
    assert "setup-action" not in ACTIONS["docker"]


def test_the_document_lists_every_rule() -> None:
    written = (ROOT / "docs" / "check.md").read_text()
    rows = [f"| `{rule.id}` | {rule.severity.value} | {rule.says} |" for rule in sorted(RULES, key=lambda r: r.id)]
    assert "\n".join(rows) in written, "docs/check.md is not what `python scripts/check_rules.py` writes"


def test_hostile_names_and_contents_are_only_named() -> None:
    bomb = ["a0: &a0 [x, x]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    files = {
        "config/a\nerror: forged.yaml": b"kind: A\napiVersion: [",
        "k8s/bomb.yaml": ("apiVersion: v1\nkind: ConfigMap\n" + "\n".join(bomb)).encode(),
        "monitoring/prometheus.yml": b"scrape_configs: &x\n - job_name: a\n - <<: *x\n",
        "main.tf": b"{" * 10_000,
        "Dockerfile": b"FROM " + b"x" * 10_000,
        ".gitlab-ci.yml": b"[" * 5_000,
    }
    got = findings_of(files)
    unreadable = [str(f.place) for f in got if f.rule == "manifest-unreadable"]
    assert unreadable == ["config/a\\nerror: forged.yaml:3", "k8s/bomb.yaml:8"]
    assert all("\n" not in str(f.place) and len(f.message) < 1000 for f in got)


@pytest.mark.parametrize(
    ("path", "unit"),
    [
        ("Jenkinsfile", "sh  "), ("Jenkinsfile", "stage('a') sh 'x'\n"), ("Jenkinsfile", "sh \"\"\" "),
        ("main.tf", "a "), ("main.tf", 'a "b" {}\n'), ("main.tf", "/*"), ("main.tf", "<<A\n"), ("main.tf", '"${'),
        ("a-dashboard.json", "/* "),
        ("a-dashboard.json", "/**/ "), ("k8s/a.yaml", "  \n"), ("k8s/a.yaml", "apiVersion"), ("Dockerfile", "FROM a\n"),
        (".gitlab-ci.yml", "a: [\n"), ("requirements.txt", "a==1\n"),
    ],
)  # fmt: skip
def test_long_hostile_files_end_and_are_at_most_named(path: str, unit: str) -> None:
    """What costs the square of a file's length would not end here within the suite's patience."""
    got = findings_of({path: (unit * (100_000 // len(unit))).encode()})
    assert len(got) <= 1


def test_what_a_repository_says_cannot_forge_lines() -> None:
    files = {"monitoring/prometheus.yml": b'"\\e[31mscrape\\nforged: line": 1\n' + b"k" * 900 + b": 1\n"}
    got = findings_of(files)
    assert [f.rule for f in got] == ["prometheus-config"] * 2
    assert all(f.message.isprintable() and len(f.message) < 1000 for f in got)
    assert any("\\x1b[31mscrape\\nforged" in f.message for f in got)
