"""Whatever was done to a record of events, verifying names the place."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trueup.core.events import Checkpoint, Draft, Event, Fact, SourceMoved, SourceUp
from trueup.core.ledger import ADMINISTRATION, Entry, Head, head_of, seal
from trueup.core.model import Principal
from trueup.core.proof import (
    Break,
    checkpoint_payload,
    heads_digest,
    trailer_value,
    verify,
    verify_stream,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TRUEUP = Principal("trueup", "ledger")
STREAMS = ("source/a", "run/b", "run/c")


def sign(payload: bytes) -> bytes:
    return hmac.digest(b"key", payload, "sha256")


def check(payload: bytes, signature: bytes) -> bool:
    return hmac.compare_digest(sign(payload), signature)


class Pen:
    """Writes entries as a ledger does."""

    def __init__(self) -> None:
        self.heads: dict[str, Head] = {}
        self.log: list[Entry] = []

    def write(self, stream: str, fact: Fact, now: datetime = NOW) -> Event:
        event, entry = seal(stream, self.heads.get(stream), Draft(fact=fact, by=TRUEUP), now)
        self.heads[stream] = head_of(event)
        self.log.append(entry)
        return event

    def checkpoint(self) -> Event:
        heads = {stream: (head.seq, head.hash) for stream, head in self.heads.items()}
        digest = heads_digest(heads)
        signature = sign(checkpoint_payload(digest, len(heads), "")).hex()
        return self.write(ADMINISTRATION, Checkpoint(heads=digest, streams=len(heads), signature=signature))


def written(choices: Sequence[int]) -> tuple[list[Entry], Mapping[str, str]]:
    """A log from choices (a stream each, or a checkpoint), closed by an anchored checkpoint."""
    pen = Pen()
    for number, choice in enumerate(choices):
        if choice < len(STREAMS):
            pen.write(STREAMS[choice], SourceMoved(before="", after=str(number)), NOW + timedelta(seconds=number))
        else:
            pen.checkpoint()
    return pen.log, {trailer_value(pen.checkpoint(), sign): "c0ffee"}


logs = st.lists(st.integers(0, len(STREAMS)), min_size=1, max_size=12).map(written)


@given(logs)
def test_what_was_appended_verifies(log: tuple[list[Entry], Mapping[str, str]]) -> None:
    entries, anchors = log
    found = verify(entries, check, anchors)
    assert found.broken is None
    assert (found.events, found.chained) == (len(entries), 0)
    assert found.anchored is not None
    assert found.anchored.events == len(entries) - 1
    for stream in {entry.stream for entry in entries}:
        assert verify_stream([entry for entry in entries if entry.stream == stream]) is None


@settings(max_examples=300)
@given(logs, st.data())
def test_any_single_byte_changed_is_found(log: tuple[list[Entry], Mapping[str, str]], data: st.DataObject) -> None:
    entries, anchors = log
    at = data.draw(st.integers(0, len(entries) - 1))
    field = data.draw(st.sampled_from(["stream", "prev", "hash", "body"]))
    value = getattr(entries[at], field)
    content = bytearray(value if isinstance(value, bytes) else value.encode())
    if not content:  # the first event's `prev`
        content = bytearray(1)
    where = data.draw(st.integers(0, len(content) - 1))
    content[where] ^= data.draw(st.integers(1, 127))
    changed = bytes(content) if field == "body" else content.decode("latin-1")
    entries[at] = msgspec.structs.replace(entries[at], **{field: changed})
    assert not verify(entries, check, anchors).ok


@given(logs, st.data())
def test_any_event_removed_is_found(log: tuple[list[Entry], Mapping[str, str]], data: st.DataObject) -> None:
    entries, anchors = log
    del entries[data.draw(st.integers(0, len(entries) - 1))]
    assert not verify(entries, check, anchors).ok


@given(logs, st.data())
def test_a_ledger_cut_off_is_found(log: tuple[list[Entry], Mapping[str, str]], data: st.DataObject) -> None:
    entries, anchors = log
    del entries[data.draw(st.integers(0, len(entries) - 1)) :]
    assert not verify(entries, check, anchors).ok


@given(logs, st.data())
def test_events_of_a_stream_in_another_order_are_found(
    log: tuple[list[Entry], Mapping[str, str]], data: st.DataObject
) -> None:
    entries, anchors = log
    stream = data.draw(st.sampled_from([entry.stream for entry in entries]))
    places = [at for at, entry in enumerate(entries) if entry.stream == stream]
    if len(places) > 1:
        one, two = data.draw(st.lists(st.sampled_from(places), min_size=2, max_size=2, unique=True))
        entries[one], entries[two] = entries[two], entries[one]
        assert not verify(entries, check, anchors).ok


@given(logs, st.data())
def test_an_event_moved_across_a_checkpoint_is_found(
    log: tuple[list[Entry], Mapping[str, str]], data: st.DataObject
) -> None:
    entries, anchors = log
    at = data.draw(st.integers(0, len(entries) - 2))
    entries.append(entries.pop(at))
    assert not verify(entries, check, anchors).ok


def rewritten() -> list[Entry]:
    """A whole history written anew, chains and all, by someone without the key."""
    pen = Pen()
    pen.write("source/a", SourceMoved(before="", after="forged"))
    heads = heads_digest({"source/a": (1, pen.heads["source/a"].hash)})
    pen.write(ADMINISTRATION, Checkpoint(heads=heads, streams=1, signature="00" * 32))
    return pen.log


class TestNames:
    """The first break is named by stream and seq, and says what is wrong."""

    def log(self) -> list[Entry]:
        pen = Pen()
        for number in range(3):
            pen.write("source/a", SourceMoved(before="", after=str(number)), NOW + timedelta(seconds=number))
        pen.checkpoint()
        pen.write("source/a", SourceUp())
        return pen.log

    def broken(self, entries: list[Entry], anchors: Mapping[str, str] | None = None) -> Break:
        found = verify(entries, check, anchors or {}).broken
        assert found is not None
        return found

    def test_a_changed_event(self) -> None:
        log = self.log()
        log[1] = msgspec.structs.replace(log[1], body=log[1].body.replace(b'"after":"1"', b'"after":"9"'))
        assert self.broken(log) == Break("source/a@2", "its content or its hash was changed after it was written")

    def test_a_changed_event_with_its_hash(self) -> None:
        log = self.log()
        body = log[1].body.replace(b'"after":"1"', b'"after":"9"')
        forged = hashlib.sha256(log[1].prev.encode() + b"\n" + body).hexdigest()
        log[1] = msgspec.structs.replace(log[1], body=body, hash=forged)
        assert self.broken(log) == Break("source/a@3", "it does not follow from the event before")

    def test_a_missing_event(self) -> None:
        log = self.log()
        del log[1]
        assert self.broken(log).where == "source/a@3"
        assert "event 2 was due" in self.broken(log).what

    def test_a_missing_end_of_a_stream(self) -> None:
        log = self.log()
        del log[2], log[3]
        assert self.broken(log).where == "ledger/0@1"
        assert "events were removed" in self.broken(log).what

    def test_a_missing_checkpoint_that_a_commit_carries(self) -> None:
        gone = msgspec.structs.replace(Pen().checkpoint(), seq=7, hash="abc")
        found = self.broken(self.log(), {trailer_value(gone, sign): "c0ffee"})
        assert found.where == "ledger/0@7"
        assert "commit c0ffee carries this checkpoint" in found.what

    @pytest.mark.parametrize("value", ["7 abc", "7 abc zz", f"7 abc {'00' * 32}", "7", ""])
    def test_a_checkpoint_that_our_key_did_not_sign_says_nothing_of_this_ledger(self, value: str) -> None:
        found = verify(self.log(), check, {value: "c0ffee"})
        assert (found.ok, found.strangers, found.anchored) == (True, 1, None)

    def test_an_event_of_another_stream(self) -> None:
        log = self.log()
        log[0] = msgspec.structs.replace(log[0], stream="source/b")
        assert self.broken(log) == Break("source/b@1", "it was written as source/a@1")

    def test_a_history_written_anew_without_the_key(self) -> None:
        assert self.broken(rewritten()) == Break("ledger/0@1", "its signature is not by this ledger's key")

    def test_time_that_went_back(self) -> None:
        pen = Pen()
        pen.write("source/a", SourceUp())
        late = pen.heads["source/a"]
        pen.heads["source/a"] = msgspec.structs.replace(late, time=NOW - timedelta(days=1))
        pen.write("source/a", SourceUp(), NOW - timedelta(hours=1))
        assert "its time lies before" in self.broken(pen.log).what

    @pytest.mark.parametrize("signature", ["zz", "0"])
    def test_a_signature_that_is_none(self, signature: str) -> None:
        pen = Pen()
        pen.write(ADMINISTRATION, Checkpoint(heads=heads_digest({}), streams=0, signature=signature))
        assert self.broken(pen.log) == Break("ledger/0@1", "its signature is not hexadecimal")

    def test_what_is_proven_before_the_break_is_told(self) -> None:
        log = self.log()
        log[4] = msgspec.structs.replace(log[4], hash="00")
        found = verify(log, check, {})
        assert found.broken is not None
        assert found.broken.where == "source/a@4"
        assert found.signed is not None
        assert (found.signed.seq, found.signed.events, found.events, found.chained) == (1, 3, 4, 0)
