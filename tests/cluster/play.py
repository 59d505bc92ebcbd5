"""What people and kubelets do to the test cluster, through the real API."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from trueup.drivers.targets.kubernetes.client import ApiError, Call, Client

LIMIT_S = 30.0
MERGE = "application/merge-patch+json"


class Admin:
    """Of one cluster, with all rights."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def get(self, path: str) -> Any:
        return await self.client.get(path)

    async def create(self, path: str, body: Any) -> Any:
        return await self.client.send(Call(method="POST", path=path, body=body))

    async def merge(self, path: str, body: Any, manager: str = "kubectl-edit") -> Any:
        """As `kubectl patch --type merge` does, under this field manager."""
        query = (("fieldManager", manager),)
        return await self.client.send(Call(method="PATCH", path=path, body=body, content=MERGE, query=query))

    async def delete(self, path: str) -> Any:
        return await self.client.send(Call(method="DELETE", path=path))

    async def there(self, path: str) -> bool:
        try:
            await self.client.get(path)
        except ApiError as error:
            assert error.status == 404, error
            return False
        return True

    async def until(self, path: str, good: Callable[[Any], bool]) -> Any:
        """The body once `good` says so."""
        async with asyncio.timeout(LIMIT_S):
            while True:
                try:
                    body = await self.client.get(path)
                    if good(body):
                        return body
                except ApiError as error:
                    assert error.status == 404, error
                await asyncio.sleep(0.05)  # other programs' work has no event here

    # --- the kubelet

    async def pods(self, space: str, count: int, **labels: str) -> list[Any]:
        """Once there are as many."""
        selector = ",".join(f"{k}={v}" for k, v in labels.items())
        path = f"/api/v1/namespaces/{space}/pods"
        async with asyncio.timeout(LIMIT_S):
            while True:
                listed = await self.client.get(path, labelSelector=selector)
                alive = [p for p in listed["items"] if not p["metadata"].get("deletionTimestamp")]
                if len(alive) == count:
                    return alive
                await asyncio.sleep(0.05)  # the controllers' work has no event here

    async def report(self, pod: Any, **status: Any) -> None:
        """Write a pod's status."""
        metadata = pod["metadata"]
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/status"
        await self.merge(path, {"status": status}, "kubelet")

    async def bind(self, pod: Any) -> None:
        """Put a pod on a node without room for others, so that the scheduler lets go of it."""
        metadata = pod["metadata"]
        node = f"node-of-{metadata['namespace']}"
        made = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}}
        target = {"apiVersion": "v1", "kind": "Node", "name": node}
        binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": metadata["name"]}, "target": target}
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/binding"
        for at, body in (("/api/v1/nodes", made), (path, binding)):
            try:
                await self.create(at, body)
            except ApiError as error:
                assert error.status == 409, error

    async def turn_ready(self, pod: Any) -> None:
        await self.bind(pod)
        conditions = [{"type": "Ready", "status": "True"}, {"type": "ContainersReady", "status": "True"}]
        await self.report(pod, phase="Running", conditions=conditions)

    async def crash(self, pod: Any, container: str, restarts: int = 3) -> None:
        await self.bind(pod)
        ended = {"exitCode": 1, "reason": "Error", "message": "ModuleNotFoundError: No module named 'flask'"}
        waiting = {"reason": "CrashLoopBackOff", "message": "back-off 40s restarting failed container"}
        state = {
            "name": container, "image": "x", "imageID": "x", "ready": False, "restartCount": restarts,
            "state": {"waiting": waiting}, "lastState": {"terminated": ended},
        }  # fmt: skip
        conditions = [{"type": "Ready", "status": "False", "reason": "ContainersNotReady"}]
        await self.report(pod, phase="Running", conditions=conditions, containerStatuses=[state])
