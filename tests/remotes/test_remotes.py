"""Bases and charts that are elsewhere, fetched from real servers on loopback, beside what the programs themselves give.

Skipped, in one line, where the render worker or the program that it is compared with was not built.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import shutil
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import date
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from engine.test_registry import KIND
from render.parts import Repository, made, read
from servers.git import Repo, http_server, ssh_server
from trueup.app import checker
from trueup.core.candidate import ApplicationState, CandidateState
from trueup.core.kusturl import Base
from trueup.core.layout import Layout
from trueup.core.logins import Logins, logins
from trueup.core.model import Severity
from trueup.core.reach import Allowed, allowed
from trueup.core.render import Helm, Kustomize
from trueup.drivers.renderers.worker import Limits, Workers
from trueup.drivers.sources.charts import LAYER
from trueup.drivers.sources.credentials import SshKey
from trueup.drivers.sources.memory import MemoryRemote, MemorySource
from trueup.drivers.sources.remotes import Fetched
from trueup.engine.pins import Pins
from trueup.engine.registry import PROGRAM, Registry
from trueup.engine.remotes import Beside
from trueup.engine.study import RepositoryStudy
from trueup.ports import RemoteRefused, Renderer, RenderFailed, SourceError

pytestmark = pytest.mark.integration
CACHE = Path(__file__).parents[2] / ".cache"
HERE = allowed("127.0.0.1")
WEB = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web}\ndata: {a: b}\n"
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}


def program(name: str) -> Path:
    if not (CACHE / name).exists():
        pytest.skip(f"no {name}: `make render` builds it with Go 1.26")
    return CACHE / name


@pytest.fixture
async def workers() -> AsyncIterator[Workers]:
    limits = Limits(memory_bytes=512 << 20, time_s=30, uid=65534)
    async with Workers(program("trueup-render"), size=1, limits=limits) as pool:
        yield pool


@asynccontextmanager
async def fetching(
    folder: Path, reach: Allowed = HERE, kept: Logins | None = None, renderer: Renderer | None = None
) -> AsyncIterator[Beside]:
    fetched = Fetched(folder, ENVIRONMENT, reach, kept or Logins())
    try:
        yield Beside(fetched, Pins(folder), renderer)
    finally:
        await fetched.close()


async def kustomize(files: Repository, folder: Path, *more: str) -> list[str]:
    """What `kustomize build` gives of k8s/."""
    await asyncio.to_thread(files.write, folder)
    done = await asyncio.to_thread(
        subprocess.run,
        [program("kustomize"), "build", *more, "k8s"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return read(done.stdout)


@asynccontextmanager
async def serving(
    files: Mapping[str, bytes], login: str = "", leads: Mapping[str, str] | None = None
) -> AsyncIterator[str]:
    """Files over http on loopback; `leads` are redirects."""
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        if login and request.headers.get("Authorization") != "Basic " + base64.b64encode(login.encode()).decode():
            return web.Response(status=401)
        if leads and request.path in leads:
            return web.Response(status=302, headers={"Location": leads[request.path]})
        data = files.get(request.path.lstrip("/"))
        return web.Response(status=404) if data is None else web.Response(body=data)

    application = web.Application()
    application.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


# --- bases -----------------------------------------------------------------------------------------

THEIRS = {
    "base/kustomization.yaml": "resources: [web.yaml, ../more]\nnamePrefix: base-\n",
    "base/web.yaml": WEB,
    "more/kustomization.yaml": "resources: [more.yaml]\n",
    "more/more.yaml": WEB.replace("web", "more"),
    "part/kustomization.yaml": (
        "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nlabels: [{pairs: {p: q}}]\n"
    ),
}


async def test_remote_bases_components_and_files_give_what_kustomize_build_gives(
    workers: Workers, tmp_path: Path
) -> None:
    repo = Repo(tmp_path / "git/acme/app.git")
    first = repo.commit(THEIRS)
    repo.git("tag", "-a", "-m", "one", "v1", first)
    repo.commit({"base/web.yaml": WEB.replace("b}", "later}")})
    async with http_server(tmp_path / "git") as server, serving({"x/extra.yaml": WEB.encode()}) as files:
        url = server.url("acme/app.git")
        ours = Repository({
            "k8s/kustomization.yaml": f"""\
