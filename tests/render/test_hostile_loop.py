"""Hostile input in the loop: it costs its own commit a red verdict of one line, and its neighbour nothing."""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from render.test_study import CHART, OVERLAY
from survive.test_hostile import SYMLINK, Content, Street
from trueup.app import checker
from trueup.drivers.renderers.kept import Kept
from trueup.drivers.renderers.worker import Limits, Workers
from trueup.engine.study import RepositoryStudy
from trueup.store.renders import open_renders

pytestmark = pytest.mark.integration

FIRST: Mapping[str, Content] = {**CHART, "app/main": "v1\n"}
OTHER: Mapping[str, Content] = {**OVERLAY, "trueup.yaml": "environments: [{name: p, path: k8s/prod}]\n"}


@pytest.fixture
async def street(tmp_path: Path, built: Path) -> AsyncIterator[Street]:
    store = await open_renders(str(tmp_path / "renders.db"), b"k" * 32)
    async with Workers(built, size=1, limits=Limits(memory_bytes=384 << 20, time_s=4, uid=65534)) as workers:
        made = Street(tmp_path)
        made.study = RepositoryStudy(  # type: ignore[assignment]  # the real one fills the same roles
            made.sources,
            {id: w.name for id, w in made.watched.items()},
            dict.fromkeys(made.watched, "refs/heads/main"),
            checker(dt.date(2026, 1, 1)),
            renderer=Kept(workers, store),
        )
        async with made:
            yield made
            assert made.loop is not None and not made.loop.problems
    await store.close()


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"chart/templates/x.yaml": '{{ define "a" }}{{ include "a" . }}{{ end }}{{ include "a" . }}'}, "chart"),
        ({"chart/templates/x.yaml": "{{ range until 900000000 }}{{ repeat 100000 \"x\" }}{{ end }}"}, "chart"),
        ({"chart/templates/x.yaml": "{{ fail (repeat 1000000 \"x\") }}"}, "chart/templates/x.yaml"),
        ({"chart/templates/x.yaml": (SYMLINK, "/etc/passwd")}, "chart/templates/x.yaml: a symbolic link"),
        ({"chart/values.yaml": "a: [\n"}, "chart/values.yaml"),
        ({**OTHER, "k8s/prod/kustomization.yaml": "resources: [../prod]\n"}, "k8s/prod"),
        ({**OTHER, "k8s/base/web.yaml": (SYMLINK, "/etc/passwd")}, "k8s/base/web.yaml"),
    ],
    ids=["recursion", "output without an end", "a megabyte of words", "link", "values", "itself", "linked manifest"],
)  # fmt: skip
async def test_it_is_red_on_one_line_and_what_ran_stays(
    street: Street, files: Mapping[str, Content], reason: str
) -> None:
    await street.verdict(street.hostile.commit(FIRST))
    assert street.runs_of(street.hostile_id) == "v1\n"
    told = await street.red({**FIRST, **files})
    assert told.startswith(reason) and len(told) < 2000
