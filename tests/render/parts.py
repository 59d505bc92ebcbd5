"""What the render tests share: a repository in memory, the worker, and the programs it is compared with."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trueup.core.model import TreeEntry
from trueup.core.render import Folders, Output
from trueup.core.yamldoc import Limits, documents
from trueup.drivers.renderers.worker import Given

CACHE = Path(__file__).parents[2] / ".cache"
PROGRAM = CACHE / "trueup-render"
Files = Mapping[str, str | bytes]


def oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


class Repository:
    """Files by path, as a revision; counts the contents that were asked for. A `Link` is a symbolic link."""

    def __init__(self, files: Files, links: Sequence[str] = ()) -> None:
        self.files = {path: data.encode() if isinstance(data, str) else data for path, data in files.items()}
        self.contents = {oid(data): data for data in self.files.values()}
        self.asked: list[str] = []
        tree = {
            path: TreeEntry(0o120000 if path in links else 0o100644, oid(data)) for path, data in self.files.items()
        }
        self.folders = Folders(tree)
        whole = "".join(f"{path}\0{entry.oid}\0{entry.mode}\n" for path, entry in sorted(tree.items()))
        self.given = Given(oid(whole.encode("utf-8", "surrogateescape")), self.folders, self.blobs)

    async def blobs(self, oids: Sequence[str]) -> Mapping[str, bytes]:
        self.asked += oids
        return {one: self.contents[one] for one in oids if one in self.contents}

    def write(self, folder: Path) -> None:
        for path, data in self.files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)


def made(output: Output) -> list[str]:
    """Each object as one text with its keys in order, in the order of the output; hooks last."""
    return [text(one.body) for one in (*output.objects, *output.hooks)]


def text(body: Any) -> str:
    return json.dumps(body, sort_keys=True)


def read(printed: str) -> list[str]:
    """The objects that a program printed, as `made` gives them."""
    docs = documents(printed.encode(), "printed.yaml", limits=Limits(size_bytes=64 << 20))
    return [text(doc.body) for doc in docs if doc.body is not None]


def program(argv: Sequence[str | Path], timeout_s: float = 60.0) -> str:
    """What a program prints."""
    done = subprocess.run([str(a) for a in argv], capture_output=True, timeout=timeout_s, check=False)
    if done.returncode:
        raise AssertionError(done.stderr.decode())
    return done.stdout.decode()