# ours
resources:
  - {url}//base?ref=v1   # pinned by tag
  - "{url}/more?ref={first}&timeout=20s"
  - local
  - {files}/x/extra.yaml
components: ['{url}//part']
nameSuffix: -x
""",
            "k8s/local/kustomization.yaml": "resources: [here.yaml]\n",
            "k8s/local/here.yaml": WEB.replace("web", "here"),
        })  # fmt: skip
        wanted = await kustomize(ours, tmp_path / "ours")
        async with fetching(tmp_path / "kept") as beside:
            given = await beside.complete(Kustomize(path="k8s"), ours.given)
            output = await workers.render(Kustomize(path="k8s"), given)
        assert made(output) == wanted
        assert {"base-web-x", "more-x", "here-x"} <= {o.body["metadata"]["name"] for o in output.objects}
        assert any(first in seen.path for seen in output.trace), "the commit is part of the trace"
        assert given.name != ours.given.name


async def test_what_a_commit_saw_first_it_sees_again_and_the_next_commit_sees_anew(tmp_path: Path) -> None:
    repo = Repo(tmp_path / "git/app.git")
    first = repo.commit(THEIRS)
    async with http_server(tmp_path / "git") as server:
        ours = Repository({"k8s/kustomization.yaml": f"resources: ['{server.url('app.git')}//base']\n"})
        next_ = Repository({**ours.files, "readme": "2"})
        mounted = []
        for given in (ours.given, None, next_.given):
            if given is None:
                second = repo.commit({"base/web.yaml": WEB.replace("b}", "later}")})
            async with fetching(tmp_path / "kept") as beside:
                done = await beside.complete(Kustomize(path="k8s"), given or ours.given)
            mounted.append({p.split("/")[2] for p in done.folders.tree if p.startswith(".trueup-remote/")})
        assert mounted == [{first}, {first}, {second}]
    async with fetching(tmp_path / "kept") as beside:  # the server is gone
        again = await beside.complete(Kustomize(path="k8s"), ours.given)
        base = next(e for p, e in again.folders.tree.items() if p.endswith("/base/web.yaml"))
        assert (await again.blobs([base.oid]))[base.oid] == WEB.encode()


async def test_a_private_base_is_read_with_its_login_alone(tmp_path: Path) -> None:
    Repo(tmp_path / "git/app.git").commit(THEIRS)
    async with http_server(tmp_path / "git", login=("ann", "hunter2")) as server:
        ours = Repository({"k8s/kustomization.yaml": f"resources: ['{server.url('app.git')}//base']\n"})
        host = server.url("").split("/")[2]
        async with fetching(tmp_path / "kept", kept=logins(f"{host} ann hunter2")) as beside:
            assert (await beside.complete(Kustomize(path="k8s"), ours.given)).name != ours.given.name
        async with fetching(tmp_path / "other") as beside:
            with pytest.raises(SourceError) as caught:
                await beside.complete(Kustomize(path="k8s"), ours.given)
            assert "hunter2" not in str(caught.value)


async def test_a_base_over_ssh_goes_by_the_key_and_host_keys_that_were_given(tmp_path: Path) -> None:
    commit = Repo(tmp_path / "git/app.git").commit(THEIRS)
    async with ssh_server(tmp_path / "git", tmp_path / "ssh") as server:
        base = Base(server.url("app.git"))
        keys = (SshKey(str(server.client_key), str(server.known_hosts)), SshKey(str(server.client_key), "/dev/null"))
        for known, key in zip((True, False), keys, strict=True):
            fetched = Fetched(tmp_path / f"kept-{known}", ENVIRONMENT, HERE, Logins(), key)
            try:
                if known:
                    assert await fetched.commit(base) == commit
                    assert "base/web.yaml" in await fetched.tree(base, commit)
                else:
                    with pytest.raises(SourceError, match="host key"):
                        await fetched.commit(base)
            finally:
                await fetched.close()


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ("http://127.0.0.1:1/app.git//base", r"k8s/kustomization\.yaml:3.*is 127\.0\.0\.1, this machine itself"),
        ("http://127.0.0.1:1/a/b/web.yaml", "unless TRUEUP_REMOTE_ALLOW names 127"),
        ("http://localhost:1/app.git//base", "this machine itself"),
        ("http://127.1:1/web.yaml", "is no address|this machine itself"),
        ("http://2130706433/web.yaml", "is no address|this machine itself"),
        ("http://169.254.169.254/latest/web.yaml", "link-local"),
        ("http://[::ffff:10.0.0.1]/web.yaml", "private network"),
        ("https://10.0.0.1/a/b.git", "private network"),
        ("ssh://git@192.168.0.1/a/b.git", "private network"),
        ("file:///etc//x", "only https, http and ssh"),
        ("https://ann:hunter2@example.org/a/b.git", "holds a password"),
    ],
)  # fmt: skip
async def test_what_may_not_be_asked_is_refused_at_its_line(entry: str, told: str, tmp_path: Path) -> None:
    ours = Repository({"k8s/kustomization.yaml": f"# ours\nresources:\n  - '{entry}'\n"})
    async with fetching(tmp_path, allowed("")) as beside:
        with pytest.raises(RenderFailed, match=told) as caught:
            await beside.complete(Kustomize(path="k8s"), ours.given)
    assert caught.value.place.line == 3
    assert "hunter2" not in str(caught.value)


async def test_a_redirect_within_is_not_followed(tmp_path: Path) -> None:
    async with serving({}, leads={"/a.yaml": "http://127.0.0.2:1/x"}) as outer:
        ours = Repository({"kustomization.yaml": f"resources: ['{outer}/a.yaml']\n"})
        async with fetching(tmp_path, HERE) as beside:
            with pytest.raises(RenderFailed, match=r"127\.0\.0\.2, this machine itself"):
                await beside.complete(Kustomize(path=""), ours.given)


async def test_a_name_that_changes_between_two_look_ups_gains_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The first answer may be asked, every later one is this machine: the connection goes to the first or nowhere."""
    asked: list[str] = []
    loop = asyncio.get_running_loop()

    async def rebinding(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        asked.append(host)
        address = "192.0.2.1" if len(asked) == 1 else "127.0.0.1"
        return [(2, 1, 6, "", (address, port))]

    async with serving({"web.yaml": WEB.encode()}) as inner:
        monkeypatch.setattr(loop, "getaddrinfo", rebinding)  # the resolver of the machine is not ours to be
        url = inner.replace("127.0.0.1", "rebind.example")
        fetched = Fetched(tmp_path, ENVIRONMENT, allowed("192.0.2.1"), Logins())
        fetched._web._timeout_s = 2.0
        try:
            with pytest.raises((SourceError, RemoteRefused)):
                await fetched.file(f"{url}/web.yaml")
            with pytest.raises(RemoteRefused, match="this machine itself"):
                await fetched.file(f"{url}/web.yaml")
        finally:
            await fetched.close()


async def test_a_base_stays_in_its_own_repository(tmp_path: Path) -> None:
    repo = Repo(tmp_path / "git/app.git")
    repo.commit({"base/kustomization.yaml": "resources: ['../../../../k8s/secret']\n"})
    async with http_server(tmp_path / "git") as server:
        ours = Repository({
            "k8s/kustomization.yaml": f"resources: ['{server.url('app.git')}//base']\n",
            "k8s/secret/kustomization.yaml": "resources: []\n",
        })  # fmt: skip
        async with fetching(tmp_path / "kept") as beside:
            with pytest.raises(RenderFailed, match="leads out of its own repository"):
                await beside.complete(Kustomize(path="k8s"), ours.given)


@pytest.mark.parametrize(
    ("path", "told"), [("?ref=none", "has no none"), ("//nowhere", "there is no folder nowhere in")]
)
async def test_what_is_not_there_is_named(path: str, told: str, tmp_path: Path) -> None:
    Repo(tmp_path / "git/app.git").commit(THEIRS)
    async with http_server(tmp_path / "git") as server:
        ours = Repository({"kustomization.yaml": f"resources: ['{server.url('app.git')}{path}']\n"})
        async with fetching(tmp_path / "kept") as beside:
            with pytest.raises(RenderFailed, match=told):
                await beside.complete(Kustomize(path=""), ours.given)


async def test_a_revision_without_remote_parts_is_left_as_it_is(tmp_path: Path) -> None:
    ours = Repository({"kustomization.yaml": "resources: [web.yaml]\n", "web.yaml": WEB})
    async with fetching(tmp_path) as beside:
        assert await beside.complete(Kustomize(path=""), ours.given) is ours.given


async def test_a_kustomization_that_names_nothing_elsewhere_is_read_once(tmp_path: Path) -> None:
    ours = Repository({
        "a/kustomization.yaml": "namespace: a\nresources: [../base]\n",
        "base/kustomization.yaml": "resources: [web.yaml]\n", "base/web.yaml": WEB,
    })  # fmt: skip
    async with fetching(tmp_path) as beside:
        assert await beside.complete(Kustomize(path="a"), ours.given) is ours.given
        assert len(ours.asked) == 2
        assert await beside.complete(Kustomize(path="a"), ours.given) is ours.given
        assert len(ours.asked) == 2


# --- charts ----------------------------------------------------------------------------------------

CHILD = {
    "Chart.yaml": "apiVersion: v2\nname: child\nversion: {version}\n",
    "values.yaml": "greeting: hello\n",
    "templates/web.yaml": WEB.replace("a: b", "version: {{ .Chart.Version | quote }}, say: {{ .Values.greeting }}"),
}
OURS = {
    "chart/values.yaml": "child: {greeting: hi}\n",
    "chart/templates/own.yaml": WEB.replace("web", "own"),
}


def package(folder: Path, version: str) -> bytes:
    """child-VERSION.tgz as `helm package` makes it."""
    chart = folder / f"child-{version}"
    for name, text in CHILD.items():
        (chart / name).parent.mkdir(parents=True, exist_ok=True)
        (chart / name).write_text(text.replace("{version}", version))
    argv = [program("helm"), "package", str(chart), "-d", str(folder)]
    subprocess.run(argv, check=True, capture_output=True, timeout=60)
    return (folder / f"child-{version}.tgz").read_bytes()


def index(packages: Mapping[str, bytes], digests: bool = True) -> bytes:
    entries = [
        {"name": "child", "version": v, "urls": [f"packages/child-{v}.tgz"], "created": "2026-01-01T00:00:00Z"}
        | ({"digest": hashlib.sha256(data).hexdigest()} if digests else {})
        for v, data in packages.items()
    ]
    return json.dumps({"apiVersion": "v1", "entries": {"child": entries}}).encode()


def depending(repository: str, version: str, **more: str) -> Repository:
    one = f"{{name: child, version: '{version}', repository: '{repository}'}}"
    chart = f"apiVersion: v2\nname: ours\nversion: 1.0.0\ndependencies:\n  - {one}\n"
    return Repository({**OURS, "chart/Chart.yaml": chart, **more})


def template(ours: Repository, folder: Path, archive: bytes, version: str) -> list[str]:
    """What `helm template` gives with the archive in charts/."""
    ours.write(folder)
    (folder / "chart/charts").mkdir(exist_ok=True)
    (folder / f"chart/charts/child-{version}.tgz").write_bytes(archive)
    argv = [program("helm"), "template", "ours", str(folder / "chart")]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)
    return read(done.stdout)


