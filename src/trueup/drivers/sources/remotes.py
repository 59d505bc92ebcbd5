"""Everything that a repository may name elsewhere, behind one role."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from trueup.core.kusturl import Base
from trueup.core.logins import Logins
from trueup.core.model import Oid, Tree
from trueup.core.reach import Allowed
from trueup.drivers.sources.charts import Charts
from trueup.drivers.sources.credentials import SshKey
from trueup.drivers.sources.pinned import Pinned
from trueup.drivers.sources.web import Web, shown
from trueup.ports import Archive, RemoteRefused, SourceError


class Fetched:
    """The port `Remotes`. Clones are kept below `folder`, which may vanish between two runs. `close` it when done."""

    def __init__(
        self,
        folder: Path,
        environment: Mapping[str, str],
        allowed: Allowed,
        logins: Logins,
        ssh: SshKey | None = None,
    ) -> None:
        self._web = Web(allowed, logins)
        self._git = Pinned(folder / "git", environment, allowed, logins, ssh)
        self._charts = Charts(self._web)

    async def close(self) -> None:
        await self._web.close()
        await self._git.close()

    async def commit(self, base: Base) -> Oid:
        return await self._git.resolve(base)

    async def tree(self, base: Base, commit: Oid) -> Tree:
        return await self._git.tree(base, commit)

    async def blobs(self, base: Base, oids: Sequence[Oid]) -> Mapping[Oid, bytes]:
        return await self._git.blobs(base, oids)

    async def file(self, url: str) -> bytes:
        answer = await self._web.get(url)
        if answer.status >= 500:
            raise SourceError(f"{shown(url)} answered {answer.status}. Do: try again later.")
        if not 200 <= answer.status < 300:
            raise RemoteRefused(f"{shown(url)} is not to be had ({answer.status})")
        return answer.body

    async def chart(self, repository: str, name: str, versions: str) -> Archive:
        return await self._charts.find(repository, name, versions)
