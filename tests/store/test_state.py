from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from trueup.core.events import Draft, SourceUp
from trueup.core.layout import Layout
from trueup.core.model import Principal
from trueup.store.ids import new_stream
from trueup.store.keys import read_public
from trueup.store.lock import StateBusy
from trueup.store.sqlite import open_readonly
from trueup.store.state import open_state, vault_key


class Clock:
    def now(self) -> datetime:
        return datetime(2026, 1, 2, tzinfo=UTC)

    def monotonic_s(self) -> float:
        return 0.0


async def test_one_folder_holds_all_and_has_one_owner(tmp_path: Path) -> None:
    layout = Layout(str(tmp_path / "state"))
    async with open_state(layout, Clock()) as state:
        await state.ledger.append("source/a", [Draft(fact=SourceUp(), by=Principal("n", "a"))], expect=0)
        key = await state.records.put("log", b"text")
        with pytest.raises(StateBusy):
            async with open_state(layout, Clock()):
                pass
        assert len(await state.ledger.read("source/a")) == 1
    async with open_state(layout, Clock()) as state:
        assert await state.records.get(key) == b"text"
        assert (await state.ledger.checkpoint()).seq == 1
    reader = open_readonly(layout.ledger)
    assert (await reader.verify(read_public(layout.keys), {})).signed is not None
    await reader.close()


def test_a_vaults_key_stays_the_same(tmp_path: Path) -> None:
    layout = Layout(str(tmp_path / "state"))
    assert vault_key(layout) == vault_key(layout)
    assert len(vault_key(layout)) == 32


async def test_keys_stand_apart_from_what_they_open(tmp_path: Path) -> None:
    layout = Layout(str(tmp_path / "state"), str(tmp_path / "keys"))
    async with open_state(layout, Clock()) as state:
        record = await state.records.put("bundle", b"hunter2")
    vault = vault_key(layout)
    everything = b"".join(p.read_bytes() for p in Path(layout.root).rglob("*") if p.is_file())
    assert b"hunter2" not in everything
    assert vault not in everything
    assert {p.stat().st_mode & 0o777 for p in (tmp_path / "keys").glob("*/*")} == {0o600}
    elsewhere = Layout(layout.root, str(tmp_path / "another home"))
    async with open_state(elsewhere, Clock()) as state:
        assert await state.records.get(record) == b"hunter2"
    assert vault_key(elsewhere) == vault
    for key in (tmp_path / "keys").glob("*/*"):
        key.unlink()
    async with open_state(layout, Clock()) as state:
        assert await state.records.get(record) is None, "a copy of the folder alone opens nothing"


def test_keys_that_were_made_inside_stay_there(tmp_path: Path) -> None:
    inside = vault_key(Layout(str(tmp_path / "state")))
    assert vault_key(Layout(str(tmp_path / "state"), str(tmp_path / "keys"))) == inside
    assert not (tmp_path / "keys").exists()


def test_a_new_stream_is_named_by_kind_and_time_and_never_twice() -> None:
    names = {new_stream("run", Clock()) for _ in range(1000)}
    assert len(names) == 1000
    assert {(name[:4], len(name)) for name in names} == {("run/", 30)}
    assert len({name[4:14] for name in names}) == 1
