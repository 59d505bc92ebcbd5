"""What a repository is, by convention: a tree of paths and some contents → `Found`. Pure; nothing is configured.

Manifests are the *.yaml, *.yml and *.json files whose documents are Kubernetes objects. What stands in Kustomize
folders and Helm charts is rendered, never taken for plain manifests.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from msgspec import structs

from trueup.core import variables
from trueup.core.commands import (
    action_build,
    calls,
    github_commands,
    github_steps,
    gitlab_commands,
    image_build,
    jenkins_builds,
    jenkins_commands,
    jenkins_stages,
    jenkins_variables,
    metadata_images,
)
from trueup.core.found import Command, Found, ImageBuild, Pipeline
from trueup.core.model import Finding, Json, Oid, Place, Severity, Tree, TreeEntry
from trueup.core.objects import dig
from trueup.core.settings import Environment
from trueup.core.yamldoc import Doc, Limits, Schema, YamlFault, documents
from trueup.drivers.definitions.contexts import dockerfiles
from trueup.drivers.definitions.roots import KUSTOMIZATIONS, Holding, applications

MANIFEST_FOLDERS = frozenset(
    {"config", "k8s", "kubernetes", "kube", "deploy", "deployment", "deployments", "manifests"}
)
NOT_DEPLOYED = frozenset({
    "test", "tests", "testdata", "fixtures", "node_modules", "vendor", "docs", "doc", "example", "examples", "samples",
    "third_party",
})  # fmt: skip
# API groups of files that only look like Kubernetes objects: tools' own configuration
NOT_OBJECTS = re.compile(
    r"(skaffold|kind\.x-k8s\.io|kubeadm\.k8s\.io|kubelet\.config|kubeproxy\.config|kubescheduler\.config|eksctl\.io"
    r"|backstage\.io|kustomize\.config|audit\.k8s\.io|apiserver\.(config\.)?k8s\.io|client\.authentication|k3d\.io"
    r"|ctlptl\.dev|tilt\.dev|config\.openshift\.io/tool|score\.dev|helmfile)"
)
_YAML = (".yaml", ".yml")
_JSONNET = (".jsonnet", ".libsonnet")
LFS = b"version https://git-lfs.github.com/spec/"
_READ_LIMIT = Limits().size_bytes
_SMALL = 1 << 20  # pipelines, Dockerfiles, Terraform, monitoring: larger ones are not read


def wanted(tree: Tree) -> tuple[str, ...]:
    """The paths whose content `find` and the checks read; everything else is judged by its name."""
    return tuple(sorted(path for path, entry in tree.items() if _MAYBE.search(path) and _is_wanted(path, entry)))


# What can be wanted at all: most paths of a large repository cannot, and cost no more than this look
_MAYBE = re.compile(r"\.(ya?ml|json|jsonnet|libsonnet|tf|txt)$|Dockerfile|Containerfile|Jenkinsfile|Kustomization$")


def _is_wanted(path: str, entry: TreeEntry) -> bool:
    size_bytes = entry.size_bytes
    if entry.mode & 0o170000 != 0o100000:
        return False
    if _hidden(path) and not _pipeline(path):
        return False
    if path.endswith((*_YAML, ".json")) and not _pipeline(path):
        return size_bytes <= _READ_LIMIT and not _excluded(path)
    if path.rpartition("/")[2] == "Kustomization" or path.endswith(_JSONNET):
        return size_bytes <= _SMALL and not _excluded(path)
    named = _pipeline(path) or _dockerfile(path) or path.endswith(".tf") or _requirements(path)
    return bool(named) and size_bytes <= _SMALL


def find(tree: Tree, blobs: Mapping[Oid, bytes], name: str, environments: Sequence[Environment] = ()) -> Found:
    """What the tree holds. `blobs` has at least the contents of `wanted(tree)`; `name` is the repository's;
    `environments` are what its trueup.yaml states."""
    text = {path: blobs[tree[path].oid] for path in wanted(tree) if tree[path].oid in blobs}
    seen = tuple(sorted(p for p in tree if _MAYBE.search(p) and not _hidden(p) and not _excluded(p)))
    kustomizations = _named(seen, lambda path: posixpath.basename(path) in KUSTOMIZATIONS)
    charts = _named(seen, lambda path: posixpath.basename(path) == "Chart.yaml")
    apart = frozenset(_folder(path) for path in (*kustomizations, *charts))
    manifests = tuple(p for p in sorted({*_manifests(text), *_too_large(tree), *_links(tree)}) if not _below(p, apart))
    monitoring = {p: d for p, d in text.items() if p not in manifests and not _below(p, apart) and not _pipeline(p)}
    pipelines = tuple(_read_pipeline(path, data, name) for path, data in sorted(text.items()) if _pipeline(path))
    jsonnet = _named(seen, lambda path: path.endswith(_JSONNET))
    holding = Holding(name, frozenset(tree), text, manifests, kustomizations, charts, jsonnet)
    runs, unclear = applications(holding, environments)
    return Found(
        name=name,
        applications=runs,
        dockerfiles=dockerfiles(_named(seen, _dockerfile), pipelines, text, frozenset(tree)),
        pipelines=pipelines,
        terraform=_named(seen, lambda path: path.endswith(".tf")),
        prometheus=tuple(p for p, d in monitoring.items() if _is_prometheus(p, d)),
        rules=tuple(p for p, d in monitoring.items() if p.endswith(_YAML) and _GROUPS.search(d)),
        dashboards=tuple(p for p in monitoring if _is_dashboard(p)),
        requirements=_named(seen, _requirements),
        kustomizations=kustomizations,
        charts=charts,
        compose=_named(seen, lambda path: bool(_COMPOSE.fullmatch(posixpath.basename(path)))),
        readme=min((p for p in tree if "/" not in p and p.lower().startswith("readme")), default=""),
        findings=(*unclear, *_submodules(tree)),
    )


# --- paths -----------------------------------------------------------------------------------------

_COMPOSE = re.compile(r"(docker-)?compose(\.[\w.-]+)?\.ya?ml")


def _folder(path: str) -> str:
    return posixpath.dirname(path)


def _below(path: str, folders: Collection[str]) -> bool:
    """Whether a folder of these holds the path, at any depth."""
    while path:
        path = _folder(path)
        if path in folders:
            return True
    return False


def _hidden(path: str) -> bool:
    return path.startswith(".") or "/." in path


def _excluded(path: str) -> bool:
    return not NOT_DEPLOYED.isdisjoint(path.split("/")[:-1])


def _named(paths: Iterable[str], test: Callable[[str], bool]) -> tuple[str, ...]:
    return tuple(path for path in paths if test(path))


def _dockerfile(path: str) -> bool:
    name = posixpath.basename(path)
    if name.endswith(".dockerignore"):
        return False
    return name in ("Dockerfile", "Containerfile") or name.startswith("Dockerfile.") or name.endswith(".Dockerfile")


def _requirements(path: str) -> bool:
    name = posixpath.basename(path)
    return name.startswith("requirements") and name.endswith(".txt")


def _pipeline(path: str) -> str:
    """ "github", "gitlab", "jenkins", or "" for other files."""
    if path.startswith(".github/workflows/") and path.count("/") == 2 and path.endswith(_YAML):
        return "github"
    if path in (".gitlab-ci.yml", ".gitlab-ci.yaml"):
        return "gitlab"
    return "jenkins" if posixpath.basename(path) == "Jenkinsfile" and not _excluded(path) else ""


# --- manifests -------------------------------------------------------------------------------------

_VERSION_LINE = re.compile(rb"""^(?:-[ ]+|[ ]+)?["']?apiVersion["']?[ ]*:[ ]*["']?([^\s"'#,}]+)""", re.MULTILINE)
_KIND_LINE = re.compile(rb"""^(?:-[ ]+|[ ]+)?["']?kind["']?[ ]*:[ ]*\S""", re.MULTILINE)
_JSON_VERSION = re.compile(rb'"apiVersion"\s*:\s*"([^"]+)"')
_JSON_KIND = re.compile(rb'"kind"\s*:\s*"')


def _manifests(text: Mapping[str, bytes]) -> list[str]:
    return [
        p for p, data in text.items() if p.endswith((*_YAML, ".json")) and not _pipeline(p) and is_manifest(p, data)
    ]


def is_manifest(path: str, data: bytes) -> bool:
    """Whether a file states Kubernetes objects: apiVersion and kind; in the conventional folders apiVersion is enough,
    so that a forgotten kind is said rather than skipped."""
    if data.startswith(LFS) and _candidate(path):
        return True  # refused by name by the renderer: what it states is not here, and so not gone either
    if path.endswith(".json"):
        version = _JSON_VERSION.search(data)
        return bool(version and _JSON_KIND.search(data) and not _is_tool(version))
    version = _VERSION_LINE.search(data)
    if version is None:
        return bool(_in_manifest_folder(path) and _JSON_VERSION.search(data) and _JSON_KIND.search(data))
    if _is_tool(version):
        return False
    return bool(_KIND_LINE.search(data)) or _in_manifest_folder(path)


def _is_tool(version: re.Match[bytes]) -> bool:
    """Grafana's provisioning files say `apiVersion: 1`; other tools have groups of their own."""
    text = version.group(1).decode("ascii", "replace")
    return text.isdigit() or bool(NOT_OBJECTS.search(text))


def _in_manifest_folder(path: str) -> bool:
    return not MANIFEST_FOLDERS.isdisjoint(path.split("/")[:-1])


def _candidate(path: str) -> bool:
    return path.endswith((*_YAML, ".json")) and _in_manifest_folder(path) and not _hidden(path) and not _excluded(path)


def _too_large(tree: Tree) -> list[str]:
    """Files that would be read if they were smaller: named by the renderer."""
    return [path for path, entry in tree.items() if entry.size_bytes > _READ_LIMIT and _candidate(path)]


def _links(tree: Tree) -> list[str]:
    """Symbolic links among the manifests: refused by name by the renderer."""
    return [path for path, entry in tree.items() if entry.mode == 0o120000 and _candidate(path)]


def _submodules(tree: Tree) -> Iterable[Finding]:
    for path in sorted(path for path, entry in tree.items() if entry.mode == 0o160000):
        yield Finding(
            Severity.NOTE, "submodule", Place(path), "a submodule: its files are not part of this commit",
            "Nothing, unless manifests or a build need them; then copy them here.",
        )  # fmt: skip


# --- monitoring ------------------------------------------------------------------------------------

_GROUPS = re.compile(rb"^groups[ ]*:", re.MULTILINE)
_SCRAPE = re.compile(rb"^(scrape_configs|rule_files|alerting|remote_write)[ ]*:", re.MULTILINE)


def _is_prometheus(path: str, data: bytes) -> bool:
    if not path.endswith(_YAML) or _GROUPS.search(data):
        return False
    return bool(_SCRAPE.search(data)) or posixpath.basename(path).lower().startswith("prometheus")


def _is_dashboard(path: str) -> bool:
    name, folders = posixpath.basename(path).lower(), {part.lower() for part in path.split("/")[:-1]}
    return name.endswith(".json") and ("dashboard" in name or not folders.isdisjoint({"dashboards", "grafana"}))


# --- pipelines -------------------------------------------------------------------------------------


def _read_pipeline(path: str, data: bytes, repository: str) -> Pipeline:
    system = _pipeline(path)
    name = posixpath.basename(path) if system == "jenkins" else posixpath.splitext(posixpath.basename(path))[0]
    if system == "jenkins":
        return _jenkins(path, name, data.decode("utf-8", "replace"))
    told = variables.of_repository(repository)
    try:
        doc = documents(data, path, schema=Schema.CORE)[0]
    except (YamlFault, IndexError):
        return Pipeline(path, system, name, system == "github")
    body = doc.body if isinstance(doc.body, dict) else {}
    if system == "gitlab":
        return _gitlab(path, name, doc, body, told)
    return _github(path, str(body.get("name") or name), doc, body, told)


def _jenkins(path: str, name: str, text: str) -> Pipeline:
    commands = tuple(jenkins_commands(text, path))
    builds = _filled((*_built(commands), *jenkins_builds(text, path)), jenkins_variables(text), {})
    return Pipeline(path, "jenkins", name, False, ("webhook or poll",), jenkins_stages(text), commands, builds)


def _gitlab(path: str, name: str, doc: Doc, body: dict[str, Json], told: Mapping[str, str]) -> Pipeline:
    jobs = tuple(k for k, v in body.items() if isinstance(v, dict) and "script" in v)
    commands = tuple(gitlab_commands(doc))
    places = (dig(each, ("variables",)) for each in (body, *body.values()))
    return Pipeline(path, "gitlab", name, False, ("push",), jobs, commands, _filled(_built(commands), places, told))


def _github(path: str, name: str, doc: Doc, body: dict[str, Json], told: Mapping[str, str]) -> Pipeline:
    found = body.get("jobs")
    jobs: dict[str, Json] = found if isinstance(found, dict) else {}
    commands, steps = tuple(github_commands(doc)), tuple(github_steps(doc))
    images = metadata_images(step for _, _, step in steps)
    actions = (action_build(step, doc.place(*at), images) for at, _, step in steps)
    places = (dig(each, ("env",)) for each in (body, *jobs.values(), *(step for _, _, step in steps)))
    builds = _filled((*_built(commands), *(each for each in actions if each)), places, told)
    return Pipeline(path, "github", name, True, _triggers(body.get("on")), tuple(map(str, jobs)), commands, builds)


def _built(commands: Iterable[Command]) -> Iterable[ImageBuild]:
    for command in commands:
        for words in calls(command.text):
            if build := image_build(words, command.place):
                yield build


def _filled(builds: Iterable[ImageBuild], places: Iterable[Json], told: Mapping[str, str]) -> tuple[ImageBuild, ...]:
    values = {**told, **variables.stated(places)}
    return tuple(
        structs.replace(each, references=tuple(variables.filled(name, values) for name in each.references))
        for each in builds
    )


def _triggers(on: object) -> tuple[str, ...]:
    if isinstance(on, str):
        return (on,)
    if isinstance(on, dict):
        return tuple(_event(str(event), filters) for event, filters in on.items())
    return tuple(str(event) for event in on) if isinstance(on, list) else ()


def _event(name: str, filters: object) -> str:
    """Source: GitHub Docs, "Workflow syntax", on.push: with a filter of tags alone no push of a branch starts it."""
    given = set(filters) if isinstance(filters, dict) else set()
    of_tags = name == "push" and given & {"tags", "tags-ignore"} and not given & {"branches", "branches-ignore"}
    return "push of tags" if of_tags else name
