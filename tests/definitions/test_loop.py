"""The loop by definitions: pushed, healthy, stated in Git, a bad push undone. On a real Git remote, with the real
renderers."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from engine.world import World, git
from render.conftest import built, workers  # noqa: F401  # fixtures
from render.test_study import OVERLAY
from trueup.app import checker
from trueup.core.candidate import Phase
from trueup.drivers.renderers.worker import Workers
from trueup.engine.study import RepositoryStudy

pytestmark = pytest.mark.integration

URL = "https://git.example/acme/shop"
ARGO = f"""apiVersion: argoproj.io/v1alpha1
kind: Application
metadata: {{name: web, namespace: argocd}}
spec:
  source: {{repoURL: {URL}, path: k8s/prod, kustomize: {{nameSuffix: -eu}}}}
  destination: {{name: in-cluster, namespace: ignored-by-the-overlay}}
"""
FLUX = f"""apiVersion: source.toolkit.fluxcd.io/v1
kind: GitRepository
metadata: {{name: shop, namespace: flux-system}}
spec: {{interval: 1m, url: {URL}}}
---
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {{name: tools, namespace: flux-system}}
spec:
  interval: 1m
  path: tools
  prune: true
  sourceRef: {{kind: GitRepository, name: shop}}
  targetNamespace: tools
  postBuild: {{substitute: {{level: info}}}}
"""
FILES = {
    **OVERLAY,
    "argocd/web.yaml": ARGO,
    "flux/tools.yaml": FLUX,
    "tools/c.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: tools}\ndata: {level: '${level}'}\n",
    "app/main": "v1\n",
}


def world(root: Path, pool: Workers) -> World:
    made = World(root)
    made.study = RepositoryStudy(  # type: ignore[assignment]  # the real one fills the same roles
        made.sources,
        dict.fromkeys(made.sources, "web"),
        dict.fromkeys(made.sources, "refs/heads/main"),
        checker(dt.date(2026, 1, 1)),
        renderer=pool,
        addresses=dict.fromkeys(made.sources, (URL,)),
    )
    return made


async def test_argo_cd_and_flux_in_one_repository(tmp_path: Path, workers: Workers) -> None:  # noqa: F811
    async with world(tmp_path, workers) as made:
        pushed = await made.pushed(FILES)
        app = await made.app()
        assert app.current is not None and app.current.phase is Phase.HEALTHY
        stands = {(ref.namespace, ref.kind, ref.name) for ref in made.target.objects[made.application]}
        assert ("tools", "ConfigMap", "tools") in stands
        assert ("shop", "Deployment", "prod-web-eu") in stands
        assert not {kind for _, kind, _ in stands} & {"Application", "Kustomization", "GitRepository"}
        assert made.running() == "v1\n"
        assert git(made.person.remote, "diff", "--name-only", pushed, "main") == "k8s/base/web.yaml"


async def test_a_bad_push_is_undone_and_a_suspended_application_stops_all(
    tmp_path: Path,
    workers: Workers,  # noqa: F811
) -> None:
    async with world(tmp_path, workers) as made:
        await made.pushed(FILES)
        await made.pushed({"app/main": "crash\n"})
        assert made.running() == "v1\n"
        assert made.person.show("app/main") == "v1"
        before = len(made.target.calls)
        await made.pushed({"flux/tools.yaml": FLUX + "  suspend: true\n", "tools/c.yaml": None})
        assert len(made.target.calls) == before, "what is left out is not taken for deleted"
