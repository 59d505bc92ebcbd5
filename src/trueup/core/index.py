"""What a pass must look at: an application is planned again only when what it stands on has moved.

Everything is compared by ids that others already made (blob ids, hashes, sequence numbers), never by content, so a
pass in which nothing moved costs a comparison of names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

# (last seq of its stream, what its source and Candidates say, the last that its target told of it)
Mark: TypeAlias = tuple[int, str, int]


def moved(now: Mapping[str, Mark], seen: Mapping[str, Mark]) -> tuple[str, ...]:
    """The applications whose mark is not the one of their last pass, new ones included, in order of name.

    One that is gone from `now` is not among them: whether it is gone or could not be read is not this one's to say.
    """
    if now == seen:
        return ()
    return tuple(sorted(name for name, _ in now.items() - seen.items()))
