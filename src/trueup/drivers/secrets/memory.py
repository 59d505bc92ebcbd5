"""Secrets in memory: for tests and dry runs. They end with the process."""

from __future__ import annotations

from collections.abc import Mapping


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
