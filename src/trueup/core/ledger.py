"""Events as bytes: encoding, chaining, reading old and unknown ones, folding. Pure; never stores anything.

An event is hashed over the bytes that are stored (`Entry`), which are never re-encoded: what a newer version
wrote, or an older one, verifies as it was written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, TypeAlias, TypeVar, Union

import msgspec
from msgspec import Struct

from trueup.core import events
from trueup.core.events import Draft, Event, Fact
from trueup.core.model import Json, Principal

S = TypeVar("S")
Data: TypeAlias = dict[str, Any]
Upcast: TypeAlias = Callable[[Data], Data]  # the data of one version → that of the next; `kind` included
Step: TypeAlias = Callable[[S, Any, Event], S]  # (state, fact, event) → state

ADMINISTRATION = "ledger/0"  # the stream of checkpoints and tombstones


class Head(Struct, frozen=True, gc=False):
    """The end of a stream: what the next event is chained to."""

    seq: int
    hash: str
    time: datetime


class Entry(Struct, frozen=True, gc=False):
    """An event as it is stored. `body` is canonical JSON of all fields but `prev` and `hash`."""

    stream: str
    seq: int
    prev: str
    hash: str
    body: bytes


class Opaque(Fact, frozen=True, tag="opaque"):
    """A fact of a kind, or of a version, that this program does not know: kept, shown, never interpreted."""

    of: str
    data: Json


class Unreadable(Exception):
    """A stored event is not what its kind and version promise: the ledger is damaged; verify it."""


class Body(Struct, frozen=True, gc=False, kw_only=True):
    """What is hashed."""

    by: Principal
    cause: str
    fact: Any
    seq: int
    stream: str
    time: datetime
    version: int


FACTS: tuple[type[Fact], ...] = tuple(
    value
    for value in vars(events).values()
    if isinstance(value, type) and issubclass(value, Fact) and value is not Fact
)

# (kind, version it was written in) → what makes it the next version.
UPCASTS: Mapping[tuple[str, int], Upcast] = {
    ("candidate.checked", 1): lambda data: {**data, "undo": ""},
}

_encoder = msgspec.json.Encoder(order="sorted")
_sha256 = hashlib.sha256()


def chain(prev: str, body: bytes) -> str:
    """SHA-256 over the hash before, a newline and the body; lower-case hex."""
    digest = _sha256.copy()  # cheaper than asking OpenSSL for one each time
    digest.update(f"{prev}\n".encode())
    digest.update(body)
    return digest.hexdigest()


def decoder(facts: Iterable[type[Fact]], upcasts: Mapping[tuple[str, int], Upcast]) -> Callable[[Entry], Event]:
    """A function from a stored entry to its event, for these kinds of facts. It raises Unreadable."""
    kinds = {str(fact.__struct_config__.tag): fact for fact in facts}
    # Built at run time, so only msgspec knows the type; Body says the same to the type checker.
    typed = msgspec.defstruct("TypedBody", [("fact", Union[tuple(kinds.values())])], bases=(Body,), kw_only=True)  # noqa: UP007
    exact = msgspec.json.Decoder(typed)
    loose = msgspec.json.Decoder(Body)

    def fact_of(body: Body) -> tuple[Fact, int]:
        kind, version = str(body.fact["kind"]), body.version
        if kind not in kinds or version > kinds[kind].VERSION:
            return Opaque(of=kind, data=body.fact), version
        data = body.fact
        while version < kinds[kind].VERSION:
            data, version = upcasts[kind, version](data), version + 1
        return msgspec.convert(data, kinds[kind], strict=True), version

    def decode(entry: Entry) -> Event:
        try:
            body: Any = exact.decode(entry.body)
            if body.version == body.fact.VERSION:
                return _event(body, body.fact, body.version, entry)
        except msgspec.ValidationError:
            pass  # an unknown kind, or an older or newer version: read it with care
        except msgspec.DecodeError as error:
            raise Unreadable(f"{entry.stream}@{entry.seq} is not JSON: {error}; run `trueup ledger verify`") from error
        try:
            body = loose.decode(entry.body)
            fact, version = fact_of(body)
        except (msgspec.MsgspecError, KeyError, TypeError) as error:
            where = f"{entry.stream}@{entry.seq}"
            raise Unreadable(f"{where} cannot be read: {error}; run `trueup ledger verify`") from error
        return _event(body, fact, version, entry)

    return decode


def _event(body: Body, fact: Fact, version: int, entry: Entry) -> Event:
    return Event(
        stream=body.stream,
        seq=body.seq,
        time=body.time,
        by=body.by,
        cause=body.cause,
        version=version,
        fact=fact,
        prev=entry.prev,
        hash=entry.hash,
    )


decode = decoder(FACTS, UPCASTS)


_facts = msgspec.json.Decoder(Union[FACTS])  # noqa: UP007
_principals = msgspec.json.Decoder(Principal)


def seal(stream: str, head: Head | None, draft: Draft, now: datetime) -> tuple[Event, Entry]:
    """Chain a draft to the end of its stream (None: a new stream).

    Time never goes back in a stream: when the clock did, the event before gives the time. What is returned was read
    from the bytes to be stored, so that what is acknowledged can be read. Raises Unreadable when it could not be.
    """
    events, entries = seal_all(stream, head, (draft,), now)
    return events[0], entries[0]


def seal_all(
    stream: str, head: Head | None, drafts: Iterable[Draft], now: datetime
) -> tuple[tuple[Event, ...], tuple[Entry, ...]]:
    """Seal several drafts one after the other, all at one time."""
    seq, prev = (head.seq, head.hash) if head else (0, "")
    time = (max(head.time, now) if head else now).astimezone(UTC)
    events: list[Event] = []
    entries: list[Entry] = []
    try:
        for fact, by, cause, body in _bodies(stream, seq + 1, time, drafts):
            seq += 1
            digest = chain(prev, body)
            entries.append(Entry(stream, seq, prev, digest, body))
            events.append(
                Event(
                    stream=stream,
                    seq=seq,
                    time=time,
                    by=by,
                    cause=cause,
                    version=fact.VERSION,
                    fact=fact,
                    prev=prev,
                    hash=digest,
                )
            )
            prev = digest
    except msgspec.ValidationError as error:
        raise Unreadable(f"{stream}@{seq + 1} is not recorded, for it could not be read back: {error}") from error
    return tuple(events), tuple(entries)


def _bodies(
    stream: str, first: int, time: datetime, drafts: Iterable[Draft]
) -> Iterator[tuple[Fact, Principal, str, bytes]]:
    """Each draft's fact, actor and cause as read back, and the canonical JSON of its Body.

    The JSON is put together from its parts, whose keys stand in their order, because drafts of one append share all
    but the fact; this takes half the time of encoding and decoding each Body whole.
    """
    shared = b',"stream":%b,"time":%b,"version":' % (_encoder.encode(stream), _encoder.encode(time))
    by, front, before = Principal("", ""), b"", None
    for seq, draft in enumerate(drafts, first):
        if before is None or draft.by is not before.by or draft.cause != before.cause:
            actor = _encoder.encode(draft.by)
            by, before = _principals.decode(actor), draft
            front = b'{"by":%b,"cause":%b,"fact":' % (actor, _encoder.encode(msgspec.convert(draft.cause, str)))
        data = _encoder.encode(draft.fact)
        fact = _facts.decode(data)
        yield fact, by, draft.cause, b'%b%b,"seq":%d%b%d}' % (front, data, seq, shared, fact.VERSION)


def head_of(event: Event) -> Head:
    return Head(seq=event.seq, hash=event.hash, time=event.time)


def fold(state: S, event: Event, table: Mapping[type[Fact], Step[S]]) -> S:
    """The state after this event. A fact that the table does not name leaves it as it is."""
    step = table.get(type(event.fact))
    return step(state, event.fact, event) if step else state


def fold_all(state: S, events: Iterable[Event], table: Mapping[type[Fact], Step[S]]) -> S:
    for event in events:
        state = fold(state, event, table)
    return state


# --- export ----------------------------------------------------------------------------------------


def export_line(entry: Entry) -> bytes:
    """One line of NDJSON: the body as stored, then `prev` and `hash`."""
    return b'%b,"prev":"%b","hash":"%b"}\n' % (entry.body[:-1], entry.prev.encode(), entry.hash.encode())


class _Ends(Struct):
    stream: str
    seq: int
    prev: str
    hash: str


_ends = msgspec.json.Decoder(_Ends)


def import_line(line: bytes) -> Entry:
    """The entry that `export_line` wrote. Raises Unreadable."""
    try:
        ends = _ends.decode(line)
    except msgspec.MsgspecError as error:
        raise Unreadable(f"not a line of an exported ledger: {error}") from error
    tail = b',"prev":"%b","hash":"%b"}' % (ends.prev.encode(), ends.hash.encode())
    bare = line.rstrip(b"\n")
    if not bare.endswith(tail):
        raise Unreadable(f"{ends.stream}@{ends.seq}: the line does not end with its prev and hash")
    body = bare[: -len(tail)] + b"}"
    return Entry(stream=ends.stream, seq=ends.seq, prev=ends.prev, hash=ends.hash, body=body)


# --- identity --------------------------------------------------------------------------------------

_CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"


def ulid(time: datetime, randomness: bytes) -> str:
    """26 characters that sort by time (milliseconds), then by ten random bytes. Lower case, so that an id may stand
    in the name of a container or a branch. Source: ULID specification, github.com/ulid/spec."""
    if len(randomness) != 10:
        raise ValueError(f"a ULID takes 10 random bytes, not {len(randomness)}")
    number = (int(time.timestamp() * 1000) << 80) | int.from_bytes(randomness, "big")
    return "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))
