"""What is known of one cluster's objects in memory: what we applied, how each is now, what drifts.

Hears the watches and our own PATCHes; asks nothing of the cluster and decides nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from trueup.core.health.live import is_judged
from trueup.core.hooks import owner_of
from trueup.core.model import Health, Json, Object
from trueup.drivers.targets.kubernetes.moves import Moves
from trueup.drivers.targets.kubernetes.records import Applied, Key, Records, key_of
from trueup.drivers.targets.kubernetes.watching import GONE, Seen, seen

ENDED = frozenset({Health.HEALTHY, Health.DEGRADED})  # of what runs once


class Sight:
    """`suspect(key, anyway)` hears of objects of ours that somebody else may have changed: they are to be compared,
    `anyway` even when nothing newer was seen of them."""

    def __init__(self, records: Records, moves: Moves, suspect: Callable[[Key, bool], None]) -> None:
        self.records, self.moves, self._suspect = records, moves, suspect
        self.seen: dict[Key, Seen] = {}
        self.drift: dict[Key, str] = {}  # what a person should read
        self.notes: dict[Key, str] = {}
        self.busy: set[Key] = set()  # being applied: what is seen of them may be our own
        self._left: set[Key] = set()  # of them those that were told as gone meanwhile
        self.ended: dict[Key, Seen] = {}  # hooks that were removed once they had ended: how they were last
        self._ours: set[Key] = set()  # being deleted by us
        self._leaving: dict[Key, Applied] = {}  # deleted by us, and not gone yet
        self._first: dict[Key, float] = {}  # when an object that says nothing yet was seen first

    def stands(self, object: Object) -> bool:
        """Applied from this very body, and nobody has touched it since, or it is to be left as it is."""
        record = self.records.applied.get(key_of(object.ref))
        return record is not None and record.hash == object.hash and not (self.moved(record) and self.repairs(record))

    def moved(self, record: Applied) -> bool:
        """It is not as we left it."""
        key = key_of(record.ref)
        return key in self.drift or self.seen.get(key) is GONE

    def repairs(self, record: Applied) -> bool:
        """Drift of its application is repaired, not only told."""
        rules = self.records.rules.get(record.application)
        return rules is None or rules.repair

    def begin(self, keys: Iterable[Key]) -> None:
        self.busy.update(keys)

    def end(self, keys: Iterable[Key]) -> None:
        """Applied or refused: what was seen meanwhile is compared now."""
        for key in keys:
            self.busy.discard(key)
            record, now = self.records.applied.get(key), self.seen.get(key, GONE)
            if key in self._left:
                self._left.discard(key)
                self._suspect(key, True)
            elif record is not None and now is not GONE and self.newer(record) and _signs(record) != _shown(now):
                self._suspect(key, False)

    def silent_s(self, key: Key) -> float:
        """How long the object has been known without a word from its controller."""
        now = asyncio.get_running_loop().time()
        return now - self._first.setdefault(key, now)

    def told(self, key: Key, now: Seen, listing: bool) -> None:
        """A watch says how an object is. Ours and as we left it: only its health can have moved.

        Older than what was seen is late news; in a list it may be that the cluster was restored to an older state."""
        before, record = self.seen.get(key), self.records.applied.get(key)
        if now is not GONE and before is not None and before is not GONE and now.version < before.version:
            if listing and record is not None:
                self._suspect(key, True)
            return
        self.seen[key] = now
        if record is None:
            if now is GONE:
                self.seen.pop(key)
                self._departed(key)
            return
        if now is GONE:
            if owner_of(record.application) != record.application and before is not None and before.health in ENDED:
                self.ended[key] = before
            if key in self.busy:
                self._left.add(key)
            self._gone(record)
            return
        if now.version > record.version and _shown(now) != _signs(record):
            self._suspect(key, False)
        if before is not None and (before.health, before.reason) != (now.health, now.reason):
            self.moves.tell(record.application, record.ref)

    def listed(self, group: str, kind: str, namespace: str) -> None:
        """All of a kind was told: what we applied and is not among it was deleted while nobody looked."""
        for key, record in self.records.applied.items():
            if key[:2] == (group, kind) and key not in self.seen and (not namespace or key[2] == namespace):
                self.seen[key] = GONE
                self._gone(record)

    def _gone(self, record: Applied) -> None:
        if key_of(record.ref) in self._ours:
            return
        self.moves.tell(record.application, record.ref, f"{record.ref} deleted by hand")

    def settle(self, record: Applied, body: Json) -> None:
        """What a PATCH answered is the newest that is known; the watch will say the same, or more."""
        key = key_of(record.ref)
        self.drift.pop(key, None)
        self.ended.pop(key, None)
        self._first.pop(key, None)
        now = self.seen.get(key)
        if now is None or now is GONE or now.version < record.version:
            self.seen[key] = seen(body, is_judged(*key[:2]))
        self.moves.tell(record.application, record.ref)

    def newer(self, record: Applied) -> bool:
        """A version of it was seen that came after our last PATCH."""
        now = self.seen.get(key_of(record.ref), GONE)
        return now is not GONE and now.version > record.version

    def restored(self, key: Key, body: Json) -> None:
        """The cluster has an older version than we knew: that is what counts."""
        self.seen[key] = seen(body, is_judged(*key[:2]))

    def drifted(self, key: Key, record: Applied, words: str) -> None:
        """Tell of it once."""
        if self.drift.get(key) != words:
            self.drift[key] = words
            self.moves.tell(record.application, record.ref, words)

    def forget(self, record: Applied, leaving: Json = None) -> None:
        """It is no longer ours. `leaving`: its body while it is being deleted and something still holds it."""
        key = key_of(record.ref)
        gone = self.seen.get(key) is GONE  # a watch was quicker than the answer
        self._ours.discard(key)
        for held in (self.seen, self.drift, self.notes, self.ended, self._first):
            held.pop(key, None)
        if leaving is not None and not gone:
            self.seen[key], self._leaving[key] = seen(leaving, is_judged(*key[:2])), record
        self.moves.tell(record.application, record.ref)

    def deleting(self, record: Applied) -> None:
        """We are about to delete it: that it goes is no drift."""
        self._ours.add(key_of(record.ref))

    def kept(self, record: Applied) -> None:
        """It could not be deleted."""
        self._ours.discard(key_of(record.ref))

    def leaves(self, key: Key) -> bool:
        """Deleted by us and still there: nothing of its name can be made yet."""
        return key in self._leaving

    def _departed(self, key: Key) -> None:
        record = self._leaving.pop(key, None)
        if record is not None:
            self.moves.tell(record.application, record.ref)


def _shown(now: Seen) -> tuple[str, str, int]:
    return now.uid, now.mark, now.generation


def _signs(record: Applied) -> tuple[str, str, int]:
    """While these stand, what we own stands."""
    return record.uid, record.mark, record.generation
