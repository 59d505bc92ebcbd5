from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trueup.core import ignore
from trueup.core.dockerfile import (
    LONGEST_VALUE,
    Base,
    DockerfileInvalid,
    bases,
    expand,
    needed,
    read,
    rewrite,
    secrets,
    sources,
)


def test_lines_continuations_comments() -> None:
    found = read("# hello\n\nFROM python:3.12-slim\nRUN a \\\n  # inside\n\n  && b \\ \n  && c\ncopy x /y\n")
    assert [(i.word, i.line, i.end) for i in found.instructions] == [("FROM", 3, 3), ("RUN", 4, 8), ("COPY", 9, 9)]
    assert found.instructions[1].rest.split() == ["a", "&&", "b", "&&", "c"]


def test_escape_directive_and_bom() -> None:
    found = read("\ufeff# syntax=docker/dockerfile:1\n# escape=`\nFROM a\nRUN one `\n two\\\nRUN three\n")
    assert [i.rest for i in found.instructions] == ["a", "one  two\\", "three"]
    with pytest.raises(DockerfileInvalid, match="Dockerfile:1: escape=x"):
        read("# escape=x\nFROM a\n")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no instruction"),
        ("RUN x\n", "Dockerfile:1: RUN stands before the first FROM"),
        ("FROM a\nRUNN x\n", "Dockerfile:2: RUNN is not an instruction"),
        ("FROM a b\n", "write FROM <image>"),
        ("FROM $X\n", "is empty"),
        ("ARG A=1\n", "no FROM"),
        ("FROM a\nRUN <<EOF\nx\n", "Dockerfile:2: the heredoc <<EOF has no closing line"),
    ],
)
def test_refused(text: str, says: str) -> None:
    with pytest.raises(DockerfileInvalid, match=says):
        read(text)


MULTI = """\
ARG PY=3.12
ARG VARIANT
FROM python:${PY}${VARIANT:-}-slim AS Base
FROM golang:1.22 AS unused
FROM base AS build
COPY --from=ghcr.io/acme/tool:1 /bin/tool /bin/
RUN --mount=type=bind,from=node:20,target=/n --mount=type=secret,id=tok,required=true true
FROM scratch
COPY --chown=1:1 --from=build /x /x
COPY --from=0 /y /y
"""


def test_bases_only_of_what_the_target_needs() -> None:
    found = read(MULTI, args={"PY": "3.11"})
    assert bases(found) == (Base("python:3.11-slim", 3), Base("ghcr.io/acme/tool:1", 6), Base("node:20", 7))
    assert bases(found, "base") == (Base("python:3.11-slim", 3),)
    assert bases(found, "unused") == (Base("golang:1.22", 4),)
    assert [stage.index for stage in needed(found)] == [0, 2, 3]
    assert secrets(found) == (("tok", 7, True),)
    with pytest.raises(DockerfileInvalid, match="no stage 'prod': there are base, unused, build, 3"):
        bases(found, "prod")


@pytest.mark.parametrize(
    ("copies", "expected"),
    [
        ("COPY requirements.txt ./\nCOPY src/ /app/", ("requirements.txt", "src")),
        ("COPY . /app", None),
        ("COPY / /app", None),
        ("COPY ./ /app", None),
        ('COPY ["a b", "/x/"]', ("a b",)),
        ("ADD https://example.org/x /x", ()),
        ("COPY --from=build /x /x", ()),
        ("ARG D=conf\nCOPY $D/*.toml /x/", ("conf/*.toml",)),
        ("COPY $UNKNOWN /x", None),
        ("RUN --mount=type=bind,target=/src make", None),
        ("RUN --mount=type=cache,target=/c make", ()),
        ("COPY <<'EOF' /x\nhi\nEOF", ()),
        ("COPY ../x /x", None),
    ],
)
def test_sources(copies: str, expected: tuple[str, ...] | None) -> None:
    text = f"FROM scratch AS build\nFROM scratch\n{copies}\n"
    assert sources(read(text)) == expected


def test_rewrite_keeps_line_numbers() -> None:
    text = (
        "FROM python:3 AS a\nRUN <<EOF\nset -e\necho hi\nEOF\nRUN <<EOF\n#!/usr/bin/env python3\nprint(1)\nEOF\n"
        "COPY --link --chmod=644 <<'EOF' /etc/x\n$HOME\nEOF\nRUN cat <<A - <<-B\n1\nA\n\t2\n\tB\nCOPY --link x /x\n"
    )
    new = rewrite(text, read(text), {"python:3": "docker.io/library/python:3"})
    lines = new.text.splitlines()
    assert len(lines) == len(text.splitlines())
    assert lines[0] == "FROM docker.io/library/python:3 AS a"
    assert json.loads(lines[1].removeprefix("RUN ")) == ["/bin/sh", "-c", "set -e\necho hi\n"]
    assert json.loads(lines[5][4:])[2].startswith("/usr/bin/env python3 /dev/fd/3 3<<'EOF'\n#!/usr")
    assert lines[9] == 'COPY --chmod=644 [".trueup-heredoc/10/EOF", "/etc/x"]'
    assert new.files == ((".trueup-heredoc/10/EOF", b"$HOME\n"),)
    assert json.loads(lines[12][4:])[2] == "cat <<A - <<-B\n1\nA\n2\nB\n"
    assert lines[17] == "COPY x /x"
    assert [i.line for i in read(new.text).instructions] == [i.line for i in read(text).instructions]


