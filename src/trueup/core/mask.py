"""Takes secrets out of what steps print: the values, their lines, and their usual encodings.

Works on a stream: a secret split over two writes is found, since only whole lines (or long pieces, less what could
be the beginning of a secret) leave.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable
from urllib.parse import quote

MASK = b"***"
LONGEST_LINE = 65536
SHORTEST = 3  # masking one or two characters hides nothing and makes every log unreadable
DERIVED_FROM = 6  # encodings are masked for secrets of this many bytes and more: shorter ones hit ordinary text
SHORTEST_PIECE = 8  # of an encoding
SHORTEST_LINE = 4  # of a secret with several lines: "}" alone is no secret


class Masker:
    """Masks a stream of bytes. `feed` returns what may be shown now; `flush` the rest."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._needles: set[bytes] = set()
        self._pattern: re.Pattern[bytes] | None = None
        self._longest = 0
        self._held = b""
        for secret in secrets:
            self.add(secret)

    def add(self, secret: str) -> None:
        """Mask this value too, from the next byte on."""
        self._needles.update(needles(secret))
        ordered = sorted(self._needles, key=lambda needle: (-len(needle), needle))
        self._pattern = re.compile(b"|".join(re.escape(needle) for needle in ordered)) if ordered else None
        self._longest = max(map(len, self._needles), default=0)

    def feed(self, data: bytes) -> bytes:
        held = self._held + data
        end = held.rfind(b"\n") + 1
        if not end and len(held) > LONGEST_LINE:
            return self._long(held)
        self._held = held[end:]
        return self.mask(held[:end]) if end else b""

    def _long(self, held: bytes) -> bytes:
        """A line with no end in sight: let go of all but what a secret could still begin in."""
        masked = self.mask(held)
        keep = max(self._longest - 1, 0)
        self._held = masked[len(masked) - keep :] if keep else b""
        return masked[: len(masked) - keep] if keep else masked

    def flush(self) -> bytes:
        held, self._held = self._held, b""
        return self.mask(held)

    def mask(self, data: bytes) -> bytes:
        """Mask a piece that is whole in itself."""
        return self._pattern.sub(MASK, data) if self._pattern else data

    def text(self, text: str) -> str:
        return self.mask(text.encode("utf-8", "surrogateescape")).decode("utf-8", "replace")

    def holds(self, text: str) -> bool:
        """Whether this text would be changed by masking."""
        return bool(self._pattern and self._pattern.search(text.encode("utf-8", "surrogateescape")))


def needles(secret: str) -> frozenset[bytes]:
    """Every byte string that gives this secret away when shown."""
    found: set[bytes] = set()
    value = secret.strip()
    if len(value) < SHORTEST:
        return frozenset()
    raw = value.encode("utf-8", "surrogateescape")
    found.add(raw)
    lines = [line.strip() for line in value.splitlines()]
    if len(lines) > 1:
        found.update(line.encode("utf-8", "surrogateescape") for line in lines if len(line) >= SHORTEST_LINE)
    if len(raw) >= DERIVED_FROM:
        found.update(_encoded(raw, value))
        found.update(_encoded(secret.encode("utf-8", "surrogateescape"), secret))
    return frozenset(found)


def _encoded(raw: bytes, value: str) -> set[bytes]:
    found = {quote(value, safe="").encode(), quote(value).encode(), json.dumps(value)[1:-1].encode()}
    found.add(json.dumps(value, ensure_ascii=False)[1:-1].encode("utf-8", "surrogateescape"))
    for offset in range(3):
        piece = _base64_core(raw, offset)
        if len(piece) >= SHORTEST_PIECE:
            found |= {piece, piece.replace(b"+", b"-").replace(b"/", b"_")}
    whole = base64.b64encode(raw)  # first of all, so that no "A==" stays behind of a secret encoded by itself
    found |= {whole, base64.urlsafe_b64encode(raw)}
    found.add(raw.hex().encode())
    return {piece for piece in found if len(piece) >= DERIVED_FROM and b"\n" not in piece}


def _base64_core(raw: bytes, offset: int) -> bytes:
    """The characters of base64 that depend on nothing but `raw`, when `offset` bytes stand before it."""
    encoded = base64.b64encode(b"\0" * offset + raw).rstrip(b"=")
    first = (0, 2, 3)[offset]
    last = len(encoded) - (1 if (offset + len(raw)) % 3 else 0)
    return encoded[first:last]
