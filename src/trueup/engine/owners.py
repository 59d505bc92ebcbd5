"""Whose secrets are whose: by a repository's whole identity, never by the last part of its address alone."""

from __future__ import annotations

from collections.abc import Iterable

from trueup.core import address
from trueup.core import events as ev
from trueup.ports import Ledger, Vault


def of(url: str) -> str:
    """What the secrets of the repository at an absolute path or URL are kept under."""
    return address.parse(url)[0].identity


async def settle(vault: Vault, urls: Iterable[str]) -> None:
    """Hand what earlier versions kept under the last part of an address to every repository of `urls` that had it by
    that name; nobody else reads it afterwards."""
    named: dict[str, list[str]] = {}
    for url in urls:
        found = address.parse(url)[0]
        named.setdefault(found.name or "app", []).append(found.identity)
    for name, owners in named.items():
        await vault.adopt(name, sorted(set(owners)))


async def watched_before(ledger: Ledger) -> tuple[str, ...]:
    """The address of every repository that this state folder has watched."""
    streams = [await ledger.read(id) for id in await ledger.heads("source")]
    facts = [event.fact for events in streams for event in events[:1]]
    return tuple(fact.url for fact in facts if isinstance(fact, ev.SourceRegistered))
