"""The ledger and the records in memory: for tests and for dry runs. Same promises, except that nothing survives."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence, Set
from datetime import UTC, datetime, timedelta

from msgspec import Struct

from trueup.core.events import Checkpoint, Draft, Event
from trueup.core.ledger import ADMINISTRATION, Entry, Head, decode, export_line, head_of, seal_all
from trueup.core.model import Principal
from trueup.core.proof import Verification, verify
from trueup.ports import Clock, Ledger, Output
from trueup.store.administration import TRUEUP, Retained, checkpoint_draft, entomb, record_key, refuse_unexpected
from trueup.store.follow import Follower, Followers
from trueup.store.keys import Signer, checker


class MemoryLedger:
    def __init__(self, clock: Clock, signer: Signer) -> None:
        self._clock = clock
        self._signer = signer
        self._streams: dict[str, list[Entry]] = {}
        self._heads: dict[str, Head] = {}
        self._log: list[Entry] = []
        self._followers = Followers()

    async def append(self, stream: str, drafts: Sequence[Draft], *, expect: int) -> tuple[Event, ...]:
        head = self._heads.get(stream)
        refuse_unexpected(stream, head, expect)
        events, entries = seal_all(stream, head, drafts, self._clock.now())
        if events:
            self._streams.setdefault(stream, []).extend(entries)
            self._heads[stream] = head_of(events[-1])
            self._log.extend(entries)
            self._followers.publish(events)
        return events

    async def read(self, stream: str, after: int = 0) -> tuple[Event, ...]:
        return tuple(decode(entry) for entry in self._streams.get(stream, [])[max(after, 0) :])

    async def heads(self, kind: str = "") -> Mapping[str, tuple[int, str]]:
        return {
            stream: (head.seq, head.hash)
            for stream, head in self._heads.items()
            if not kind or stream.startswith(f"{kind}/")
        }

    def follow(self) -> Follower:
        return self._followers.add()

    async def checkpoint(self, anchor: str = "") -> Event:
        if self._log and self._log[-1].stream == ADMINISTRATION:
            last = decode(self._log[-1])
            if isinstance(last.fact, Checkpoint):
                return last
        heads = await self.heads()
        draft = checkpoint_draft(heads, anchor, self._signer)
        expect = heads.get(ADMINISTRATION, (0, ""))[0]
        return (await self.append(ADMINISTRATION, [draft], expect=expect))[0]

    async def entries(self) -> AsyncIterator[Entry]:
        """Everything as stored, in the order of acknowledgement."""
        for entry in tuple(self._log):
            yield entry

    async def export(self, output: Output) -> None:
        """NDJSON, in the order of acknowledgement."""
        async for entry in self.entries():
            output(export_line(entry))

    async def verify(self, anchors: Mapping[str, str]) -> Verification:
        return verify(tuple(self._log), checker(self._signer.public), anchors)

    async def close(self) -> None:
        self._followers.end()


# --- records ----------------------------------------------------------------------------------------


class MemoryRecord(Struct, frozen=True):
    data: bytes
    time: datetime  # of the last put


class MemoryRecords:
    def __init__(self, clock: Clock, secret: bytes, ledger: Ledger) -> None:
        self._clock = clock
        self._secret = secret
        self._ledger = ledger
        self._records: dict[str, MemoryRecord] = {}

    async def put(self, kind: str, data: bytes, *, stream: str = "") -> str:
        key = record_key(self._secret, kind, data)
        self._records.pop(key, None)  # to the end: the newest
        self._records[key] = MemoryRecord(data=data, time=self._clock.now().astimezone(UTC))
        return key

    async def get(self, key: str) -> bytes | None:
        record = self._records.get(key)
        return record.data if record else None

    async def erase(self, key: str, *, why: str = "", by: Principal = TRUEUP) -> None:
        await entomb(self._ledger, key, why, by)
        self._records.pop(key, None)

    async def retain(self, *, max_age_s: float, max_bytes: int, keep: Set[str]) -> Retained:
        """Remove what is older than `max_age_s`, then the oldest until `max_bytes` hold all; never one in `keep`."""
        before, left = len(self._records), sum(len(r.data) for r in self._records.values())
        size, oldest = left, self._clock.now() - timedelta(seconds=max_age_s)
        for key, record in list(self._records.items()):
            if key not in keep and (record.time < oldest or left > max_bytes):
                left -= len(self._records.pop(key).data)
        return Retained(removed=before - len(self._records), freed_bytes=size - left, left_bytes=left)

    async def close(self) -> None:
        self._records.clear()
