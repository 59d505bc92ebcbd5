"""`trueup render NAME` of applications whose charts, bases and values are elsewhere: real servers on loopback."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from datetime import date
from pathlib import Path

import pytest

from core.test_archive import packed
from remotes.test_remotes import fetching, serving
from render.parts import PROGRAM
from servers.git import Repo, http_server
from trueup.app import checker
from trueup.cli import defined
from trueup.cli.common import layout
from trueup.cli.errors import Stop
from trueup.core.model import BuiltImage, Json, Place, Severity
from trueup.drivers.renderers.worker import Limits, Workers
from trueup.drivers.sources.memory import MemoryRemote, MemorySource
from trueup.engine.study import RepositoryStudy

pytestmark = pytest.mark.integration

CHART = {
    "web/Chart.yaml": b"apiVersion: v2\nname: web\nversion: 1.2.0\n",
    "web/values.yaml": b"level: debug\nsize: 1\n",
    "web/values-prod.yaml": b"size: 7\n",
    "web/templates/c.yaml": (
        b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: '{{ .Release.Name }}'}\n"
        b"data: {level: '{{ .Values.level }}', size: '{{ .Values.size }}'}\n"
    ),
}
INDEX = b"""apiVersion: v1
entries:
  web:
    - {name: web, version: 1.2.0, urls: [web-1.2.0.tgz]}
    - {name: web, version: 2.0.0, urls: [gone.tgz]}
"""
FLUX = """apiVersion: source.toolkit.fluxcd.io/v1
kind: HelmRepository
metadata: {{name: charts, namespace: apps}}
spec: {{interval: 1h, url: {url}}}
---
apiVersion: helm.toolkit.fluxcd.io/v2
kind: HelmRelease
metadata: {{name: web, namespace: apps}}
spec:
  interval: 5m
  chart:
    spec:
      chart: web
      version: {version}
      sourceRef: {{kind: HelmRepository, name: charts}}
      valuesFiles: [values.yaml, values-prod.yaml]
  values: {{level: warn}}
"""
ARGO = """apiVersion: argoproj.io/v1alpha1
kind: Application
metadata: {{name: shop, namespace: argocd}}
spec:
  destination: {{name: in-cluster, namespace: shop}}
  sources:
    - repoURL: {charts}
      chart: web
      targetRevision: 1.x
      helm: {{valueFiles: [$vals/env/prod.yaml]}}
    - {{repoURL: "{git}", targetRevision: v1, ref: vals}}
    - {{repoURL: "{git}", targetRevision: v1, path: base}}
"""


@pytest.fixture(autouse=True)
def worker(monkeypatch: pytest.MonkeyPatch) -> None:
    built = Path(__file__).parents[2] / ".cache" / "trueup-render"
    if not built.exists():
        pytest.skip("no render worker: `make render` builds it with Go 1.26")
    monkeypatch.setenv("TRUEUP_RENDER", str(built))
    monkeypatch.setenv("TRUEUP_REMOTE_ALLOW", "127.0.0.1")


def ours(folder: Path, files: Mapping[str, str]) -> Path:
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    subprocess.run(["git", "-C", str(folder), "remote", "add", "origin", "https://git.example/acme/own"], check=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


async def rendered(tmp_path: Path, files: Mapping[str, str], name: str) -> list[Json]:
    bodies, _ = await defined.objects(layout(str(tmp_path / "state")), ours(tmp_path / "ours", files), name)
    return bodies


def config(name: str, namespace: str, **data: str) -> Json:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}, "data": data}


async def test_a_release_of_a_chart_repository(tmp_path: Path) -> None:
    async with serving({"index.yaml": INDEX, "web-1.2.0.tgz": packed(CHART)}) as url:
        made = await rendered(tmp_path, {"web.yaml": FLUX.format(url=url, version="1.x")}, "helmrelease/web")
    assert made == [config("web", "apps", level="warn", size="7")]


async def test_a_version_that_is_not_there_is_named(tmp_path: Path) -> None:
    async with serving({"index.yaml": INDEX}) as url:
        with pytest.raises(Stop, match=r"web\.yaml:6: .*3\.x"):
            await rendered(tmp_path, {"web.yaml": FLUX.format(url=url, version="3.x")}, "web")


async def test_a_chart_with_values_and_a_base_of_another_repository(tmp_path: Path) -> None:
    repo = Repo(tmp_path / "git/acme/conf.git")
    first = repo.commit({"env/prod.yaml": "level: error\n", "base/c.yaml": "apiVersion: v1\nkind: ConfigMap\n"
                         "metadata: {name: base}\ndata: {at: v1}\n"})  # fmt: skip
    repo.git("tag", "v1", first)
    repo.commit({"env/prod.yaml": "level: later\n"})
    async with (
        http_server(tmp_path / "git") as server,
        serving({"index.yaml": INDEX, "web-1.2.0.tgz": packed(CHART)}) as charts,
    ):
        files = {"shop.yaml": ARGO.format(charts=charts, git=server.url("acme/conf.git"))}
        made = await rendered(tmp_path, files, "shop")
    assert made == [config("base", "shop", at="v1"), config("shop", "shop", level="error", size="1")]


async def test_the_loop_deploys_what_is_elsewhere_and_edits_none_of_it(tmp_path: Path) -> None:
    repo = Repo(tmp_path / "git/acme/conf.git")
    workload = (
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: base}\nspec:\n  selector: {matchLabels: {a: b}}\n"
        "  template:\n    metadata: {labels: {a: b}}\n"
        "    spec: {containers: [{name: c, image: example.org/acme/app:1}]}\n"
    )
    first = repo.commit({"env/prod.yaml": "level: error\n", "base/c.yaml": workload})
    repo.git("tag", "v1", first)
    chart = {"index.yaml": INDEX, "web-1.2.0.tgz": packed(CHART)}
    limits = Limits(memory_bytes=512 << 20, time_s=30, uid=65534)
    async with http_server(tmp_path / "git") as server, serving(chart) as charts, fetching(tmp_path / "kept") as beside:
        async with Workers(PROGRAM, size=1, limits=limits) as workers:
            remote = MemoryRemote()
            source = MemorySource(remote)
            study = RepositoryStudy(
                {"s": source}, {"s": "shop"}, {"s": "refs/heads/main"}, checker(date(2026, 1, 1)),
                renderer=workers, beside={"s": beside}, addresses={"s": ("https://git.example/acme/own",)},
            )  # fmt: skip
            commit = remote.push({"shop.yaml": ARGO.format(charts=charts, git=server.url("acme/conf.git"))}, "first")
            look = await study.look("s", commit)
            assert [f for f in look.findings if f.severity is Severity.ERROR] == []
            assert [(o.ref.kind, o.ref.namespace, o.ref.name) for o in look.objects] == [
                ("ConfigMap", "shop", "shop"), ("Deployment", "shop", "base"),
            ]  # fmt: skip
            image = BuiltImage("example.org/acme/app", "2", f"sha256:{'a' * 64}", "k", Place("Dockerfile"))
            assert await study.edits(source, commit, (image,)) == {}
            reading = await study.read(source, commit)
            assert set(reading.tree) == {"shop.yaml"}
