"""Keys and trees of renders: what a folder looks like, and when a listing is another one."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from trueup.core.model import TreeEntry
from trueup.core.render import Folders, Helm, Kustomize, Seen, key

PROD = Kustomize(path="overlays/prod")
SHOP = Helm(path="chart", release="r")


def test_the_key_tells_requests_and_versions_apart() -> None:
    assert key(PROD, "1") == key(Kustomize(path="overlays/prod"), "1")
    assert len({key(PROD, "1"), key(PROD, "2"), key(SHOP, "1"), key(Kustomize(path="overlays"), "1")}) == 4


NAMES = st.sampled_from(["a", "b", "a-b", "a.b", "é", "z"])
PATHS = st.lists(st.lists(NAMES, min_size=1, max_size=4).map("/".join), max_size=12)


def _tree(paths: list[str]) -> Mapping[str, TreeEntry]:
    """Of paths that stand in one another's way, the files stay."""
    return {
        p: TreeEntry(0o100644, f"{i:040x}")
        for i, p in enumerate(paths)
        if not any(q.startswith(p + "/") for q in paths)
    }


@given(PATHS)
def test_folders_agree_with_the_tree(paths: list[str]) -> None:
    tree = _tree(paths)
    folders = Folders(tree)
    for path, entry in tree.items():
        assert folders.now(Seen(path, "absent")) == Seen(path, "file", entry.oid)
        parent, _, name = path.rpartition("/")
        assert folders.is_folder(parent)
        assert (name, entry.mode, entry.oid) in folders.listing(parent)
        assert (path, entry.mode, entry.oid) in folders.below("")
    assert sum(1 for _ in folders.below("")) == len(tree)
    assert folders.now(Seen("nowhere/at/all", "file")) == Seen("nowhere/at/all", "absent")


@given(PATHS, PATHS)
def test_a_listing_changes_with_its_names_only(before: list[str], after: list[str]) -> None:
    one, other = Folders(_tree(before)), Folders(_tree(after))
    for what, names in (("list", Folders.listing), ("below", Folders.below)):
        same = [(n, m) for n, m, _ in names(one, "a")] == [(n, m) for n, m, _ in names(other, "a")]
        assert (one.now(Seen("a", what)) == other.now(Seen("a", what))) is same


def test_names_that_are_no_utf8_are_left_out() -> None:
    folders = Folders({"a/\udcff.yaml": TreeEntry(0o100644, "1" * 40), "a/b": TreeEntry(0o100644, "2" * 40)})
    assert [name for name, _, _ in folders.listing("a")] == ["b"]