ASKED = Helm(path="chart", release="ours")


async def test_a_dependency_of_an_index_gives_what_helm_template_gives(workers: Workers, tmp_path: Path) -> None:
    packages = {v: await asyncio.to_thread(package, tmp_path, v) for v in ("1.0.0", "1.2.0", "1.3.0-rc.1", "2.0.0")}
    files = {"charts/index.yaml": index(packages)} | {f"charts/packages/child-{v}.tgz": d for v, d in packages.items()}
    async with serving(files, login="ann:hunter2") as url:
        ours = depending(f"{url}/charts", "^1.0")
        wanted = await asyncio.to_thread(template, ours, tmp_path / "ours", packages["1.2.0"], "1.2.0")
        kept = logins(f"{url.removeprefix('http://')} ann hunter2")
        async with fetching(tmp_path / "kept", kept=kept) as beside:
            output = await workers.render(ASKED, await beside.complete(ASKED, ours.given))
        assert made(output) == wanted
        assert "1.2.0" in str(wanted) and "hi" in str(wanted)
        async with fetching(tmp_path / "other") as beside:
            with pytest.raises(RenderFailed, match=r"chart/Chart\.yaml:5.*wants a login \(401\).*TRUEUP_REMOTE_LOGINS"):
                await beside.complete(ASKED, ours.given)
    async with fetching(tmp_path / "kept") as beside:  # the server is gone, the commit is the same
        assert made(await workers.render(ASKED, await beside.complete(ASKED, ours.given))) == wanted


