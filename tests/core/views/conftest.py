"""Ledgers told as YAML: one line an event, `at` in seconds from the start of the story."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from trueup.core import events as ev
from trueup.core.model import Principal
from trueup.core.views.chronicle import Chronicle, read

START = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
CASES = Path(__file__).parent / "cases"
KINDS = {
    str(c.__struct_config__.tag): c
    for c in vars(ev).values()
    if isinstance(c, type) and issubclass(c, ev.Fact) and c is not ev.Fact
}


def tell(lines: list[dict[str, Any]]) -> list[ev.Event]:
    seqs: dict[str, int] = {}
    events = []
    for line in lines:
        line = dict(line)
        stream, at, kind = line.pop("in"), line.pop("at"), line.pop("is")
        by = line.pop("by", "trueup")
        seqs[stream] = seqs.get(stream, 0) + 1
        fact = msgspec.convert({**line, "kind": kind}, KINDS[kind])
        events.append(
            ev.Event(
                stream=stream,
                seq=seqs[stream],
                time=START + timedelta(seconds=at),
                by=Principal(by, "test"),
                cause="",
                version=1,
                fact=fact,
                prev="",
                hash="",
            )
        )
    return events


@pytest.fixture
def story() -> Callable[[str], Chronicle]:
    def load(name: str) -> Chronicle:
        return read(tell(yaml.safe_load((CASES / f"{name}.yaml").read_text())))

    return load


@pytest.fixture
def start() -> datetime:
    return START
