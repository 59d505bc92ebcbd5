"""A commit whose objects are rendered, as the loop reads it: objects, places, findings, what can be built."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import date
from pathlib import Path

import pytest

from render.parts import program
from trueup.app import checker
from trueup.core.candidate import ApplicationState, CandidateState
from trueup.core.hooks import When, hook_of
from trueup.core.model import BuiltImage, Place, Severity
from trueup.drivers.renderers.worker import Workers
from trueup.drivers.sources.memory import MemoryRemote, MemorySource
from trueup.engine.inspect import inspect
from trueup.engine.planning import BundleRefused
from trueup.engine.study import Reading, RepositoryStudy
from trueup.ports import RendererDown

pytestmark = pytest.mark.integration

WEB = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  replicas: 1
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
        - name: web
          image: example.org/acme/web:latest
          ports: [{containerPort: 8000}]
"""
DOCKERFILE = {"app/Dockerfile": "FROM scratch\n"}
OVERLAY = {
    "k8s/base/kustomization.yaml": "resources: [web.yaml]\n",
    "k8s/base/web.yaml": "# the base\n" + WEB,
    "k8s/prod/kustomization.yaml": """\
resources: [../base]
namePrefix: prod-
namespace: shop
patches: [{path: more.yaml}]
configMapGenerator:
  - name: settings
    literals: [a=b]
""",
    "k8s/prod/more.yaml": "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {replicas: 3}\n",
    **DOCKERFILE,
}
CHART = {
    "chart/Chart.yaml": "apiVersion: v2\nname: shop\nversion: 1.0.0\n",
    "chart/values.yaml": "replicas: 2\nimage: {repository: example.org/acme/web, tag: latest}\n",
    "chart/templates/web.yaml": WEB.replace("name: web\nspec", "name: {{ .Release.Name }}-web\nspec")
    .replace("replicas: 1", "replicas: {{ .Values.replicas }}")
    .replace("example.org/acme/web:latest", '"{{ .Values.image.repository }}:{{ .Values.image.tag }}"'),
    **DOCKERFILE,
}
JSONNET = {
    "main.jsonnet": "local web = import 'web.libsonnet';\n[web('example.org/acme/web:latest')]\n",
    "lib/web.libsonnet": """\
function(image) {
  apiVersion: 'apps/v1', kind: 'Deployment', metadata: {name: 'web'},
  spec: {
    replicas: 2, selector: {matchLabels: {app: 'web'}},
    template: {metadata: {labels: {app: 'web'}}, spec: {containers: [{name: 'web', image: image}]}},
  },
}
""",
    **DOCKERFILE,
}
IMAGE = BuiltImage("example.org/acme/web", "abc", f"sha256:{'a' * 64}", "k", Place("app/Dockerfile"))


class Read:
    """One commit of a repository in memory."""

    def __init__(self, files: Mapping[str, str], workers: Workers) -> None:
        remote = MemoryRemote()
        self.commit = remote.push(dict(files), "first")
        self.source = MemorySource(remote)
        refs = {"s": "refs/heads/main"}
        self.study = RepositoryStudy({"s": self.source}, {"s": "shop"}, refs, checker(date(2026, 11, 1)), None, workers)

    async def reading(self) -> Reading:
        return await self.study.read(self.source, self.commit)

    async def errors(self) -> list[str]:
        found = (await self.reading()).findings
        return [f"{f.place} {f.rule}: {f.message}" for f in found if f.severity is Severity.ERROR]

    async def bundle(self, image: BuiltImage = IMAGE) -> dict[str, str]:
        """Where each object stands, by name; and the image of the Deployment."""
        candidate = CandidateState("candidate/c", source="s", commit=self.commit, images={image.repository: image})
        bundle = await self.study.bundle(ApplicationState("application/a"), candidate)
        (image_use,) = (use for one in bundle.objects for use in one.images)
        return {str(one.ref): str(one.place) for one in bundle.objects} | {"image": image_use.text}


async def test_an_overlay_is_deployed_with_the_places_of_the_base_and_the_built_image(workers: Workers) -> None:
    read = Read(OVERLAY, workers)
    assert await read.errors() == []
    placed = await read.bundle()
    (settings,) = (name for name in placed if name.startswith("configmap/prod-settings-"))
    assert placed == {
        "deployment/prod-web": "k8s/base/web.yaml:2",
        settings: "k8s/prod/kustomization.yaml:6",
        "image": f"example.org/acme/web:abc@sha256:{'a' * 64}",
    }
    rendered = (await read.reading()).rendered
    (deployment,) = (one for one in rendered.objects if one.ref.kind == "Deployment")
    assert (deployment.ref.namespace, deployment.body["spec"]["replicas"]) == ("shop", 3)
    assert str(deployment.images[0].place) == "k8s/base/web.yaml:14"
    assert [b.repository for b in (await read.study.look("s", read.commit)).buildable] == ["example.org/acme/web"]


async def test_a_chart_is_deployed_under_its_own_name_with_the_places_of_its_templates(workers: Workers) -> None:
    read = Read(CHART, workers)
    assert await read.errors() == []
    placed = await read.bundle()
    assert placed["deployment/shop-web"] == "chart/templates/web.yaml:2"
    assert placed["image"].endswith("web:abc@sha256:" + "a" * 64)


