"""What the proxy is told, and when again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from trueup.agent import edge
from trueup.agent.edge import Edge
from trueup.agent.proxy_model import ServiceRecord, ServiceSpec, Trouble


class Router:
    """A port is taken at the first sync and free later."""

    def __init__(self) -> None:
        self.syncs = 0

    async def sync(self, services: Sequence[ServiceSpec]) -> tuple[Trouble, ...]:
        self.syncs += 1
        return (Trouble("default/web", 80, "port 80 is taken"),) if self.syncs == 1 else ()

    async def drained(self, backend_id: str, timeout_s: float) -> bool:
        return True

    def address(self, namespace: str, name: str) -> str:
        return ""

    def records(self) -> tuple[ServiceRecord, ...]:
        return ()


async def test_a_port_that_was_taken_is_tried_again_and_nothing_is_asked_for_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(edge, "AGAIN_S", 0.01)
    router, freed = Router(), asyncio.Event()

    def synced() -> None:
        if not made.troubles:
            freed.set()

    made = Edge(router, lambda: (), lambda records: None, synced)
    task = asyncio.create_task(made.run())
    made.touch()
    await asyncio.wait_for(freed.wait(), 5)
    assert router.syncs == 2
    for _ in range(5):
        await asyncio.sleep(0)
    assert router.syncs == 2
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
