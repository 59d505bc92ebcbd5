"""actions/upload-artifact, download-artifact and cache: archives made and unpacked by the steps' own user.

We only move the one finished archive; no file of the workspace is ever opened by us.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import shlex
import shutil
from pathlib import Path

from trueup.engine.beneath import copy_file
from trueup.engine.running import ActionFailed, Use

ARCHIVE_BYTES = 2 << 30


async def upload(use: Use) -> int:
    """Keep files of this job for the run's other jobs and for people. Output: artifact-id."""
    name = _name(use)
    paths = [line for line in use.get("path").splitlines() if line.strip() and not line.strip().startswith("!")]
    if not paths:
        raise ActionFailed("actions/upload-artifact: path is empty: name a file or folder")
    archive = use.running.place.folder / "commands" / f"artifact-{use.running.count}.tar"
    code = await _pack(use, paths, archive, base=True)
    if code == 3:
        text = f"no files were found at {', '.join(paths)}"
        if use.get("if-no-files-found") == "error":
            raise ActionFailed(f"actions/upload-artifact: {text}")
        use.say(f"warning: {text}; no artifact is kept")
        return 0
    if code == 0:
        await asyncio.to_thread(_take, archive, use.running.place.artifacts / f"{name}.tar")
        use.running.artifacts.append(name)
        use.outputs["artifact-id"] = name
        use.say(f"kept as artifact {name!r}")
    return code


async def download(use: Use) -> int:
    """Unpack one artifact of this run, or all of them into folders of their names."""
    running = use.running
    target = use.get("path", ".")
    asked = use.get("name")
    found = sorted(running.place.artifacts.glob("*.tar"))
    chosen = [path for path in found if not asked or path.stem == _plain(asked)]
    if asked and not chosen:
        kept = ", ".join(path.stem for path in found) or "none"
        raise ActionFailed(f"actions/download-artifact: there is no artifact {asked!r}; this run has kept: {kept}")
    for path in chosen:
        into = target if asked or use.flag("merge-multiple") else f"{target}/{path.stem}"
        if code := await _unpack(use, path, into):
            return code
    return 0


async def cache(use: Use) -> int:
    """Bring back what an earlier run kept under this key. Kept again when the job has ended well, by `save`."""
    running = use.running
    key, paths = use.get("key"), [line.strip() for line in use.get("path").splitlines() if line.strip()]
    if not key or not paths:
        raise ActionFailed("actions/cache: key and path are both needed")
    exact = _stored(running.place.store, key, paths)
    prefixes = [line.strip() for line in use.get("restore-keys").splitlines() if line.strip()]
    nearest = exact if exact.exists() else _nearest(running.place.store, prefixes, paths)
    use.outputs["cache-hit"] = "true" if exact.exists() else "false"
    if nearest is not None and await _unpack(use, nearest, "/", absolute=True) == 0:
        use.say(f"brought back {nearest.name}")
    else:
        use.say(f"nothing is kept under {key!r}")
    if not exact.exists():
        running.at_end.append(lambda: _save(use, paths, exact))
    return 0


async def _save(use: Use, paths: list[str], kept: Path) -> None:
    archive = use.running.place.folder / "commands" / f"cache-{kept.stem[-16:]}.tar"
    if await _pack(use, paths, archive, base=False) == 0:
        await asyncio.to_thread(_take, archive, kept)
        use.say(f"kept as {kept.name}")


async def _pack(use: Use, paths: list[str], archive: Path, *, base: bool) -> int:
    """0, or 3 when nothing matches. `base`: a lone folder's content, as upload-artifact keeps it; else whole names."""
    sandbox = use.running.sandbox
    to = shlex.quote(sandbox.see(archive))
    found = " ".join(_glob(path.strip()) for path in paths)
    lone = (
        f'if [ $# -eq 1 ] && [ -d "$1" ]; then exec tar -cf {to} -C "$1" .; fi\n'
        f'if [ $# -eq 1 ]; then exec tar -cf {to} -C "$(dirname "$1")" -- "$(basename "$1")"; fi'
    )
    script = (
        f"cd {shlex.quote(sandbox.inside)}\nset -- {found}\n"
        'for path in "$@"; do if [ -e "$path" ]; then set -- "$@" "$path"; fi; shift; done\n'
        f'[ $# -gt 0 ] || exit 3\n{lone if base else ""}\nexec tar {"" if base else "-P"} -cf {to} -- "$@"'
    )
    return await use.sh(script)


def _glob(path: str) -> str:
    """A pattern for the shell: quoted but for * and ?, ~ as the home folder."""
    home, rest = ('"$HOME"', path[1:]) if path.startswith("~") else ("", path)
    return home + "".join(
        part if part in ("*", "?") else shlex.quote(part) for part in re.split(r"([*?])", rest) if part
    )


async def _unpack(use: Use, archive: Path, into: str, *, absolute: bool = False) -> int:
    running = use.running
    copy = running.place.folder / "control" / f"unpack-{running.count}-{archive.name}"
    await asyncio.to_thread(shutil.copyfile, archive, copy)
    copy.chmod(0o644)
    target = shlex.quote(into)
    keep = "-P" if absolute else ""
    return await use.sh(
        f"mkdir -p {target} && tar {keep} --no-same-owner -xf {shlex.quote(running.sandbox.see(copy))} -C {target}"
    )


def _take(archive: Path, kept: Path) -> None:
    """Move a finished archive to where steps cannot reach it. Raises ActionFailed."""
    part = kept.with_suffix(".part")
    if not copy_file(archive.parent, archive.name, part, ARCHIVE_BYTES):
        part.unlink(missing_ok=True)
        raise ActionFailed(f"the archive {kept.stem!r} is gone or larger than {ARCHIVE_BYTES >> 30} GiB")
    part.replace(kept)


def _name(use: Use) -> str:
    return _plain(use.get("name", "artifact"))


def _plain(name: str) -> str:
    if not re.fullmatch(r"[^/\\:\"<>|*?\r\n\0]{1,200}", name) or name.startswith("."):
        raise ActionFailed(f"the artifact name {name!r} is not allowed: use letters, digits, - and _")
    return name


def _stored(store: Path, key: str, paths: list[str]) -> Path:
    places = hashlib.sha256("\n".join(paths).encode()).hexdigest()[:16]
    return store / f"{re.sub(r'[^A-Za-z0-9._-]', '-', key)[:150]}-{places}.tar"


def _nearest(store: Path, prefixes: list[str], paths: list[str]) -> Path | None:
    places = _stored(store, "", paths).stem
    for prefix in prefixes:
        plain = re.sub(r"[^A-Za-z0-9._-]", "-", prefix)[:150]
        kept = [path for path in store.glob("*.tar") if path.name.startswith(plain) and path.stem.endswith(places)]
        if kept:
            return max(kept, key=lambda path: path.stat().st_mtime)
    return None
