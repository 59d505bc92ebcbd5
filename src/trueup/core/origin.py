"""Which resource of which product says something. Only the record."""

from __future__ import annotations

from msgspec import Struct


class Origin(Struct, frozen=True, order=True):
    """The resource that says so."""

    product: str  # "Argo CD"
    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind.lower()}/{self.name}"
