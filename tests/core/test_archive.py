"""Packed charts: what is taken out of them, and what is refused."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping

import pytest

from trueup.core.archive import Unpackable, unpack


def packed(files: Mapping[str, bytes], link: str = "") -> bytes:
    into = io.BytesIO()
    with tarfile.open(fileobj=into, mode="w:gz") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        if link:
            info = tarfile.TarInfo(link)
            info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(info)
    return into.getvalue()


CHART = {"web/Chart.yaml": b"name: web\n", "web/templates/a.yaml": b"a"}


def test_the_top_folder_is_left_out() -> None:
    assert unpack(packed(CHART)) == {"Chart.yaml": b"name: web\n", "templates/a.yaml": b"a"}


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"no archive", "no gzipped tar"),
        (packed(CHART)[:40], "no gzipped tar"),
        (packed({"web/values.yaml": b""}), "no Chart.yaml"),
        (packed({**CHART, "web/../../up": b"x"}), "no file within"),
        (packed({**CHART, "/etc/passwd": b"x"}), "no file within"),
        (packed({**CHART, "loose": b"x"}), "no file within"),
        (packed(CHART, link="web/link"), "no file within"),
    ],
)
def test_what_is_refused(data: bytes, told: str) -> None:
    with pytest.raises(Unpackable, match=told):
        unpack(data)
