"""What the tests of executors and of whole pipelines share: folders of a job, and the runner image."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trueup
from trueup.core.layout import CONTAINERS_CONF, Layout
from trueup.drivers.builders.buildah import Buildah
from trueup.drivers.executors import container, process
from trueup.engine.registry import Registry
from trueup.ports import SandboxRequest

CA = Path("/etc/ssl/certs/ca-certificates.crt")
SHIMS = Path(trueup.__file__).parent / "shims"
PASSED = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "PIP_FIND_LINKS")


class Machine:
    """One state folder with its executors, on this machine."""

    def __init__(self, root: Path) -> None:
        root.chmod(0o711)
        self.root = root
        self.layout = Layout(str(root / "state"))
        Path(self.layout.root).mkdir(exist_ok=True)
        self.conf = Path(self.layout.containers_conf)
        self.conf.write_text(CONTAINERS_CONF)

    def containers(self) -> container.Containers:
        settings = container.Settings(
            state=self.layout.id,
            containers_conf=self.conf,
            shims=SHIMS,
            ca_bundle=CA if CA.exists() else None,
            env=tuple(sorted((k, v) for k, v in os.environ.items() if k in PASSED)),
            mounts=tuple((Path(host), host) for host in ("/opt/wheels", "/etc/pip.conf") if Path(host).exists()),
        )
        return container.Containers(settings, self.runner)

    def processes(self) -> process.Processes:
        settings = process.Settings(shims=SHIMS, env=(("LANG", "C.UTF-8"),))
        return process.Processes(settings)

    async def runner(self) -> str:
        """The image that jobs run in by default, as `trueup up` makes it; once per machine."""
        builder = Buildah(self.layout, Registry(self.layout), environ=os.environ, pull=False)
        return await builder.ensure_runner()

    def podman(self, *args: str) -> str:
        environment = {**os.environ, "CONTAINERS_CONF": str(self.conf)}
        return subprocess.run(["podman", *args], env=environment, capture_output=True, text=True).stdout

    def request(self, job: str = "job", **more: object) -> SandboxRequest:
        folder = self.root / "runs" / job
        made = {name: folder / name for name in ("workspace", "temp", "commands", "control", "cache")}
        for path in made.values():
            path.mkdir(parents=True, exist_ok=True)
        return SandboxRequest(run="run/x", job=job, image="", **{**made, **more})  # type: ignore[arg-type]


@contextmanager
def machine() -> Iterator[Machine]:
    """A state folder under /tmp that other uids can reach; what it made is removed."""
    root = Path(tempfile.mkdtemp(prefix="trueup-test-", dir="/tmp"))
    made = Machine(root)
    try:
        yield made
    finally:
        for id in made.podman("ps", "-aq", "--filter", f"label=trueup.state={made.layout.id}").split():
            made.podman("rm", "-f", "-t", "0", id)
        shutil.rmtree(root, ignore_errors=True)
