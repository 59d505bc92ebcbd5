"""A small base image of Debian's static busybox, in an image storage and a registry made for these tests alone."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from trueup.core.layout import CONTAINERS_CONF, Layout
from trueup.drivers.builders.buildah import Buildah
from trueup.engine.registry import Registry

NEEDED = ("buildah", "skopeo", "docker-registry", "busybox", "setpriv")
BASE = "docker.io/library/tiny:1"


def need_tools() -> None:
    missing = [tool for tool in NEEDED if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


@pytest.fixture(scope="session")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An image storage of its own with BASE in it."""
    need_tools()
    folder = tmp_path_factory.mktemp("storage")
    conf = folder / "containers.conf"
    conf.write_text(CONTAINERS_CONF)
    context = folder / "context"
    context.mkdir()
    shutil.copy(str(shutil.which("busybox")), context / "busybox")
    links = " && ".join(
        f"/bin/busybox ln -s busybox /bin/{name}" for name in ("sh", "ls", "cat", "env", "sleep", "wget")
    )
    text = f'FROM scratch\nCOPY busybox /bin/busybox\nRUN ["/bin/busybox", "sh", "-c", "{links}"]\nENV PATH=/bin\n'
    (context / "Dockerfile").write_text(text)
    env = {**os.environ, "CONTAINERS_CONF": str(conf)}
    buildah = ["buildah", "--root", f"{folder}/root", "--runroot", f"{folder}/run"]
    words = ["build", "--isolation=chroot", "--timestamp=315532800", "-q", "-t", BASE, str(context)]
    subprocess.run([*buildah, *words], env=env, check=True, timeout=60, capture_output=True)
    yield str(folder)
    subprocess.run([*buildah, "rm", "-a"], env=env, check=True, timeout=60, capture_output=True)
    subprocess.run([*buildah, "rmi", "-af"], env=env, check=True, timeout=60, capture_output=True)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(str(tmp_path / "state"))


@pytest.fixture
async def registry(layout: Layout) -> AsyncIterator[Registry]:
    found = Registry(layout)
    yield found
    await found.stop()


@pytest.fixture
def buildah(layout: Layout, registry: Registry, storage: str) -> Buildah:
    return Buildah(layout, registry, environ=os.environ, storage=storage, pull=False, stand_ins=False)
