"""YAML as Kubernetes reads it: values, positions, limits, and messages that name the line."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueup.core.yamldoc import Doc, Limits, NotFinite, Schema, YamlFault, documents, plain, plain_core


def one(text: str, **options: object) -> Doc:
    docs = documents(text.encode(), "a.yaml", **options)  # type: ignore[arg-type]
    assert len(docs) == 1
    return docs[0]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", True), ("No", False), ("ON", True), ("off", False), ("y", True), ("N", False), ("True", True),
        ("tRue", "tRue"), ("", None), ("~", None), ("Null", None), ("nil", "nil"),
        ("0777", 511), ("0o17", 15), ("0O17", 15), ("08", 8), ("0x1F", 31), ("0b11", 3), ("-0b11", -3), ("0b2", "0b2"),
        ("1_000", 1000), ("+5", 5), ("-0", 0), ("1:30", "1:30"), ("190:20:30", "190:20:30"),
        ("1e3", 1000), ("1.0", 1), ("1.", 1), ("1.5", 1.5), (".5", 0.5), ("08.5", 8.5), ("1e400", "1e400"),
        ("9223372036854775807", 9223372036854775807), ("9223372036854775808", 9.223372036854775808e18),
        ("-9223372036854775808", -9223372036854775808), ("2001-01-01", "2001-01-01"), ("NaN", "NaN"), ("-", "-"),
        ("9" * 400, "9" * 400), ("0x" + "f" * 90, "0x" + "f" * 90), ("0xFFFFFFFFFFFFFFFF", 18446744073709551615.0),
        ("99999999999999999999999", 1e23), ("1.2.3", "1.2.3"), ("=", "="), ("<<", "<<"), ("12h", "12h"),
        ("1e", "1e"), ("0x", "0x"), ("+", "+"),
    ],
)  # fmt: skip
def test_plain_scalars_as_go_yaml_v2_and_json_see_them(text: str, value: object) -> None:
    assert plain(text) == value
    assert type(plain(text)) is type(value)


@pytest.mark.parametrize("text", [".nan", ".NaN", ".inf", "-.Inf", "+.INF"])
def test_what_json_cannot_hold_is_refused(text: str) -> None:
    with pytest.raises(NotFinite):
        plain(text)
    with pytest.raises(YamlFault, match="no number in JSON"):
        one(f"a: {text}")


@pytest.mark.parametrize(
    ("text", "value"), [("yes", "yes"), ("on", "on"), ("true", True), ("null", None), ("n", "n"), ("3", 3)]
)
def test_core_schema_leaves_words_alone(text: str, value: object) -> None:
    assert plain_core(text) == value
    assert one("on: 1", schema=Schema.CORE).body == {"on": 1}


@pytest.mark.parametrize(
    ("text", "body"),
    [
        (
            "a: 'yes'\nb: \"1\"\nc: !!str 1\nd: !!int 7\ne: !custom 1",
            {"a": "yes", "b": "1", "c": "1", "d": 7, "e": "1"},
        ),
        ("1: a\ntrue: b\n1.5: c\n", {"1": "a", "true": "b", "1.5": "c"}),
        ("a: !!binary aGk=", {"a": "hi"}),
        (
            "a: !!foo yes\nb: !!float 1\nc: !!null ~\nd: !!timestamp 2001-01-01\ne: !!bool 'on'\nf: !!str",
            {"a": "yes", "b": 1, "c": None, "d": "2001-01-01", "e": True, "f": ""},
        ),
        ("a: &x {p: 1, q: 2}\nb: {<<: *x, q: 3}", {"a": {"p": 1, "q": 2}, "b": {"p": 1, "q": 3}}),
        ("a: &x {p: 1}\nb: &y {p: 2, r: 3}\nc: {<<: [*x, *y]}", None),
        ("a: &x {p: 1}\nb: {p: 2, <<: *x}", None),
        ("a: |\n  x\n  y\nb: >-\n  p\n  q\n", {"a": "x\ny\n", "b": "p q"}),
        ("{a: [1, {b: c}], d: }", {"a": [1, {"b": "c"}], "d": None}),
        ("a: '<<'\n'<<': {z: 1}", {"a": "<<", "<<": {"z": 1}}),
    ],
)
def test_bodies(text: str, body: object) -> None:
    got = one(text).body
    if body is None:
        body = (
            {"a": {"p": 1}, "b": {"p": 2, "r": 3}, "c": {"p": 1, "r": 3}}
            if "r: 3" in text
            else {"a": {"p": 1}, "b": {"p": 1}}  # go-yaml v2: a merge overwrites what stands before it
        )
    assert got == body


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "already given on line 1"),
        ("a:\n\tb: 1\n", 2, "tab"),
        ("a: b: c\n", 1, "mapping values are not allowed"),
        ("a: *nope\n", 1, "has no anchor"),
        ("a: &x [*x]\n", 1, "inside its own anchor"),
        ("a: [1, 2\nb: 3\n", 2, "expected"),
        ("? [1]\n: b\n", 1, "key must be a string"),
        ("~: b\n", 1, "key must be a string"),
        ("a: {<<: 3}\n", 1, "merges mappings only"),
        ("a: 1\n--- *x\n", 2, "has no anchor"),
        ("a: !!int x\n", 1, "is no int"),
        ("a: !!binary /w==\n", 1, "base64"),
        ("a: !!binary ~\n", 1, "base64"),
        ("a: !!int yes\n", 1, "is no int"),
        ("a: !!int 1.0\n", 1, "is no int"),
        ("a: !!bool 1\n", 1, "is no bool"),
        ("a: !!timestamp 1:30\n", 1, "is no timestamp"),
        ("a: !!float .nan\n", 1, "no number in JSON"),
        ("1e9: a\n1.5e300: b\n", 2, "key must be a string"),
    ],
)
def test_faults_name_the_line(text: str, line: int, says: str) -> None:
    with pytest.raises(YamlFault, match=says) as fault:
        documents(text.encode(), "a.yaml")
    assert fault.value.place.line == line
    assert fault.value.place.file == "a.yaml"
    assert fault.value.fix


def test_bytes_that_are_not_utf8_are_refused_by_line() -> None:
    with pytest.raises(YamlFault, match="0xff is not UTF-8") as fault:
        documents(b"a: 1\nb: \xff\n", "a.yaml")
    assert fault.value.place.line == 2
    with pytest.raises(YamlFault, match="not UTF-8"):
        documents("a: 1".encode("utf-16"), "a.yaml")
    with pytest.raises(YamlFault, match="forbids"):
        documents(b"a: \x07\n", "a.yaml")


def bomb(levels: int) -> bytes:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, levels)]
    return "\n".join(lines).encode()


def test_a_bomb_of_aliases_is_refused_before_it_grows() -> None:
    with pytest.raises(YamlFault, match="aliases repeat"):
        documents(bomb(30), "bomb.yaml")
    assert len(documents(bomb(3), "fine.yaml")) == 1


@pytest.mark.parametrize("text", ["[" * 100_000, "{a: " * 100_000, "- " * 100_000, "? " * 100_000])
def test_depth_is_refused_without_using_the_stack(text: str) -> None:
    with pytest.raises(YamlFault, match="nested deeper"):
        documents(text.encode(), "deep.yaml")


def test_size_and_documents_are_limited() -> None:
    with pytest.raises(YamlFault, match="a manifest may have 10 MiB"):
        documents(b"#" * (11 << 20), "big.yaml")
    with pytest.raises(YamlFault, match="more than 3 documents"):
        documents(b"--- 1\n" * 4, "many.yaml", limits=Limits(documents=3))


def test_places_of_keys_and_values() -> None:
    doc = one("# top\nspec:\n  list:\n    - name: a\n      port: 80\n")
    assert str(doc.place("spec", "list", 0, "port")) == "a.yaml:5"
    assert doc.place("spec", "list", 0, "port").column == 13
    assert doc.key_place("spec", "list", 0, "port").column == 7
    assert doc.place("spec", "absent", "below").line == 3  # the nearest thing above that exists


@given(
    before=st.text("aé€𝄞 ", max_size=8),
    value=st.text("abé€𝄞/:.@", min_size=1, max_size=12),
    quote=st.sampled_from(["'", '"']),
    newline=st.sampled_from(["\n", "\r\n"]),
    mark=st.booleans(),
)
def test_spans_are_bytes_whatever_stands_before(before: str, value: str, quote: str, newline: str, mark: bool) -> None:
    text = f"# {before}{newline}x: {{a: '{before}', image: {quote}{value}{quote} }} # {before}{newline}"
    data = (b"\xef\xbb\xbf" if mark else b"") + text.encode()
    doc = documents(data, "f.yaml")[0]
    span = doc.text_span("x", "image")
    assert span is not None
    assert data[span.start : span.end].decode() == value
    assert span.line == 2


@pytest.mark.parametrize("text", ['a: "x\\u0041"', "a: >-\n  x", "a: x\n  y", "a: 'it''s'", "a: [1]", "a: 1"])
def test_text_that_is_not_written_as_it_reads_has_no_span(text: str) -> None:
    assert one(text).text_span("a") is None


@given(st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
))  # fmt: skip
def test_json_reads_as_itself(value: object) -> None:
    data = orjson.dumps(value)
    if (
        b"\\ud" in data
        or "\x7f" in data.decode()
        or any(0x80 <= ord(c) <= 0x9F or ord(c) >= 0xFFFE for c in data.decode())
    ):
        return  # characters that YAML wants escaped
    assert documents(data, "a.json")[0].body == value


def test_facts_from_kubernetes_own_reader() -> None:
    """facts.json: what sigs.k8s.io/yaml v1.6.0 (strict) and apimachinery's JSON decoder made of each text; "error" when
    they refused it. Written by yaml_facts/main.go, one JSON string a line in, one answer a line out."""
    facts = orjson.loads((Path(__file__).parent / "yaml_facts" / "facts.json").read_bytes())
    wrong = [(text, expected, got) for text, expected in facts if (got := answer(text)) != expected]
    assert len(facts) > 1500
    assert not wrong


def answer(text: str) -> object:
    try:
        docs = documents(text.encode(), "f")
    except YamlFault:
        return "error"
    return {"v": docs[0].body if docs else None}
