"""Nothing is rendered twice: across revisions, at the same time, and over a restart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from render.parts import Repository, made
from render.test_study import CHART as FILES
from render.test_study import OVERLAY
from trueup.core.render import Asked, Helm, Kustomize, Output, key
from trueup.drivers.renderers.kept import Kept
from trueup.drivers.renderers.worker import Workers
from trueup.ports import Given, RendererDown
from trueup.store.renders import SqliteRenders, open_renders

pytestmark = pytest.mark.integration

CHART = Helm(path="chart", release="r")
PROD = Kustomize(path="k8s/prod")
SECRET = {
    "chart/templates/secret.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData: {a: hunter2}\n"
}
CHANCE = {"chart/templates/chance.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: b}\n"
          "stringData: {a: '{{ randAlphaNum 20 }}'}\n"}  # fmt: skip


class Counting:
    """The workers, and how often they were asked to render."""

    def __init__(self, workers: Workers) -> None:
        self.workers, self.count = workers, 0

    async def render(self, asked: Asked, given: Given) -> Output:
        self.count += 1
        await asyncio.sleep(0)
        return await self.workers.render(asked, given)

    async def identity(self) -> str:
        return await self.workers.identity()

    async def versions(self) -> Mapping[str, str]:
        return await self.workers.versions()


@pytest.fixture
def counting(workers: Workers) -> Counting:
    return Counting(workers)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteRenders]:
    opened = await open_renders(str(tmp_path / "renders.db"), b"k" * 32)
    yield opened
    await opened.close()


async def test_the_same_inputs_never_render_twice_whatever_else_changes(counting: Counting) -> None:
    kept = Kept(counting)
    files = {**FILES, **OVERLAY}
    first = await kept.render(PROD, Repository(files).given)
    others = {f"docs/{number}.txt": str(number) for number in range(5000)}
    assert await kept.render(PROD, Repository({**files, **others}).given) is first
    assert await kept.render(PROD, Repository({**files, "chart/values.yaml": "a: 1\n"}).given) is first
    assert counting.count == 1


async def test_what_a_render_read_listed_or_missed_makes_another_one(counting: Counting) -> None:
    kept = Kept(counting)
    await kept.render(CHART, Repository(FILES).given)
    for more in (SECRET, {"chart/values.yaml": FILES["chart/values.yaml"] + "more: 1\n"}, {"chart/.helmignore": "x\n"}):
        before = counting.count
        await kept.render(CHART, Repository({**FILES, **more}).given)
        assert counting.count == before + 1, more
    await kept.render(CHART, Repository(FILES).given)
    await kept.render(Helm(path="chart", release="other"), Repository(FILES).given)
    assert counting.count == 5, "what is as it was is known; another release is another render"


async def test_the_same_asked_at_the_same_time_is_rendered_once(counting: Counting) -> None:
    kept = Kept(counting)
    given = Repository(FILES).given
    outputs = await asyncio.gather(*(kept.render(CHART, given) for _ in range(10)))
    assert counting.count == 1
    assert all(output is outputs[0] for output in outputs)


async def test_a_restart_renders_nothing(counting: Counting, store: SqliteRenders) -> None:
    given = Repository({**FILES, **OVERLAY, **SECRET}).given
    before = [made(await Kept(counting, store).render(asked, given)) for asked in (CHART, PROD)]
    again = Kept(counting, store)
    assert [made(await again.render(asked, given)) for asked in (CHART, PROD)] == before
    assert counting.count == 2


async def test_what_differs_each_time_stays_while_its_inputs_do(counting: Counting, store: SqliteRenders) -> None:
    given = Repository({**FILES, **CHANCE}).given
    first = await Kept(counting, store).render(CHART, given)
    assert first.differs == ("chart/templates/chance.yaml",)
    later = Repository({**FILES, **CHANCE, "readme": "x\n"}).given
    assert made(await Kept(counting, store).render(CHART, later)) == made(first)
    changed = Repository({**FILES, **CHANCE, "chart/values.yaml": FILES["chart/values.yaml"] + "a: 1\n"}).given
    assert made(await Kept(counting, store).render(CHART, changed)) != made(first)
    assert counting.count == 2


async def test_what_another_version_stored_is_made_anew(counting: Counting, store: SqliteRenders) -> None:
    given = Repository(FILES).given
    await Kept(counting, store).render(CHART, given)
    (data,) = await store.find(key(CHART, await counting.identity()))
    await store.put(key(PROD, await counting.identity()), "x", data.replace(b'"objects"', b'"things"'), lasting=False)
    await Kept(counting, store).render(PROD, Repository(OVERLAY).given)
    assert counting.count == 2


async def test_another_program_renders_anew(counting: Counting, store: SqliteRenders) -> None:
    given = Repository(FILES).given
    await Kept(counting, store).render(CHART, given)
    counting.workers._identity = "another build"
    await Kept(counting, store).render(CHART, given)
    assert counting.count == 2


async def test_what_is_stored_tells_nothing_without_its_key(counting: Counting, tmp_path: Path) -> None:
    path, given = tmp_path / "renders.db", Repository({**FILES, **SECRET}).given
    store = await open_renders(str(path), b"k" * 32)
    await Kept(counting, store).render(CHART, given)
    await store.close()
    stored = b"".join(file.read_bytes() for file in tmp_path.glob("renders.db*"))
    assert b"hunter2" not in stored and b"values.yaml" not in stored
    assert path.stat().st_mode & 0o077 == 0
    stranger = await open_renders(str(path), b"x" * 32)
    await Kept(counting, stranger).render(CHART, given)
    assert counting.count == 2, "sealed under another key: rendered anew"
    await stranger.close()


@pytest.mark.parametrize("content", [b"", b"no database at all" * 500])
async def test_a_file_that_cannot_be_read_is_replaced(counting: Counting, tmp_path: Path, content: bytes) -> None:
    path, given = tmp_path / "renders.db", Repository(FILES).given
    path.write_bytes(content)
    for count in (1, 1):
        store = await open_renders(str(path), b"k" * 32)
        await Kept(counting, store).render(CHART, given)
        await store.close()
        assert counting.count == count


async def test_a_folder_that_takes_nothing_costs_only_the_renders(counting: Counting, tmp_path: Path) -> None:
    store = await open_renders(str(tmp_path / "no/such/folder/renders.db"), b"k" * 32)
    for count in (1, 2):
        await Kept(counting, store).render(CHART, Repository(FILES).given)
        assert counting.count == count
    await store.close()


async def test_memory_and_file_keep_within_their_bounds(counting: Counting, tmp_path: Path) -> None:
    store = SqliteRenders(str(tmp_path / "renders.db"), b"k" * 32, max_bytes=4000)
    kept = Kept(counting, store, memory_bytes=3000)
    for number in range(12):
        await kept.render(Helm(path="chart", release=f"r{number}"), Repository(FILES).given)
    assert kept._bytes <= 3000
    (total,) = await store._ask(lambda c: c.execute("SELECT sum(size) FROM renders").fetchone()) or (0,)
    assert 0 < total <= 4000
    await kept.render(Helm(path="chart", release="r11"), Repository(FILES).given)
    assert counting.count == 12
    await store.close()


async def test_without_a_worker_what_is_kept_needs_one_all_the_same() -> None:
    with pytest.raises(RendererDown, match="make render"):
        await Kept(Workers(None)).render(CHART, Repository(FILES).given)