async def test_a_lock_decides_the_version_and_must_be_in_step(workers: Workers, tmp_path: Path) -> None:
    packages = {v: await asyncio.to_thread(package, tmp_path, v) for v in ("1.0.0", "1.2.0")}
    old = {"index.yaml": index({"1.0.0": packages["1.0.0"]}), "packages/child-1.0.0.tgz": packages["1.0.0"]}
    files: dict[str, bytes] = dict(old)
    async with serving(files) as url:
        ours = depending(url, ">=1.0 <2")
        await asyncio.to_thread(ours.write, tmp_path / "ours")
        env = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
        argv = [program("helm"), "dependency", "update", str(tmp_path / "ours/chart")]
        done = await asyncio.to_thread(subprocess.run, argv, capture_output=True, text=True, env=env, timeout=60)
        assert done.returncode == 0, done.stderr
        lock = (tmp_path / "ours/chart/Chart.lock").read_text()
        files |= {"index.yaml": index(packages), "packages/child-1.2.0.tgz": packages["1.2.0"]}
        locked = depending(url, ">=1.0 <2", **{"chart/Chart.lock": lock})
        async with fetching(tmp_path / "kept") as beside:
            given = await beside.complete(ASKED, locked.given)
            assert "chart/charts/child-1.0.0.tgz" in given.folders.tree
            stale = depending(url, ">=1.1 <2", **{"chart/Chart.lock": lock})
            with pytest.raises(RenderFailed, match="is out of step with Chart"):
                await beside.complete(ASKED, stale.given)


