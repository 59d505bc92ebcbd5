"""Splices into YAML that people wrote: what is read afterwards, and that every other byte is as it was."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueup.core.images import splice
from trueup.core.yamldoc import Node, documents, node_at
from trueup.core.yamledit import Text, added, appended, at_end, replaced

words = st.text("abcdefxyz0123456789.-", min_size=1, max_size=12).filter(lambda w: w[0].isalnum() and w[-1].isalnum())
notes = st.sampled_from(["", "  # größe 🐳", " # a: b", "\t# tab"])
newlines = st.sampled_from(["\n", "\r\n"])
marks = st.sampled_from([b"", b"\xef\xbb\xbf"])
# Words that some reader takes for something else than text, and words that need no quotes
values = words | st.sampled_from(
    ["1.10", "1e3", "0777", "yes", "null", "~", "v1@sha256:ab", "sha256:0123", "2026-01-01"]
)


def file(lines: list[str], newline: str, mark: bytes) -> bytes:
    return mark + newline.join(lines).encode()


def at(data: bytes, *path: str | int) -> Node:
    node = node_at(documents(data, "a.yaml")[0].root, path)
    assert node is not None
    return node


def quoted(style: str, word: str) -> str:
    return f"{style}{word}{style}"


@given(words, st.sampled_from(["'", '"']), notes, notes, newlines, marks, values, st.booleans())
def test_a_quoted_scalar_keeps_its_quotes(
    old: str, style: str, before: str, after: str, newline: str, mark: bytes, new: str, last: bool
) -> None:
    lines = [
        f"a: 1{before}",
        "images:",
        "  - name: x",
        f"    newTag: {quoted(style, old)}{after}",
        *([] if last else ["z: 2"]),
    ]
    data = file(lines, newline, mark)
    made = replaced(Text("a.yaml", data), at(data, "images", 0, "newTag"), new)
    assert made is not None
    result = splice(data, [made])
    assert result == data.replace(quoted(style, old).encode(), quoted(style, new).encode())
    assert at(result, "images", 0, "newTag").value == new


@given(st.sampled_from(["v1", "1.10", "07", "true", "größe"]), notes, newlines, marks, values)
def test_a_plain_scalar_becomes_what_every_reader_takes_for_this_text(
    old: str, note: str, newline: str, mark: bytes, new: str
) -> None:
    data = file([f"tag: {old}{note}", "other: 1"], newline, mark)
    made = replaced(Text("a.yaml", data), at(data, "tag"), new)
    assert made is not None
    result = splice(data, [made])
    assert at(result, "tag").value == new
    assert (made.old, result[: made.start], result[len(result) - (len(data) - made.end) :]) == (
        old, data[: made.start], data[made.end :],
    )  # fmt: skip


@pytest.mark.parametrize("text", ["tag:\n", "tag: \n", "tag: # ours\n", "tag:", 'tag: ""\n', "tag: ''", "{tag: }\n"])
def test_an_empty_value_is_filled(text: str) -> None:
    made = replaced(Text("a.yaml", text.encode()), at(text.encode(), "tag"), "v1")
    assert made is not None
    assert documents(splice(text.encode(), [made]), "a.yaml")[0].body == {"tag": "v1"}


@given(st.integers(0, 4), notes, newlines, marks, values, st.booleans())
def test_keys_are_added_after_another_with_its_indentation(
    indent: int, note: str, newline: str, mark: bytes, new: str, dash: bool
) -> None:
    pad = " " * indent
    head = [f"{pad}- name: x{note}", f"{pad}  more: 1"] if dash else ["m:", f"{pad} name: x{note}", f"{pad} more: 1"]
    data = file(["# first", *(["images:"] if dash else []), *head, "z: 2"], newline, mark)
    path = ("images", 0) if dash else ("m",)
    made = added(Text("a.yaml", data), at(data, *path), [("tag", new), ("digest", "sha256:ab")], after="name")
    assert made is not None and made.old == ""
    result = splice(data, [made])
    assert at(result, *path).value == {"name": "x", "more": 1, "tag": new, "digest": "sha256:ab"}
    assert result.replace(made.new.encode(), b"", 1) == data


@given(st.integers(0, 4), notes, newlines, marks, values, st.booleans())
def test_an_item_is_added_to_a_list(indent: int, note: str, newline: str, mark: bytes, new: str, last: bool) -> None:
    pad = " " * indent
    lines = ["images:", f"{pad}- name: x", f"{pad}  newTag: v1{note}", *([] if last else ["z: 2"])]
    data = file(lines, newline, mark)
    made = appended(Text("a.yaml", data), at(data, "images"), [("name", "y"), ("newTag", new)])
    assert made is not None
    result = splice(data, [made])
    assert at(result, "images").value == [{"name": "x", "newTag": "v1"}, {"name": "y", "newTag": new}]
    assert result.replace(made.new.encode(), b"", 1) == data


@pytest.mark.parametrize("text", ["images: []\n", "images: [{name: x}]\n", "images:\n- name: |\n    x\n"])
def test_a_list_in_brackets_or_with_a_block_is_left(text: str) -> None:
    assert appended(Text("a.yaml", text.encode()), at(text.encode(), "images"), [("name", "y")]) is None


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ("a: 1\n", True), ("a: 1", True), ("", True), ("---\na: 1\n", True),
        ("{a: 1}\n", False), ("a: 1\n---\nb: 2\n", False), ("a: 1\n...\n", False), ("  a: 1\n", False),
        ("- a\n", False),
    ],
)  # fmt: skip
def test_lines_at_the_end_of_a_mapping(text: str, taken: bool) -> None:
    doc = documents(text.encode() or b"null", "a.yaml")[0]
    made = at_end(Text("a.yaml", text.encode()), doc, ["images:", "- name: x"])
    assert (made is not None) is taken
    if made is not None:
        body = documents(splice(text.encode(), [made]), "a.yaml")[0].body
        assert body["images"] == [{"name": "x"}]


@pytest.mark.parametrize(
    "text",
    ["tag: |\n  v1\n", "tag: >-\n  v1\n", "x: &a v1\ntag: *a\n", "tag: &a v1\n", "tag: !!str v1\n", "tag: 'v\n  1'\n"],
)
def test_what_is_over_lines_an_alias_or_has_a_tag_is_left(text: str) -> None:
    assert replaced(Text("a.yaml", text.encode()), at(text.encode(), "tag"), "v2") is None
