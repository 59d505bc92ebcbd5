"""Finds the image a container runs: local storage, then the embedded registry, then the registry it names."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from trueup.agent.podman import EngineDown, EngineError, Podman
from trueup.core.layout import Layout
from trueup.core.reference import ReferenceInvalid, mirror_name, parse

PULLS_AT_ONCE = 2


class PullError(Exception):
    """The image is nowhere to be had now; the message has each registry's own words. Tried again with back-off."""


class NoSuchName(Exception):
    """The image's name itself is wrong: the object's own fault."""


def mirror_address(layout: Layout) -> str:
    """The embedded registry's "127.0.0.1:port" as it wrote it down, "" when there is none."""
    try:
        text = (Path(layout.registry) / "port").read_text().strip()
    except OSError:
        return ""
    return text if ":" in text or not text else f"127.0.0.1:{text}"


class Images:
    """`mirror` tells the embedded registry's address, "" for none."""

    def __init__(self, podman: Podman, mirror: Callable[[], str]) -> None:
        self._podman, self._mirror = podman, mirror
        self._slots = asyncio.Semaphore(PULLS_AT_ONCE)
        self._running: dict[tuple[str, str], asyncio.Task[tuple[str, str]]] = {}

    async def find(self, reference: str, policy: str) -> tuple[str, str]:
        """(image id, its user). Equal questions share one answer. Raises PullError, NoSuchName, EngineError."""
        key = (reference, policy)
        task = self._running.get(key)
        if task is None:
            task = asyncio.create_task(self._find(reference, policy))
            self._running[key] = task
            task.add_done_callback(lambda _: self._running.pop(key, None))
        return await asyncio.shield(task)

    async def _find(self, reference: str, policy: str) -> tuple[str, str]:
        try:
            parsed = parse(reference)
        except ReferenceInvalid as error:
            raise NoSuchName(str(error)) from error
        address = self._mirror()
        names = [_name(reference), *([mirror_name(reference, address)] if address else [])]
        always = policy == "Always" or (not policy and not parsed.digest and parsed.tag in ("", "latest"))
        if not always:
            found = await self._local(names)
            if found is not None:
                return found
        if policy == "Never":
            raise PullError(f"{reference} is not on this machine, and imagePullPolicy is Never")
        try:
            return await self._pull(names)
        except PullError:
            found = await self._local(names) if not policy else None
            if found is not None:
                return found
            raise

    async def _local(self, names: list[str]) -> tuple[str, str] | None:
        for name in names:
            found = await self._podman.image(name)
            if found is not None:
                return found
        return None

    async def _pull(self, names: list[str]) -> tuple[str, str]:
        said: list[str] = []
        async with self._slots:
            for name in reversed(names):  # the mirror first
                mirrored = len(names) > 1 and name == names[1]
                try:
                    image = await self._podman.pull(name, tls_verify=not mirrored)
                except EngineDown:
                    raise
                except EngineError as error:
                    said.append(f"{'embedded registry' if mirrored else name.split('/')[0]}: {_short(str(error))}")
                    continue
                found = await self._podman.image(image or name)
                if found is not None:
                    return found
        raise PullError(f"{names[0]}: " + "; ".join(said))


def _name(reference: str) -> str:
    """As Podman takes it: complete, and by digest alone where there is one."""
    parsed = parse(reference)
    if parsed.digest:
        return f"{parsed.repository}@{parsed.digest}"
    return f"{parsed.repository}:{parsed.tag or 'latest'}"


def _short(text: str) -> str:
    """The last cause of a chain of Go errors: the registry's own words."""
    parts = [part.strip() for part in text.replace("\n", " ").split(": ")]
    return ": ".join(parts[-3:])[:200]
