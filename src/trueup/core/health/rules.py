"""A user's own rules of health, read from the files that state them: an argocd-cm's Lua, Flux's healthCheckExprs. Pure.

Says which rule is for an object and where it is stated; a render worker runs it (`ports.Judges`).
Source: Argo CD "Resource Health", custom health checks; Flux "Kustomization", health check expressions (RFC 0009).
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct

from trueup.core.health.live import Found, group_of
from trueup.core.model import Health, Json, Place
from trueup.core.objects import dig
from trueup.core.yamldoc import Doc, YamlFault, documents

WHOLE = "resource.customizations"
HEALTH = f"{WHOLE}.health."
OPEN = f"{WHOLE}.useOpenLibs."


class Lua(Struct, frozen=True):
    """`open`: with the standard libraries (useOpenLibs)."""

    script: str
    open: bool = False


class Cel(Struct, frozen=True):
    current: str
    in_progress: str = ""
    failed: str = ""


class Rule(Struct, frozen=True):
    """`kind` is "group/Kind", or "Kind" for core; `*` stands for anything. `place`: the line above the script."""

    kind: str
    how: Lua | Cel
    place: Place


class Said(Struct, frozen=True):
    """What a rule said of one object; with a fault nothing is known. `line` counts within the script."""

    status: str = ""
    message: str = ""
    fault: str = ""
    line: int = 0


class RulesWrong(ValueError):
    """A file of rules that cannot be read; the message names file, line and what to write."""


def read(data: bytes, file: str) -> tuple[Rule, ...]:
    """The rules of a file: ConfigMaps with `resource.customizations…`, Flux Kustomizations, or healthCheckExprs alone.

    Raises RulesWrong."""
    try:
        found = [rule for doc in documents(data, file) for rule in _of_doc(doc)]
    except YamlFault as fault:
        raise RulesWrong(str(fault)) from fault
    if not found:
        raise RulesWrong(
            f"{file}: states no rule; write a ConfigMap with {HEALTH}GROUP_KIND, or healthCheckExprs with apiVersion, "
            "kind and current"
        )
    return tuple(found)


def _of_doc(doc: Doc) -> Iterator[Rule]:
    body = doc.body
    if isinstance(body, dict) and body.get("kind") == "ConfigMap":
        yield from _config_map(doc)
    elif isinstance(body, list):
        yield from _expressions(doc, (), body)
    elif isinstance(body, dict):
        at = next((p for p in (("spec", "healthCheckExprs"), ("healthCheckExprs",)) if dig(body, p) is not None), None)
        if at is not None:
            yield from _expressions(doc, at, dig(body, at))


def _config_map(doc: Doc) -> Iterator[Rule]:
    data = doc.body.get("data")
    for key, text in (data if isinstance(data, dict) else {}).items():
        if key.startswith(HEALTH) and isinstance(text, str):
            name = key.removeprefix(HEALTH)
            open_ = str(data.get(f"{OPEN}{name}", "")).strip() == "true"
            group, slash, kind = name.rpartition("_")
            yield Rule(f"{group}/{kind}" if slash else kind, Lua(text, open_), doc.key_place("data", key))
        elif key == WHOLE and isinstance(text, str):
            yield from _block(text, doc.key_place("data", key))


def _block(text: str, place: Place) -> Iterator[Rule]:
    """The older form: one text that holds YAML, "group/Kind" → {health.lua: …}."""
    try:
        docs = documents(text.encode(), place.file)
    except YamlFault as fault:
        raise RulesWrong(f"{place}: {WHOLE} holds no YAML: {fault}") from fault
    for doc in docs:
        for kind, given in (doc.body if isinstance(doc.body, dict) else {}).items():
            script = given.get("health.lua") if isinstance(given, dict) else None
            if isinstance(kind, str) and isinstance(script, str):
                line = place.line + doc.key_place(kind, "health.lua").line
                open_ = given.get("health.lua.useOpenLibs") is True
                yield Rule(kind, Lua(script, open_), Place(place.file, line))


def _expressions(doc: Doc, at: tuple[str, ...], given: Json) -> Iterator[Rule]:
    for index, each in enumerate(given if isinstance(given, list) else ()):
        place = doc.place(*at, index)
        words = {k: each.get(k, "") for k in ("apiVersion", "kind", "current", "inProgress", "failed")} if isinstance(
            each, dict
        ) else {}  # fmt: skip
        if not all(isinstance(word, str) for word in words.values()) or not words.get("kind"):
            raise RulesWrong(f"{place}: a rule needs apiVersion, kind and current, each a text")
        if not words["current"]:
            raise RulesWrong(f"{place}: the rule for {words['kind']} states no `current`: write when it is healthy")
        group = words["apiVersion"].rpartition("/")[0]
        kind = f"{group}/{words['kind']}" if group else words["kind"]
        yield Rule(kind, Cel(words["current"], words["inProgress"], words["failed"]), place)


def rule_for(rules: Sequence[Rule], body: Json) -> int:
    """Which of the rules judges this object: the one that names its kind, else the first whose pattern fits; -1 none.

    An object that is being deleted is judged by no rule. Source: argo-cd util/lua, GetHealthScript."""
    if not isinstance(body, dict) or dig(body, ("metadata", "deletionTimestamp")):
        return -1
    group, kind = group_of(body), body.get("kind")
    name = f"{group}/{kind}" if group else str(kind)
    exact = (at for at, rule in enumerate(rules) if rule.kind == name)
    fits = (at for at, rule in enumerate(rules) if "*" in rule.kind and fnmatch.fnmatchcase(name, rule.kind))
    return next(exact, next(fits, -1))


def found(rule: Rule, said: Said) -> Found:
    """What a rule's word means. A rule that fails says nothing: unknown, with the line to mend."""
    how = "lua" if isinstance(rule.how, Lua) else "cel"
    if said.fault:
        line = Place(rule.place.file, rule.place.line + said.line) if said.line else rule.place
        return Found(Health.UNKNOWN, f"{line}: the rule for {rule.kind} fails: {said.fault}", how)
    health = Health(said.status.lower())
    return Found(health, said.message or ("" if health is Health.HEALTHY else "by the rule"), how)


def kinds(rules: Iterable[Rule]) -> frozenset[str]:
    """The kinds that have a rule, patterns as they are."""
    return frozenset(rule.kind for rule in rules)
