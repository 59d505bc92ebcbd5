"""`trueup.yaml`: what no other file can state. Optional; a repository without one gets these defaults.

Pure: a parsed document → Settings, or findings that name line, key and the nearest known key.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping

from msgspec import Struct

from trueup.core import support
from trueup.core.model import Finding, Json, Severity
from trueup.core.yamldoc import Doc, Schema, YamlFault, documents

FILE = "trueup.yaml"
# key → what it is for, as docs/settings.md says
KEYS: Mapping[str, str] = {
    "pipelines.required": "Workflows that must be green before a commit is deployed, by name or file name; the others "
    "are advisory. Without it every workflow that a push triggers is required.",
    "accept": "Parts of Kubernetes that one host cannot honour and that would weaken a promise, accepted by name.",
}


class Settings(Struct, frozen=True):
    """`required` None: every pipeline that a push triggers."""

    required: tuple[str, ...] | None = None
    accept: tuple[str, ...] = ()


def read(data: bytes) -> tuple[Settings, tuple[Finding, ...]]:
    """The settings of a repository; with a finding the defaults stand in for what could not be read."""
    try:
        found = documents(data, FILE, schema=Schema.CORE)
    except YamlFault as fault:
        return Settings(), (fault.finding("settings-unreadable"),)
    if not found or found[0].body is None:
        return Settings(), ()
    doc = found[0]
    findings = tuple(_findings(doc))
    if findings:
        return Settings(), findings
    body = doc.body
    required = (body.get("pipelines") or {}).get("required")
    return Settings(None if required is None else tuple(required), tuple(body.get("accept") or ())), ()


def _findings(doc: Doc) -> Iterator[Finding]:
    if not isinstance(doc.body, dict):
        yield _wrong(doc, (), f"a mapping was expected, not {_kind(doc.body)}", "Start with a key, `pipelines:`.")
        return
    yield from _unknown(doc, (), doc.body, {"pipelines", "accept"})
    pipelines = doc.body.get("pipelines")
    if isinstance(pipelines, dict):
        yield from _unknown(doc, ("pipelines",), pipelines, {"required"})
        yield from _names(doc, ("pipelines", "required"), pipelines.get("required"))
    elif pipelines is not None:
        yield _wrong(
            doc, ("pipelines",), f"a mapping was expected, not {_kind(pipelines)}", "Write {required: [test]}."
        )
    yield from _names(doc, ("accept",), doc.body.get("accept"))
    accept = doc.body.get("accept")
    for at, name in enumerate(accept if isinstance(accept, list) else ()):
        known = {row.path.rpartition(".")[2] for row in support.TABLE if row.answer is support.Answer.REFUSED}
        if isinstance(name, str) and name not in known:
            fix = f"Write one of {', '.join(sorted(known))}."
            yield _wrong(doc, ("accept", at), f"{name!r} is nothing that can be accepted{_near(name, known)}", fix)


def _unknown(doc: Doc, path: tuple[str, ...], body: Mapping[str, Json], known: Collection[str]) -> Iterator[Finding]:
    for key in body:
        if key not in known:
            where = f" in {'.'.join(path)}" if path else ""
            fix = f"Known{where}: {', '.join(sorted(known))}."
            message = f"unknown key {key!r}{where}{_near(key, known)}"
            yield Finding(Severity.ERROR, "settings-unknown-key", doc.key_place(*path, key), message, fix)


def _names(doc: Doc, path: tuple[str, ...], value: Json) -> Iterator[Finding]:
    if value is None:
        return
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        yield _wrong(doc, path, f"{'.'.join(path)}: a list of names was expected", "Write e.g. `[test, deploy]`.")


def _wrong(doc: Doc, path: tuple[str | int, ...], message: str, fix: str) -> Finding:
    return Finding(Severity.ERROR, "settings-invalid", doc.place(*path), message, fix)


def _near(name: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(name, known, 1)
    return f": did you mean {close[0]!r}?" if close else ""


def _kind(value: Json) -> str:
    return {list: "a list", str: "text", bool: "true or false", int: "a number"}.get(type(value), "that")
