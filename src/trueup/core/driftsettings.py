"""`drift` of trueup.yaml: what is repaired, and which fields are left to others. Keys as Argo CD names them.

Source: Argo CD "Diff Customization", `spec.ignoreDifferences`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from trueup.core.model import DriftRules, Json, Leave

ABOUT = (
    "On a cluster, what is done about drift: `repair: false` tells it and leaves it; `leave` is a list of fields that "
    "others write and that are left to them, each with `group`, `kind`, `namespace`, `name` (`*` and `?` in the first "
    "two; left out: any) and `jsonPointers`, `jqPathExpressions` or `managedFieldsManagers`, as in "
    "`ignoreDifferences` of Argo CD."
)
WHICH = ("group", "kind", "namespace", "name")
FIELDS = ("jsonPointers", "jqPathExpressions", "managedFieldsManagers")
EXAMPLE = "Write e.g. `leave: [{kind: Deployment, jsonPointers: [/spec/replicas]}]`."

Where = tuple[str | int, ...]


def faults(value: Json) -> Iterator[tuple[Where, str, str]]:
    """(place below `drift`, what is wrong, what to write) of each fault."""
    if value is None:
        return
    if not isinstance(value, dict):
        yield (), "a mapping was expected", "Write e.g. `drift: {repair: false}`."
        return
    for key in value:
        if key not in ("repair", "leave"):
            yield (key,), f"unknown key {key!r} in drift", "Known in drift: leave, repair."
    if not isinstance(value.get("repair", True), bool):
        yield ("repair",), "true or false was expected", "Write `repair: false` to have drift told and left."
    rules = value.get("leave")
    if rules is not None and not isinstance(rules, list):
        yield ("leave",), "a list of rules was expected", EXAMPLE
        return
    for at, rule in enumerate(rules or ()):
        yield from ((("leave", at, *where), message, fix) for where, message, fix in _rule(rule))


def _rule(rule: Json) -> Iterator[tuple[Where, str, str]]:
    if not isinstance(rule, dict):
        yield (), "a mapping was expected", EXAMPLE
        return
    for key, value in rule.items():
        if key in WHICH:
            if not isinstance(value, str):
                yield (key,), f"{key}: a text was expected", EXAMPLE
        elif key not in FIELDS:
            yield (key,), f"unknown key {key!r} in a rule", f"Known in a rule: {', '.join(sorted({*WHICH, *FIELDS}))}."
        elif not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            yield (key,), f"{key}: a list of texts was expected", EXAMPLE
        elif key == "jsonPointers":
            for at, pointer in enumerate(value):
                if not pointer.startswith("/") or pointer == "/":
                    yield (key, at), f"{pointer!r} is no JSON pointer to a field", "Write e.g. /spec/replicas."
    if not any(rule.get(key) for key in FIELDS):
        yield (), "the rule names no field", EXAMPLE


def rules_of(value: Mapping[str, Json] | None) -> DriftRules:
    """The rules of a `drift` without faults."""
    if value is None:
        return DriftRules()
    leave = tuple(
        Leave(
            group=rule.get("group", "*"),
            kind=rule.get("kind", "*"),
            namespace=rule.get("namespace", ""),
            name=rule.get("name", ""),
            pointers=tuple(rule.get("jsonPointers") or ()),
            jq=tuple(rule.get("jqPathExpressions") or ()),
            managers=tuple(rule.get("managedFieldsManagers") or ()),
        )
        for rule in value.get("leave") or ()
    )
    return DriftRules(leave, value.get("repair", True))
