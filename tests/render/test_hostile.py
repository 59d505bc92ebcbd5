"""A poisoned input costs its own render one clear error; the next render is as good as ever."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from render.parts import Files, Repository, made
from render.samples import CHART, OVERLAYS
from trueup.core.render import Asked, Helm, Jsonnet, Kustomize
from trueup.drivers.renderers.worker import Given, Limits, RendererDown, RenderFailed, Workers, start

pytestmark = pytest.mark.integration

HEAD = "kind: Kustomization\n"
APP = Kustomize(path="app")
SHOP = Helm(path="chart", release="r")
PROD = Kustomize(path="overlays/prod")
HEADED = "apiVersion: v1\nkind: {0}\nmetadata: {{name: {1}}}\n"
BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 11)
)

CASES: dict[str, tuple[Asked, Files, str]] = {
    "allocates-without-end": (
        SHOP,
        {**CHART, "chart/templates/f.yaml": '{{ range until 100000 }}{{ repeat 1000000 "x" }}{{ end }}'},
        "MiB of memory",
    ),
    "recurses": (
        SHOP,
        {**CHART, "chart/templates/f.yaml": '{{ define "a" }}{{ include "a" . }}{{ end }}{{ include "a" . }}'},
        "nested reference name",
    ),
    "recurses-by-template": (
        SHOP,
        {**CHART, "chart/templates/f.yaml": '{{ define "a" }}{{ template "a" . }}{{ end }}{{ template "a" . }}'},
        "exceeded maximum template depth",
    ),
    "fails-with-a-megabyte": (
        SHOP,
        {**CHART, "chart/templates/f.yaml": '{{ fail (repeat 1048576 "no ") }}'},
        "bytes in all)",
    ),
    "jsonnet-without-end": (
        Jsonnet(path="main.jsonnet"),
        {"main.jsonnet": "local f(x) = f(x + 1); f(0)"},
        "max stack frames exceeded",
    ),
    "jsonnet-allocates": (
        Jsonnet(path="main.jsonnet"),
        {"main.jsonnet": "local f(s, n) = if n == 0 then s else f(s + s, n - 1); {a: f('xxxxxxxx', 40)}"},
        "MiB of memory",
    ),
    "a-yaml-bomb-in-a-resource": (
        APP,
        {"app/kustomization.yaml": HEAD + "resources: [a.yaml]\n", "app/a.yaml": f"kind: X\napiVersion: v1\n{BOMB}"},
        "",
    ),
    "a-yaml-bomb-in-values": (SHOP, {**CHART, "chart/values.yaml": BOMB}, "excessive aliasing"),
    "no-utf8": (
        APP,
        {"app/kustomization.yaml": HEAD + "resources: [a.yaml]\n", "app/a.yaml": b"kind: X\nname: \xff\xfe\xfa\n"},
        "",
    ),
    "jsonnet-reads-the-machine": (
        Jsonnet(path="main.jsonnet"),
        {"main.jsonnet": "{a: importstr '/etc/passwd'}"},
        "outside of the repository",
    ),
    "jsonnet-climbs-out": (
        Jsonnet(path="main.jsonnet"),
        {"main.jsonnet": "{a: importstr '../../../../../etc/passwd'}"},
        "there is no",
    ),
    "kustomize-climbs-out": (
        Kustomize(path="app", restrict=False),
        {"app/kustomization.yaml": HEAD + "configMapGenerator:\n- name: a\n  files: [../../../../etc/passwd]\n"},
        "etc/passwd",
    ),
    "values-climb-out": (
        Helm(path="chart", release="r", values_files=("../../etc/passwd",)),
        CHART,
        "no such values file",
    ),
    "a-program-as-a-generator": (
        APP,
        {
            "app/kustomization.yaml": HEAD + "generators: [g.yaml]\n",
            "app/g.yaml": "apiVersion: x/v1\nkind: G\nmetadata:\n  name: g\n  annotations:\n"
            "    config.kubernetes.io/function: |\n      exec: {path: /bin/true}\n",
        },
        "",
    ),
}


@pytest.mark.parametrize("name", CASES)
async def test_one_error_and_others_unaffected(workers: Workers, name: str) -> None:
    asked, files, message = CASES[name]
    expected = made(await workers.render(PROD, Repository(OVERLAYS).given))
    with pytest.raises(RenderFailed) as raised:
        await workers.render(asked, Repository(files).given)
    assert message in raised.value.message, str(raised.value)
    assert len(str(raised.value)) < 6000
    assert "goroutine" not in str(raised.value)
    assert made(await workers.render(PROD, Repository(OVERLAYS).given)) == expected


@pytest.mark.parametrize(
    ("asked", "files", "link"),
    [
        (APP, {"app/kustomization.yaml": HEAD + "resources: [a.yaml]\n", "app/a.yaml": "/etc/passwd"}, "app/a.yaml"),
        (APP, {"app/kustomization.yaml": "/etc/passwd"}, "app/kustomization.yaml"),
        (SHOP, {**CHART, "chart/templates/x.yaml": "../../../etc/passwd"}, "chart/templates/x.yaml"),
        (Jsonnet(path="main.jsonnet"), {"main.jsonnet": "import 'x.json'", "x.json": "/etc/passwd"}, "x.json"),
    ],
    ids=["resource", "kustomization", "template", "import"],
)
async def test_a_symbolic_link_leads_nowhere(workers: Workers, asked: Asked, files: Files, link: str) -> None:
    with pytest.raises(RenderFailed, match="a symbolic link, which is not followed") as raised:
        await workers.render(asked, Repository(files, links=[link]).given)
    assert link in str(raised.value)


async def test_a_render_without_end_is_stopped(built: Path) -> None:
    endless = "local f(n) = if n == 0 then 1 else f(n - 1) + f(n - 1); {a: f(200)}"
    async with Workers(built, size=1, limits=Limits(time_s=0.5, uid=65534)) as pool:
        with pytest.raises(RenderFailed, match=r"took more than 0\.5 s"):
            await pool.render(Jsonnet(path="main.jsonnet"), Repository({"main.jsonnet": endless}).given)
        assert await pool.render(PROD, Repository(OVERLAYS).given)


@pytest.mark.parametrize(("times", "fails"), [(1, False), (2, True)])
async def test_a_killed_worker_is_replaced_and_its_render_made_once_more(
    workers: Workers, times: int, fails: bool
) -> None:
    """Whoever killed it, the repository is not to blame the first time."""
    repository, killed = Repository(OVERLAYS), []

    async def kill(oids: Sequence[str]) -> Mapping[str, bytes]:
        (worker,) = workers._busy
        if len(killed) < times:
            killed.append(worker.pid)
            os.kill(worker.pid, 9)
        return await repository.blobs(oids)

    given = Given("other", repository.folders, kill)
    if fails:
        with pytest.raises(RenderFailed, match="more than 512 MiB of memory"):
            await workers.render(PROD, given)
    else:
        assert (await workers.render(PROD, given)).objects
    assert len(set(killed)) == times
    assert await workers.render(PROD, repository.given)


async def test_a_cancelled_render_leaves_no_process(built: Path) -> None:
    repository, reached = Repository(OVERLAYS), asyncio.Event()

    async def never(_: object) -> dict[str, bytes]:
        reached.set()
        await asyncio.Event().wait()
        return {}

    async with Workers(built, size=1) as pool:
        work = asyncio.create_task(pool.render(PROD, Given("other", repository.folders, never)))
        await asyncio.wait_for(reached.wait(), 20)
        (worker,) = pool._busy
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        assert not Path(f"/proc/{worker.pid}").exists()


async def test_content_that_git_cannot_give_is_named(workers: Workers) -> None:
    repository = Repository(OVERLAYS)

    async def nothing(_: object) -> dict[str, bytes]:
        return {}

    with pytest.raises(RenderFailed, match="could not be read from Git"):
        await workers.render(Kustomize(path="overlays/prod"), Given("x", repository.folders, nothing))


async def test_the_kernel_confines_it(built: Path) -> None:
    """Seccomp is on for every thread, it is not root, and it holds no file but its three pipes."""
    worker = await start(built, Limits(uid=65534))
    try:
        assert worker.hello.confined
        for status in Path(f"/proc/{worker.pid}/task").glob("*/status"):
            assert re.search(r"^Seccomp:\s+2$", status.read_text(), re.M)
            if os.geteuid() == 0:
                assert re.search(r"^Uid:\s+65534\s+65534\s+65534", status.read_text(), re.M)
        assert worker.hello.versions["sigs.k8s.io/kustomize/api"] == "v0.21.1"
    finally:
        await worker.end()


async def test_what_cannot_start_says_so(tmp_path: Path, built: Path) -> None:
    async with Workers(tmp_path / "no") as pool:
        with pytest.raises(RendererDown, match="make render"):
            await pool.render(APP, Repository(OVERLAYS).given)
    async with Workers(built, limits=Limits(memory_bytes=1 << 20)) as pool:
        with pytest.raises((RendererDown, RenderFailed)):
            await pool.render(PROD, Repository(OVERLAYS).given)


async def test_chance_is_noticed(workers: Workers) -> None:
    files = {
        **CHART,
        "chart/templates/secret.yaml": HEADED.format("Secret", "s") + "data: {p: {{ randAlphaNum 9 | b64enc }}}\n",
        "chart/templates/time.yaml": HEADED.format("ConfigMap", "t") + "data: {t: {{ now | quote }}}\n",
    }
    output = await workers.render(SHOP, Repository(files).given)
    assert output.differs == ("chart/templates/secret.yaml", "chart/templates/time.yaml")


async def test_a_key_stated_twice_in_a_chart_is_warned_about(workers: Workers) -> None:
    text = "kind: ConfigMap\napiVersion: v1\nmetadata: {name: t}\ndata: {a: b}\ndata: {a: c}\n"
    output = await workers.render(SHOP, Repository({**CHART, "chart/templates/t.yaml": text}).given)
    (warned,) = output.warnings
    assert warned.place.file == "chart/templates/t.yaml" and '"data"' in warned.message
    assert {one.body["metadata"]["name"]: one.body for one in output.objects}["t"]["data"] == {"a": "c"}


async def test_yaml_is_read_as_kubernetes_reads_it(workers: Workers) -> None:
    text = "kind: X\napiVersion: v1\nmetadata: {name: t}\nspec: {on: n, mode: 0777, big: 9223372036854775808}\n"
    output = await workers.render(SHOP, Repository({**CHART, "chart/templates/t.yaml": text}).given)
    spec = next(one.body["spec"] for one in output.objects if one.body["metadata"]["name"] == "t")
    assert spec["true"] == "n" or spec["true"] is False
    assert spec["mode"] == 511
    assert float(spec["big"]) == 2.0**63
