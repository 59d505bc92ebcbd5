"""A kustomization over a Secret that SOPS encrypted: the worker sees ciphertexts, what is deployed is in the clear."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from sops.conftest import AGE, CACHE, Real, keyed
from trueup.app import checker
from trueup.core.candidate import ApplicationState, CandidateState
from trueup.core.model import Severity
from trueup.drivers.renderers.worker import Limits, Workers
from trueup.drivers.sources.memory import MemoryRemote, MemorySource
from trueup.engine.study import RepositoryStudy

pytestmark = pytest.mark.integration
SECRET = "apiVersion: v1\nkind: Secret\nmetadata:\n    name: db\nstringData:\n    password: hunter2-in-the-clear\n"


async def test_a_secret_of_a_kustomization_is_opened_after_the_render(built: Path, real: Real) -> None:
    if not (CACHE / "trueup-render").exists():
        pytest.skip("no render worker: `make render` builds it with Go 1.26")
    sealed = real.encrypt("secret.yaml", SECRET, "--encrypted-regex", "^(data|stringData)$").decode()
    env = real.encrypt("app.env", "PASSWORD=hunter2-in-the-clear\n").decode()
    base = {"k8s/kustomization.yaml": "namePrefix: prod-\nnamespace: shop\nresources: [secret.yaml]\n"}
    remote = MemoryRemote()
    good = remote.push({**base, "k8s/secret.yaml": sealed}, "first")
    bad = remote.push({"k8s/secret.yaml": sealed.replace("name: db", "name: dc")}, "changed by hand")
    generator = base["k8s/kustomization.yaml"] + "secretGenerator: [{name: app, envs: [app.env]}]\n"
    files = {"k8s/kustomization.yaml": generator, "k8s/app.env": env, "k8s/secret.yaml": sealed}
    taken = remote.push(files, "taken in")
    limits = Limits(memory_bytes=512 << 20, time_s=30, uid=65534)
    async with Workers(CACHE / "trueup-render", size=1, limits=limits) as workers:
        study = RepositoryStudy(
            {"s": MemorySource(remote)}, {"s": "shop"}, {"s": "refs/heads/main"}, checker(date(2026, 11, 1)),
            renderer=workers, unsealer=keyed(built, SOPS_AGE_KEY=AGE),
        )  # fmt: skip
        bundle = await study.bundle(ApplicationState(id="a"), CandidateState(id="c", source="s", commit=good))
        (made,) = bundle.objects
        assert (made.ref.name, made.ref.namespace) == ("prod-db", "shop")
        assert made.body["stringData"] == {"password": "hunter2-in-the-clear"}
        assert "sops" not in made.body
        for commit, file in ((bad, "k8s/secret.yaml"), (taken, "k8s/app.env")):
            (error,) = [f for f in (await study.look("s", commit)).findings if f.severity is Severity.ERROR]
            assert (error.rule, error.place.file) == ("sops-not-opened", file)
            assert "hunter2" not in error.message
