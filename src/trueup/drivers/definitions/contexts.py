"""Which folder a Dockerfile is built in: what a pipeline says, else where the files that it copies are. Pure."""

from __future__ import annotations

import fnmatch
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence

from trueup.core import dockerfile
from trueup.core.found import Dockerfile, ImageBuild, Pipeline

MOST_CHARACTERS = 32 << 10  # stages refer to one another: reading costs the square of their number
_WILD = re.compile(r"[*?\[]")


def dockerfiles(
    paths: Sequence[str], pipelines: Sequence[Pipeline], text: Mapping[str, bytes], tree: frozenset[str]
) -> tuple[Dockerfile, ...]:
    """Each with the build of the first pipeline that builds it; `tree` holds all paths of the commit."""
    builds: dict[str, ImageBuild] = {}
    for pipeline in pipelines:
        for build in pipeline.builds:
            builds.setdefault(build.dockerfile, build)
    there = _with_folders(tree) if any("/" in path and path not in builds for path in paths) else tree
    return tuple(_one(path, builds.get(path), text.get(path, b""), there) for path in paths)


def _with_folders(tree: frozenset[str]) -> frozenset[str]:
    found = set(tree)
    for path in tree:
        while (path := posixpath.dirname(path)) and path not in found:
            found.add(path)
    return frozenset(found)


def _one(path: str, build: ImageBuild | None, data: bytes, tree: frozenset[str]) -> Dockerfile:
    return Dockerfile(path, (build.context if build else "") or _context(path, data, tree), build)


def _context(path: str, data: bytes, tree: frozenset[str]) -> str:
    """The Dockerfile's own folder; when that lacks what it copies, the nearest one above it that has all of it."""
    own = posixpath.dirname(path) or "."
    wants = _sources(path, data) if own != "." else ()
    for folder in _upwards(own):
        if all(_there(posixpath.normpath(posixpath.join(folder, each)), tree) for each in wants):
            return folder
    return own


def _sources(path: str, data: bytes) -> tuple[str, ...]:
    if len(data) > MOST_CHARACTERS:
        return ()
    try:
        return dockerfile.sources(dockerfile.read(data.decode("utf-8", "replace"), path)) or ()
    except dockerfile.DockerfileInvalid:
        return ()


def _upwards(folder: str) -> Iterator[str]:
    while folder != ".":
        yield folder
        folder = posixpath.dirname(folder) or "."
    yield "."


def _there(path: str, tree: frozenset[str]) -> bool:
    """A file, a folder, or a pattern that one of them matches."""
    if _WILD.search(path):
        match = re.compile(fnmatch.translate(path)).match
        return any(match(each) for each in tree)
    return path in tree
