"""What a pass must look at: an application is planned again only when what it stands on has moved.

Everything is compared by ids that others already made (blob ids, hashes, sequence numbers), never by content, so a
pass in which nothing moved costs a comparison of names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from msgspec import Struct

from trueup.core.model import Bundle, Live, Object, Oid, Plan
from trueup.core.objects import make_bundle
from trueup.core.plan import plan
from trueup.core.policy import Policy

# (last seq of its stream, blob ids' digest or tree id of its files, the target's version of what it holds)
Mark: TypeAlias = tuple[int, Oid, int]


def moved(now: Mapping[str, Mark], seen: Mapping[str, Mark]) -> tuple[str, ...]:
    """The applications whose mark is not the one of their last pass, new ones included, in order of name.

    One that is gone from `now` is not among them: whether it is gone or could not be read is not this one's to say.
    """
    if now == seen:
        return ()
    return tuple(sorted(name for name, _ in now.items() - seen.items()))


class FileIndex(Struct, frozen=True):
    """The manifests of one application as last read: path → blob id → objects."""

    oids: Mapping[str, Oid] = {}
    objects: Mapping[str, tuple[Object, ...]] = {}

    def advance(self, oids: Mapping[str, Oid], read: Callable[[str], tuple[Object, ...]]) -> FileIndex:
        """The index over `oids`; only files that are new or whose blob id changed are read."""
        if oids == self.oids:
            return self
        changed = {path for path, _ in oids.items() - self.oids.items()}
        return FileIndex(oids, {path: read(path) if path in changed else self.objects[path] for path in oids})

    def bundle(self, application: str, candidate: str) -> Bundle:
        return make_bundle(application, candidate, (each for listed in self.objects.values() for each in listed))


class Settled(Struct, frozen=True):
    """An application after its pass: what it was planned from, and the outcome."""

    mark: Mark
    files: FileIndex
    bundle: Bundle
    plan: Plan


def replan(
    before: Settled, mark: Mark, oids: Mapping[str, Oid], live: Live, read: Callable[[str], tuple[Object, ...]],
    policy: Policy | None = None,
) -> Settled:  # fmt: skip
    """One application's pass: files by id, the Bundle only when a file changed, the plan."""
    files = before.files.advance(oids, read)
    bundle = (
        before.bundle if files is before.files else files.bundle(before.bundle.application, before.bundle.candidate)
    )
    return Settled(mark, files, bundle, plan(bundle, live, policy))
