"""The words spoken with the render worker. Source: render/wire.go; both sides change together.

Both directions: four bytes of length, big-endian, then JSON. A request is followed by any number of asks, each
answered by a given, and ends with what was done.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Raw, Struct

from trueup.core.health.rules import Lua, Rule, Said
from trueup.core.model import Json, Place
from trueup.core.render import Asked, Hook, Made, Output, Seen, Warned

VERSION = 1
MAX_BYTES = 256 << 20


class Hello(Struct, frozen=True):
    protocol: int
    confined: bool
    versions: dict[str, str]


class Ask(Struct, frozen=True):
    op: str  # "list" | "below" | "blobs"
    list: str = ""
    below: str = ""
    blobs: tuple[str, ...] = ()


class _Object(Struct, frozen=True):
    body: Raw
    origin: str = ""
    crd: bool = False


class _Hook(Struct, frozen=True):
    body: Raw
    origin: str = ""
    events: tuple[str, ...] = ()
    weight: int = 0
    deletion: tuple[str, ...] = ()


class Fault(Struct, frozen=True):
    message: str
    file: str = ""
    line: int = 0
    fix: str = ""


class Done(Struct, frozen=True):
    objects: tuple[_Object, ...] | None = None
    hooks: tuple[_Hook, ...] | None = None
    notes: str = ""
    fault: Fault | None = None
    warnings: tuple[Fault, ...] = ()
    differs: tuple[str, ...] = ()
    trace: tuple[Seen, ...] | None = None
    judged: tuple[Said, ...] = ()
    paths: tuple[tuple[str | int, ...], ...] = ()

    def output(self) -> Output:
        return Output(
            objects=tuple(Made(body(o.body), o.origin, o.crd) for o in self.objects or ()),
            hooks=tuple(Hook(body(h.body), h.origin, h.events, h.weight, h.deletion) for h in self.hooks or ()),
            notes=self.notes,
            warnings=tuple(Warned(Place(w.file, w.line), w.message, w.fix) for w in self.warnings),
            differs=self.differs,
            trace=self.trace or (),
        )


class Answer(Struct, frozen=True):
    ask: Ask | None = None
    done: Done | None = None


def body(raw: Raw) -> object:
    return msgspec.json.decode(raw)


def request(asked: Asked, tree: str) -> bytes:
    fields = msgspec.to_builtins(asked)
    fields["kind"] = fields.pop("type")
    return msgspec.json.encode({**fields, "tree": tree})


def health(rules: Sequence[Rule], inputs: Sequence[tuple[int, Json]]) -> bytes:
    how = [
        {"lua": r.how.script, "open": r.how.open} if isinstance(r.how, Lua) else msgspec.to_builtins(r.how)
        for r in rules
    ]
    asked = [{"rule": number, "body": body} for number, body in inputs]
    return msgspec.json.encode({"kind": "health", "rules": how, "inputs": asked})


def jq(programs: Sequence[str], body: Json) -> bytes:
    return msgspec.json.encode({"kind": "jq", "programs": list(programs), "input": body})


def entries(found: tuple[tuple[str, int, str], ...]) -> bytes:
    return msgspec.json.encode({"entries": [{"name": n, "mode": m, "oid": o} for n, m, o in found]})


def blobs(found: Mapping[str, bytes]) -> bytes:
    return msgspec.json.encode({"blobs": {oid: base64.b64encode(data).decode() for oid, data in found.items()}})


def fault(message: str) -> bytes:
    return msgspec.json.encode({"fault": message})


async def receive(reader: asyncio.StreamReader) -> bytes:
    """One message. Raises asyncio.IncompleteReadError at the end, ValueError when it is too large."""
    size = int.from_bytes(await reader.readexactly(4), "big")
    if size > MAX_BYTES:
        raise ValueError(f"a message of {size} bytes is larger than {MAX_BYTES}")
    return await reader.readexactly(size)


def frame(message: bytes) -> bytes:
    return len(message).to_bytes(4, "big") + message
