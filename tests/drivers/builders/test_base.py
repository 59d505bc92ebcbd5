"""Stand-ins made for real, from Debian packages; minutes on a fresh machine, seconds afterwards."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from trueup.core.layout import Layout
from trueup.drivers.builders.buildah import Buildah
from trueup.engine.registry import Registry
from trueup.ports import BuilderDown, BuildRequest

pytestmark = [pytest.mark.integration, pytest.mark.slow]


@pytest.fixture
async def builder(tmp_path: Path) -> AsyncIterator[Buildah]:
    """Over the machine's own storage, where stand-ins are kept."""
    missing = [tool for tool in ("buildah", "skopeo", "docker-registry", "mmdebstrap") if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
    layout = Layout(str(tmp_path / "state"))
    registry = Registry(layout)
    yield Buildah(layout, registry, environ=os.environ, pull=False)
    await registry.stop()


async def test_a_stand_in_runs_what_python_images_run(builder: Buildah, tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    (workspace / "Dockerfile").write_text(
        f"FROM python:3.12-slim\nENV RUN_OF={tmp_path}\nRUN adduser --disabled-password --gecos '' app\n"
        "RUN python --version && pip --version && python -m venv /venv && which python pip\n"
        'USER app\nCMD ["python", "-c", "print(1)"]\n'
    )
    said = bytearray()
    name = "trueup-test.invalid/stand-in:1"
    request = BuildRequest(context=workspace, dockerfile="Dockerfile", workspace=workspace, tags=(name,))
    image, _ = await builder.build(request, said.extend)
    try:
        assert b"note: python:3.12-slim is a stand-in: Python 3.13 from Debian trixie (pulling is switched off)" in said
        assert b"/usr/local/bin/python\n" in said
        assert image.digest.startswith("sha256:")
    finally:
        await builder.tools.buildah("rmi", "-f", name)


async def test_the_runner_is_made_once(builder: Buildah) -> None:
    name = await builder.ensure_runner()
    said = bytearray()
    assert await builder.ensure_runner(said.extend) == name
    assert said == b""
    assert await builder.tools.image_id(name)


async def test_without_the_tool_the_message_says_what_to_install(builder: Buildah, tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("buildah", "skopeo", "setpriv"):
        (tools / tool).symlink_to(str(shutil.which(tool)))
    layout = Layout(str(tmp_path / "other"))
    bare = Buildah(layout, Registry(layout), environ={"PATH": str(tools), "HOME": "/root"}, pull=False)
    with pytest.raises(BuilderDown, match="mmdebstrap is not installed: apt-get install mmdebstrap"):
        await bare.ensure_base("debian:bullseye-slim")