def test_rewrite_says_what_it_cannot_tell() -> None:
    text = "FROM a\nCOPY <<EOF /x\n$HOME\nEOF\n"
    with pytest.raises(DockerfileInvalid, match="Dockerfile:2: variables in <<EOF cannot be expanded: write <<'EOF'"):
        rewrite(text, read(text), {})


@pytest.mark.parametrize(
    ("text", "value"),
    [("$A", "1"), ("${A}x", "1x"), ("${B:-d}", "d"), ("${A:+y}", "y"), ("${B:+y}", ""), ("\\$A", "$A"), ("$B", "")],
)
def test_expand(text: str, value: str) -> None:
    assert expand(text, {"A": "1"}) == value


@pytest.mark.parametrize(
    ("patterns", "path", "out"),
    [
        ("node_modules", "node_modules/x/y", True),
        ("node_modules", "a/node_modules/x", False),
        ("**/node_modules", "a/b/node_modules/x", True),
        ("**/node_modules", "node_modules/x", True),
        ("*.md\n!README.md", "README.md", False),
        ("*.md\n!README.md", "x.md", True),
        ("*.md", "docs/x.md", False),
        ("/foo", "foo", True),
        ("*", "a/b", True),
        ("*\n!src", "src/a.py", False),
        ("a?c", "abc", True),
        ("a[0-9]", "a7", True),
        ("a[^0-9]", "a7", False),
        ("# x\n\n  ", "# x", False),
        ("docs/**", "docs/a/b", True),
    ],
)
def test_ignore(patterns: str, path: str, out: bool) -> None:
    assert ignore.ignored(path, ignore.rules(patterns)) is out


def test_seen_by_copy() -> None:
    assert ignore.seen("src/a/b.py", ("src",))
    assert ignore.seen("requirements-dev.txt", ("requirements*.txt",))
    assert not ignore.seen("src2/a", ("src",))
    assert ignore.seen("anything", None)


@given(st.text(max_size=80))
@example("\\")
def test_any_text_is_read_or_refused_by_name(text: str) -> None:
    try:
        found = read("FROM a\n" + text)
    except DockerfileInvalid as e:
        assert str(e).startswith("Dockerfile:")
        return
    assert found.instructions[0].word == "FROM"
    rules = ignore.rules(text)
    ignore.ignored("a/b", rules)


@pytest.mark.parametrize(
    "text",
    [
        "FROM a AS b\n" * 50_000,
        "FROM a\n" + "RUN x\n" * 100_000,
        "".join(f"FROM s{i - 1} AS s{i}\nCOPY --from=elsewhere a b\n" for i in range(20_000)),
    ],
    ids=["stages", "instructions", "chain"],
)
def test_a_huge_dockerfile_is_read_line_by_line_not_line_times_line(text: str) -> None:
    found = read(text)  # a quarter of an hour each, when every line copied those before it
    assert found.instructions[-1].line == text.count("\n")
    assert needed(found)[-1].index == len(found.stages) - 1


def test_variables_of_variables_do_not_grow_without_end() -> None:
    found = read("ARG A=x\n" + "ARG A=$A$A\n" * 60 + "FROM $A\n")
    assert len(found.stages[0].image) <= LONGEST_VALUE


def test_what_an_argument_goes_into_says_which_value_it_has() -> None:
    """buildah finds layers by their text: LABEL and ENV of another --build-arg were taken for the same."""
    text = """ARG PY=3.12
FROM a
ARG PY
ARG VERSION=dev OTHER="two words"
ARG UNKNOWN
LABEL v=$VERSION py=$PY
ENV A='$VERSION' B=\\$VERSION \\
    C=${VERSION:-x}/y
COPY ["$OTHER", "/x"]
ENV HOME=$HOME U=$UNKNOWN
RUN echo $VERSION
"""
    found = read(text)

    def lines(**args: str) -> list[str]:
        return rewrite(text, found, {}, args).text.splitlines()

    def mark(line: str) -> str:
        return line[line.index("${TRUEUP_") :].partition("}")[0] + "}"

    none, one, two = lines(), lines(VERSION="1"), lines(VERSION="2")
    assert none[2:5] == ['ARG PY="3.12"', 'ARG VERSION=dev OTHER="two words"', "ARG UNKNOWN"] == one[2:5]
    assert len({mark(each[5]) for each in (none, one, two, lines(UNKNOWN="1"))}) == 4
    sign = mark(one[5])
    assert one[5:10] == [
        f"LABEL v=$VERSION{sign} py=$PY",
        "ENV A='$VERSION' B=\\$VERSION \\",
        f"    C=${{VERSION:-x}}{sign}/y",
        f'COPY ["$OTHER{sign}", "/x"]',
        f"ENV HOME=$HOME U=$UNKNOWN{sign}",
    ]
    assert one[10] == "RUN echo $VERSION", "the shell reads that one, and buildah counts its values in"
    changed = text.replace("VERSION=dev", "VERSION=prod")
    assert mark(rewrite(changed, read(changed), {}).text.splitlines()[5]) != mark(none[5])
    assert lines(PY="$(id)\n")[2] == lines(PY="$(id)\n")[2] != lines()[2]
    assert rewrite("ARG A='x $y'\nFROM a\nARG A\n", read("ARG A='x $y'\nFROM a\nARG A\n"), {}).text.splitlines()[2] == (
        'ARG A="x "'
    )
