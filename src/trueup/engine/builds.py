"""Builds by convention the images that no pipeline of a push built: a checkout, one build, the checkout gone again."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from trueup.core.candidate import CandidateState
from trueup.core.model import BuiltImage
from trueup.engine.candidate import Buildable
from trueup.ports import Builder, BuilderDown, BuildRequest, Output, Source, Vault


class ConventionBuilds:
    """Implements `engine.candidate.Builds`. `open_log(candidate, name)` gives where a build's output goes, masked."""

    def __init__(
        self,
        builder: Builder,
        sources: Mapping[str, Source],
        names: Mapping[str, str],
        workspaces: Path,
        open_log: Callable[[str, str], Output],
        vault: Vault,
        environment: str,
    ) -> None:
        self._builder, self._sources, self._names = builder, sources, names
        self._workspaces, self._open_log, self._vault, self._environment = workspaces, open_log, vault, environment

    async def build(self, candidate: CandidateState, what: Buildable) -> tuple[BuiltImage, bool]:
        workspace = self._workspaces / f"build-{candidate.id.rpartition('/')[2]}-{what.repository.rpartition('/')[2]}"
        output = self._open_log(candidate.id, f"build {what.repository}")
        source = self._sources[candidate.source]
        try:
            await asyncio.to_thread(_fresh, workspace)
            for line in await source.checkout(candidate.commit, workspace):
                output(f"{line}\n".encode())
            tag = what.tag or candidate.commit[:12]
            secrets = await self._vault.values(self._names[candidate.source], self._environment)
            commit = await source.commit(candidate.commit)
            request = BuildRequest(
                context=workspace / what.context,
                dockerfile=what.dockerfile,
                workspace=workspace,
                tags=(f"{what.repository}:{tag}",),
                secrets=tuple(sorted(secrets.items())),
                run=candidate.id,
                commit=candidate.commit,
                time_s=int(commit.time.timestamp()),
            )
            return await self._builder.build(request, output)
        except OSError as error:
            raise BuilderDown(
                f"the build's workspace {workspace}: {error.strerror or error}; free some space"
            ) from error
        finally:
            await asyncio.to_thread(shutil.rmtree, workspace, True)


def _fresh(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
