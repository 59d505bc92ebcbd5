"""Bytes of events: sealing, reading what other versions wrote, folding, identities."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueup.core.events import (
    CandidateChecked,
    Draft,
    Event,
    Fact,
    JobFinished,
    SourceMoved,
    SourcePaused,
    SourceUp,
)
from trueup.core.ledger import (
    FACTS,
    Entry,
    Opaque,
    Unreadable,
    decode,
    decoder,
    export_line,
    fold_all,
    head_of,
    import_line,
    seal,
    seal_all,
    ulid,
)
from trueup.core.model import Principal, TestCount

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
ANN = Principal("git:ann@example.org", "push:abc")


def draft(fact: Fact) -> Draft:
    return Draft(fact=fact, by=ANN)


def stored(**body: Any) -> Entry:
    whole = {
        "stream": "source/a",
        "seq": 1,
        "time": "2026-01-02T03:04:05Z",
        "by": {"name": "n", "authority": "a"},
        "cause": "",
        "version": 1,
    }
    return Entry(stream="source/a", seq=1, prev="", hash="00", body=json.dumps(whole | body).encode())


def canonical(event: Event) -> dict[str, Any]:
    """What is hashed of an event, by the definition."""
    fields = msgspec.structs.asdict(event)
    return {name: value for name, value in fields.items() if name not in ("prev", "hash")}


class TestSeal:
    def test_hashes_the_hash_before_and_sorted_json(self) -> None:
        (_, first), (event, second) = (
            seal("source/a", None, draft(SourceUp()), NOW),
            seal("source/a", head_of(seal("source/a", None, draft(SourceUp()), NOW)[0]), draft(SourceUp()), NOW),
        )
        fields = json.loads(second.body)
        assert second.body == json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()
        assert second.hash == hashlib.sha256(first.hash.encode() + b"\n" + second.body).hexdigest()
        assert (event.seq, event.prev, event.hash) == (2, first.hash, second.hash)

    def test_keeps_times_in_utc(self) -> None:
        event, entry = seal("source/a", None, draft(SourceUp()), NOW.astimezone(timezone(timedelta(hours=8))))
        assert event.time == NOW
        assert b'"time":"2026-01-02T03:04:05.678901Z"' in entry.body

    def test_refuses_a_fact_that_could_not_be_read_back(self) -> None:
        wrong: Any = 7
        with pytest.raises(Unreadable, match="source/a@1 is not recorded, for it could not be read back"):
            seal("source/a", None, draft(SourceMoved(before="", after=wrong)), NOW)

    @given(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8")), st.datetimes())
    def test_is_canonical_whatever_is_in_it(self, one: str, two: str, time: datetime) -> None:
        drafts = [
            Draft(fact=SourcePaused(until=time.replace(tzinfo=UTC), why=one), by=Principal(two, one), cause=cause)
            for cause in (one, two)
        ]
        events, entries = seal_all(f"source/{one}", None, drafts, NOW)
        for event, entry in zip(events, entries, strict=True):
            assert decode(entry) == event
            assert msgspec.json.format(msgspec.json.encode(canonical(event), order="sorted"), indent=-1) == entry.body

    @pytest.mark.parametrize(
        "fact",
        [
            JobFinished(job="test", outcome="failure", seconds=0.1, tests=TestCount(passed=3, failed=1)),
            SourcePaused(until=NOW, why="línea\n✓"),
            SourcePaused(until=None, why=""),
        ],
    )
    def test_reads_back_what_it_wrote(self, fact: Fact) -> None:
        event, entry = seal("source/a", None, draft(fact), NOW)
        assert event.fact == fact
        assert decode(entry) == event

    def test_every_kind_has_a_tag_of_its_own(self) -> None:
        tags = [fact.__struct_config__.tag for fact in FACTS]
        assert len(tags) == len(set(tags)) > 30


class TestOtherVersions:
    def test_an_unknown_kind_is_kept_as_it_is(self) -> None:
        entry = stored(fact={"kind": "tenant.created", "name": "acme", "deep": {"list": [1, 2.5, None]}}, version=3)
        event = decode(entry)
        assert isinstance(event.fact, Opaque)
        assert event.fact.of == "tenant.created"
        assert event.fact.data["deep"] == {"list": [1, 2.5, None]}
        assert (event.version, event.hash) == (3, "00")

    def test_a_newer_version_of_a_known_kind_is_not_interpreted(self) -> None:
        fact = decode(stored(fact={"kind": "source.up"}, version=SourceUp.VERSION + 1)).fact
        assert fact == Opaque(of="source.up", data={"kind": "source.up"})

    def test_an_older_version_is_brought_up_step_by_step(self) -> None:
        class Sized(Fact, frozen=True, tag="test.sized"):
            VERSION = 3
            size_bytes: int

        upcasts = {
            ("test.sized", 1): lambda data: {"kind": "test.sized", "size_kb": data["size"]},
            ("test.sized", 2): lambda data: {"kind": "test.sized", "size_bytes": data["size_kb"] * 1024},
        }
        read = decoder([Sized, SourceUp], upcasts)
        event = read(stored(fact={"kind": "test.sized", "size": 2}, version=1))
        assert event.fact == Sized(size_bytes=2048)
        assert event.version == 3
        assert read(stored(fact={"kind": "test.sized", "size_bytes": 5}, version=3)).fact == Sized(size_bytes=5)

    def test_a_check_of_before_undo_was_a_setting_says_nothing_of_it(self) -> None:
        event = decode(stored(fact={"kind": "candidate.checked", "errors": 0, "warnings": 2, "first": ""}, version=1))
        assert event.fact == CandidateChecked(errors=0, warnings=2, undo="")
        assert event.version == 2

    @pytest.mark.parametrize(
        ("body", "what"),
        [
            ({"fact": {"kind": "source.moved"}}, "missing required field"),
            ({"fact": {"kind": "source.up"}, "version": 0}, "source.up"),
            ({"fact": {}}, "kind"),
            ({"fact": 3}, "source/a@1 cannot be read"),
            ({"fact": {"kind": "source.up"}, "by": None}, "cannot be read"),
        ],
    )
    def test_what_breaks_its_promise_is_named(self, body: dict[str, Any], what: str) -> None:
        with pytest.raises(Unreadable, match=what):
            decode(stored(**body))

    def test_what_is_no_json_is_named(self) -> None:
        with pytest.raises(Unreadable, match="source/a@1 is not JSON"):
            decode(Entry(stream="source/a", seq=1, prev="", hash="", body=b'{"seq":'))


def test_fold_goes_by_kind_and_passes_over_what_it_does_not_know() -> None:
    def moved(state: list[str], fact: SourceMoved, event: Event) -> list[str]:
        return [*state, f"{event.seq}:{fact.after}"]

    drafts = [draft(SourceMoved(before="", after="a")), draft(SourceUp()), draft(SourceMoved(before="a", after="b"))]
    events, _ = seal_all("source/a", None, drafts, NOW)
    assert fold_all([], events, {SourceMoved: moved}) == ["1:a", "3:b"]


class TestExport:
    @given(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8")))
    def test_a_line_gives_back_its_entry(self, name: str, why: str) -> None:
        sealed = Draft(fact=SourcePaused(until=None, why=why), by=Principal(name, '","prev":"'))
        _, entries = seal_all("source/a", None, [sealed, sealed], NOW)
        for entry in entries:
            line = export_line(entry)
            assert line.count(b"\n") == 1
            assert import_line(line) == entry
            assert msgspec.json.decode(line)["hash"] == entry.hash

    @pytest.mark.parametrize("line", [b"", b"{}", b"[1]\n", b'{"stream":"s","seq":1,"prev":"","hash":"x","z":1}\n'])
    def test_another_line_is_refused(self, line: bytes) -> None:
        with pytest.raises(Unreadable):
            import_line(line)


class TestUlid:
    def test_is_as_the_specification_says(self) -> None:
        # Its example 01ARZ3NDEKTSV4RRFFQ69G5FAV, as time and randomness
        time = datetime.fromtimestamp(1469922850.259, UTC)
        assert ulid(time, bytes.fromhex("d6764c61efb99302bd5b")) == "01arz3ndektsv4rrffq69g5fav"

    @given(st.datetimes(min_value=datetime(1970, 1, 2)), st.datetimes(min_value=datetime(1970, 1, 2)))
    def test_sorts_by_time(self, one: datetime, two: datetime) -> None:
        early, late = sorted(moment.replace(tzinfo=UTC) for moment in (one, two))
        if late - early >= timedelta(milliseconds=2):
            assert ulid(early, b"\xff" * 10) < ulid(late, b"\0" * 10)

    def test_wants_ten_bytes(self) -> None:
        with pytest.raises(ValueError, match="10 random bytes, not 9"):
            ulid(NOW, b"123456789")
