"""Declarative `Jenkinsfile`s: found, named and shown as stages with their commands; not run natively yet.

Reads the outline only (stages, steps, sh/bat/script texts); Groovy is never evaluated.
Source: Jenkins User Handbook, "Pipeline Syntax", Declarative Pipeline.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

from msgspec import Struct

from trueup.core.model import Finding, Place, Severity
from trueup.core.pipeline import Graph, Job, Parsed, RunStep, Trigger

MAX_BYTES = 512 << 10
MAX_STAGES = 200  # a file with more is no outline for people, and nested ones would cost their square
_TOKEN = re.compile(
    r"""(?P<skip>//[^\n]*|/\*.*?\*/|[ \t\r]+|^\#![^\n]*)
    |(?P<text>'''(?:\\.|[^\\])*?'''|\"\"\"(?:\\.|[^\\])*?\"\"\"|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*")
    |(?P<word>[A-Za-z_]\w*)
    |(?P<mark>[{}()\[\]:,=])
    |(?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)


class Token(Struct, frozen=True):
    kind: str
    text: str
    line: int


def owns(path: str) -> bool:
    name = path.rpartition("/")[2]
    return name == "Jenkinsfile" or name.startswith("Jenkinsfile.") or name.endswith(".jenkinsfile")


def parse(path: str, content: bytes) -> Parsed:
    """The stages in order, each with the commands of its sh steps; `native` is False."""
    note = Finding(
        Severity.NOTE,
        "jenkins-not-native",
        Place(path, 1),
        "a Jenkinsfile is shown, not run by Trueup yet",
        "keep Jenkins for it, or describe the required checks as a GitHub workflow",
    )
    if len(content) > MAX_BYTES:
        return Parsed(graph=None, findings=(note,), native=False)
    jobs = tuple(_jobs(path, list(_tokens(content.decode("utf-8", "replace")))))
    graph = Graph(
        name="Jenkins pipeline", place=Place(path, 1), dialect="jenkins", jobs=jobs, triggers=(Trigger(event="push"),)
    )
    return Parsed(graph=graph, findings=(note,), native=False)


def _tokens(text: str) -> Iterator[Token]:
    line = 1
    for match in _TOKEN.finditer(text):
        if match.lastgroup and match.lastgroup not in ("skip", "other"):
            yield Token(match.lastgroup, match.group(), line)
        line += match.group().count("\n")


def _jobs(path: str, tokens: list[Token]) -> Iterator[Job]:
    """`stage('Name') { … sh '…' … }`; a stage that only holds stages shows those."""
    previous: tuple[str, ...] = ()
    for at, name, end in itertools.islice(_stages(tokens), MAX_STAGES):
        steps = tuple(_steps(path, tokens[at:end]))
        inner = any(True for _ in _stages(tokens[at + 5 : end]))
        if not inner:
            yield Job(
                id=name, name=name, place=Place(path, tokens[at].line), needs=previous, steps=steps, environment=name
            )
            previous = (name,)


def _stages(tokens: list[Token]) -> Iterator[tuple[int, str, int]]:
    for at, token in enumerate(tokens):
        opened = [each.text for each in tokens[at + 1 : at + 5]]
        if token.text == "stage" and len(opened) == 4 and opened[0] == "(" and opened[2:] == [")", "{"]:
            yield at, _unquoted(opened[1]), _closing(tokens, at + 4)


def _closing(tokens: list[Token], at: int) -> int:
    depth = 0
    for position in range(at, len(tokens)):
        depth += {"{": 1, "}": -1}.get(tokens[position].text, 0)
        if depth == 0:
            return position
    return len(tokens)


def _steps(path: str, tokens: list[Token]) -> Iterator[RunStep]:
    for at, token in enumerate(tokens):
        if token.kind == "word" and token.text in ("sh", "bat", "powershell", "pwsh"):
            texts = [each for each in tokens[at + 1 : at + 5] if each.kind == "text"]
            if texts:
                yield RunStep(place=Place(path, texts[0].line), script=_unquoted(texts[0].text), shell=token.text)


def _unquoted(text: str) -> str:
    quotes = 3 if text[:3] in ("'''", '"""') else 1
    inner = text[quotes:-quotes]
    return re.sub(r"\\([\\'\"$])", r"\1", inner).strip("\n")
