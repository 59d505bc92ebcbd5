"""One real control plane for all tests of this folder, and a target on it with a namespace of its own."""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from cluster.control import Control, NotBuilt, binary
from cluster.play import Admin
from trueup.core.kubeconfig import Access, resolve
from trueup.drivers.targets.kubernetes.client import Client
from trueup.drivers.targets.kubernetes.target import Kubernetes, Settings

Open = Callable[..., Any]


@pytest.fixture(scope="session")
def control() -> Iterator[Control]:
    """Ready in seconds; killed at the end."""
    try:
        made = Control(binary())
    except NotBuilt as error:
        pytest.skip(str(error))
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture
def access(control: Control) -> Access:
    return resolve([(str(control.kubeconfig), control.kubeconfig.read_bytes())])


@pytest.fixture
async def admin(access: Access) -> AsyncIterator[Admin]:
    """A person with kubectl, and the kubelet that this cluster does not have."""
    client = Client(access, os.environ)
    yield Admin(client)
    await client.close()


@pytest.fixture
async def space(admin: Admin) -> str:
    """A namespace of this test's own."""
    name = f"t-{uuid.uuid4().hex[:10]}"
    await admin.create("/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    await admin.until(f"/api/v1/namespaces/{name}/serviceaccounts/default", lambda body: True)
    return name


@pytest.fixture
def opened(access: Access, tmp_path: Path) -> Open:
    """`async with opened() as target`: a target over this test's own record of what it applied."""

    @asynccontextmanager
    async def make(name: str = "records", **settings: Any) -> AsyncIterator[Kubernetes]:
        given = {"access": access, "environ": os.environ, "records": str(tmp_path / f"{name}.db"), "lease_s": 0.0}
        given |= settings
        target = Kubernetes(Settings(**given))
        await target.start()
        try:
            yield target
        finally:
            await target.close()

    return make


@pytest.fixture
async def target(opened: Open) -> AsyncIterator[Kubernetes]:
    async with opened() as made:
        yield made