@pytest.mark.parametrize(
    ("version", "bad", "told"),
    [
        ("^3", False, r"has no chart child of version \^3; its newest is 1\.0\.0"),
        ("1.0.0", True, "its digest is another one"),
        ("^^", False, "is no range of versions"),
    ],
)
async def test_a_chart_that_is_not_as_stated_is_refused(version: str, bad: bool, told: str, tmp_path: Path) -> None:
    data = b"no archive at all"
    stated = {"1.0.0": b"another" if bad else data}
    async with serving({"index.yaml": index(stated), "packages/child-1.0.0.tgz": data}) as url:
        async with fetching(tmp_path) as beside:
            with pytest.raises(RenderFailed, match=told):
                await beside.complete(ASKED, depending(url, version).given)


async def test_a_chart_beside_is_taken_as_it_stands(workers: Workers, tmp_path: Path) -> None:
    data = await asyncio.to_thread(package, tmp_path, "1.0.0")
    child = {f"lib/child/{name}": text.replace("{version}", "1.0.0") for name, text in CHILD.items()}
    ours = depending("file://../lib/child", "1.0.0", **child)
    wanted = await asyncio.to_thread(template, ours, tmp_path / "ours", data, "1.0.0")
    async with fetching(tmp_path / "kept") as beside:
        assert made(await workers.render(ASKED, await beside.complete(ASKED, ours.given))) == wanted


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[Registry]:
    if shutil.which(PROGRAM) is None:
        pytest.skip(f"not installed: {PROGRAM}")
    found = Registry(Layout(str(tmp_path / "state")))
    await found.start()
    yield found
    await found.stop()


