"""Annotations that steer a sync: words that mean nothing or are not honoured, and hooks that never run."""

from __future__ import annotations

from collections.abc import Iterator

from trueup.core import syncoptions
from trueup.core.check.rule import Rule, Subject
from trueup.core.hooks import HELM_HOOK, HOOK, faults, hook_of, is_hook
from trueup.core.manifests import Manifest
from trueup.core.model import Finding, Severity
from trueup.core.objects import annotation

UNKNOWN = Rule(
    "order-unknown", Severity.ERROR,
    "An annotation of a hook, its delete policy, a wave or a weight holds a word that means nothing.",
)  # fmt: skip
NOT_RUN = Rule(
    "hook-not-run", Severity.NOTE,
    "A hook that is never run: Helm's tests and rollback hooks, as in Argo CD.",
)  # fmt: skip
REFUSED = Rule(
    "sync-option-refused", Severity.ERROR, "A sync option on an object asks for what Trueup never does.",
)  # fmt: skip
NO_EFFECT = Rule(
    "sync-option-no-effect", Severity.WARNING, "A sync option is none that is known, or belongs to an application.",
)  # fmt: skip
RULES = (UNKNOWN, NOT_RUN, REFUSED, NO_EFFECT)


def check(subject: Subject) -> Iterator[Finding]:
    for manifest in subject.manifests:
        found = list(_unknown(manifest))
        yield from found
        yield from _options(manifest)
        if not found and is_hook(manifest.object.body) and not annotation(manifest.object.body, HOOK):
            yield from _not_run(manifest)


def _options(manifest: Manifest) -> Iterator[Finding]:
    for refused, message, fix in syncoptions.faults(manifest.object.body):
        place = manifest.doc.place("metadata", "annotations", syncoptions.OPTIONS)
        yield (REFUSED if refused else NO_EFFECT).at(place, f"{manifest.object.ref}: {message}", fix)


def _unknown(manifest: Manifest) -> Iterator[Finding]:
    for name, message, fix in faults(manifest.object.body):
        place = manifest.doc.place("metadata", "annotations", name)
        yield UNKNOWN.at(place, f"{manifest.object.ref}: {message}", fix)


def _not_run(manifest: Manifest) -> Iterator[Finding]:
    events = annotation(manifest.object.body, HELM_HOOK)
    if not hook_of(manifest.object).when:
        yield NOT_RUN.at(
            manifest.doc.place(), f"{manifest.object.ref} is a hook ({events}) that no sync runs",
            "Nothing; run a chart's tests in the pipeline.",
        )  # fmt: skip
