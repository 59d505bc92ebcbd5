"""Container images made of a few files, as archives that `ctr images import` and `skopeo copy docker-archive:` read.

Source: Docker image specification v1.2, "Combined Image JSON + Filesystem Changeset Format".
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

BUSYBOX = Path("/bin/busybox")  # Debian's busybox-static
APPLETS = ("sh", "sleep", "cat", "echo", "httpd", "nc", "wget", "true", "false", "kill", "ls", "mkdir", "test")


def image(
    name: str, files: Mapping[str, bytes | str], command: Sequence[str], *, env: Mapping[str, str] | None = None
) -> bytes:
    """`files`: path → contents of an executable file, or the text of a symlink's target that begins with "->"."""
    layer = _layer(files)
    config = {
        "architecture": "amd64", "os": "linux", "config": {
            "Entrypoint": list(command), "Env": [f"{k}={v}" for k, v in {"PATH": "/bin", **(env or {})}.items()],
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }  # fmt: skip
    told = json.dumps(config).encode()
    names = {"Config": f"{hashlib.sha256(told).hexdigest()}.json", "RepoTags": [name], "Layers": ["layer.tar"]}
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for path, data in ((names["Config"], told), ("layer.tar", layer), ("manifest.json", json.dumps([names]))):
            _add(tar, str(path), data.encode() if isinstance(data, str) else data)
    return made.getvalue()


def busybox(name: str, script: str, files: Mapping[str, bytes | str] | None = None) -> bytes:
    """An image whose only process is this shell script."""
    links = {f"bin/{applet}": "->busybox" for applet in APPLETS}
    own = {"bin/busybox": BUSYBOX.read_bytes(), "main": f"#!/bin/sh\n{script}\n".encode()}
    return image(name, {**own, **links, **(files or {})}, ["/bin/sh", "/main"])


def _layer(files: Mapping[str, bytes | str]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        folders = sorted({str(above) for path in files for above in Path(path).parents if str(above) != "."})
        for folder in (*folders, *(f for f in ("tmp", "etc", "proc", "sys", "dev") if f not in folders)):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if folder == "tmp" else 0o755
            tar.addfile(entry)
        for path, data in sorted(files.items()):
            _add(tar, path, data)
    return made.getvalue()


def _add(tar: tarfile.TarFile, path: str, data: bytes | str) -> None:
    entry = tarfile.TarInfo(path)
    entry.mode = 0o755
    if isinstance(data, str):
        entry.type, entry.linkname = tarfile.SYMTYPE, data.removeprefix("->")
        tar.addfile(entry)
        return
    entry.size = len(data)
    tar.addfile(entry, io.BytesIO(data))
