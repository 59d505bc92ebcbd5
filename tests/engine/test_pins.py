"""What a remote name was for a commit: once, after a restart, after a loss; and what is needed no more."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from trueup.engine.pins import Changed, Pins, unneeded


class Remote:
    """Counts how often it is asked."""

    def __init__(self, data: bytes = b"one") -> None:
        self.data, self.asked = data, 0

    async def file(self, url: str) -> bytes:
        self.asked += 1
        return self.data


async def test_a_commit_sees_what_it_saw_first(tmp_path: Path) -> None:
    remote = Remote()
    assert await Pins(tmp_path).file("c1", "u", remote.file) == b"one"
    remote.data = b"two"
    assert await Pins(tmp_path).file("c1", "u", remote.file) == b"one"
    assert await Pins(tmp_path).file("c2", "u", remote.file) == b"two"
    assert remote.asked == 2


async def test_contents_that_were_lost_must_be_the_same_again(tmp_path: Path) -> None:
    remote = Remote()
    await Pins(tmp_path).file("c1", "u", remote.file)
    for path in (tmp_path / "sha256").glob("*/*"):
        path.write_bytes(b"damaged")
    assert await Pins(tmp_path).file("c1", "u", remote.file) == b"one"
    assert [p.read_bytes() for p in (tmp_path / "sha256").glob("*/*")] == [b"one"]
    for path in (tmp_path / "sha256").glob("*/*"):
        path.unlink()
    remote.data = b"two"
    with pytest.raises(Changed, match="is another one than when this commit was first read"):
        await Pins(tmp_path).file("c1", "u", remote.file)


async def test_a_folder_as_it_stands_has_no_pins(tmp_path: Path) -> None:
    remote, pins = Remote(), Pins(tmp_path)
    for data in (b"one", b"two"):
        remote.data = data
        assert await pins.file("folder", "u", remote.file) == data
    assert not list((tmp_path / "pins").glob("*"))


async def test_only_what_no_kept_commit_names_is_unneeded(tmp_path: Path) -> None:
    for commit, data in (("kept", b"shared"), ("old", b"shared"), ("old", b"own"), ("young", b"other")):
        await Pins(tmp_path).file(commit, data.decode(), Remote(data).file)
    files = [p for p in tmp_path.rglob("*") if p.is_file()]
    for path in files:
        os.utime(path, (1000, 1000))
    await Pins(tmp_path).file("young", "other", Remote().file)  # looked at: young again
    going = unneeded(tmp_path, {"kept"}, 2000)
    assert len(files) == 6 and len(going) == 2
    assert [p.read_bytes() for p in going if p.suffix != ".json"] == [b"own"]
    for path in going:
        path.unlink()
    assert await Pins(tmp_path).file("kept", "shared", Remote(b"no").file) == b"shared"
    assert unneeded(tmp_path, {"kept"}, 2000) == []
    assert unneeded(tmp_path / "none", (), 2000) == []
