"""Which desired objects are hooks: when they run, in which wave, and when they are removed again. Pure data and rules.

A hook is no part of what stands: it is made once in its phase of a sync, and its end is waited for.
Source: Argo CD "Sync Phases and Waves", "Helm"; gitops-engine `pkg/sync/hook`.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator

from msgspec import Struct
from msgspec.structs import replace

from trueup.core.model import Json, Object
from trueup.core.objects import annotation, body_hash

HOOK = "argocd.argoproj.io/hook"
POLICY = "argocd.argoproj.io/hook-delete-policy"
WAVE = "argocd.argoproj.io/sync-wave"
HELM_HOOK = "helm.sh/hook"
HELM_POLICY = "helm.sh/hook-delete-policy"
HELM_WEIGHT = "helm.sh/hook-weight"
RUN = "trueup.io/hook-run"  # which run of a hook an object is: phase, number of the attempt, Candidate
SHARED = "trueup.io/shared"  # what several applications may state: a Namespace that is made for them
GONE_BEFORE = "gone:"  # before the hash of a hook that a target saw end, and that something else has removed since
SKIP = "Skip"


class When(enum.Enum):
    """A phase of a sync, or of an application's end."""

    PRE_SYNC = "PreSync"
    SYNC = "Sync"
    POST_SYNC = "PostSync"
    SYNC_FAIL = "SyncFail"
    PRE_DELETE = "PreDelete"
    POST_DELETE = "PostDelete"


class Removal(enum.Enum):
    SUCCEEDED = "HookSucceeded"
    FAILED = "HookFailed"
    BEFORE = "BeforeHookCreation"


# Helm's events as Argo CD maps them. None: Argo CD never runs it, and neither does Trueup.
HELM: dict[str, When | None] = {
    "pre-install": When.PRE_SYNC,
    "pre-upgrade": When.PRE_SYNC,
    "post-install": When.POST_SYNC,
    "post-upgrade": When.POST_SYNC,
    "pre-delete": When.PRE_DELETE,
    "post-delete": When.POST_DELETE,
    "pre-rollback": None,
    "post-rollback": None,
    "test": None,
    "test-success": None,
    "test-failure": None,
}
CRD_INSTALL = "crd-install"  # an object like any other; Source: gitops-engine `hook/helm/hook.go`
HELM_REMOVAL = {
    "before-hook-creation": Removal.BEFORE,
    "hook-succeeded": Removal.SUCCEEDED,
    "hook-failed": Removal.FAILED,
}
_WHEN = {each.value: each for each in When}
_REMOVAL = {each.value: each for each in Removal}


class Hook(Struct, frozen=True):
    """`when` is empty for what is never run (Skip, Helm's tests)."""

    object: Object
    when: frozenset[When]
    wave: int
    removal: frozenset[Removal]


def is_hook(body: Json) -> bool:
    """Whether an object is made by itself at its time, or never, rather than kept standing."""
    if annotation(body, HOOK).strip():
        return True
    events = list(_words(annotation(body, HELM_HOOK)))
    return bool(events) and CRD_INSTALL not in events


def hook_of(object: Object) -> Hook:
    """The hook that an object with `is_hook` is. Argo CD's annotation counts before Helm's."""
    body = object.body
    stated = list(_words(annotation(body, HOOK)))
    if stated:
        when = frozenset() if stated == [SKIP] else frozenset(_WHEN[w] for w in stated if w in _WHEN)
    else:
        mapped = (HELM.get(w) for w in _words(annotation(body, HELM_HOOK)))
        when = frozenset(w for w in mapped if w is not None)
    return Hook(object, when, wave_of(body), _removal(body))


def _removal(body: Json) -> frozenset[Removal]:
    found = {_REMOVAL[w] for w in _words(annotation(body, POLICY)) if w in _REMOVAL}
    found |= {HELM_REMOVAL[w] for w in _words(annotation(body, HELM_POLICY)) if w in HELM_REMOVAL}
    return frozenset(found or {Removal.BEFORE})


def wave_of(body: Json) -> int:
    """The sync wave an object asks for, a Helm hook's weight where it states none; 0 when that is no number."""
    wave = _number(annotation(body, WAVE))
    return wave if wave is not None else _number(annotation(body, HELM_WEIGHT)) or 0


def _number(text: str) -> int | None:
    text = text.strip()
    digits = text[1:] if text[:1] in ("+", "-") else text
    return int(text) if digits.isascii() and digits.isdigit() and len(digits) < 10 else None


def run_of(hook: Hook, when: When, attempt: int, candidate: str) -> Object:
    """The object that one run of a hook makes: its hash is that of no other run, so what stands is told apart."""
    body = hook.object.body
    notes = {**(body["metadata"].get("annotations") or {}), RUN: f"{when.value}/{attempt}/{candidate}"}
    made = {**body, "metadata": {**body["metadata"], "annotations": notes}}
    return replace(hook.object, body=made, hash=body_hash(made))


def key_of(hook: Hook, when: When) -> str:
    """Names a hook in a phase within an attempt: "PreSync batch/Job/shop/migrate"."""
    ref = hook.object.ref
    return f"{when.value} {ref.group}/{ref.kind}/{ref.namespace}/{ref.name}"


def named(key: str) -> str:
    """What `key_of` names, for people: "job/migrate"."""
    *_, kind, _, name = key.partition(" ")[2].split("/", 3)
    return f"{kind.lower()}/{name}"


def hooks_of(application: str) -> str:
    """What a target keeps an application's hooks under: apart from what stands, so that no plan sees them."""
    return f"{application}/hooks"


def owner_of(application: str) -> str:
    """Whose hooks these are; an application itself is its own."""
    return application.removesuffix("/hooks")


def is_shared(body: Json) -> bool:
    """Whether another application may state the object, too."""
    return annotation(body, SHARED) == "true"


def faults(body: Json) -> Iterator[tuple[str, str, str]]:
    """(annotation, what is wrong with it, what to do) for each word of a hook's annotations that means nothing."""
    known = (
        (HOOK, {*_WHEN, SKIP}),
        (POLICY, set(_REMOVAL)),
        (HELM_HOOK, {*HELM, CRD_INSTALL}),
        (HELM_POLICY, set(HELM_REMOVAL)),
    )
    for name, words in known:
        for word in _words(annotation(body, name)):
            if word not in words:
                yield name, f"{name}: {word!r} is nothing that is known", f"Write one of {', '.join(sorted(words))}."
    for name in (WAVE, HELM_WEIGHT):
        text = annotation(body, name)
        if text.strip() and _number(text) is None:
            yield name, f"{name}: {text!r} is no whole number", 'Write a number in quotes, `"2"` or `"-1"`.'


def _words(text: str) -> Iterator[str]:
    return (word for part in text.split(",") if (word := part.strip()))
