"""Ledgers told as YAML: one line an event, `at` in seconds from the start of the story, `by` a person's name."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import yaml

from trueup.core.events import Draft, Event, Fact
from trueup.core.ledger import FACTS
from trueup.core.model import Principal

START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
KINDS = {str(kind.__struct_config__.tag): kind for kind in FACTS}


def lines(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load((Path(__file__).parent / f"{name}.yaml").read_text()))


def fact(line: dict[str, Any]) -> Fact:
    data = {k: v for k, v in line.items() if k not in ("at", "in", "is", "by")}
    return msgspec.convert({**data, "kind": line["is"]}, KINDS[line["is"]])


def by(line: dict[str, Any]) -> Principal:
    return Principal(line.get("by", "trueup"), "test")


def draft(line: dict[str, Any]) -> Draft:
    return Draft(fact=fact(line), by=by(line))


def tell(name: str) -> list[Event]:
    """The story's events, in order, with sequence numbers and without hashes."""
    seqs: dict[str, int] = {}
    events = []
    for line in lines(name):
        stream = line["in"]
        seqs[stream] = seqs.get(stream, 0) + 1
        events.append(
            Event(
                stream=stream,
                seq=seqs[stream],
                time=START + timedelta(seconds=line["at"]),
                by=by(line),
                cause="",
                version=1,
                fact=fact(line),
                prev="",
                hash="",
            )
        )
    return events
