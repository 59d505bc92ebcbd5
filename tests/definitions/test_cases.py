"""Repositories with definitions, each a folder: what is found, how it depends, what each application renders to."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from trueup.cli import defined
from trueup.cli.common import layout
from trueup.cli.revision import open_revision
from trueup.engine.inspect import inspect

HERE = Path(__file__).parent
CASES = sorted(path.parent for path in HERE.glob("*/expect.yaml"))


@pytest.fixture(autouse=True)
def worker(monkeypatch: pytest.MonkeyPatch) -> None:
    built = HERE.parents[1] / ".cache" / "trueup-render"
    if not built.exists():
        pytest.skip("no render worker: `make render` builds it with Go 1.26")
    monkeypatch.setenv("TRUEUP_RENDER", str(built))


def copied(case: Path, into: Path) -> Path:
    """The case as a repository with the remotes that it expects."""
    root = into / "repo"
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    for path in case.rglob("*"):
        if path.is_file() and path.name != "expect.yaml":
            to = root / path.relative_to(case)
            to.parent.mkdir(parents=True, exist_ok=True)
            to.write_bytes(path.read_bytes())
    return root


def add_remote(root: Path, name: str, url: str) -> None:
    subprocess.run(["git", "-C", str(root), "remote", "add", name, url], check=True)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
async def test_case(case: Path, tmp_path: Path) -> None:
    expect = yaml.safe_load((case / "expect.yaml").read_text())
    root = copied(case, tmp_path)
    for at, url in enumerate(expect["own"]):
        add_remote(root, f"r{at}", url)
    where = layout(str(tmp_path / "state"))
    async with open_revision(where, str(root), "") as revision:
        reading = revision.reading
    seen = inspect(reading.found, reading.rendered, reading.findings, reading.expanded)
    told = [" ".join((f"{d.kind.lower()}/{d.name}", d.place, *d.renderers)) for d in seen.definitions]
    assert sorted(told) == sorted(expect["definitions"])
    links = {f"{link.subject} {link.how} {link.object}" for link in seen.links}
    assert set(expect.get("links", ())) <= links
    known = {f"{d.kind.lower()}/{d.name}": d for d in seen.definitions}
    assert {name: known[name].told for name in expect.get("told", ())} == expect.get("told", {})
    assert reading.expanded is not None
    said = [f"{f.place} {f.message}" for f in reading.expanded.said]
    assert sorted(said) == sorted(expect.get("findings", ()))
    for name, bodies in expect.get("renders", {}).items():
        made, _ = await defined.objects(where, root, name)
        assert made == bodies
