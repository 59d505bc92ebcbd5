"""Fixtures that every folder of tests may use. The servers themselves are in tests/servers."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from servers.git import HttpServer, Repo, SshServer, http_server, ssh_server

if TYPE_CHECKING:
    from cluster.node import Cluster


@pytest.fixture(scope="session", autouse=True)
def keys_apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keys of the state folders that tests make do not gather in the home of whoever runs them."""
    before = os.environ.get("TRUEUP_KEYS")
    os.environ["TRUEUP_KEYS"] = str(tmp_path_factory.mktemp("keys"))
    yield
    if before is None:
        del os.environ["TRUEUP_KEYS"]
    else:
        os.environ["TRUEUP_KEYS"] = before


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    """An empty bare repository at <tmp_path>/srv/acme/app.git, served by `git_http` and `git_ssh` as acme/app.git."""
    return Repo(tmp_path / "srv/acme/app.git")


@pytest.fixture
async def git_http(tmp_path: Path) -> AsyncIterator[HttpServer]:
    (tmp_path / "srv").mkdir(exist_ok=True)
    async with http_server(tmp_path / "srv") as server:
        yield server


@pytest.fixture
async def git_ssh(tmp_path: Path) -> AsyncIterator[SshServer]:
    async with ssh_server(tmp_path / "srv", tmp_path / "ssh") as server:
        yield server


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """One Kubernetes with a node and real pods for the tests of a file; nothing of it is left at the end."""
    from cluster.node import Cluster, NotBuilt, ready_to_build

    try:
        made = Cluster(*ready_to_build())
    except NotBuilt as error:
        pytest.skip(str(error))
    try:
        made.start()
        yield made
    finally:
        made.stop()
