"""jq in the render worker, as the target asks for it (`ports.Expressions`)."""

from __future__ import annotations

from collections.abc import Sequence

from trueup.core.model import Json
from trueup.drivers.renderers.worker import Workers
from trueup.ports import RendererDown, RenderFailed, TargetDown


class Jq:
    """Example: `Settings(…, expressions=Jq(workers))`."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers

    async def paths(self, programs: Sequence[str], body: Json) -> tuple[tuple[str | int, ...], ...]:
        """See `ports.Expressions`. Raises TargetDown."""
        try:
            return await self._workers.paths(programs, body)
        except RenderFailed as error:
            raise TargetDown(f"{error.message}. {error.fix}".rstrip()) from error
        except RendererDown as error:
            raise TargetDown(str(error)) from error
