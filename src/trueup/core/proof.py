"""What a ledger proves: walks its entries in the order of acknowledgement and names the first break. Pure.

Within a stream each event is chained to the one before. Across streams a checkpoint signs the heads of all of them.
Whoever holds the key could write everything anew; so a checkpoint is anchored in Git, in the trailer of a commit
of ours, where others have it too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import TypeAlias

import msgspec
from msgspec import Struct

from trueup.core.events import Checkpoint, Event
from trueup.core.ledger import ADMINISTRATION, Entry, Unreadable, chain, decode

Check: TypeAlias = Callable[[bytes, bytes], bool]  # (payload, signature) → it is ours

TRAILER = "Trueup-Checkpoint"


class Break(Struct, frozen=True):
    """The first place where the record is not what it claims to be."""

    where: str  # "<stream>@<seq>"
    what: str


class Proven(Struct, frozen=True):
    """A checkpoint that holds: everything acknowledged before it is as it was written."""

    seq: int  # of the checkpoint in "ledger/0"
    hash: str
    time: datetime
    events: int  # how many it covers
    anchor: str = ""  # the commit that carries it, "" when only signed


class Verification(Struct, frozen=True):
    """`anchored` proves against everyone, `signed` against those without the key; the events after it are only
    chained: their number is `chained`. `strangers` are the checkpoints in Git that this ledger does not have and
    its key did not sign: of another ledger, or of anybody."""

    events: int
    streams: int
    signed: Proven | None = None
    anchored: Proven | None = None
    chained: int = 0
    strangers: int = 0
    broken: Break | None = None

    @property
    def ok(self) -> bool:
        return self.broken is None


def heads_digest(heads: Mapping[str, tuple[int, str]]) -> str:
    """SHA-256 over the sorted lines "<stream> <seq> <hash>"; lower-case hex."""
    lines = (f"{stream} {seq} {digest}\n" for stream, (seq, digest) in sorted(heads.items()))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def checkpoint_payload(heads: str, streams: int, anchor: str) -> bytes:
    """What a checkpoint's signature covers. The heads include "ledger/0" itself, so checkpoints cannot be swapped."""
    return f"trueup checkpoint 1\n{heads}\n{streams}\n{anchor}\n".encode()


def trailer_value(checkpoint: Event, sign: Callable[[bytes], bytes]) -> str:
    """What stands behind `Trueup-Checkpoint:` in the commit that anchors this checkpoint: "<seq> <hash> <signature>",
    so that nobody without the key can make a ledger look cut by a commit of theirs."""
    name = _name(checkpoint)
    return f"{name} {sign(_anchor_payload(name)).hex()}"


def _name(checkpoint: Event) -> str:
    return f"{checkpoint.seq} {checkpoint.hash}"


def _anchor_payload(name: str) -> bytes:
    return f"trueup anchor 1\n{name}\n".encode()


class _Anchor(Struct, frozen=True):
    """A checkpoint that commits name. `ours`: one of them was signed with this ledger's key."""

    commit: str
    ours: bool


def _anchors(values: Mapping[str, str], check: Check) -> dict[str, _Anchor]:
    """By "<seq> <hash>"."""
    found: dict[str, _Anchor] = {}
    for value, commit in sorted(values.items()):
        name = " ".join(value.split()[:2])
        ours = _signed(value, name, check)
        if name not in found or (ours and not found[name].ours):
            found[name] = _Anchor(commit, ours)
    return found


def _signed(value: str, name: str, check: Check) -> bool:
    try:
        return check(_anchor_payload(name), bytes.fromhex(value.removeprefix(name).strip()))
    except ValueError:
        return False


def verify_stream(entries: Iterable[Entry]) -> Break | None:
    """Check one whole stream, in its order: numbers without gaps, each event chained to the one before."""
    before: _End | None = None
    for entry in entries:
        what = _wrong(before, entry)
        if what:
            return Break(where=f"{entry.stream}@{entry.seq}", what=what)
        before = _end(entry)
    return None