async def push(address: str, repository: str, tag: str, archive: bytes, kind: str = LAYER) -> None:
    parts = []
    async with aiohttp.ClientSession() as http:
        for data, media in ((b"{}", "application/vnd.cncf.helm.config.v1+json"), (archive, kind)):
            digest = "sha256:" + hashlib.sha256(data).hexdigest()
            async with http.post(f"http://{address}/v2/{repository}/blobs/uploads/") as begun:
                where = begun.headers["Location"]
            async with http.put(where, params={"digest": digest}, data=data) as done:
                assert done.status == 201
            parts.append({"mediaType": media, "digest": digest, "size": len(data)})
        manifest = json.dumps({"schemaVersion": 2, "mediaType": KIND, "config": parts[0], "layers": parts[1:]})
        url = f"http://{address}/v2/{repository}/manifests/{tag}"
        async with http.put(url, data=manifest, headers={"Content-Type": KIND}) as done:
            assert done.status == 201


async def test_a_dependency_of_an_oci_registry_gives_what_helm_template_gives(
    workers: Workers, registry: Registry, tmp_path: Path
) -> None:
    address = await registry.address()
    assert address is not None
    archives = {v: await asyncio.to_thread(package, tmp_path, v) for v in ("1.0.0", "1.2.0+build.1")}
    for version, data in archives.items():
        await push(address, "team/child", version.replace("+", "_"), data)
    await push(address, "team/image", "1.0.0", b"x", "application/octet-stream")
    url = f"oci://{address}/team"
    for range_, version in (("~1", "1.2.0+build.1"), ("1.0.0", "1.0.0")):
        ours = depending(url, range_)
        wanted = await asyncio.to_thread(template, ours, tmp_path / f"ours-{version}", archives[version], version)
        async with fetching(tmp_path / "kept") as beside:
            assert made(await workers.render(ASKED, await beside.complete(ASKED, ours.given))) == wanted
    async with fetching(tmp_path / "kept") as beside:
        other = depending(url, "1.0.0")
        named = Repository(
            {**other.files, "chart/Chart.yaml": other.files["chart/Chart.yaml"].replace(b"name: child", b"name: image")}
        )
        with pytest.raises(RenderFailed, match="is no chart: none of its layers"):
            await beside.complete(ASKED, named.given)


# --- charts of kustomizations ------------------------------------------------------------------------

INFLATED = """\
# ours
namespace: shop
namePrefix: pre-
helmGlobals: {chartHome: charts}
resources: [web.yaml]
helmCharts:
  - name: child
    releaseName: one
    namespace: own
    valuesInline: {greeting: inline, list: [1, 2]}
  - name: child
    releaseName: two
    valuesFile: values.yaml
    valuesMerge: merge
    valuesInline: {greeting: inline, more: x}
    additionalValuesFiles: [more.yaml]
  - {name: child, releaseName: three, valuesMerge: replace, valuesInline: {greeting: replaced}, includeCRDs: true}
# after
configMapGenerator: [{name: made, literals: [a=b]}]
"""
TEMPLATE = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: {{ .Release.Name }}, namespace: {{ .Release.Namespace }}}
data:
  greeting: {{ .Values.greeting | quote }}
  more: {{ .Values.more | default "none" | quote }}
  list: {{ .Values.list | toJson | quote }}
  version: {{ .Chart.Version | quote }}
