"""Appends to a few streams until it is killed; says each acknowledged event on its own line."""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import UTC, datetime

from trueup.core.events import Draft, SourceMoved
from trueup.core.model import Principal
from trueup.store.keys import Signer
from trueup.store.sqlite import SqliteLedger, open_ledger


class Clock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic_s(self) -> float:
        return 0.0


async def write(ledger: SqliteLedger, stream: str) -> None:
    seq = (await ledger.heads()).get(stream, (0, ""))[0]
    while True:
        drafts = [Draft(fact=SourceMoved(before="", after=f"{seq:040x}"), by=Principal("n", "a"))] * 3
        for event in await ledger.append(stream, drafts, expect=seq):
            os.write(1, f"{stream} {event.seq} {event.hash}\n".encode())
            seq = event.seq
        if seq % 30 == 0:
            await ledger.checkpoint()


async def main(path: str) -> None:
    ledger = await open_ledger(path, clock=Clock(), signer=Signer(b"s" * 32))
    await asyncio.gather(*(write(ledger, f"run/{number}") for number in range(5)))


asyncio.run(main(sys.argv[1]))
