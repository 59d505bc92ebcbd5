"""Reads one revision of a repository: a folder as it stands, or a commit of a path or URL. Runs nothing of it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from msgspec import Struct

from trueup.app import NotUsable, Options, checker, open_sources, read_folder, render_workers, unsealer
from trueup.cli.errors import Away, Unknown
from trueup.core.layout import Layout
from trueup.core.render import Folders
from trueup.drivers.definitions import convention
from trueup.drivers.secrets.vault import FileVault
from trueup.engine import owners
from trueup.engine.opening import Opener
from trueup.engine.rendering import Rendering
from trueup.engine.study import Reading, study
from trueup.ports import Given
from trueup.store.state import vault_key


class Revision(Struct, frozen=True):
    """`commit` is the whole id, "" for a folder as it stands; `rendering` is what it was read with."""

    reading: Reading
    commit: str
    rendering: Rendering


async def read_revision(where: Layout, repository: str, commit: str) -> Reading:
    """What it holds; see `open_revision`."""
    async with open_revision(where, repository, commit) as found:
        return found.reading


@asynccontextmanager
async def open_revision(where: Layout, repository: str, commit: str, *, keys: bool = False) -> AsyncIterator[Revision]:
    """A repository at a commit, with all that it takes to render it again. With `keys`, what SOPS encrypted is opened
    with those that were set; else it is only named.

    `commit` "" is the folder itself, or the head of the branch of a URL or a bare repository; else a commit's id or
    its beginning, or a branch. Raises Away, Unknown, SourceError, NoKey, RendererDown."""
    today, opener = datetime.now(UTC).date(), _opener(where, repository) if keys else None
    async with render_workers(os.environ, size=1) as workers:
        rendering = Rendering(workers)
        if not commit and Path(repository).is_dir() and not bare(Path(repository)):
            with _as_away():
                reading = await read_folder(repository, today, rendering, opener)
            yield Revision(reading, "", rendering)
            return
        with _as_away():
            Path(where.root).mkdir(mode=0o711, parents=True, exist_ok=True)
            options = Options(layout=where, repositories=(repository,), environ=dict(os.environ))
            sources, watched = await open_sources(options, FileVault(where.secrets, vault_key(where)))
        ((id, source),) = sources.items()
        try:
            heads = await source.fetch()
            oid = heads.get(commit or watched[id].branch, commit)
            if not oid:
                there = ", ".join(heads) or "none"
                raise Unknown(f"{repository} has no branch {watched[id].branch}; there is: {there}")
            whole = (await source.commit(oid)).id
            tree = await source.tree(whole)
            blobs = await source.blobs(sorted({tree[path].oid for path in convention.wanted(tree)}))
            given = Given(whole, Folders(tree), source.blobs)
            reading = await study(given, blobs, watched[id].name, checker(today), rendering, opener)
            yield Revision(reading, whole, rendering)
        finally:
            await source.close()


@contextmanager
def _as_away() -> Iterator[None]:
    try:
        yield
    except NotUsable as error:
        raise Away(str(error)) from error


def _opener(where: Layout, repository: str) -> Opener:
    """Opens with the keys that were set for this repository. Raises ValueError for what is no address."""
    options = Options(layout=where, repositories=(repository,), environ=dict(os.environ))
    path = Path(repository).expanduser()
    owner = owners.of(str(path.resolve()) if path.exists() else repository)
    return partial(unsealer(options, FileVault(where.secrets, vault_key(where)), {"": owner}).open, "")


def bare(path: Path) -> bool:
    """Whether this folder is a bare Git repository, which has no files of its own."""
    return (path / "HEAD").is_file() and (path / "objects").is_dir() and not (path / ".git").exists()
