"""A pipeline's surroundings without containers: an executor that just runs, a source of files, a moving clock."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

import trueup
from trueup.core.layout import Layout
from trueup.core.model import Severity
from trueup.core.pipeline import Facts, Graph
from trueup.drivers.builders.memory import MemoryBuilder
from trueup.drivers.formats import DIALECTS, parse
from trueup.engine.broker import Broker
from trueup.engine.pipelines import Parts, Pipelines, RunRequest
from trueup.engine.running import Limits
from trueup.ports import BuildFailed, Executor, Output, SandboxDown, SandboxRequest, SourceError
from trueup.store.keys import Signer
from trueup.store.memory import MemoryLedger, MemoryRecords

SHIMS = Path(trueup.__file__).parent / "shims"
COMMIT = "c0ffee" + "0" * 34


class WallClock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic_s(self) -> float:
        return monotonic()


class LocalSandbox:
    """Runs programs as we are, in the workspace. For tests of the engine only."""

    def __init__(self, request: SandboxRequest) -> None:
        self.workspace, self.inside = request.workspace, str(request.workspace)
        self.path = (str(SHIMS), *os.environ["PATH"].split(":"))
        self.request = request

    def see(self, path: Path) -> str:
        return str(path)

    async def own(self, path: Path) -> None:
        return

    async def run(
        self, argv: Sequence[str], *, env: Mapping[str, str], cwd: str, output: Output, timeout_s: float
    ) -> int:
        given = {"TRUEUP_BROKER": str(self.request.broker), "HOME": str(self.request.temp), **env}
        if not Path(cwd).is_dir():
            output(f"trueup: there is no folder {cwd}\n".encode())
            return 1
        process = await asyncio.create_subprocess_exec(
            *argv,
            env=given,
            cwd=cwd,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        assert process.stdout is not None
        try:
            async with asyncio.timeout(timeout_s):
                while data := await process.stdout.read(65536):
                    output(data)
                return await process.wait()
        except TimeoutError:
            return 124
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                await process.wait()

    async def close(self) -> None:
        return


class LocalExecutor:
    name = "local"

    def __init__(self) -> None:
        self.opened: list[str] = []
        self.down = self.missing = ""

    def inside(self, workspace: Path) -> str:
        return str(workspace)

    async def open(self, request: SandboxRequest) -> LocalSandbox:
        if self.down:
            raise SandboxDown(self.down)
        if self.missing:
            raise BuildFailed(self.missing)
        self.opened.append(request.job)
        return LocalSandbox(request)

    async def sweep(self, keep_runs: Sequence[str]) -> None:
        return


class Files:
    """A source that holds one tree."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self.files = dict(files)
        self.down = ""

    async def checkout(self, commit: str, into: Path) -> tuple[str, ...]:
        if self.down:
            raise SourceError(self.down)
        for name, text in self.files.items():
            path = into / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return ()


class Ci:
    """Pipelines over memory, with shorthands for tests."""

    def __init__(
        self, root: Path, executor: Executor | None = None, files: Mapping[str, str] | None = None, **more: object
    ) -> None:
        self.layout = Layout(str(root / "state"))
        self.ledger = MemoryLedger(WallClock(), Signer(b"s" * 32))
        self.records = MemoryRecords(WallClock(), b"r" * 32, self.ledger)
        self.local = LocalExecutor()
        self.executor: Executor = executor or self.local
        self.builder = MemoryBuilder()
        self.files = Files(files or {})
        self.sockets = root / "s"
        self.more = more
        self.pipelines = self.again()

    def again(self) -> Pipelines:
        """As after a restart: the same ledger, records and folders; a new process."""
        parts = Parts(
            layout=self.layout,
            ledger=self.ledger,
            records=self.records,
            clock=WallClock(),
            executors={self.executor.name: self.executor},
            executor=self.executor.name,
            broker=Broker(self.builder),
            dialects=DIALECTS,
            **{  # type: ignore[arg-type]
                "sockets": self.sockets,
                "limits": Limits(cpus=1.0, memory_bytes=1 << 30, processes=300),
                **self.more,
            },
        )
        self.pipelines = Pipelines(parts)
        return self.pipelines

    def graph(self, text: str) -> Graph:
        parsed = parse(".github/workflows/ci.yml", text.encode())
        assert parsed is not None
        assert [finding for finding in parsed.findings if finding.severity is Severity.ERROR] == []
        assert parsed.graph is not None
        return parsed.graph

    def request(
        self, text: str, run: str = "run/1", secrets: Mapping[str, str] | None = None, **more: object
    ) -> RunRequest:
        facts = Facts(
            run=run,
            attempt=1,
            number=3,
            workflow="ci",
            file=".github/workflows/ci.yml",
            repository="acme/shop",
            url="https://git.example.org/acme/shop",
            commit=COMMIT,
            ref="refs/heads/main",
            default_branch="main",
            actor="ann",
            event="push",
            message="Say hello",
            secrets=secrets or {},
        )
        return RunRequest(run=run, graph=self.graph(text), source=self.files, facts=facts, **more)  # type: ignore[arg-type]

    async def jobs(self, run: str = "run/1") -> dict[str, str]:
        return {key: job.outcome for key, job in (await self.pipelines.state(run)).jobs.items()}

    async def reason(self, job: str, run: str = "run/1") -> str:
        return (await self.pipelines.state(run)).jobs[job].reason

    async def facts(self, run: str = "run/1") -> list[str]:
        return [type(event.fact).__name__ for event in await self.ledger.read(run)]

    def log(self, job: str, run: str = "run/1") -> str:
        return self.pipelines.log_path(run, job).read_text()

    def lines(self, job: str, run: str = "run/1") -> list[str]:
        """The log without its times."""
        return [line.partition("Z ")[2] for line in self.log(job, run).splitlines()]


def one_job(steps: str, extra: str = "") -> str:
    indented = "\n".join(f"      {line}" for line in steps.strip("\n").splitlines())
    return f"on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n{extra}    steps:\n{indented}\n"
