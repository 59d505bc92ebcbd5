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


def test_a_new_stream_is_named_by_kind_and_time_and_never_twice() -> None:
    names = {new_stream("run", Clock()) for _ in range(1000)}
    assert len(names) == 1000
    assert {(name[:4], len(name)) for name in names} == {("run/", 30)}
    assert len({name[4:14] for name in names}) == 1
