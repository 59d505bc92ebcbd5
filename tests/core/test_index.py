"""A pass looks at what moved, and comes to what a pass over everything would."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from trueup.core.index import FileIndex, Settled, moved, replan
from trueup.core.model import Live, LiveObject, Object, Place, Plan
from trueup.core.objects import make_bundle, make_object
from trueup.core.plan import plan

marks = st.dictionaries(
    st.sampled_from("abcdef"), st.tuples(st.integers(0, 2), st.sampled_from("xy"), st.integers(0, 2))
)


def objects(path: str, content: str) -> tuple[Object, ...]:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": path}, "data": {"v": content}}
    return (make_object(body, Place(path, 1)),)


@given(marks, marks)
def test_what_moved_is_what_is_new_or_differs(now: Any, seen: Any) -> None:
    assert moved(now, seen) == tuple(sorted(name for name in now if seen.get(name) != now[name]))
    assert moved(now, dict(now)) == ()


trees = st.dictionaries(st.sampled_from("abcde"), st.sampled_from("123"), max_size=5)


@given(trees, trees)
def test_an_index_advanced_is_an_index_made_anew_and_reads_only_what_changed(before: Any, after: Any) -> None:
    read: list[str] = []

    def reader(tree: dict[str, str]) -> Any:
        return lambda path: (read.append(path), objects(path, tree[path]))[1]

    first = FileIndex().advance(before, reader(before))
    read.clear()
    advanced = first.advance(after, reader(after))
    assert sorted(read) == sorted(path for path in after if before.get(path) != after[path])
    assert advanced.bundle("a", "c") == make_bundle("a", "c", [o for p in after for o in objects(p, after[p])])
    assert advanced.advance(dict(after), reader(after)) is advanced


@given(trees, trees)
def test_replanning_is_planning(before: Any, after: Any) -> None:
    files = FileIndex().advance(before, lambda path: objects(path, before[path]))
    bundle = files.bundle("a", "c")
    live = Live(tuple(LiveObject(o.ref, o.hash, o.body, "uid", 1) for o in bundle.objects))
    settled = Settled((1, "x", 1), files, bundle, Plan(()))
    again = replan(settled, (2, "y", 1), after, live, lambda path: objects(path, after[path]))
    assert again.plan == plan(again.bundle, live)
    assert again.mark == (2, "y", 1)
    assert {o.ref.name for o in again.bundle.objects} == set(after)
    if before == after:
        assert again.bundle is bundle
        assert again.plan == Plan(())
