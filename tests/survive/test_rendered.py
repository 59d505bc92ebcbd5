"""The examples with Kustomize and Helm on the real host: pushed, built, rolled out, written back where the image is
stated, and undone. Only the image is a small one, so that it is built in seconds."""

from __future__ import annotations

import asyncio
import importlib.util
import urllib.request
from pathlib import Path

import pytest

from engine.world import git
from survive.real import CRASH, DOCKERFILE, START, Real, real
from trueup.core.renderyaml import scalar
from trueup.drivers.renderers import program

pytestmark = [pytest.mark.integration, pytest.mark.slow]

EXAMPLES = Path(__file__).parents[2] / "examples"
PAGES = {name: f"app/www/{name}" for name in ("index.html", "readyz", "healthz")}


def example(variant: str, folder: Path) -> dict[str, str | None]:
    """The files of a variant, with an image that serves pages by busybox and without its workflows."""
    spec = importlib.util.spec_from_file_location("examples_make_rendered", EXAMPLES / "make.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.write(variant, folder)
    files = (path for path in folder.rglob("*") if path.is_file() and ".github" not in path.parts)
    kept: dict[str, str | None] = {str(path.relative_to(folder)): path.read_text() for path in files}
    small: dict[str, str | None] = {"app/Dockerfile": DOCKERFILE, "app/start": START, "app/.dockerignore": ""}
    return {**kept, **small, **dict.fromkeys(PAGES.values(), "version 1\n")}


@pytest.mark.parametrize(
    ("variant", "path", "line"),
    [
        ("kustomize", "deploy/production/kustomization.yaml", "    newTag: {tag}\n    digest: {digest}\n"),
        ("helm", "chart/values.yaml", '  tag: "{tag}@{digest}" # the chart'),
    ],
)
async def test_an_example_is_rolled_out_written_back_and_undone(
    variant: str, path: str, line: str, tmp_path: Path
) -> None:
    if program.find() is None:
        pytest.skip("no render worker: `make render` builds it with Go 1.26")
    files = example(variant, tmp_path / variant)
    async with real() as world:
        await world.up()
        first = await world.push(files, "first")
        await world.until("the first rollout", lambda: world.good(first), 180)
        assert await served(world) == "version 1\n"
        before = files[path]
        assert before is not None
        assert stated(world, first, path, before, line)
        second = await world.push({PAGES["index.html"]: "version 2\n"}, "second")
        await world.until("the second rollout", lambda: good_at(world, second, path, before, line), 180)
        assert await served(world) == "version 2\n"
        good = world.person.head()
        bad = await world.push({"app/start": CRASH, path: world.person.show(path) + "\n# worse\n"}, "break it")
        await world.until("the undo", lambda: world.undone(bad), 180)
        assert git(world.person.remote, "diff", "--name-only", good, "main") == ""
        assert await served(world) == "version 2\n"
    assert not Path(world.layout.root).exists()


def good_at(world: Real, commit: str, path: str, before: str, line: str) -> bool | None:
    return True if world.good(commit) and stated(world, commit, path, before, line) else None


def stated(world: Real, commit: str, path: str, before: str, line: str) -> bool:
    """Whether Git says the digest that was built from a commit, and nothing else in that file has changed."""
    candidate = next(c for c in world.known.candidates.values() if c.commit == commit)
    (image,) = candidate.images.values()
    now = world.person.show(path) + "\n"
    tag = image.tag if '"' in line else scalar(image.tag)  # some commit ids read as numbers
    wanted = line.format(tag=tag, digest=image.digest)
    gone = set(before.splitlines()) - set(now.splitlines())
    return wanted in now and len(gone) == 1


async def served(world: Real) -> str:
    """What the Service's address answers."""
    found = await world.until_asked("the Service's address", world.loop.service)
    url = f"http://{found.address}:{found.ports[0][1]}/"
    return await asyncio.to_thread(_fetch, url)


def _fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=20) as answer:
        text: str = answer.read().decode()
    return text
