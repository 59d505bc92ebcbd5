"""`trueup.yaml`: what no other file can state. Optional; a repository without one gets these defaults.

Pure: a parsed document → Settings, or findings that name line, key and the nearest known key.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping

from msgspec import Struct

from trueup.core import driftsettings, support
from trueup.core.candidate import Undo
from trueup.core.model import DriftRules, Finding, Json, Place, Severity
from trueup.core.objects import dotted
from trueup.core.yamldoc import Doc, Schema, YamlFault, documents

FILE = "trueup.yaml"
# key → what it is for, as docs/settings.md says
KEYS: Mapping[str, str] = {
    "pipelines.required": "Workflows that must be green before a commit is deployed, by name or file name; the others "
    "are advisory. Without it every workflow that a push triggers is required.",
    "environments": "Where what runs is stated, when the repository holds more than one kustomization, chart or folder "
    "of manifests: a list of `{name, path}`, in the order in which a change goes through them; `values` lists values "
    "files of a chart, later ones win. Paths are from the root of the repository. One environment is run so far.",
    "environments[].undo": "The same as `undo`, for this environment alone.",
    "undo": "What becomes of a bad commit: `revert`: the last good one runs again and a commit says so (as without "
    "this key); `pin`: it runs again, Git is left alone; `none`: the rollout stays stopped and a person decides. The "
    "bad commit's own file counts; `trueup up --undo` comes before it.",
    "drift": driftsettings.ABOUT,
    "accept": "Parts of Kubernetes that one host cannot honour and that would weaken a promise, accepted by name.",
}


class Environment(Struct, frozen=True):
    """Where the objects of one environment are stated. `path` "" is the root of the repository."""

    name: str
    path: str
    place: Place
    values: tuple[str, ...] = ()
    undo: str = ""


class Settings(Struct, frozen=True):
    """`required` None: every pipeline that a push triggers. `undo` "": not stated."""

    required: tuple[str, ...] | None = None
    accept: tuple[str, ...] = ()
    environments: tuple[Environment, ...] = ()
    undo: str = ""
    drift: DriftRules = DriftRules()

    @property
    def undo_here(self) -> str:
        """Of the environment that is run: the first one, when any is stated."""
        return (self.environments[0].undo if self.environments else "") or self.undo


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
    environments = tuple(
        Environment(
            e["name"],
            _clean(e["path"]),
            doc.place("environments", i),
            tuple(map(_clean, e.get("values") or ())),
            e.get("undo") or "",
        )
        for i, e in enumerate(body.get("environments") or ())
    )
    accept = tuple(body.get("accept") or ())
    drift = driftsettings.rules_of(body.get("drift"))
    required = None if required is None else tuple(required)
    return Settings(required, accept, environments, body.get("undo") or "", drift), ()


def _clean(path: str) -> str:
    """A path as trees have it: no "./", nothing at either end."""
    return "/".join(part for part in path.split("/") if part not in ("", "."))


def _findings(doc: Doc) -> Iterator[Finding]:
    if not isinstance(doc.body, dict):
        yield _wrong(doc, (), f"a mapping was expected, not {_kind(doc.body)}", "Start with a key, `pipelines:`.")
        return
    yield from _unknown(doc, (), doc.body, {"pipelines", "accept", "environments", "undo", "drift"})
    for where, message, fix in driftsettings.faults(doc.body.get("drift")):
        yield _wrong(doc, ("drift", *where), message, fix)
    yield from _undo(doc, ("undo",), doc.body.get("undo"))
    yield from _environments(doc, doc.body.get("environments"))
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


def _undo(doc: Doc, where: tuple[str | int, ...], value: Json) -> Iterator[Finding]:
    known = [undo.value for undo in Undo]
    if value is None or value in known:
        return
    fix = f"Write one of {', '.join(known)}."
    yield _wrong(doc, where, f"{value!r} is no way to undo a bad commit{_near(str(value), known)}", fix)


_ENVIRONMENT = {"name", "path", "values", "undo"}


def _environments(doc: Doc, value: Json) -> Iterator[Finding]:
    fix = "Write e.g. `environments: [{name: production, path: overlays/production}]`."
    if value is not None and not isinstance(value, list):
        yield _wrong(doc, ("environments",), f"a list of environments was expected, not {_kind(value)}", fix)
        return
    names: list[str] = []
    for at, one in enumerate(value or ()):
        where = ("environments", at)
        if not isinstance(one, dict):
            yield _wrong(doc, where, f"a mapping of name and path was expected, not {_kind(one)}", fix)
            continue
        yield from _unknown(doc, where, one, _ENVIRONMENT)
        for key in ("name", "path"):
            if not isinstance(one.get(key), str) or not one[key]:
                yield _wrong(doc, (*where, key) if key in one else where, f"{key}: a text was expected", fix)
        yield from _names(doc, (*where, "values"), one.get("values"))
        yield from _undo(doc, (*where, "undo"), one.get("undo"))
        for path in _paths(one):
            if path.startswith("/") or ".." in path.split("/"):
                message = f"{path!r} leads out of the repository"
                yield _wrong(doc, where, message, "Paths are from the root of the repository.")
        if one.get("name") in names:
            yield _wrong(doc, (*where, "name"), f"the environment {one['name']!r} is stated twice", "Rename one.")
        names.append(str(one.get("name")))


def _paths(environment: Mapping[str, Json]) -> Iterator[str]:
    values = environment.get("values")
    for path in (environment.get("path"), *(values if isinstance(values, list) else ())):
        if isinstance(path, str):
            yield path


def _unknown(
    doc: Doc, path: tuple[str | int, ...], body: Mapping[str, Json], known: Collection[str]
) -> Iterator[Finding]:
    for key in body:
        if key not in known:
            where = f" in {dotted(path)}" if path else ""
            fix = f"Known{where}: {', '.join(sorted(known))}."
            message = f"unknown key {key!r}{where}{_near(key, known)}"
            yield Finding(Severity.ERROR, "settings-unknown-key", doc.key_place(*path, key), message, fix)


def _names(doc: Doc, path: tuple[str | int, ...], value: Json) -> Iterator[Finding]:
    if value is None:
        return
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        yield _wrong(doc, path, f"{dotted(path)}: a list of names was expected", "Write e.g. `[test, deploy]`.")


def _wrong(doc: Doc, path: tuple[str | int, ...], message: str, fix: str) -> Finding:
    return Finding(Severity.ERROR, "settings-invalid", doc.place(*path), message, fix)


def _near(name: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(name, known, 1)
    return f": did you mean {close[0]!r}?" if close else ""


def _kind(value: Json) -> str:
    return {list: "a list", str: "text", bool: "true or false", int: "a number"}.get(type(value), "that")
