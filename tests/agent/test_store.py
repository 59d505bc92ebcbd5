"""What the agent keeps, and what a copy of it tells."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from trueup.agent.atrest import KeyLost, key_of
from trueup.agent.store import Held, PodRow, Rollout, Store, Template, put_object, put_pod, put_rollout, put_template
from trueup.core.layout import Layout
from trueup.core.model import Ref
from trueup.ports import Moved
from trueup.store.keys import sealing_key

REF = Ref("host", "", "Secret", "default", "token")
HELD = Held(
    application="a", candidate="c", ref=REF, body={"stringData": {"TOKEN": "topaz"}}, hash="h", uid="u", generation=1
)
TEMPLATE = Template(body={"spec": {}}, config={"Secret/token": {"TOKEN": "dG9wYXo="}})
POD = PodRow(name="web-1", workload=REF, uid="u", template="t", created=datetime(2026, 1, 1, tzinfo=UTC))


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Store]:
    (folder / "agent").mkdir(exist_ok=True)
    store = Store(folder / "agent/agent.db", folder / "keys/agent.key")
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def fill(store: Store) -> None:
    await store.write([put_object(HELD), put_rollout(REF, Rollout()), put_template(REF, "t", TEMPLATE), put_pod(POD)])
    await store.record([Moved(0, "a", REF, "changed: topaz")])


async def check(store: Store) -> None:
    assert await store.objects() == (HELD,)
    assert await store.pods() == (POD,)
    assert await store.rollout(REF) == (Rollout(), {"t": TEMPLATE})
    (moved,) = await store.moved(0)
    assert (moved.ref, moved.seq) == (REF, 1)


def bytes_of(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in sorted((folder / "agent").iterdir()))


async def test_gives_back_what_was_kept_and_a_copy_of_the_files_tells_none_of_it(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await fill(store)
        assert b"topaz" not in bytes_of(tmp_path) and b"dG9wYXo" not in bytes_of(tmp_path)
    async with opened(tmp_path) as store:
        await check(store)
    assert (tmp_path / "keys/agent.key").stat().st_mode & 0o777 == 0o600


async def test_what_a_version_wrote_that_did_not_seal_is_read_and_sealed(tmp_path: Path) -> None:
    async with opened(tmp_path):
        pass
    db = sqlite3.connect(tmp_path / "agent/agent.db")
    for sql, args in (put_object(HELD), put_rollout(REF, Rollout()), put_template(REF, "t", TEMPLATE), put_pod(POD)):
        db.execute(sql, args)
    db.execute("INSERT INTO journal (data) VALUES (?)", (msgspec.json.encode(Moved(0, "a", REF, "changed: topaz")),))
    db.commit()
    db.close()
    assert b"topaz" in bytes_of(tmp_path)
    async with opened(tmp_path) as store:
        await check(store)
        assert b"topaz" not in bytes_of(tmp_path)


def test_the_key_stands_where_the_other_keys_do(tmp_path: Path) -> None:
    layout = Layout(str(tmp_path / "state"))
    inside = tmp_path / "state/keys/agent.key"
    assert key_of(layout) == inside
    inside.parent.mkdir(parents=True)
    inside.with_name("apart").write_text(f"{tmp_path}/elsewhere\n")
    assert key_of(layout) == tmp_path / "elsewhere/agent.key" == sealing_key(layout, "agent.key")
    inside.touch()
    assert key_of(layout) == inside == sealing_key(layout, "agent.key")


async def test_without_its_key_nothing_is_taken_for_gone(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await fill(store)
    key = tmp_path / "keys/agent.key"
    saved = key.read_bytes()
    for wrong, says in ((None, "is gone"), (bytes(32), "sealed under another"), (b"short", "holds 5 bytes")):
        key.unlink()
        if wrong is not None:
            key.write_bytes(wrong)
            key.chmod(0o600)
        with pytest.raises(KeyLost, match=says) as caught:
            async with opened(tmp_path) as store:
                await store.objects()
        assert "put the saved one back" in str(caught.value)
        key.touch()
    key.write_bytes(saved)
    key.chmod(0o644)
    with pytest.raises(KeyLost, match="chmod 600"):
        async with opened(tmp_path):
            pass
    key.chmod(0o600)
    async with opened(tmp_path) as store:
        await check(store)
