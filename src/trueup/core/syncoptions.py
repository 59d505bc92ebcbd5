"""Sync options that stand on an object: what each word means here. One table for the code, the check and the docs.

Source: Argo CD "Sync Options" (v3.1).
"""

from __future__ import annotations

import enum
from collections.abc import Iterator

from msgspec import Struct

from trueup.core.hooks import HOOK, POLICY, SHARED, WAVE, Removal, When
from trueup.core.model import Json
from trueup.core.objects import annotation

FIRST = "-999999999"  # the wave before every other
OPTIONS = "argocd.argoproj.io/sync-options"


class Answer(enum.Enum):
    DONE = "done"
    ALWAYS = "always so"
    REFUSED = "refused"
    NO_EFFECT = "no effect"
    APPLICATION = "of an application"  # has no meaning on an object


class Row(Struct, frozen=True):
    word: str
    answer: Answer
    says: str


TABLE = (
    Row("Prune=false", Answer.DONE, "never deleted because Git no longer states it"),
    Row("Prune=confirm", Answer.DONE, "deleted once a person has approved it"),
    Row("Delete=false", Answer.DONE, "kept, too"),
    Row("Delete=confirm", Answer.DONE, "deleted once a person has approved it"),
    Row("Replace=true", Answer.DONE, "replaced as a whole where it stands, so that fields others added go; "
        "made anew where a field can never change, but for what holds data"),
    Row("Force=true", Answer.DONE, "deleted and made anew where a field can never change"),
    Row("Validate=false", Answer.NO_EFFECT, "a server-side apply refuses unknown fields all the same"),
    Row("Validate=true", Answer.ALWAYS, "unknown fields are refused"),
    Row("PruneLast=true", Answer.ALWAYS, "deletions come last, once everything else is healthy"),
    Row("PruneLast=false", Answer.ALWAYS, "deletions come last all the same"),
    Row("ServerSideApply=true", Answer.ALWAYS, "everything is applied server-side"),
    Row("ServerSideApply=false", Answer.REFUSED, "everything is applied server-side: remove the option"),
    Row("SkipDryRunOnMissingResource=true", Answer.ALWAYS, "what has no definition yet waits, the rest goes on"),
    Row("SkipDryRunOnMissingResource=false", Answer.ALWAYS, "what has no definition yet waits, the rest goes on"),
    Row("FailOnSharedResource=true", Answer.APPLICATION, "always so: an object of another application is refused"),
    Row("ApplyOutOfSyncOnly=true", Answer.APPLICATION, "always so: what is as stated costs no call"),
    Row("RespectIgnoreDifferences=true", Answer.APPLICATION, "fields left to others are left alone by a sync, too"),
    Row("CreateNamespace=true", Answer.APPLICATION, "made before anything else, with managedNamespaceMetadata; "
        "never deleted, and several applications may ask for one"),
)  # fmt: skip
_ROWS = {row.word: row for row in TABLE}


def namespace_made(policy: Json, name: str) -> Json:
    """The Namespace that an application asks to have made (CreateNamespace, managedNamespaceMetadata), else None.

    It is made before anything else, no part of what stands, and never deleted. `policy`: spec.syncPolicy.
    Source: Argo CD "Sync Options", Create Namespace and Namespace Metadata."""
    words = policy.get("syncOptions") if isinstance(policy, dict) else None
    if not name or not isinstance(words, list) or "CreateNamespace=true" not in words:
        return None
    managed = policy.get("managedNamespaceMetadata") or {}
    own = {HOOK: When.PRE_SYNC.value, WAVE: FIRST, POLICY: Removal.FAILED.value, SHARED: "true"}
    metadata: dict[str, Json] = {"name": name, "annotations": {**(managed.get("annotations") or {}), **own}}
    if managed.get("labels"):
        metadata["labels"] = dict(managed["labels"])
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}


def of_application(words: Json) -> Iterator[tuple[bool, str, str]]:
    """As `faults`, for the options of an application."""
    for word in words if isinstance(words, list) else ():
        row = _ROWS.get(word) if isinstance(word, str) else None
        if row is None:
            yield False, f"the sync option {word!r} is none that is known and has no effect", "Remove it."
        elif row.answer is Answer.REFUSED:
            yield True, f"the sync option {word} is not honoured: {row.says}", "Remove it."
        elif row.answer in (Answer.NO_EFFECT, Answer.DONE):
            where = row.says if row.answer is Answer.NO_EFFECT else "write it on the objects it is for"
            yield False, f"the sync option {word} has no effect on a whole application: {where}", "Remove it here."


def stated(body: Json) -> tuple[str, ...]:
    """The options on an object, as written."""
    return tuple(word for part in annotation(body, OPTIONS).split(",") if (word := part.strip()))


def has(body: Json, word: str) -> bool:
    return word in stated(body)


def faults(body: Json) -> Iterator[tuple[bool, str, str]]:
    """(whether it is refused, what is wrong, what to do) for each option that is not honoured on an object."""
    for word in stated(body):
        row = _ROWS.get(word)
        if row is None:
            known = ", ".join(r.word for r in TABLE if r.answer in (Answer.DONE, Answer.ALWAYS))
            yield False, f"the sync option {word!r} is none that is known and has no effect", f"Known: {known}."
        elif row.answer is Answer.REFUSED:
            yield True, f"the sync option {word} is not honoured: {row.says}", "Remove it."
        elif row.answer is Answer.NO_EFFECT:
            yield False, f"the sync option {word} has no effect: {row.says}", "Remove it."
        elif row.answer is Answer.APPLICATION:
            yield False, f"the sync option {word} belongs to an application and has no effect here", f"{row.says}."
