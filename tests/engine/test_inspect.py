"""How a repository hangs together: images to Dockerfiles to pipelines, objects among themselves."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Mapping
from datetime import date
from pathlib import Path

import msgspec
import pytest

from trueup.core.check import check
from trueup.core.model import TreeEntry
from trueup.drivers.definitions import convention
from trueup.drivers.renderers import plain
from trueup.engine.inspect import ImageView, Inspection, Link, inspect

ROOT = Path(__file__).parents[2]


def inspected(files: Mapping[str, bytes], name: str = "shop") -> Inspection:
    tree = {path: TreeEntry(0o100644, hashlib.sha1(data).hexdigest(), len(data)) for path, data in files.items()}
    blobs = {tree[path].oid: data for path, data in files.items()}
    found = convention.find(tree, blobs, name)
    rendered = plain.render(tree, blobs, found.manifests)
    return inspect(found, rendered, check(tree, blobs, found, rendered, today=date(2025, 11, 23)))


def example(variant: str, into: Path) -> dict[str, bytes]:
    spec = importlib.util.spec_from_file_location("examples_make_for_inspect", ROOT / "examples" / "make.py")
    assert spec is not None
    assert spec.loader is not None
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    make.write(variant, into)
    return {p.relative_to(into).as_posix(): p.read_bytes() for p in into.rglob("*") if p.is_file()}


def test_the_example(tmp_path: Path) -> None:
    found = inspected(example("standard", tmp_path / "x"), "python-app")
    (application,) = found.applications
    assert [(o.kind, o.name, o.replicas) for o in application.objects] == [
        ("ConfigMap", "python-app", None), ("Service", "python-app", None), ("Deployment", "python-app", 3),
    ]  # fmt: skip
    assert found.images == (
        ImageView(
            "ghcr.io/example/python-app", ("ghcr.io/example/python-app:1.0.0",),
            ("config/kubernetes-deployment.yaml:49",), "", "app/Dockerfile", "app", ".github/workflows/deploy.yml:26",
        ),
    )  # fmt: skip
    assert set(found.links) == {
        Link("service/python-app", "selects", "deployment/python-app"),
        Link("deployment/python-app", "runs", "ghcr.io/example/python-app"),
        Link("deployment/python-app", "reads", "configmap/python-app"),
    }
    assert [(p.name, p.triggers, p.jobs) for p in found.pipelines] == [
        ("deploy", ("push",), ("image",)), ("test", ("push", "pull_request"), ("test",)),
    ]  # fmt: skip
    assert "job test: pytest app" in found.pipelines[1].commands
    assert found.terraform == tuple(f"infrastructure/terraform/{n}.tf" for n in ("main", "outputs", "variables"))
    assert (found.prometheus, found.rules) == (
        ("monitoring/prometheus-config.yml",),
        ("monitoring/prometheus-rules.yml",),
    )
    assert found.dashboards == ("monitoring/grafana-dashboard.json",)
    assert (found.readme, found.errors, found.second_writers) == ("README.md", 0, ())


@pytest.mark.parametrize(
    ("variant", "system", "native", "writers"),
    [("jenkins", "jenkins", False, 1), ("gitlab", "gitlab", False, 1), ("build-push-action", "github", True, 0)],
)
def test_variants_are_shown(tmp_path: Path, variant: str, system: str, native: bool, writers: int) -> None:
    found = inspected(example(variant, tmp_path / "x"), "python-app")
    assert {(p.system, p.native) for p in found.pipelines} == {(system, native)}
    assert len(found.second_writers) == writers
    assert found.images[0].dockerfile == "app/Dockerfile"
    assert found.images[0].built_by.startswith(".github" if native else "trueup")  # what is only shown builds nothing
    assert all("pytest" not in b for p in found.pipelines for b in p.builds)


def test_an_image_without_pipeline_is_built_by_trueup_and_others_are_pulled() -> None:
    found = inspected({
        "Dockerfile": b"FROM scratch\n",
        "k8s/a.yaml": b"apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: "
        b"[{name: a, image: acme/shop}, {name: b, image: 'redis:7'}], volumes: "
        b"[{secret: {secretName: s}}, {configMap: {name: c}}]}\n",
    })  # fmt: skip
    assert [(i.repository, i.built_by) for i in found.images] == [
        ("docker.io/acme/shop", "trueup"), ("docker.io/library/redis", ""),
    ]  # fmt: skip
    assert {Link("pod/a", "reads", "secret/s"), Link("pod/a", "reads", "configmap/c")} <= set(found.links)


def test_an_empty_repository_and_the_json_of_it() -> None:
    found = inspected({})
    assert found.applications == found.images == found.pipelines == ()
    assert msgspec.json.decode(msgspec.json.encode(found))["name"] == "shop"


MATRIX = b"""
on: push
env: {REGISTRY: ghcr.io, OWNER: acme}
jobs:
  image:
    runs-on: ubuntu-latest
    strategy: {matrix: {service: [api, web]}}
    steps:
      - id: meta
        uses: docker/metadata-action@v5
        with: {images: '${{ env.REGISTRY }}/${{ env.OWNER }}/shop-${{ matrix.service }}'}
      - uses: docker/build-push-action@v6
        with: {context: 'services/${{ matrix.service }}', push: true, tags: '${{ steps.meta.outputs.tags }}'}
"""
DEPLOYMENT = """apiVersion: apps/v1
kind: Deployment
metadata: {name: NAME}
spec:
  selector: {matchLabels: {app: NAME}}
  template:
    metadata: {labels: {app: NAME}}
    spec:
      containers:
      - {name: NAME, image: "IMAGE"}
"""


def test_an_image_whose_name_a_matrix_makes_is_known_as_built() -> None:
    def deployment(name: str, image: str) -> bytes:
        return DEPLOYMENT.replace("NAME", name).replace("IMAGE", image).encode()

    found = inspected({
        ".github/workflows/ci.yml": MATRIX,
        "services/api/Dockerfile": b"FROM scratch\n",
        "k8s/api.yaml": deployment("api", "ghcr.io/acme/shop-api:latest"),
        "k8s/cache.yaml": deployment("cache", "redis:latest"),
    })  # fmt: skip
    assert [(image.repository, image.built_by) for image in found.images] == [
        ("docker.io/library/redis", ""),
        ("ghcr.io/acme/shop-api", ".github/workflows/ci.yml:12"),
    ]
    assert found.pipelines[0].builds == ("? → ghcr.io/acme/shop-${{ matrix.service }}",)
