"""A pass looks at what moved."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from trueup.core.index import moved

marks = st.dictionaries(
    st.sampled_from("abcdef"), st.tuples(st.integers(0, 2), st.sampled_from("xy"), st.integers(0, 2))
)


@given(marks, marks)
def test_what_moved_is_what_is_new_or_differs(now: Any, seen: Any) -> None:
    assert moved(now, seen) == tuple(sorted(name for name in now if seen.get(name) != now[name]))
    assert moved(now, dict(now)) == ()
