"""What is kept of trees: the last ones that fit."""

from __future__ import annotations

from trueup.core.model import TreeEntry
from trueup.drivers.sources.trees import Trees


def tree(paths: int) -> dict[str, TreeEntry]:
    return {f"f{number}": TreeEntry(0o100644, "b" * 40, 1) for number in range(paths)}


def oid(letter: str) -> str:
    return letter * 40


def test_the_least_lately_asked_for_goes_first() -> None:
    trees = Trees(most_paths=10)
    trees.keep(oid("a"), tree(3))
    trees.keep(oid("b"), tree(3))
    assert trees.get(oid("a")) == tree(3)
    trees.keep(oid("c"), tree(4))
    assert (trees.get(oid("a")), trees.get(oid("b")), trees.get(oid("c"))) == (tree(3), None, tree(4))


def test_what_has_no_room_or_no_whole_name_is_not_kept() -> None:
    trees = Trees(most_paths=10)
    trees.keep(oid("a"), tree(10))
    trees.keep("abc1234", tree(1))
    trees.keep("main", tree(1))
    assert trees.get(oid("a")) is trees.get("abc1234") is trees.get("main") is None


def test_twice_kept_counts_once() -> None:
    trees = Trees(most_paths=10)
    for _ in range(5):
        trees.keep(oid("a"), tree(8))
    assert trees.get(oid("a")) == tree(8)
