"""Builds by convention the images that no pipeline of a push built: a checkout, one build, the checkout gone again."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from trueup.core.candidate import CandidateState
from trueup.core.mask import Masker
from trueup.core.model import BuiltImage
from trueup.engine.candidate import Buildable
from trueup.engine.joblog import JobLog
from trueup.ports import Builder, BuilderDown, BuildFailed, BuildRequest, Source

Secrets = Callable[[str, str], Awaitable[Mapping[str, str]]]  # (repository, environment) → name → value
OpenLog = Callable[[str, str, Mapping[str, str]], AbstractAsyncContextManager[JobLog]]


class ConventionBuilds:
    """Implements `engine.candidate.Builds`. `open_log(candidate, name, secrets)` opens the masked log of a build;
    `owners`: source → what its secrets are kept under."""

    def __init__(
        self,
        builder: Builder,
        sources: Mapping[str, Source],
        owners: Mapping[str, str],
        workspaces: Path,
        open_log: OpenLog,
        secrets: Secrets,
        environment: str,
    ) -> None:
        self._builder, self._sources, self._owners = builder, sources, owners
        self._workspaces, self._open_log, self._secrets, self._environment = workspaces, open_log, secrets, environment

    async def build(self, candidate: CandidateState, what: Buildable) -> tuple[BuiltImage, bool]:
        workspace = self._workspaces / f"build-{candidate.id.rpartition('/')[2]}-{what.repository.rpartition('/')[2]}"
        secrets = await self._secrets(self._owners[candidate.source], self._environment)
        async with self._open_log(candidate.id, what.repository.rpartition("/")[2], secrets) as log:
            try:
                await asyncio.to_thread(_fresh, workspace)
                return await self._build(candidate, what, workspace, secrets, log)
            except OSError as error:
                why = f"the build's workspace {workspace}: {error.strerror or error}; free some space"
                raise BuilderDown(why) from error
            except (BuildFailed, BuilderDown) as error:
                log.say(str(error))
                raise type(error)(Masker(secrets.values()).text(str(error))) from None  # it goes into the verdict
            finally:
                await asyncio.to_thread(shutil.rmtree, workspace, True)

    async def _build(
        self,
        candidate: CandidateState,
        what: Buildable,
        workspace: Path,
        secrets: Mapping[str, str],
        log: JobLog,
    ) -> tuple[BuiltImage, bool]:
        source = self._sources[candidate.source]
        for line in await source.checkout(candidate.commit, workspace):
            log.say(line)
        commit = await source.commit(candidate.commit)
        request = BuildRequest(
            context=workspace / what.context,
            dockerfile=what.dockerfile,
            workspace=workspace,
            tags=(f"{what.repository}:{what.tag or candidate.commit[:12]}",),
            secrets=tuple(sorted(secrets.items())),
            run=candidate.id,
            commit=candidate.commit,
            time_s=int(commit.time.timestamp()),
        )
        return await self._builder.build(request, log.write)


def _fresh(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
