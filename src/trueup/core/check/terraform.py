"""Terraform files: resources of providers that nothing declares, and blocks that do not close.

Reads the outline only (top-level blocks, their labels, `provider =`); expressions are never evaluated.
Source: HashiCorp HCL native syntax specification; Terraform language, "Provider Requirements".
"""

from __future__ import annotations

import bisect
import posixpath
import re
from collections.abc import Iterator

from msgspec import Struct

from trueup.core.check.rule import Rule, Subject
from trueup.core.model import Finding, Place, Severity

NO_PROVIDER = Rule(
    "terraform-without-provider", Severity.WARNING,
    "A Terraform module uses a provider that it neither requires nor configures: its version is whatever is newest.",
)  # fmt: skip
INVALID = Rule(
    "terraform-invalid", Severity.WARNING, "A Terraform file has a block, string or comment that never ends."
)
RULES = (NO_PROVIDER, INVALID)

_BUILT_IN = frozenset({"terraform"})  # terraform_data, terraform_remote_state


class Block(Struct, frozen=True):
    """A top-level block: `resource "aws_s3_bucket" "b" {…}`. `body` is its text, strings and comments included."""

    kind: str
    labels: tuple[str, ...]
    line: int
    body: str


class Unclosed(Exception):
    """Something that began on `line` never ends."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(what)
        self.line, self.what = line, what


def check(subject: Subject) -> Iterator[Finding]:
    modules: dict[str, list[tuple[str, Block]]] = {}
    for path in subject.found.terraform:
        text = subject.text(path)
        if text is None:
            continue
        try:
            modules.setdefault(posixpath.dirname(path), []).extend((path, block) for block in blocks(text))
        except Unclosed as error:
            yield INVALID.at(Place(path, error.line), f"{error.what} that begins here never ends", "Close it.")
    for module in modules.values():
        yield from _module(module)


def _module(module: list[tuple[str, Block]]) -> Iterator[Finding]:
    declared = {name for _, block in module for name in _declares(block)}
    told: set[str] = set()
    for path, block in module:
        provider = _uses(block)
        if not provider or provider in declared or provider in told or provider in _BUILT_IN:
            continue
        told.add(provider)
        yield NO_PROVIDER.at(
            Place(path, block.line),
            f"{block.kind} {'.'.join(block.labels)} needs the provider {provider!r}, which nothing here declares",
            f'Add `{provider} = {{ source = "hashicorp/{provider}", version = "~> …" }}` to `required_providers` in a '
            f'`terraform` block, and `provider "{provider}" {{ … }}`.',
        )


def _declares(block: Block) -> Iterator[str]:
    if block.kind == "provider" and block.labels:
        yield block.labels[0]
    if block.kind == "terraform":
        for inner in blocks(block.body):
            if inner.kind == "required_providers":
                yield from re.findall(r"^\s*([A-Za-z][\w-]*)\s*=", _top_level(inner.body), re.MULTILINE)


def _uses(block: Block) -> str:
    if block.kind not in ("resource", "data", "ephemeral") or not block.labels:
        return ""
    explicit = re.search(r"^\s*provider\s*=\s*\"?([A-Za-z][\w-]*)", _top_level(block.body), re.MULTILINE)
    return explicit.group(1) if explicit else block.labels[0].partition("_")[0]


def _top_level(body: str) -> str:
    """The body without what stands in nested braces."""
    depth, kept = 0, []
    for character in body:
        depth += (character == "{") - (character == "}")
        if depth == 0 or (depth == 1 and character == "{"):
            kept.append(character)
    return "".join(kept)


# --- outline ---------------------------------------------------------------------------------------

_TOKEN = re.compile(
    r"""(?P<comment>\#[^\n]*|//[^\n]*|/\*(?:.*?\*/)?)|(?P<heredoc><<-?(?P<end>\w+)[ \t]*\n)"""
    r"""|(?P<quote>")|(?P<brace>[{}])""",
    re.DOTALL,
)
MAX_HEAD = 400  # characters of a block's type and labels: looking further back would cost the square of a file
_HEAD = re.compile(r"""([A-Za-z][\w-]*)((?:\s+(?:"(?:[^"\\]|\\.)*"|[A-Za-z][\w-]*))*)\s*\Z""")


def blocks(text: str) -> Iterator[Block]:
    """The outermost blocks of a file or of a block's body. Raises Unclosed."""
    lines = _Lines(text)
    depth = start = opened = at = mark = 0
    head: re.Match[str] | None = None
    while found := _TOKEN.search(text, at):
        at = _skip(text, found, lines)
        if found.group("brace") == "{":
            if depth == 0:
                head = _HEAD.search(text, max(mark, found.start() - MAX_HEAD), found.start())
                start, opened = at, found.start()
            depth += 1
        elif found.group("brace") == "}":
            depth -= 1
            if depth < 0:
                raise Unclosed(lines.of(found.start()), "a `}` without its `{`, or a block")
            if depth == 0:
                if head is not None:
                    yield Block(head.group(1), _labels(head), lines.of(opened), text[start : found.start()])
                mark = at
        elif found.group("comment") is not None and depth == 0:
            mark = at
    if depth:
        raise Unclosed(lines.of(opened), "a block")


def _labels(head: re.Match[str]) -> tuple[str, ...]:
    return tuple(a or b for a, b in re.findall(r'"((?:[^"\\]|\\.)*)"|([A-Za-z][\w-]*)', head.group(2)))


class _Lines:
    """Line numbers of offsets, by bisection: counting from the top each time would cost the square of a file."""

    def __init__(self, text: str) -> None:
        self.starts = [found.end() for found in re.finditer("\n", text)]

    def of(self, offset: int) -> int:
        return bisect.bisect_right(self.starts, offset) + 1


def _skip(text: str, found: re.Match[str], lines: _Lines) -> int:
    """Where to go on after a token: past the whole of a comment, heredoc or string."""
    if found.group("heredoc") is not None:
        end = re.compile(rf"^[ \t]*{found.group('end')}[ \t]*$", re.MULTILINE).search(text, found.end())
        if end is None:
            raise Unclosed(lines.of(found.start()), "a heredoc")
        return end.end()
    if found.group("quote") is not None:
        return _string(text, found.end(), lines.of(found.start()))
    if found.group("comment") == "/*":
        raise Unclosed(lines.of(found.start()), "a comment")
    return found.end()


def _string(text: str, at: int, line: int) -> int:
    """Past a quoted string, whose `${…}` may hold strings in turn: `within` says what is open, innermost last."""
    within = ['"']
    while within and at < len(text):
        character, two, in_string = text[at], text[at : at + 2], within[-1] == '"'
        at += 1
        if character == '"':
            if in_string:
                within.pop()
            else:
                within.append('"')
        elif in_string and (character == "\\" or two in ("$$", "%%")):
            at += 1
        elif in_string and two in ("${", "%{"):
            within.append("{")
            at += 1
        elif in_string and character == "\n":
            break
        elif not in_string and character == "{":
            within.append("{")
        elif not in_string and character == "}":
            within.pop()
    if within:
        raise Unclosed(line, "a string")
    return at