---
apiVersion: v1
kind: Pod
metadata: {name: {{ .Release.Name }}-hook, annotations: {helm.sh/hook: pre-install}}
spec: {containers: []}
"""
INFLATING = {
    "k8s/kustomization.yaml": INFLATED,
    "k8s/web.yaml": WEB,
    "k8s/values.yaml": "greeting: file\n",
    "k8s/more.yaml": "more: additional\n",
    "k8s/charts/child/Chart.yaml": "apiVersion: v2\nname: child\nversion: 1.0.0\n",
    "k8s/charts/child/values.yaml": "greeting: hello\nlist: [0]\n",
    "k8s/charts/child/templates/all.yaml": TEMPLATE,
    "k8s/charts/child/crds/crd.yaml": (
        "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: as.b.c}\n"
    ),
}
BY_HELM = ("--enable-helm", f"--helm-command={CACHE / 'helm'}")


async def test_charts_of_a_kustomization_give_what_kustomize_build_gives(workers: Workers, tmp_path: Path) -> None:
    program("helm")
    ours = Repository(INFLATING)
    wanted = await kustomize(ours, tmp_path / "ours", *BY_HELM)
    asked = Kustomize(path="k8s")
    async with fetching(tmp_path / "kept", renderer=workers) as beside:
        given = await beside.complete(asked, ours.given)
        output = await workers.render(asked, given)
    assert sorted(made(output)) == sorted(wanted)
    assert len(wanted) == 9
    entry = given.folders.tree["k8s/kustomization.yaml"]
    text = (await given.blobs([entry.oid]))[entry.oid].decode()
    assert text.splitlines()[:2] == INFLATED.splitlines()[:2], "every line stays where it was"
    assert text.splitlines().index("# after") == INFLATED.splitlines().index("# after")


async def test_a_chart_takes_the_namespace_of_whoever_lists_it(workers: Workers, tmp_path: Path) -> None:
    program("helm")
    charts = {path.replace("k8s/", "k8s/base/"): text for path, text in INFLATING.items() if "charts" in path}
    base = "helmCharts: [{name: child, releaseName: one}]\n".replace("[", "\n  - ").replace("]", "")
    ours = Repository({
        **charts, "k8s/base/kustomization.yaml": base,
        "k8s/mid/kustomization.yaml": "resources: [../base]\n",
        "k8s/kustomization.yaml": "namespace: shop\nresources: [mid]\n",
    })  # fmt: skip
    wanted = await kustomize(ours, tmp_path / "ours", *BY_HELM)
    asked = Kustomize(path="k8s")
    async with fetching(tmp_path / "kept", renderer=workers) as beside:
        assert made(await workers.render(asked, await beside.complete(asked, ours.given))) == wanted
        two = Repository({
            **ours.files, "k8s/a/kustomization.yaml": "namespace: a\nresources: [../base]\n",
            "k8s/b/kustomization.yaml": "namespace: b\nresources: [../base]\n",
            "k8s/kustomization.yaml": "resources: [a, b]\n",
        })  # fmt: skip
        with pytest.raises(RenderFailed, match=r"k8s/base/kustomization\.yaml:2.*reached with two namespaces"):
            await beside.complete(asked, two.given)


async def test_a_remote_chart_of_a_kustomization_gives_what_kustomize_build_gives(
    workers: Workers, tmp_path: Path
) -> None:
    packages = {v: await asyncio.to_thread(package, tmp_path, v) for v in ("1.0.0", "1.2.0")}
    files = {"index.yaml": index(packages)} | {f"packages/child-{v}.tgz": d for v, d in packages.items()}
    async with serving(files) as url:
        chart = f"{{name: child, repo: '{url}', version: 1.0.0, releaseName: one, valuesInline: {{greeting: x}}}}"
        ours = Repository({"k8s/kustomization.yaml": f"namespace: shop\nhelmCharts:\n  - {chart}\n"})
        wanted = await kustomize(ours, tmp_path / "ours", *BY_HELM)
        asked = Kustomize(path="k8s")
        async with fetching(tmp_path / "kept", renderer=workers) as beside:
            assert made(await workers.render(asked, await beside.complete(asked, ours.given))) == wanted
    async with fetching(tmp_path / "kept", renderer=workers) as beside:  # the server is gone
        assert made(await workers.render(asked, await beside.complete(asked, ours.given))) == wanted


@pytest.mark.parametrize(
    ("chart", "told"),
    [
        ("{name: child}", "has no releaseName"),
        ("{name: other, releaseName: a}", "there is no chart at k8s/charts/other"),
        ("{name: child, releaseName: a, valuesMerge: x}", "must be override, merge or replace"),
        ("{name: child, releaseName: a, valuesFile: ../../x.yaml}", "is not below k8s"),
        ("{name: 7}", "Expected `str`"),
        ("{name: away, releaseName: a}", r"lib/away/values\.yaml is not below k8s"),
        ("{name: child, repo: 'https://10.0.0.1', version: '1', releaseName: a}", "private network"),
    ],
)
async def test_a_chart_that_cannot_be_rendered_is_named_at_its_line(
    chart: str, told: str, workers: Workers, tmp_path: Path
) -> None:
    away = {"lib/away/Chart.yaml": "apiVersion: v2\nname: away\nversion: 1.0.0\n"}
    home = "../lib" if "away" in chart else "charts"
    text = f"helmGlobals: {{chartHome: {home}}}\nhelmCharts:\n  - {chart}\n"
    ours = Repository({**INFLATING, **away, "k8s/kustomization.yaml": text})
    async with fetching(tmp_path, renderer=workers) as beside:
        with pytest.raises(RenderFailed, match=told) as caught:
            await beside.complete(Kustomize(path="k8s"), ours.given)
    assert caught.value.place.line in (2, 3)


async def test_a_commit_with_a_remote_base_is_read_as_the_loop_reads_it(workers: Workers, tmp_path: Path) -> None:
    repo = Repo(tmp_path / "git/app.git")
    repo.commit(THEIRS)
    async with http_server(tmp_path / "git") as server:
        text = f"# ours\nresources:\n  - '{server.url('app.git')}//base'\n"
        remote = MemoryRemote()
        commit = remote.push({"k8s/kustomization.yaml": text}, "first")
        away = remote.push({"k8s/kustomization.yaml": text.replace("//base", "//nowhere")}, "second")
        async with fetching(tmp_path / "kept") as beside:
            study = RepositoryStudy(
                {"s": MemorySource(remote)}, {"s": "shop"}, {"s": "refs/heads/main"}, checker(date(2026, 11, 1)),
                renderer=workers, beside={"s": beside},
            )  # fmt: skip
            bundle = await study.bundle(ApplicationState(id="a"), CandidateState(id="c", source="s", commit=commit))
            assert sorted(o.ref.name for o in bundle.objects) == ["base-more", "base-web"]
            errors = [f for f in (await study.look("s", away)).findings if f.severity is Severity.ERROR]
            assert [(str(f.place), f.rule) for f in errors] == [("k8s/kustomization.yaml:3", "render-failed")]
            assert "there is no folder nowhere" in errors[0].message


async def test_a_base_has_a_commit_a_tree_and_contents(tmp_path: Path) -> None:
    repo = Repo(tmp_path / "git/app.git")
    commit = repo.commit(THEIRS)
    async with http_server(tmp_path / "git") as server:
        fetched = Fetched(tmp_path / "kept", ENVIRONMENT, HERE, Logins())
        try:
            base = Base(server.url("app.git"))
            assert await fetched.commit(base) == commit
            tree = await fetched.tree(base, commit)
            oid = tree["base/web.yaml"].oid
            assert await fetched.blobs(base, [oid]) == {oid: WEB.encode()}
        finally:
            await fetched.close()
