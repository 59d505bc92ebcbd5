"""Which application states which object, so that two that claim one are both told before anything is touched.

Knows the Bundles that this process has read; a target refuses what it holds for somebody else all the same.
"""

from __future__ import annotations

from msgspec import Struct

from trueup.core.hooks import is_shared
from trueup.core.model import Bundle, Object, Ref


class Claim(Struct, frozen=True):
    """`mine` is claimed by `other`, who states it as `theirs`."""

    mine: Object
    other: str
    theirs: Object

    def told(self, other: str) -> str:
        """For the one who is refused; `other` is the name of the application that holds it."""
        ref = self.mine.ref
        where = f" in namespace {ref.namespace}" if ref.namespace else ""
        return (
            f"{self.mine.place}: {ref}{where} is stated by {other} too, at {self.theirs.place}; "
            "state it in one of the two applications only"
        )


class Claims:
    def __init__(self) -> None:
        self._held: dict[tuple[str, Ref], tuple[str, Object]] = {}  # (target, object) → application, as it states it
        self._of: dict[str, tuple[str, str, tuple[Object, ...]]] = {}  # application → record, target, what it holds

    def hold(self, application: str, target: str, record: str, bundle: Bundle) -> None:
        """From now on it states these objects, and no others. `record` names the Bundle: the same, nothing to do."""
        before, where, old = self._of.get(application, ("", target, ()))
        if before == record:
            return
        for each in old:
            if self._held.get((where, each.ref), ("",))[0] == application:
                del self._held[where, each.ref]
        objects = tuple(o for o in (*bundle.objects, *bundle.hooks) if not is_shared(o.body))
        for each in objects:
            self._held.setdefault((target, each.ref), (application, each))
        self._of[application] = (record, target, objects)

    def taken(self, application: str, target: str, bundle: Bundle) -> tuple[Claim, ...]:
        """What of this Bundle another application states."""
        found = []
        for each in (*bundle.objects, *bundle.hooks):
            if is_shared(each.body):
                continue
            other, theirs = self._held.get((target, each.ref), (application, each))
            if other != application:
                found.append(Claim(each, other, theirs))
        return tuple(found)
