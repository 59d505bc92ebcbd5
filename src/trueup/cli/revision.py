"""Reads one revision of a repository: a folder as it stands, or a commit of a path or URL. Runs nothing of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from msgspec import Struct, structs

from trueup.app import NotUsable, Options, checker, open_sources, read_folder, remotes, render_workers, unsealer
from trueup.cli.errors import Away, Unknown
from trueup.core.candidate import child_id
from trueup.core.layout import Layout
from trueup.core.render import Folders
from trueup.drivers.definitions import convention
from trueup.drivers.secrets import FileVault, MemoryVault
from trueup.engine import owners
from trueup.engine.cluster import kept
from trueup.engine.means import Means
from trueup.engine.pins import Pins
from trueup.engine.remotes import Beside
from trueup.engine.rendering import Rendering
from trueup.engine.study import Reading, study
from trueup.ports import Given, Renderer, Vault
from trueup.store.state import vault_key


class Revision(Struct, frozen=True):
    """`commit` is the whole id, "" for a folder as it stands; `rendering` is what it was read with."""

    reading: Reading
    commit: str
    rendering: Rendering


async def read_revision(where: Layout, repository: str, commit: str, target: str | None = None) -> Reading:
    """What it holds; see `open_revision`."""
    async with open_revision(where, repository, commit, target=target) as found:
        return found.reading


@asynccontextmanager
async def open_revision(
    where: Layout, repository: str, commit: str, *, keys: bool = False, target: str | None = None
) -> AsyncIterator[Revision]:
    """A repository at a commit, with all that it takes to render it again. With `keys`, what SOPS encrypted is opened
    with those that were set; else it is only named. `target`: judged for this one, else for that of the state folder.

    `commit` "" is the folder itself, or the head of the branch of a URL or a bare repository; else a commit's id or
    its beginning, a branch, or HEAD for that head. Raises Away, Unknown, SourceError, NoKey, RendererDown."""
    today = datetime.now(UTC).date()
    way = await asyncio.to_thread(kept, where)
    way = structs.replace(way, target=target) if target else way
    async with render_workers(os.environ, size=1) as workers, _means(where, repository, workers, keys=keys) as means:
        rendering = Rendering(workers, way.namespace or "default")
        if not commit and Path(repository).is_dir() and not bare(Path(repository)):
            with _as_away():
                reading = await read_folder(repository, today, rendering, means, way)
            yield Revision(reading, "", rendering)
            return
        with _as_away():
            Path(where.root).mkdir(mode=0o711, parents=True, exist_ok=True)
            options = Options(layout=where, repositories=(repository,), environ=dict(os.environ))
            sources, watched = await open_sources(options, FileVault(where.secrets, vault_key(where)))
        ((id, source),) = sources.items()
        try:
            heads = await source.fetch()
            named = watched[id].branch if commit in ("", "HEAD") else commit
            oid = heads.get(named, "" if commit == "HEAD" else commit)
            if not oid:
                there = ", ".join(heads) or "none"
                raise Unknown(f"{repository} has no branch {watched[id].branch}; there is: {there}")
            whole = (await source.commit(oid)).id
            tree = await source.tree(whole)
            blobs = await source.blobs(sorted({tree[path].oid for path in convention.wanted(tree)}))
            given = Given(whole, Folders(tree), source.blobs)
            name, checks = watched[id].name, checker(today, way.target)
            reading = await study(given, blobs, name, checks, rendering, means, (repository,))
            yield Revision(reading, whole, rendering)
        finally:
            await source.close()


@contextmanager
def _as_away() -> Iterator[None]:
    try:
        yield
    except NotUsable as error:
        raise Away(str(error)) from error


@asynccontextmanager
async def _means(where: Layout, repository: str, renderer: Renderer, *, keys: bool) -> AsyncIterator[Means]:
    """With the keys and logins that were set for this repository. Nothing is made for it in the state folder."""
    options = Options(layout=where, repositories=(repository,), environ=dict(os.environ))
    path = Path(repository).expanduser()
    there = Path(where.keys).exists()  # else nothing of a state folder is made by a look
    with contextlib.ExitStack() as stack:
        vault: Vault = FileVault(where.secrets, vault_key(where)) if there else MemoryVault()
        folder = where.remotes if there else stack.enter_context(tempfile.TemporaryDirectory(prefix="trueup-"))
        with _as_away():
            try:
                owner = owners.of(str(path.resolve()) if path.exists() else repository)
            except ValueError as error:
                raise NotUsable(str(error)) from None
            given = {**options.environ, **await vault.values(owner, options.environment)}
            fetched = remotes(options, owner, given, f"{folder}/{child_id('remote', owner).rpartition('/')[2]}")
        opener = partial(unsealer(options, vault, {"": owner}).open, "") if keys else None
        try:
            yield Means(opener, Beside(fetched, Pins(Path(folder)), renderer))
        finally:
            await fetched.close()


def bare(path: Path) -> bool:
    """Whether this folder is a bare Git repository, which has no files of its own."""
    return (path / "HEAD").is_file() and (path / "objects").is_dir() and not (path / ".git").exists()
