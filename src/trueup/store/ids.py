"""Names for new streams."""

from __future__ import annotations

import secrets

from trueup.core.ledger import ulid
from trueup.ports import Clock


def new_stream(kind: str, clock: Clock) -> str:
    """ "<kind>/<ulid>", never given before: 80 of its bits are random."""
    return f"{kind}/{ulid(clock.now(), secrets.token_bytes(10))}"
