"""A packed chart as files. Pure: bytes in, bytes by path out; nothing is written anywhere."""

from __future__ import annotations

import io
import posixpath
import tarfile

MOST_BYTES = 64 << 20
MOST_FILES = 10_000


class Unpackable(Exception):
    """No archive of a chart, or one that is not what it should be; the message says how."""


def unpack(data: bytes) -> dict[str, bytes]:
    """The files of a chart by their path in it. Links and names that lead out of it are refused. Raises Unpackable."""
    found: dict[str, bytes] = {}
    total = 0
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
            for member in archive:
                if member.isdir():
                    continue
                path = _inside(member)
                total += member.size
                if total > MOST_BYTES or len(found) >= MOST_FILES:
                    raise Unpackable(f"it holds more than {MOST_BYTES >> 20} MiB or {MOST_FILES} files")
                content = archive.extractfile(member)
                if content is not None:
                    found[path] = content.read()
    except (tarfile.TarError, OSError, EOFError) as error:
        raise Unpackable(f"it is no gzipped tar archive ({error})") from error
    if "Chart.yaml" not in found:
        raise Unpackable("it holds no Chart.yaml")
    return found


def _inside(member: tarfile.TarInfo) -> str:
    """A member's path below the archive's one top folder."""
    name = posixpath.normpath(member.name)
    if not member.isfile() or name.startswith(("/", "../")) or "/" not in name:
        raise Unpackable(f"{member.name} is no file within the chart's folder")
    return name.partition("/")[2]
