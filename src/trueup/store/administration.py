"""What every store does alike: fences, checkpoints, names and tombstones of records. No IO of its own."""

from __future__ import annotations

import hmac
from collections.abc import Mapping

from msgspec import Struct

from trueup.core.events import Checkpoint, Draft, Erased
from trueup.core.ledger import ADMINISTRATION, Head
from trueup.core.model import Principal
from trueup.core.proof import checkpoint_payload, heads_digest
from trueup.ports import Conflict, Ledger
from trueup.store.keys import Signer

TRUEUP = Principal("trueup", "ledger")


def refuse_unexpected(stream: str, head: Head | None, expect: int) -> None:
    """Raise Conflict when the stream does not end where the writer believes."""
    seq = head.seq if head else 0
    if seq != expect:
        raise Conflict(f"{stream} ends at {seq}, not at {expect}: another writer was first; read it and decide again")


def checkpoint_draft(heads: Mapping[str, tuple[int, str]], anchor: str, signer: Signer) -> Draft:
    digest = heads_digest(heads)
    signature = signer.sign(checkpoint_payload(digest, len(heads), anchor)).hex()
    fact = Checkpoint(heads=digest, streams=len(heads), signature=signature, anchor=anchor)
    return Draft(fact=fact, by=TRUEUP)


class Retained(Struct, frozen=True):
    """What retention took away."""

    removed: int
    freed_bytes: int  # as stored
    left_bytes: int


def record_key(secret: bytes, kind: str, data: bytes) -> str:
    """32 hex digits that reveal nothing about the data without the key, as long as that is kept."""
    return hmac.digest(secret, b"%b\0%b" % (kind.encode(), data), "sha256").hex()[:32]


async def entomb(ledger: Ledger, key: str, why: str, by: Principal) -> None:
    """Say in the ledger that this record was erased. Raises LedgerFull."""
    draft = Draft(fact=Erased(record=key, why=why), by=by)
    while True:
        seq = (await ledger.heads("ledger")).get(ADMINISTRATION, (0, ""))[0]
        try:
            await ledger.append(ADMINISTRATION, [draft], expect=seq)
        except Conflict:
            continue  # a checkpoint was first
        return
