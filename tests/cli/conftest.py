"""State folders with a ledger in them, made from a story through the real store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from stories import START, draft, lines
from trueup.cli.main import program
from trueup.core.layout import Layout
from trueup.core.model import Bundle, ImageUse, Object, Place, Ref
from trueup.store.keys import open_keys
from trueup.store.sqlite import open_ledger
from trueup.store.sqlite_records import open_records

DIGEST = "sha256:" + "1" * 64


class StoryClock:
    def __init__(self) -> None:
        self.time = START

    def now(self) -> datetime:
        return self.time

    def monotonic_s(self) -> float:
        return self.time.timestamp()


def thing(kind: str, name: str, image: str = "") -> Object:
    place = Place("config/app.yaml", 3)
    uses = (ImageUse(image, place, 0, len(image), "spec.template.spec.containers[0].image"),) if image else ()
    return Object(Ref("host", "", kind, "default", name), "v1", {"image": image}, "h", place, uses)


def bundle() -> Bundle:
    image = f"ghcr.io/acme/shop:v1@{DIGEST}"
    objects = (thing("Deployment", "web", image), thing("Service", "web"), thing("ConfigMap", "settings"))
    return Bundle("shop", "candidate/1", objects, "h")


async def write(story: str, folder: Path, subject: str) -> None:
    layout, clock = Layout(str(folder)), StoryClock()
    keys = open_keys(layout.keys)
    ledger = await open_ledger(layout.ledger, clock=clock, signer=keys.signer)
    records = await open_records(layout.records, clock=clock, secret=keys.records, ledger=ledger)
    renamed: Mapping[str, str] = {
        name: await records.put("bundle", msgspec.json.encode(bundle()), stream=name) for name in ("b1",)
    }
    seqs: dict[str, int] = {}
    for line in lines(story):
        clock.time = START + timedelta(seconds=line["at"])
        stream = line["in"]
        if subject and "subject" in line:
            line["subject"] = subject
        if line.get("bundle") in renamed:
            line["bundle"] = renamed[line["bundle"]]
        if text := line.get("record"):
            line["record"] = await records.put("excerpt", text.encode(), stream=stream)
        await ledger.append(stream, [draft(line)], expect=seqs.get(stream, 0))
        seqs[stream] = seqs.get(stream, 0) + 1
    await ledger.checkpoint()
    await records.close()
    await ledger.close()


@pytest.fixture
def state(tmp_path: Path) -> Callable[..., Path]:
    """`make(story)`; `subject` is what every commit is called instead."""

    def make(story: str, subject: str = "") -> Path:
        folder = tmp_path / "state"
        folder.mkdir()
        asyncio.run(write(story, folder, subject))
        return folder

    return make


@pytest.fixture
def trueup(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs the command line in this process, its errors not yet turned into lines."""
    monkeypatch.delenv("TRUEUP_STATE", raising=False)
    monkeypatch.delenv("COLUMNS", raising=False)  # pytest sets it for workers beside one another

    def call(*args: str, input: str | None = None) -> Result:
        return CliRunner().invoke(program, list(args), input=input, catch_exceptions=True)

    return call
