"""Secrets in memory: for tests and dry runs. They end with the process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


class MemoryVault:
    """The port `Vault`."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, str], dict[str, str]] = {}

    async def set(self, repository: str, environment: str, name: str, value: str) -> None:
        self._values.setdefault((repository, environment), {})[name] = value

    async def names(self, repository: str, environment: str = "") -> tuple[str, ...]:
        return tuple(sorted(self._values.get((repository, environment), {})))

    async def values(self, repository: str, environment: str = "") -> Mapping[str, str]:
        return self._values.get((repository, ""), {}) | self._values.get((repository, environment), {})

    async def remove(self, repository: str, environment: str, name: str) -> bool:
        return self._values.get((repository, environment), {}).pop(name, None) is not None

    async def adopt(self, name: str, owners: Sequence[str]) -> bool:
        found = {scope: kept for scope, kept in self._values.items() if scope[0] == name and owners}
        for (_, environment), kept in found.items():
            for owner in owners:
                own = self._values.setdefault((owner, environment), {})
                own.update({key: value for key, value in kept.items() if key not in own})
            del self._values[(name, environment)]
        return bool(found)
