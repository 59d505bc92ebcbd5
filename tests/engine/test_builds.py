"""Images that Trueup builds itself: what a failing build says is masked before it becomes a verdict."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from trueup.core.candidate import CandidateState
from trueup.core.mask import Masker
from trueup.drivers.builders.memory import MemoryBuilder
from trueup.drivers.sources.memory import MemoryRemote, MemorySource
from trueup.engine.builds import ConventionBuilds
from trueup.engine.candidate import Buildable
from trueup.engine.joblog import JobLog
from trueup.ports import BuilderDown, BuildFailed, BuildRequest, Output

SECRET = "hush-hush-12345"


class Telltale(MemoryBuilder):
    """A builder whose error quotes what the Dockerfile printed."""

    def __init__(self, error: type[BuildFailed | BuilderDown]) -> None:
        super().__init__()
        self._error = error

    async def build(self, request: BuildRequest, output: Output) -> object:  # type: ignore[override]  # it never returns
        assert dict(request.secrets) == {"TOKEN": SECRET}
        raise self._error(f"Dockerfile:2: RUN cat /run/secrets/TOKEN; false failed (exit 1): {SECRET}")


@pytest.mark.parametrize("error", [BuildFailed, BuilderDown])
async def test_a_secret_that_a_build_prints_is_in_no_verdict(
    tmp_path: Path, error: type[BuildFailed | BuilderDown]
) -> None:
    remote = MemoryRemote()
    commit = remote.push({"Dockerfile": "FROM scratch\n"}, "first")
    asked: list[str] = []

    async def secrets(owner: str, environment: str) -> Mapping[str, str]:
        asked.append(owner)
        return {"TOKEN": SECRET}

    @contextlib.asynccontextmanager
    async def open_log(candidate: str, name: str, values: Mapping[str, str]) -> AsyncIterator[JobLog]:
        async with JobLog(tmp_path / "log", Masker(values.values()), lambda: datetime.now(UTC)) as log:
            yield log

    sources, owners = {"s": MemorySource(remote)}, {"s": "git.example/acme/app"}
    builds = ConventionBuilds(Telltale(error), sources, owners, tmp_path, open_log, secrets, "default")
    candidate = CandidateState("candidate/1", source="s", commit=commit)
    with pytest.raises(error) as told:
        await builds.build(candidate, Buildable("ghcr.io/acme/app", "", "Dockerfile", "."))
    assert SECRET not in str(told.value) and told.value.__cause__ is None
    assert str(told.value).startswith("Dockerfile:2: RUN cat") and asked == ["git.example/acme/app"]
    assert SECRET not in (tmp_path / "log").read_text()
