"""One pool of workers for a test. Without the worker the tests are skipped, in one line."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from trueup.drivers.renderers.worker import Limits, Workers

CACHE = Path(__file__).parents[2] / ".cache"


@pytest.fixture
def built() -> Path:
    if not (CACHE / "trueup-render").exists():
        pytest.skip("no render worker: `make render` builds it with Go 1.26")
    return CACHE / "trueup-render"


@pytest.fixture
async def workers(built: Path) -> AsyncIterator[Workers]:
    async with Workers(built, size=1, limits=Limits(memory_bytes=512 << 20, time_s=30, uid=65534)) as pool:
        yield pool


@pytest.fixture
def kustomize_program(built: Path) -> Path:
    return _tool("kustomize")


@pytest.fixture
def helm_program(built: Path) -> Path:
    return _tool("helm")


def _tool(name: str) -> Path:
    if not (CACHE / name).exists():
        pytest.skip(f"no {name} to compare with: `scripts/render tools` builds it with Go 1.26")
    return CACHE / name
