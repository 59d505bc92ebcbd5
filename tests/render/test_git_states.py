"""The state table of Candidates and Git where objects are rendered: what is written back and undone are the files that
state an image, whatever they are. On a real Git remote, with the real renderers."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

from engine.world import World, git
from render.test_study import CHART, JSONNET, OVERLAY
from trueup.app import checker
from trueup.core import events as ev
from trueup.core.candidate import Phase, Verdict, WriteState
from trueup.core.model import Bundle
from trueup.core.views.chronicle import read
from trueup.core.views.why import Why, why
from trueup.drivers.renderers.worker import Workers
from trueup.engine.study import RepositoryStudy

pytestmark = pytest.mark.integration

ENTRY = {"k8s/prod/kustomization.yaml": OVERLAY["k8s/prod/kustomization.yaml"]
         + "images:\n- name: example.org/acme/web\n  newTag: latest # written by Trueup\n"}  # fmt: skip
DEV = {"k8s/dev/kustomization.yaml": "resources: [../base]\n",
       "trueup.yaml": "environments: [{name: production, path: k8s/prod}]\n"}  # fmt: skip
VALUES = {"prod.yaml": "replicas: 3\n",
          "trueup.yaml": "environments: [{name: production, path: chart, values: [prod.yaml]}]\n"}  # fmt: skip
LAYOUTS = {
    "an entry of images": (OVERLAY | ENTRY, "k8s/prod/kustomization.yaml"),
    "a manifest of a base": (OVERLAY, "k8s/base/web.yaml"),
    "a new entry of images": (OVERLAY | DEV, "k8s/prod/kustomization.yaml"),
    "values of a chart": (CHART, "chart/values.yaml"),
    "values of an environment": (CHART | VALUES, "prod.yaml"),
    "Jsonnet": (JSONNET, "main.jsonnet"),
}
every = pytest.mark.parametrize(("files", "path"), LAYOUTS.values(), ids=LAYOUTS)
Layout = Mapping[str, str]


def world(root: Path, workers: Workers, *, split: bool = False) -> World:
    made = World(root, split=split)
    made.study = RepositoryStudy(  # type: ignore[assignment]  # the real one fills the same roles
        made.sources,
        dict.fromkeys(made.sources, "web"),
        dict.fromkeys(made.sources, "refs/heads/main"),
        checker(dt.date(2026, 1, 1)),
        renderer=workers,
    )
    return made


def first(files: Layout) -> dict[str, str | None]:
    return {**files, "app/main": "v1\n", "app/readme": "one\n"}


@every
async def test_a_push_runs_is_written_back_where_it_is_stated_and_that_triggers_nothing(
    tmp_path: Path, workers: Workers, files: Layout, path: str
) -> None:
    async with world(tmp_path, workers) as made:
        pushed = await made.pushed(first(files))
        assert made.running() == "v1\n"
        app = await made.app()
        assert app.current is not None and app.current.phase is Phase.HEALTHY
        assert git(made.person.remote, "diff", "--name-only", pushed, "main") == path
        (digest,) = made.builds.content
        assert digest in made.person.show(path)
        await made.settle()
        state = await made.source_state()
        assert len(state.candidates) == 1 and state.head == made.person.head()
        calls = len(made.target.calls)
        await made.pushed({"notes": "x\n"})
        assert made.running() == "v1\n"
        assert len(made.target.calls) == calls, "what Git states is what runs: nothing is touched"


@every
async def test_a_bad_push_is_undone_by_one_commit_that_restores_the_files(
    tmp_path: Path, workers: Workers, files: Layout, path: str
) -> None:
    async with world(tmp_path, workers) as made:
        await made.pushed(first(files))
        good = made.person.head()
        text = made.person.show(path) + "\n"
        bad = await made.pushed({"app/main": "crash\n", path: text + "\n"}, "break it")
        state = await made.source_state()
        write = state.write_for("undo", (await made.candidate(bad)).id)
        assert write is not None and write.state is WriteState.PUSHED
        assert git(made.person.remote, "diff", "--name-only", good, "main") == ""
        assert made.running() == "v1\n"
        assert len(state.candidates) == 2


@every
async def test_a_rollback_states_what_runs_again(tmp_path: Path, workers: Workers, files: Layout, path: str) -> None:
    async with world(tmp_path, workers) as made:
        await made.pushed(first(files))
        good = made.person.show(path)
        await made.pushed({"app/main": "v2\n"})
        assert made.person.show(path) != good
        await made.record_rollback("v1\n")
        assert made.running() == "v1\n"
        assert made.person.show(path) == good


@every
async def test_our_commit_is_known_again_by_an_equal_diff_when_its_id_was_not_recorded(
    tmp_path: Path, workers: Workers, files: Layout, path: str
) -> None:
    async with world(tmp_path, workers) as made:
        await made.pushed(first(files))
        state = await made.source_state()
        (write,) = state.writes.values()
        source = made.sources[made.source]
        commit = await source.commit(write.commit)
        forgotten = state.__class__(**{**_fields(state), "writes": {}, "head": write.parent})
        assert made.loop is not None
        move = await made.loop.sources._move(forgotten, source, commit.id)
        assert move.ours
        forged = made.person.push({path: made.person.show(path) + "\n# more\n"}, commit.message)
        await source.fetch()
        assert not (await made.loop.sources._move(forgotten, source, forged)).ours


def _fields(state: object) -> dict[str, object]:
    return {name: getattr(state, name) for name in state.__struct_fields__}  # type: ignore[attr-defined]  # a Struct


@every
async def test_a_race_is_retried_on_the_new_head(tmp_path: Path, workers: Workers, files: Layout, path: str) -> None:
    async with world(tmp_path, workers) as made:
        source = made.sources[made.source]
        real, raced = source.push, []

        async def push(branch: str, commit: str, *, expect: str | None):  # type: ignore[no-untyped-def]
            if not raced:
                raced.append(made.person.push({"docs/x": "x\n"}, "in between"))
            return await real(branch, commit, expect=expect)

        source.push = push  # type: ignore[method-assign]
        await made.pushed(first(files))
        assert [type(f) for f in await made.facts(ev.WriteRaced)] == [ev.WriteRaced]
        assert made.running() == "v1\n"
        (digest,) = made.builds.content
        assert digest in made.person.show(path) and made.person.show("docs/x") == "x"


@every
async def test_a_configuration_repository_is_told_what_its_code_repository_built(
    tmp_path: Path, workers: Workers, files: Layout, path: str
) -> None:
    async with world(tmp_path, workers, split=True) as made:
        made.config.push({name: text for name, text in files.items() if not name.startswith("app/")}, "what runs")
        code = {"web/Dockerfile": "FROM scratch\n", "app/main": "v1\n"}
        await made.pushed({**code})
        assert made.running() == "v1\n"
        (digest,) = made.builds.content
        assert digest in made.config.show(path)
        good = made.config.show(path)
        await made.pushed({"app/main": "crash\n"})
        assert made.running() == "v1\n"
        assert made.config.show(path) == good and made.person.show("app/main") == "v1"


async def test_a_configuration_repository_that_cannot_state_what_was_built_is_told_and_goes_on_when_mended(
    tmp_path: Path, workers: Workers
) -> None:
    async with world(tmp_path, workers, split=True) as made:
        wrong = CHART["chart/templates/web.yaml"].replace("{{ .Values.image.tag }}", "{{ .Release.Revision }}")
        files = {name: text for name, text in CHART.items() if not name.startswith("app/")}
        made.config.push({**files, "chart/templates/web.yaml": wrong}, "what runs")
        made.person.push({"web/Dockerfile": "FROM scratch\n", "app/main": "v1\n"})
        made.look()
        assert made.loop is not None
        async with asyncio.timeout(20):
            while not made.loop.problems:  # noqa: ASYNC110  # the loop tells of problems in a dict
                await asyncio.sleep(0.005)
        (problem,) = made.loop.problems.values()
        assert "nothing here can be made to say that" in problem and "web" in problem
        made.config.push({"chart/templates/web.yaml": CHART["chart/templates/web.yaml"]}, "mend it")
        await made.settle()
        assert made.running() == "v1\n"


async def test_a_push_that_cannot_be_rendered_is_red_and_what_ran_stays(tmp_path: Path, workers: Workers) -> None:
    async with world(tmp_path, workers) as made:
        await made.pushed(first(CHART))
        red = await made.pushed({"app/main": "v2\n", "chart/templates/web.yaml": "{{ .Values.image.tag }\n"})
        candidate = await made.candidate(red)
        assert candidate.verdict is Verdict.RED and "chart/templates/web.yaml:1" in candidate.reason
        assert made.running() == "v1\n"
        await made.pushed({"chart/templates/web.yaml": CHART["chart/templates/web.yaml"]})
        assert made.running() == "v2\n"


async def test_why_walks_from_a_rendered_object_to_the_users_file(tmp_path: Path, workers: Workers) -> None:
    async with world(tmp_path, workers) as made:
        commit = await made.pushed(first(OVERLAY))
        known = read([e for stream in await made.ledger.heads() for e in await made.ledger.read(stream)])
        app = await made.app()
        assert app.current is not None
        data = await made.records.get(app.current.bundle)
        assert data is not None
        found = why(known, "deployment/prod-web", {made.application: msgspec.json.decode(data, type=Bundle)})
        assert isinstance(found, Why)
        said = "\n".join(str(link) for link in found.links)
        assert "k8s/base/web.yaml:2" in said and commit[:10] in said


async def test_a_renderer_that_is_away_holds_the_verdict_open_and_is_told(tmp_path: Path) -> None:
    made = world(tmp_path, Workers(None))
    async with made:
        made.person.push(first(CHART))
        made.look()
        assert made.loop is not None
        async with asyncio.timeout(20):
            while not made.loop.problems:  # noqa: ASYNC110  # the loop tells of problems in a dict
                await asyncio.sleep(0.005)
        assert any("make render" in problem for problem in made.loop.problems.values())
        (seen,) = (await made.source_state()).candidates.values()
        assert (await made.loop.book.candidate(seen.id)).verdict is Verdict.PENDING
