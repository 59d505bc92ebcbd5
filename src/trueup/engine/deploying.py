"""What runs by definitions: every application that a repository's definitions state, as one application. Pure.

Where that cannot be had whole nothing of it is deployed: a part left out would be taken for deleted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import structs

from trueup.core.application import Application
from trueup.core.found import Found
from trueup.core.model import Finding, Json, Place, Severity
from trueup.core.resolve import Resolved
from trueup.core.settings import Settings
from trueup.core.syncoptions import namespace_made, of_application
from trueup.core.text import shown
from trueup.engine.expansion import Expanded

BY_CONVENTION = "application-unclear"  # the finding that nothing says what runs


def by_definitions(
    found: Found, settings: Settings, expanded: Expanded, own: Sequence[str]
) -> tuple[Found, tuple[Finding, ...]]:
    """What is to run, and what is to be said of it. Where trueup.yaml says what runs, definitions are only noted."""
    said = (*expanded.said, *_whole(expanded, own), *_options(expanded))
    if settings.environments:
        return found, tuple(structs.replace(one, severity=Severity.NOTE) for one in said)
    if not expanded.resolved:
        return found, said
    rest = tuple(one for one in found.findings if one.rule != BY_CONVENTION)
    if any(one.severity is Severity.ERROR for one in said):
        return structs.replace(found, applications=(), findings=rest), said
    parts = tuple(
        structs.replace(part, namespace=one.application.namespace)
        for one in expanded.resolved
        if one.application is not None
        for part in one.application.parts
    )
    place = expanded.resolved[0].stated.place
    application = Application(found.name, parts, place=place, made=tuple(_namespaces(expanded)))
    return structs.replace(found, applications=(application,), findings=rest), said


def _namespaces(expanded: Expanded) -> Iterator[tuple[Json, Place]]:
    """The Namespaces that the applications ask to have made, each once."""
    seen: set[str] = set()
    for one in expanded.resolved:
        name = one.stated.destination.namespace
        body = namespace_made(one.stated.told.get("syncPolicy"), name)
        if body is not None and name not in seen:
            seen.add(name)
            yield body, one.stated.place


def _options(expanded: Expanded) -> Iterator[Finding]:
    """Sync options of applications that are not honoured, or have no effect."""
    for one in expanded.resolved:
        for refused, message, fix in of_application((one.stated.told.get("syncPolicy") or {}).get("syncOptions")):
            severity = Severity.ERROR if refused else Severity.WARNING
            rule = "sync-option-refused" if refused else "sync-option-no-effect"
            yield Finding(severity, rule, one.stated.place, shown(f"{one.stated.origin}: {message}"), shown(fix))


def _whole(expanded: Expanded, own: Sequence[str]) -> Iterator[Finding]:
    """Why the applications cannot be deployed as they are stated."""
    for one in expanded.resolved:
        if (reason := _reason(one, own)) is not None:
            yield Finding(
                Severity.ERROR, "definition-not-deployed", one.stated.place,
                shown(f"{one.stated.origin} {reason}, and `trueup up` deploys all that is stated here or nothing"),
                "Take it out, or name under `environments` of trueup.yaml the folder that is to run.",
            )  # fmt: skip


def _reason(one: Resolved, own: Sequence[str]) -> str | None:
    if one.stated.suspended:
        return "is suspended"
    away = [part.repository for part in one.application.parts if part.repository] if one.application else []
    if away:
        return f"is made from {away[0]}, which is not this repository"
    if not own:
        return "names a repository, and which one this is, is not known"
    return None
