"""The state folder, opened as a whole by the one process that owns it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from msgspec import Struct

from trueup.core.layout import Layout
from trueup.ports import Clock
from trueup.store.keys import Keys, Signer, load_key, open_keys, sealing_key
from trueup.store.lock import StateLock
from trueup.store.renders import SqliteRenders, open_renders
from trueup.store.sqlite import SqliteLedger, open_ledger
from trueup.store.sqlite_records import SqliteRecords, open_records


class State(Struct, frozen=True):
    ledger: SqliteLedger
    records: SqliteRecords
    renders: SqliteRenders
    signer: Signer


@asynccontextmanager
async def open_state(layout: Layout, clock: Clock) -> AsyncIterator[State]:
    """Take the folder's lock, then open its keys, ledger and records; all is closed at the end, whatever happens.

    Raises StateBusy, KeyUnreadable, LedgerDamaged, RecordsDamaged."""
    with StateLock(layout.lock):
        keys = await asyncio.to_thread(keys_of, layout)
        ledger = await open_ledger(layout.ledger, clock=clock, signer=keys.signer)
        try:
            records = await open_records(layout.records, clock=clock, secret=keys.records, ledger=ledger)
            try:
                renders = await open_renders(layout.renders, keys.records)
                try:
                    yield State(ledger=ledger, records=records, renders=renders, signer=keys.signer)
                finally:
                    await renders.close()
            finally:
                await records.close()
        finally:
            await ledger.close()


def vault_key(layout: Layout) -> bytes:
    """The key of `drivers.secrets.FileVault`, made at its first use. Blocking. Raises KeyUnreadable."""
    return load_key(sealing_key(layout, "vault.key"), 32)


def keys_of(layout: Layout) -> Keys:
    """Blocking. Raises KeyUnreadable."""
    return open_keys(layout.keys, sealing_key(layout, "records.key"))
