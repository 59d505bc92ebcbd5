from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

import trueup.shims
from trueup.core.model import BuiltImage
from trueup.drivers.builders.memory import MemoryBuilder
from trueup.engine.broker import REQUEST_BYTES, Broker, BuildSession
from trueup.ports import BuilderDown, BuildFailed, BuildRequest, Login, Output

SHIMS = Path(next(iter(trueup.shims.__path__)))


class Recording(MemoryBuilder):
    """Keeps what was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[BuildRequest] = []
        self.logins: list[tuple[Login, ...]] = []

    async def build(self, request: BuildRequest, output: Output) -> tuple[BuiltImage, bool]:
        self.requests.append(request)
        return await super().build(request, output)

    async def push(self, reference: str, output: Output, logins: Sequence[Login] = ()) -> str:
        self.logins.append(tuple(logins))
        return await super().push(reference, output)


class Endless(MemoryBuilder):
    """A build that only ends by being cancelled."""

    def __init__(self) -> None:
        super().__init__()
        self.started = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def build(self, request: BuildRequest, output: Output) -> tuple[BuiltImage, bool]:
        self.started.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()
        raise AssertionError("an endless build ended")


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "workspace"
    (folder / "app").mkdir(parents=True)
    (folder / "app/Dockerfile").write_text("FROM scratch\nCOPY x /x\n")
    (folder / "app/x").write_text("1")
    return folder


@contextlib.asynccontextmanager
async def opened(builder: MemoryBuilder, workspace: Path, run: str = "run/1") -> AsyncIterator[BuildSession]:
    async with Broker(builder, machine="x86_64").session(
        run=run,
        commit="c" * 40,
        workspace=workspace,
        inside=str(workspace),
        secrets={"TOKEN": "s3cret"},
        output=lambda data: None,
        socket=workspace.parent / "broker.sock",
        time_s=1_700_000_000,
    ) as session:
        yield session


async def shim(
    workspace: Path, tool: str, *argv: str, stdin: str = "", cwd: str = "", env: dict[str, str] | None = None
) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(SHIMS / tool),
        *argv,
        cwd=workspace / cwd,
        env={"PATH": os.environ["PATH"], "TRUEUP_BROKER": str(workspace.parent / "broker.sock"), **(env or {})},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(stdin.encode()), 20)
    return process.returncode or 0, out.decode(), err.decode()


async def test_build_tag_push_as_commands(workspace: Path) -> None:
    builder = Recording()
    async with opened(builder, workspace) as session:
        code, out, err = await shim(
            workspace, "docker", "build", "-t", "app:1", "--build-arg", "V", "app", env={"V": "7"}
        )
        assert (code, err) == (0, "")
        assert "built: docker.io/library/app:1@sha256:" in out
        assert builder.requests[0].args == (("V", "7"),)
        assert builder.requests[0].dockerfile == "app/Dockerfile"
        assert builder.requests[0].time_s == 1_700_000_000
        assert (await shim(workspace, "docker", "tag", "app:1", "ghcr.io/acme/app:1"))[0] == 0
        code, out, _ = await shim(
            workspace, "docker", "login", "ghcr.io", "-u", "ann", "--password-stdin", stdin="pw\n"
        )
        assert (code, "pw" in out) == (0, False)
        code, out, _ = await shim(workspace, "docker", "push", "ghcr.io/acme/app:1")
        assert code == 0
        digest = session.images[0][0].digest
        assert f"1: digest: {digest}" in out
        assert builder.logins == [(Login("ghcr.io", "ann", "pw"),)]
        named = [(i.repository, i.tag, cached) for i, cached in session.images]
        assert named == [("app", "1", False), ("ghcr.io/acme/app", "1", False)]
        code, out, _ = await shim(
            workspace, "docker", "inspect", "-f", "{{index .RepoDigests 0}}", "ghcr.io/acme/app:1"
        )
        assert out.strip() == f"ghcr.io/acme/app@{digest}"
        assert digest in (await shim(workspace, "docker", "images"))[1]


async def test_paths_are_seen_from_where_the_step_stands(workspace: Path) -> None:
    builder = Recording()
    async with opened(builder, workspace):
        assert (await shim(workspace, "docker", "build", "-t", "a", "-f", "Dockerfile", "..", cwd="app"))[0] == 0
        assert builder.requests[0].context == workspace
        assert builder.requests[0].dockerfile == "app/Dockerfile"
        for words in (["../.."], ["/etc"], ["-f", "/etc/passwd", "."], ["-f", "../../x", "."]):
            code, _, err = await shim(workspace, "docker", "build", "-t", "a", *words, cwd="app")
            assert (code, "outside the workspace" in err) == (1, True), err


async def test_secrets_by_variable_and_file_reach_the_builder_only(workspace: Path, tmp_path: Path) -> None:
    builder = Recording()
    (tmp_path / "npmrc").write_text("file-secret")
    async with opened(builder, workspace):
        code, out, err = await shim(
            workspace,
            "docker",
            *["build", "-t", "a", "--secret", "id=one,env=ONE", "--secret", f"id=two,src={tmp_path}/npmrc", "app"],
            env={"ONE": "env-secret"},
        )
    assert code == 0
    assert dict(builder.requests[0].secrets) == {"TOKEN": "s3cret", "one": "env-secret", "two": "file-secret"}
    assert "secret" not in out + err


async def test_quiet_and_id_files(workspace: Path) -> None:
    async with opened(MemoryBuilder(), workspace) as session:
        code, out, _ = await shim(
            workspace, "docker", "build", "-q", "--iidfile", "id", "--metadata-file", "m.json", "-t", "a:1", "app"
        )
        digest = session.images[0][0].digest
        assert (code, out.strip(), (workspace / "id").read_text()) == (0, digest, digest)
        assert json.loads((workspace / "m.json").read_text())["containerimage.digest"] == digest
        assert (await shim(workspace, "docker", "tag", digest, "b:2"))[0] == 0


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["run", "alpine"], "docker run is not offered in a pipeline"),
        (["exec", "x"], "docker exec is not offered"),
        (["compose", "up"], "docker compose is not offered"),
        (["build", "-t", "a", "--platform", "linux/s390x", "app"], "this machine builds linux/amd64 only"),
        (["build", "-t", "a", "--ssh", "default", "app"], "--ssh is not offered"),
        (["build", "-t", "a", "--frobnicate", "app"], "--frobnicate: this option is not known"),
        (["build", "-t", "a", "-"], "only a folder of the workspace"),
        (["build", "-t", "Bad/Name", "app"], "host name|lower case"),
        (["push", "never-built:1"], "was not built in this run"),
        (["tag", "never:1", "b:1"], "was not built in this run"),
        (["login"], "nobody can be asked"),
    ],
)
async def test_refused_by_name(workspace: Path, words: list[str], says: str) -> None:
    async with opened(MemoryBuilder(), workspace):
        code, _, err = await shim(workspace, "docker", *words)
    assert code == 1

    assert re.search(says, err), err


async def test_a_killed_client_cancels_its_build(workspace: Path) -> None:
    builder = Endless()
    async with opened(builder, workspace):
        reader, writer = await asyncio.open_unix_connection(str(workspace.parent / "broker.sock"))
        call = {"tool": "docker", "argv": ["build", "-t", "a", "app"], "cwd": str(workspace)}
        writer.write(json.dumps(call).encode() + b"\n")
        await asyncio.wait_for(builder.started.wait(), 10)
        writer.close()
        await asyncio.wait_for(builder.cancelled.wait(), 10)
        assert await reader.read() == b""


async def test_leaving_the_session_cancels_what_is_built(workspace: Path) -> None:
    builder = Endless()
    async with opened(builder, workspace):
        task = asyncio.ensure_future(shim(workspace, "docker", "build", "-t", "a", "app"))
        await asyncio.wait_for(builder.started.wait(), 10)
    assert builder.cancelled.is_set()
    code, _, err = await task
    assert (code, "hung up" in err) == (1, True)


@pytest.mark.parametrize("line", [b"nonsense\n", b'{"tool": 1}\n', b"x" * (2 * REQUEST_BYTES) + b"\n"])
async def test_what_is_no_request_is_answered_and_dropped(workspace: Path, line: bytes) -> None:
    async with opened(MemoryBuilder(), workspace):
        reader, writer = await asyncio.open_unix_connection(str(workspace.parent / "broker.sock"))
        with contextlib.suppress(ConnectionError):
            writer.write(line)
            await writer.drain()
            answer = json.loads(await asyncio.wait_for(reader.readline(), 10))
            assert answer["exit"] == 1
        writer.close()


async def test_a_builder_that_is_down_is_told_apart(workspace: Path) -> None:
    builder = MemoryBuilder()
    builder.down = "no space left on /var: free some"
    async with opened(builder, workspace) as session:
        code, _, err = await shim(workspace, "docker", "build", "-t", "a", "app")
        assert (code, "not the repository's fault: no space left" in err) == (1, True)
        assert session.down == ["no space left on /var: free some"]
        with pytest.raises(BuilderDown):
            await session.build(context="app", tags=["a"])


async def test_second_writers_are_recorded_and_not_run(workspace: Path) -> None:
    async with opened(MemoryBuilder(), workspace) as session:
        code, out, _ = await shim(workspace, "kubectl", "-n", "prod", "apply", "-f", "config/app.yaml")
        assert (code, "Trueup is the one writer" in out) == (0, True)
        assert (await shim(workspace, "helm", "upgrade", "--install", "web", "./chart", "--set", "p=x"))[0] == 0
        assert (await shim(workspace, "argocd", "app", "sync", "web"))[0] == 0
        code, _, err = await shim(workspace, "kubectl", "get", "pods")
        assert (code, "kubectl get is not offered" in err) == (1, True)
        assert (await shim(workspace, "kubectl", "version", "--client"))[0] == 0
        assert (await shim(workspace, "kubectl", "rollout", "status", "deployment/web"))[0] == 0
        assert (await shim(workspace, "kubectl", "apply", "--dry-run=client", "-f", "x"))[0] == 0
    assert [(i.command, i.files) for i in session.intents] == [
        ("kubectl -n prod apply -f config/app.yaml", ("config/app.yaml",)),
        ("helm upgrade --install web ./chart --set '***'", ("./chart",)),
        ("argocd app sync web", ()),
    ]


async def test_the_session_as_actions_use_it(workspace: Path) -> None:
    builder = Recording()
    async with opened(builder, workspace) as session:
        image = await session.build(context="./app", tags=["ghcr.io/a/b:1", "ghcr.io/a/b:2"], push=True)
        assert (image.repository, image.tag) == ("ghcr.io/a/b", "1")
        assert builder.pushes == ["ghcr.io/a/b:1", "ghcr.io/a/b:2"]
        again = await session.build(context="app", dockerfile="app/Dockerfile", tags=["ghcr.io/a/b:1"])
        assert again.digest == image.digest
        assert len(session.images) == 2
        with pytest.raises(BuildFailed, match="outside the workspace"):
            await session.build(context="../", tags=["x"])


async def test_images_of_a_run_are_known_to_its_other_jobs_only(workspace: Path) -> None:
    broker = Broker(MemoryBuilder(), machine="x86_64")

    def session(run: str) -> contextlib.AbstractAsyncContextManager[BuildSession]:
        path = workspace.parent / "broker.sock"
        return broker.session(
            run=run, commit="", workspace=workspace, inside="/w", secrets={}, output=lambda _: None, socket=path
        )

    async with session("run/1") as first:
        await first.build(context="app", tags=["a:1"])
    async with session("run/1") as second:
        await second.push("a:1")
    async with session("run/2") as other:
        with pytest.raises(BuildFailed, match="not built in this run"):
            await other.push("a:1")
    broker.forget("run/1")


async def test_without_a_broker_the_shim_says_so(workspace: Path) -> None:
    code, _, err = await shim(workspace, "docker", "build", ".")
    assert (code, "does not answer" in err) == (1, True)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to speak as somebody else")
async def test_only_the_owner_of_the_run_may_speak() -> None:
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        folder.chmod(0o755)
        (folder / "workspace").mkdir()
        script = (
            "import os, socket; os.setuid(65534); s = socket.socket(socket.AF_UNIX);"
            f"s.connect({text + '/broker.sock'!r});"
            's.sendall(b\'{"tool": "docker", "argv": ["version"]}\\n\'); print(s.makefile().read())'
        )
        words = (sys.executable, "-c", script)
        async with opened(MemoryBuilder(), folder / "workspace"):
            said = await _said(*words)
            assert json.loads(said.splitlines()[-1]) == {"err": "trueup: uid 65534 does not own this run\n", "exit": 1}
            os.chown(folder / "workspace", 65534, 65534)
            assert json.loads((await _said(*words)).splitlines()[-1])["exit"] == 0


async def _said(*words: str) -> str:
    process = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE)
    out, _ = await asyncio.wait_for(process.communicate(), 20)
    return out.decode().strip()