async def test_jsonnet_is_deployed(workers: Workers) -> None:
    read = Read(JSONNET, workers)
    assert await read.errors() == []
    assert (await read.bundle())["deployment/web"] == "main.jsonnet"


async def test_what_the_rules_find_in_rendered_objects_names_the_users_own_line(workers: Workers) -> None:
    wrong = {**OVERLAY, "k8s/base/web.yaml": "# the base\n" + WEB.replace("  replicas: 1", "  replica: 1")}
    read = Read(wrong, workers)
    (error,) = await read.errors()
    assert error.startswith("k8s/base/web.yaml:7 host-refuses: deployment/prod-web")
    with_probe = [f for f in (await read.reading()).findings if f.rule == "container-without-probes"]
    assert [str(f.place) for f in with_probe] == ["k8s/base/web.yaml:13"]


@pytest.mark.parametrize(
    ("files", "error"),
    [
        (
            {"k8s/prod/kustomization.yaml": "resources:\n  - ../base\n  - web2.yaml\n"},
            "k8s/prod/kustomization.yaml:3 render-failed: ",
        ),
        ({"k8s/base/web.yaml": "a: [\n"}, "k8s/base/web.yaml"),
    ],
)
async def test_a_render_that_fails_is_an_error_at_its_line_and_deploys_nothing(
    workers: Workers, files: Mapping[str, str], error: str
) -> None:
    read = Read({**OVERLAY, **files}, workers)
    assert (await read.errors())[0].startswith(error), await read.errors()
    with pytest.raises(BundleRefused, match="k8s/"):
        await read.bundle()


async def test_hooks_of_a_chart_run_and_its_tests_are_told(workers: Workers) -> None:
    job = "apiVersion: batch/v1\nkind: Job\nmetadata:\n  name: %s\n  annotations: {helm.sh/hook: %s}\n"
    read = Read({**CHART, "chart/templates/migrate.yaml": job % ("migrate", "pre-upgrade")}, workers)
    hook = next(m.object for m in (await read.reading()).rendered.manifests if m.object.ref.name == "migrate")
    assert hook.place.file == "chart/templates/migrate.yaml"
    assert hook_of(hook).when == {When.PRE_SYNC}
    tested = Read({**CHART, "chart/templates/try.yaml": job % ("try", "test")}, workers)
    told = next(f for f in (await tested.reading()).findings if f.rule == "hook-not-run")
    assert told.severity is Severity.NOTE and "job/try is a hook (test)" in told.message


async def test_the_chart_that_helm_create_makes_is_taken_as_it_is(
    workers: Workers, helm_program: Path, tmp_path: Path
) -> None:
    """Its test is a Pod, which one host refuses: it is never applied, so it holds nothing up."""
    await asyncio.to_thread(program, [helm_program, "create", tmp_path / "shop"])
    files = {str(p.relative_to(tmp_path)): p.read_text() for p in tmp_path.rglob("*") if p.is_file()}
    values = files["shop/values.yaml"].replace("repository: nginx", "repository: example.org/acme/web")
    read = Read({**files, "shop/values.yaml": values, **DOCKERFILE}, workers)
    assert await read.errors() == []
    assert (await read.bundle())["image"] == f"example.org/acme/web:abc@sha256:{'a' * 64}"
    edits = await read.study.edits(read.source, read.commit, (IMAGE,))
    tag = 'tag: ""'
    assert edits["shop/values.yaml"].decode() == values.replace(tag, f'tag: "abc@{IMAGE.digest}"')


async def test_what_a_chart_gives_anew_each_time_is_warned_about(workers: Workers) -> None:
    secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData: {a: '{{ randAlphaNum 8 }}'}\n"
    read = Read({**CHART, "chart/templates/secret.yaml": secret}, workers)
    (warned,) = (f for f in (await read.reading()).findings if f.rule == "render-differs")
    assert (str(warned.place), warned.severity) == ("chart/templates/secret.yaml", Severity.WARNING)


async def test_inspect_says_what_renders_it_and_which_files_state_it(workers: Workers) -> None:
    reading = await Read({**OVERLAY, "other/Chart.yaml": "name: x\n", "trueup.yaml": PROD}, workers).reading()
    found = inspect(reading.found, reading.rendered, reading.findings)
    (application,) = found.applications
    assert (application.renderer, application.path, application.environment) == ("kustomize", "k8s/prod", "production")
    assert "k8s/base/web.yaml" in application.manifests
    assert {f"{one.kind} {one.place}" for one in application.objects} == {
        "Deployment k8s/base/web.yaml:2", "ConfigMap k8s/prod/kustomization.yaml:6",
    }  # fmt: skip
    assert found.not_rendered == ("other/Chart.yaml",)


PROD = "environments: [{name: production, path: k8s/prod}]\n"


async def test_without_a_worker_it_is_the_machines_fault_and_plain_manifests_are_read_all_the_same() -> None:
    with pytest.raises(RendererDown, match="make render"):
        await Read(OVERLAY, Workers(None)).reading()
    plain = Read({"k8s/web.yaml": WEB, **DOCKERFILE}, Workers(None))
    assert (await plain.bundle())["deployment/web"] == "k8s/web.yaml:1"