def verify(entries: Iterable[Entry], check: Check, anchors: Mapping[str, str]) -> Verification:
    """Check every entry, in the order of acknowledgement.

    `check` tells a signature of ours; `anchors` are the trailer values found in Git, each with its commit. A trailer
    that this ledger's key signed and that names a checkpoint that is not here means that the ledger was cut off or
    replaced. One that it did not sign means nothing for this ledger: other state folders watch the same repository.
    """
    walk, known = _Walk(), _anchors(anchors, check)
    for entry in entries:
        what = walk.take(entry, check, known)
        if what:
            return walk.result(Break(where=f"{entry.stream}@{entry.seq}", what=what))
    missing = {name: anchor for name, anchor in sorted(known.items()) if name not in walk.met}
    for name, anchor in missing.items():
        if anchor.ours:
            where = f"{ADMINISTRATION}@{name.partition(' ')[0]}"
            what = (
                f"commit {anchor.commit} carries this checkpoint, but the ledger has none like it: cut off or replaced"
            )
            return walk.result(Break(where=where, what=what))
    return walk.result(None, len(missing))


class _Stamp(Struct):
    """What every body says of itself."""

    stream: str
    seq: int
    time: datetime


class _End(Struct, frozen=True):
    seq: int
    hash: str
    time: datetime


_stamp = msgspec.json.Decoder(_Stamp)


def _end(entry: Entry) -> _End:
    return _End(seq=entry.seq, hash=entry.hash, time=_stamp.decode(entry.body).time)


def _wrong(before: _End | None, entry: Entry) -> str:
    """What is wrong with an entry that follows `before`; "" when nothing is."""
    due, prev = (before.seq + 1, before.hash) if before else (1, "")
    if entry.seq != due:
        return f"event {due} was due here: an event is missing, doubled or out of order"
    if entry.prev != prev:
        return "it does not follow from the event before"
    if chain(prev, entry.body) != entry.hash:
        return "its content or its hash was changed after it was written"
    try:
        stamp = _stamp.decode(entry.body)
    except msgspec.MsgspecError as error:
        return f"it is no event: {error}"
    if (stamp.stream, stamp.seq) != (entry.stream, entry.seq):
        return f"it was written as {stamp.stream}@{stamp.seq}"
    if before and stamp.time < before.time:
        return "its time lies before that of the event before it"
    return ""


class _Walk:
    """The heads so far, and what they have been proven by."""

    def __init__(self) -> None:
        self.ends: dict[str, _End] = {}
        self.events = 0
        self.signed: Proven | None = None
        self.anchored: Proven | None = None
        self.met: set[str] = set()

    def take(self, entry: Entry, check: Check, anchors: Mapping[str, _Anchor]) -> str:
        what = _wrong(self.ends.get(entry.stream), entry)
        if not what and entry.stream == ADMINISTRATION:
            what = self.prove(entry, check, anchors)
        if not what:
            self.ends[entry.stream] = _end(entry)
            self.events += 1
        return what

    def prove(self, entry: Entry, check: Check, anchors: Mapping[str, _Anchor]) -> str:
        try:
            event = decode(entry)
        except Unreadable as error:
            return str(error)
        if not isinstance(event.fact, Checkpoint):
            return ""
        what = self.unproven(event.fact, check)
        if what:
            return what
        name = _name(event)
        commit = anchors[name].commit if name in anchors else ""
        self.signed = Proven(seq=event.seq, hash=event.hash, time=event.time, events=self.events, anchor=commit)
        if commit:
            self.met.add(name)
            self.anchored = self.signed
        return ""

    def unproven(self, fact: Checkpoint, check: Check) -> str:
        """Why this checkpoint does not prove what came before it; "" when it does."""
        try:
            signature = bytes.fromhex(fact.signature)
        except ValueError:
            return "its signature is not hexadecimal"
        if not check(checkpoint_payload(fact.heads, fact.streams, fact.anchor), signature):
            return "its signature is not by this ledger's key"
        heads = {stream: (end.seq, end.hash) for stream, end in self.ends.items()}
        if (fact.streams, fact.heads) != (len(heads), heads_digest(heads)):
            return (
                f"it signs other heads ({fact.streams} streams) than the events before it give ({len(heads)}): "
                "events were removed, added or moved"
            )
        return ""

    def result(self, broken: Break | None, strangers: int = 0) -> Verification:
        covered = self.signed.events + 1 if self.signed else 0
        return Verification(
            events=self.events,
            streams=len(self.ends),
            signed=self.signed,
            anchored=self.anchored,
            chained=max(0, self.events - covered),
            strangers=strangers,
            broken=broken,
        )
