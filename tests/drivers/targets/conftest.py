"""A host of its own for these tests: a state folder, an agent, and one tiny image."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from trueup.core.layout import CONTAINERS_CONF, LABEL_STATE, Layout
from trueup.drivers.targets.host import Host

BUSYBOX = Path("/bin/busybox")
DOCKERFILE = "FROM scratch\nCOPY busybox /bin/busybox\nCOPY busybox /bin/sh\nENV PATH=/bin\n"
NEEDS = ("podman", "buildah", "haproxy", "runc")


class Machine:
    """The folder, the image and Podman as a person uses it."""

    def __init__(self, root: Path) -> None:
        self.layout = Layout(str(root))
        self.image = f"localhost/trueup-test/{self.layout.id}:1"
        Path(self.layout.containers_conf).write_text(CONTAINERS_CONF)

    def run(self, *argv: str) -> str:
        env = {**os.environ, "CONTAINERS_CONF": self.layout.containers_conf}
        done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, f"{' '.join(argv)}: {done.stderr}"
        return done.stdout.strip()

    def podman(self, *argv: str) -> str:
        return self.run("podman", *argv)

    def containers(self, name: str) -> dict[str, str]:
        """Name → id of the running containers whose name begins so."""
        out = self.podman("ps", "--filter", f"label={LABEL_STATE}={self.layout.id}", "--format", "{{.Names}} {{.ID}}")
        found = dict(line.split() for line in out.splitlines())
        return {n: i for n, i in found.items() if n.startswith(f"{name}-")}

    def build(self, folder: Path) -> None:
        shutil.copy(BUSYBOX, folder / "busybox")
        (folder / "Dockerfile").write_text(DOCKERFILE)
        self.run("buildah", "build", "-q", "-t", self.image, str(folder))


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """Everything it made is gone afterwards."""
    missing = [program for program in NEEDS if shutil.which(program) is None] + (
        [] if BUSYBOX.exists() else ["busybox"]
    )
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}; apt-get install podman buildah haproxy runc busybox-static")
    root = Path(tempfile.mkdtemp(prefix="tu-", dir="/tmp"))  # short: a socket's path has at most 107 bytes
    made = Machine(root)
    made.build(tmp_path_factory.mktemp("image"))
    try:
        yield made
        asyncio.run(_down(made.layout))
    finally:
        left = made.podman("ps", "-aq", "--filter", f"label={LABEL_STATE}={made.layout.id}")
        for container in left.split():
            made.podman("rm", "-f", "-t", "0", container)
        made.podman("rmi", "-f", made.image)
        shutil.rmtree(root, ignore_errors=True)


async def _down(layout: Layout) -> None:
    host = Host(layout)
    try:
        await host.down()
    finally:
        await host.close()


@pytest.fixture
async def host(machine: Machine) -> AsyncIterator[Host]:
    host = Host(machine.layout)
    await host.ensure()
    yield host
    await host.close()
