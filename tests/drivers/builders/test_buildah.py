"""The real buildah, skopeo and docker-registry."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from trueup.core.layout import Layout
from trueup.core.reference import mirror_name
from trueup.drivers.builders.auth import Credentials
from trueup.drivers.builders.buildah import Buildah
from trueup.drivers.builders.outside import outside
from trueup.engine.registry import Registry
from trueup.ports import BuilderDown, BuildFailed, BuildRequest, Login

pytestmark = pytest.mark.integration


class Said:
    """Collects output."""

    def __init__(self) -> None:
        self.text = ""

    def __call__(self, data: bytes) -> None:
        self.text += data.decode(errors="replace")


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    folder.mkdir()
    return folder


def asked(workspace: Path, text: str, tag: str = "ghcr.io/acme/app:1", **other: object) -> BuildRequest:
    if text:
        (workspace / "Dockerfile").write_text(text)
    fields = {"tags": (tag,), "commit": "c" * 40, "time_s": 1_700_000_000, **other}
    return BuildRequest(context=workspace, dockerfile="Dockerfile", workspace=workspace, **fields)  # type: ignore[arg-type]  # keywords of a record


async def configuration(buildah: Buildah, registry: Registry, name: str) -> tuple[str, dict[str, object]]:
    """Manifest and configuration as they are stored, and the latter decoded."""
    where = ("--tls-verify=false", f"docker://{mirror_name(name, await registry.start())}")
    manifest = await buildah.tools.skopeo("inspect", "--raw", *where)
    config = await buildah.tools.skopeo("inspect", "--raw", "--config", *where)
    return manifest.text + config.text, json.loads(config.text)


async def files_of(buildah: Buildah, name: str, folder: Path) -> dict[str, bytes]:
    """Every file of an image, read without running it."""
    ended = await buildah.tools.buildah("from", "--pull-never", name)
    container = ended.lines[-1].strip()
    mounted = (await buildah.tools.buildah("mount", container)).lines[-1].strip()
    found = {
        str(path.relative_to(mounted)): path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        for path in Path(mounted).rglob("*")
    }
    await buildah.tools.buildah("rm", container)
    return found


async def test_nothing_of_the_machine_lands_in_the_image(
    layout: Layout, registry: Registry, storage: str, workspace: Path, tmp_path: Path
) -> None:
    bundle = tmp_path / "ca.crt"
    bundle.write_text("-----BEGIN CERTIFICATE-----\nMARKER-CA\n-----END CERTIFICATE-----\n")
    host = {
        **os.environ,
        "HTTPS_PROXY": "http://user:pw@proxy.example:3128",
        "NO_PROXY": "example.org",
        "PIP_INDEX_URL": "https://user:pw@index.example/simple",
    }
    buildah = Buildah(
        layout,
        registry,
        environ=host,
        outside=outside(host, bundle, "[global]\ntrusted-host = index.example\n"),
        storage=storage,
        pull=False,
    )
    said = Said()
    text = (
        "FROM docker.io/library/tiny:1\nENV CURL_CA_BUNDLE=/own\n"
        "RUN --mount=type=secret,id=tok env && cat $SSL_CERT_FILE && cat /run/secrets/tok > /dev/null\n"
    )
    image, _ = await buildah.build(asked(workspace, text, secrets=(("tok", "hush-hush"), ("other", "x"))), said)
    assert "HTTPS_PROXY=http://user:pw@proxy.example:3128" in said.text
    assert "PIP_INDEX_URL=https://user:pw@index.example/simple" in said.text
    assert "PIP_TRUSTED_HOST=index.example" in said.text
    assert "CURL_CA_BUNDLE=/own" in said.text
    assert "MARKER-CA" in said.text
    assert "hush-hush" not in said.text
    text, config = await configuration(buildah, registry, "ghcr.io/acme/app:1")
    for leak in (
        "proxy.example",
        "index.example",
        "trueup/ca.crt",
        "PIP_INDEX",
        "SSL_CERT_FILE=",
        "hush",
        layout.id,
        str(tmp_path),
    ):
        assert leak not in text, leak
    assert config["config"]["Env"] == ["PATH=/bin", "CURL_CA_BUNDLE=/own"]  # type: ignore[index]
    files = await files_of(buildah, "ghcr.io/acme/app:1", tmp_path)
    assert not [name for name in files if "trueup" in name or "secrets/" in name]  # the empty mount point stays
    assert not [name for name, data in files.items() if b"hush-hush" in data or b"MARKER-CA" in data]
    assert image.digest.startswith("sha256:")


async def test_the_digest_is_reproducible(
    layout: Layout, registry: Registry, storage: str, workspace: Path, tmp_path: Path
) -> None:
    text = "FROM docker.io/library/tiny:1\nRUN echo hi > /made && sleep 0\nCOPY x /x\n"
    (workspace / "x").write_text("1")
    one = Buildah(layout, registry, environ=os.environ, storage=storage, pull=False)
    first, _ = await one.build(asked(workspace, text), Said())
    await one.tools.buildah("rmi", "-f", first_id := await one.tools.image_id("ghcr.io/acme/app:1"))
    assert not await one.tools.image_id(first_id)
    elsewhere = Layout(str(tmp_path / "elsewhere"))
    other = Registry(elsewhere)
    copy = tmp_path / "copy"
    shutil.copytree(workspace, copy)
    os.utime(copy / "x", (1, 1))
    try:
        two = Buildah(elsewhere, other, environ=os.environ, storage=storage, pull=False)
        said = Said()
        second, cached = await two.build(asked(copy, ""), said)
        assert "Using cache" not in said.text.split("COPY")[0].split("RUN")[-1]
    finally:
        await other.stop()
    assert (second.digest, second.key, cached) == (first.digest, first.key, False)


async def test_push_goes_where_there_is_a_login_with_the_same_digest(
    buildah: Buildah, registry: Registry, workspace: Path, tmp_path: Path
) -> None:
    real = Registry(Layout(str(tmp_path / "real")))
    address = await real.start()
    try:
        request = asked(workspace, "FROM docker.io/library/tiny:1\n", f"{address}/acme/app:1")
        image, _ = await buildah.build(request, Said())
        said = Said()
        assert await buildah.push(f"{address}/acme/app:1", said) == image.digest
        assert f"kept in the embedded registry: there is no login for {address}" in said.text
        assert real.stored() == ()
        assert await buildah.push(f"{address}/acme/app:1", said, [Login(address, "ann", "pw")]) == image.digest
        assert [(s.repository, s.digest, s.tags) for s in real.stored()] == [("acme/app", image.digest, ("1",))]
    finally:
        await real.stop()
    kept = [(s.repository, "1" in s.tags, "c" * 40 in s.tags) for s in registry.stored() if s.digest == image.digest]
    assert kept == [(f"{address.replace(':', '_')}/acme/app", True, True)]
    with pytest.raises(BuilderDown, match=f"{address}/acme/app:1 cannot be pushed: .*connection refused"):
        await buildah.push(f"{address}/acme/app:1", said, [Login(address, "ann", "pw")])


async def test_local_storage_and_the_mirror_know_the_digest(
    buildah: Buildah, registry: Registry, storage: str, workspace: Path
) -> None:
    image, _ = await buildah.build(asked(workspace, "FROM docker.io/library/tiny:1\n"), Said())
    newer, _ = await buildah.build(asked(workspace, "FROM docker.io/library/tiny:1\nRUN echo 2 > /2\n"), Said())
    for digest in (image.digest, newer.digest):
        assert await buildah.tools.image_id(f"ghcr.io/acme/app@{digest}"), "also after its tag went to a newer one"
    mirrored = mirror_name(f"ghcr.io/acme/app@{image.digest}", await registry.start())
    ended = await buildah.tools.skopeo(
        "inspect", "--tls-verify=false", "--format", "{{.Digest}}", f"docker://{mirrored}"
    )
    assert ended.lines[-1] == image.digest


async def test_an_image_of_ours_is_a_base_again_after_storage_lost_it(
    buildah: Buildah, storage: str, workspace: Path
) -> None:
    await buildah.build(asked(workspace, "FROM docker.io/library/tiny:1\nRUN echo 1 > /one\n", "acme/base:1"), Said())
    await buildah.tools.buildah("rmi", "-f", "docker.io/acme/base:1")
    assert not await buildah.tools.image_id("docker.io/acme/base:1")
    await buildah.build(asked(workspace, "FROM acme/base:1\nRUN cat /one\n", "acme/top:1"), Said())


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("FROM docker.io/library/tiny:1\n\nRUN echo why && cat /nowhere\n", r"Dockerfile:3: RUN .*exit 1.*nowhere"),
        ("FROM docker.io/library/tiny:1\nCOPY missing /x\n", r"Dockerfile:2: COPY missing /x: .*missing"),
        ("FROM docker.io/library/tiny:1\nFRMO x\n", r"Dockerfile:2: FRMO is not an instruction"),
        (
            "FROM tiny:1 AS a\nRUN cat /a\nFROM scratch\nCOPY --from=a /x /x\n",
            r"Dockerfile:2: RUN cat /a",
        ),
        (
            "ARG V=1\nFROM tiny:${V} AS a\nFROM tiny:1 AS unused\nRUN true\nFROM a AS c\nRUN true\nRUN cat /c\n",
            r"Dockerfile:7: RUN cat /c",
        ),
        ("FROM Bad/Name\n", r"Dockerfile:1: base image 'Bad/Name'"),
        (
            "FROM docker.io/library/tiny:1\nRUN --mount=type=secret,id=t,required=true true\n",
            r"Dockerfile:2: secret t is not set: trueup secret set t",
        ),
        ("FROM docker.io/library/tiny:1\nRUN wget http://127.0.0.1:1/\n", r"Dockerfile:2: RUN wget"),
    ],
)
async def test_the_dockerfile_is_to_blame_by_its_line(buildah: Buildah, workspace: Path, text: str, says: str) -> None:
    with pytest.raises(BuildFailed) as caught:
        await buildah.build(asked(workspace, text), Said())
    assert re.search(says, str(caught.value)), caught.value


async def test_a_base_that_is_nowhere_is_the_worlds_fault(buildah: Buildah, workspace: Path) -> None:
    with pytest.raises(BuilderDown, match=r"Dockerfile:1: base image ghcr.io/acme/none:1 is not .*podman pull"):
        await buildah.build(asked(workspace, "FROM ghcr.io/acme/none:1\n"), Said())


async def test_bases_come_from_the_registry_they_name(
    layout: Layout, registry: Registry, buildah: Buildah, storage: str, workspace: Path, tmp_path: Path
) -> None:
    real = Registry(Layout(str(tmp_path / "real")))
    address = await real.start()
    online = Buildah(layout, registry, environ=os.environ, storage=storage)
    try:
        name = f"{address}/acme/base:1"
        await buildah.build(asked(workspace, "FROM docker.io/library/tiny:1\nRUN echo 1 > /one\n", name), Said())
        await buildah.push(name, Said(), [Login(address, "ann", "pw")])
        await buildah.tools.buildah("rmi", "-f", name)
        await registry.collect([(s.repository, s.digest) for s in registry.stored()])
        said = Said()
        await online.build(asked(workspace, f"FROM {name}\nRUN cat /one\n"), said)
        assert f"pulling {name}" in said.text
        with pytest.raises(BuildFailed, match=r"Dockerfile:2: base image .*none:1 does not exist"):
            await online.build(asked(workspace, f"\nFROM {address}/acme/none:1\n"), Said())
    finally:
        await real.stop()
    await online.build(asked(workspace, f"FROM {name}\nRUN cat /one && true\n"), Said())


async def test_what_a_killed_process_left_is_swept(buildah: Buildah, layout: Layout, workspace: Path) -> None:
    left = Path(layout.root) / "builder/contexts/4194305-x"
    left.mkdir(parents=True)
    (left / "secret-0").write_text("hush")
    (left / "mark").write_text("")
    mark = f"--volume={left}/mark:/dev/trueup/build:ro"
    await buildah.tools.buildah("from", "--pull-never", mark, "docker.io/library/tiny:1")
    other = (await buildah.tools.buildah("from", "--pull-never", "docker.io/library/tiny:1")).lines[-1].strip()
    await buildah.build(asked(workspace, "FROM docker.io/library/tiny:1\n"), Said())
    assert not left.exists()
    names = await buildah.tools.buildah("containers", "--noheading", "--format", "{{.ContainerName}}")
    assert names.text.split() == [other], "a container of somebody else stays"
    await buildah.tools.buildah("rm", other)


async def test_a_registry_that_does_not_start_is_the_worlds_fault(
    layout: Layout, storage: str, workspace: Path
) -> None:
    broken = Registry(layout, program="false")
    buildah = Buildah(layout, broken, environ=os.environ, storage=storage, pull=False)
    with pytest.raises(BuilderDown, match="registry did not start"):
        await buildah.build(asked(workspace, "FROM docker.io/library/tiny:1\n"), Said())


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], check=False).returncode:
        pytest.skip("no right to mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


async def test_a_full_disk_is_the_worlds_fault(
    registry: Registry, layout: Layout, storage: str, workspace: Path, small: Path
) -> None:
    (workspace / "big").write_bytes(os.urandom(6 << 20))
    full = Registry(Layout(str(small)))
    try:
        await full.start()
        copying = Buildah(Layout(str(small)), registry, environ=os.environ, storage=storage, pull=False)
        with pytest.raises(BuilderDown, match="No space left"):
            await copying.build(asked(workspace, "FROM docker.io/library/tiny:1\nCOPY big /big\n"), Said())
        pushing = Buildah(layout, full, environ=os.environ, storage=storage, pull=False)
        with pytest.raises(BuilderDown, match="cannot be kept in the embedded registry"):
            await pushing.build(asked(workspace, "FROM docker.io/library/tiny:1\nCOPY big /big\n"), Said())
    finally:
        await full.stop()


async def test_paths_never_lead_out_of_the_workspace(buildah: Buildah, workspace: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/Dockerfile").write_text("FROM docker.io/library/tiny:1\nCOPY key /key\n")
    (tmp_path / "outside/key").write_text("PRIV-KEY-77")
    (workspace / "link").symlink_to(tmp_path / "outside")
    (workspace / "file").symlink_to(tmp_path / "outside/Dockerfile")
    for context, file in (("link", "link/Dockerfile"), (".", "file"), ("../outside", "../outside/Dockerfile")):
        request = BuildRequest(context=workspace / context, dockerfile=file, workspace=workspace, tags=("a:1",))
        with pytest.raises(BuildFailed, match="leads out of the workspace"):
            await buildah.build(request, Said())
    with pytest.raises(BuildFailed, match="Dockerfile:2: COPY link/key"):
        await buildah.build(asked(workspace, "FROM docker.io/library/tiny:1\nCOPY link/key /key\n", "a:1"), Said())
    text = "FROM docker.io/library/tiny:1\nCOPY . /all/\nRUN ls -la /all && ! cat /all/link/key\n"
    await buildah.build(asked(workspace, text, "a:1"), Said())
    assert not [
        n for n, d in (await files_of(buildah, "docker.io/library/a:1", tmp_path)).items() if b"PRIV-KEY-77" in d
    ]


async def test_odd_files_are_carried(buildah: Buildah, workspace: Path, tmp_path: Path) -> None:
    (workspace / "new\nline").write_text("1")
    (workspace / "run.sh").write_text("#!/bin/sh\n")
    (workspace / "run.sh").chmod(0o755)
    os.mkfifo(workspace / "pipe")
    (workspace / "secret.env").write_text("x")
    (workspace / ".dockerignore").write_text("*.env\n")
    await buildah.build(asked(workspace, "FROM docker.io/library/tiny:1\nCOPY . /all/\n"), Said())
    names = {
        n.removeprefix("all/") for n in await files_of(buildah, "ghcr.io/acme/app:1", tmp_path) if n.startswith("all/")
    }
    assert names == {"new\nline", "run.sh", "Dockerfile", ".dockerignore"}


async def test_only_what_the_build_sees_counts(buildah: Buildah, workspace: Path) -> None:
    text = "FROM docker.io/library/tiny:1\nCOPY src /src\nCOPY *.yaml /\n"
    (workspace / "src").mkdir()
    (workspace / "src/a.py").write_text("1")
    (workspace / "README.md").write_text("1")
    manifest = workspace / "app.yaml"
    manifest.write_text("kind: Pod\nspec:\n  - image: ghcr.io/acme/app:1\n  - image: redis:7\n")
    first, _ = await buildah.build(asked(workspace, text), Said())
    (workspace / "README.md").write_text("2")
    manifest.write_text(manifest.read_text().replace("app:1", f"app:2@{first.digest}"))
    same, cached = await buildah.build(asked(workspace, ""), Said())
    assert (same.digest, cached) == (first.digest, True)
    manifest.write_text(manifest.read_text().replace("redis:7", "redis:8"))
    other, cached = await buildah.build(asked(workspace, ""), Said())
    assert (other.digest == first.digest, cached) == (False, False)


async def test_two_runs_share_one_build(buildah: Buildah, workspace: Path) -> None:
    text = "FROM docker.io/library/tiny:1\nRUN sleep 1 && echo hi\n"
    request, one, two = asked(workspace, text), Said(), Said()
    (first, _), (second, _) = await asyncio.gather(buildah.build(request, one), buildah.build(request, two))
    assert first.digest == second.digest
    assert (one.text + two.text).count("being built by another run") == 1
    assert len(list(buildah.index.keys())) == 1


async def test_one_that_leaves_does_not_take_the_build_from_the_other(buildah: Buildah, workspace: Path) -> None:
    request, one, two = asked(workspace, "FROM docker.io/library/tiny:1\nRUN sleep 1 && echo ho\n"), Said(), Said()
    leaving = asyncio.ensure_future(buildah.build(request, one))
    staying = asyncio.ensure_future(buildah.build(request, two))

    async def both() -> None:
        while True:
            if "another run" in one.text + two.text:
                return
            await asyncio.sleep(0.01)

    await asyncio.wait_for(both(), 30)
    leaving.cancel()
    image, cached = await staying
    assert (image.digest[:7], cached) == ("sha256:", False)
    with pytest.raises(asyncio.CancelledError):
        await leaving
    other, one = asked(workspace, "FROM docker.io/library/tiny:1\nRUN sleep 2 && echo hu\n"), Said()
    lonely = asyncio.ensure_future(buildah.build(other, one))

    async def begun() -> None:
        while True:
            if "STEP 2" in one.text:
                return
            await asyncio.sleep(0.01)

    await asyncio.wait_for(begun(), 30)
    lonely.cancel()
    await asyncio.sleep(0)
    again, _ = await buildah.build(asked(workspace, ""), Said())
    assert again.digest != image.digest


async def test_cancelling_ends_what_the_build_started(
    buildah: Buildah, layout: Layout, storage: str, workspace: Path
) -> None:
    said = Said()
    long_s = 100_000 + os.getpid()  # nobody else's sleep
    building = asyncio.ensure_future(
        buildah.build(asked(workspace, f"FROM docker.io/library/tiny:1\nRUN echo up && sleep {long_s}\n"), said)
    )

    async def until(wanted: bool) -> None:
        while True:
            if (_processes(f"sleep\x00{long_s}") > 0) is wanted:
                return
            await asyncio.sleep(0.02)

    await asyncio.wait_for(until(True), 30)
    building.cancel()
    with pytest.raises(asyncio.CancelledError):
        await building
    await asyncio.wait_for(until(False), 30)
    assert list((Path(layout.root) / "builder/contexts").iterdir()) == []
    left = await buildah.tools.buildah("containers", "-q")
    assert left.text.strip() == ""


async def test_a_buildah_that_is_killed_leaves_nothing_of_its_build_running(
    buildah: Buildah, layout: Layout, storage: str, workspace: Path
) -> None:
    long_s = 200_000 + os.getpid()
    text = f"FROM docker.io/library/tiny:1\nRUN echo up && sleep {long_s}\n"
    building = asyncio.ensure_future(buildah.build(asked(workspace, text), Said()))

    async def until(count: int) -> None:
        while _processes(f"sleep\x00{long_s}") != count:  # noqa: ASYNC110 - other processes' doing
            await asyncio.sleep(0.02)

    await asyncio.wait_for(until(1), 30)
    for pid in _pids(f"buildah\x00--root\x00{storage}/root"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    with pytest.raises((BuildFailed, BuilderDown)):
        await asyncio.wait_for(building, 60)
    await asyncio.wait_for(until(0), 30)


def _processes(words: str) -> int:
    return len(_pids(words))


def _pids(words: str) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if words in path.read_text(errors="replace"):
                found.append(int(path.parent.name))
    return found


async def test_heredocs_are_built(buildah: Buildah, workspace: Path, tmp_path: Path) -> None:
    text = (
        "FROM docker.io/library/tiny:1\nRUN <<EOF\nset -e\necho one > /one\nEOF\n"
        "COPY <<'EOF' /two\n$two\nEOF\nRUN <<EOF\n#!/bin/sh\necho three > /three\nEOF\n"
    )
    await buildah.build(asked(workspace, text), Said())
    files = await files_of(buildah, "ghcr.io/acme/app:1", tmp_path)
    assert (files["one"], files["two"], files["three"]) == (b"one\n", b"$two\n", b"three\n")


async def test_a_run_with_too_many_processes_is_stopped(buildah: Buildah, workspace: Path) -> None:
    text = "FROM docker.io/library/tiny:1\nRUN cat /sys/fs/cgroup/pids.max /sys/fs/cgroup/pids/pids.max; true\n"
    said = Said()
    await buildah.build(asked(workspace, text), said)
    assert "2048" in said.text or "can't open" in said.text


async def test_credentials_come_from_files_and_helpers(tmp_path: Path) -> None:
    helper = tmp_path / "bin/docker-credential-mine"
    helper.parent.mkdir()
    helper.write_text('#!/bin/sh\nread host; echo "{\\"Username\\": \\"$host\\", \\"Secret\\": \\"s\\"}"\n')
    helper.chmod(0o755)
    config = tmp_path / "config.json"
    config.write_text(
        json.dumps(
            {
                "auths": {
                    "ghcr.io": {"auth": "YTpi"},
                    "https://index.docker.io/v1/": {"username": "u", "password": "p"},
                },
                "credHelpers": {"gcr.io": "mine"},
            }
        )
    )
    found = Credentials((tmp_path / "absent.json", config), {"PATH": f"{helper.parent}:{os.environ['PATH']}"})
    ghcr, hub, gcr = await found.find("ghcr.io"), await found.find("docker.io"), await found.find("gcr.io")
    assert ghcr is not None and ghcr.auth == "YTpi"
    assert hub is not None and hub.auth == "dTpw"
    assert gcr is not None and gcr.auth == "Z2NyLmlvOnM="
    assert await found.find("quay.io") is None
    run = await found.find("ghcr.io", logins=[Login("ghcr.io", "x", "y")])
    assert run is not None and run.auth == "eDp5"


async def test_another_build_argument_is_never_answered_with_the_layers_of_the_one_before(
    layout: Layout, registry: Registry, storage: str, workspace: Path
) -> None:
    buildah = Buildah(layout, registry, storage=storage, pull=False)
    before = "ARG GIVEN=a\nFROM docker.io/library/tiny:1\n"
    text = f"{before}ARG GIVEN\nARG SHA=none\nLABEL sha=$SHA given=$GIVEN\nENV SHA=$SHA\n"
    for number, args in enumerate([(), (("SHA", "1"),), (("SHA", "2"),), (("GIVEN", "b"),)]):
        tag = f"ghcr.io/acme/app:{number}"
        await buildah.build(asked(workspace, text, tag, args=args), Said())
        _, config = await configuration(buildah, registry, tag)
        inner = config["config"]
        assert isinstance(inner, dict)
        given = dict(args)
        assert inner["Labels"]["sha"] == given.get("SHA", "none")
        assert inner["Labels"]["given"] == given.get("GIVEN", "a")
        assert f"SHA={given.get('SHA', 'none')}" in inner["Env"]
