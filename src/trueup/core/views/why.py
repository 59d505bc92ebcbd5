"""Why: from an object back to the rollout, the digest, the pipeline, the commit and the person.

Across two repositories the chain goes on: a commit of ours in the configuration repository leads to the code
Candidate that it deploys. A rollout that is an undo or a rollback says of what, and for what reason.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime

from msgspec import Struct

from trueup.core import events as ev
from trueup.core.candidate import CandidateState, Write
from trueup.core.model import Bundle, Object
from trueup.core.views.chronicle import Chronicle, made_from, runs_of, short, short_digest, short_tag
from trueup.core.views.history import Rollout, rollouts
from trueup.core.views.timeline import took


class Link(Struct, frozen=True, kw_only=True):
    """One step back. `what` is "object", "rollout", "undo", "rollback", "image", "deploy", "pipeline", "commit" or
    "author"."""

    what: str
    id: str
    text: str
    time: datetime | None = None
    by: str = ""
    place: str = ""  # repository, or file:line
    detail: tuple[str, ...] = ()
    record: str = ""  # the last log lines of the container that failed


class Why(Struct, frozen=True):
    asked: str
    application: str
    links: tuple[Link, ...]


class NotFound(Struct, frozen=True):
    """Nothing of that name; `nearest` are names that exist."""

    asked: str
    nearest: tuple[str, ...]


class Ambiguous(Struct, frozen=True):
    asked: str
    matches: tuple[str, ...]  # each answers to be asked in full


ALIAS = {
    "deploy": "deployment",
    "deployments": "deployment",
    "svc": "service",
    "services": "service",
    "cm": "configmap",
    "configmaps": "configmap",
    "secrets": "secret",
    "ns": "namespace",
    "sts": "statefulset",
    "ds": "daemonset",
}


def why(chronicle: Chronicle, asked: str, bundles: Mapping[str, Bundle]) -> Why | NotFound | Ambiguous:
    """The chain behind an object ("deployment/web", "shop/deployment/web", "web"), a commit or a digest.

    `bundles`: application id → the Bundle last applied there, as far as its record is still kept.
    """
    objects = _objects(bundles, asked)
    if len(objects) > 1:
        return Ambiguous(asked, tuple(f"{o.ref.namespace}/{o.ref}" for _, o in objects))
    if objects:
        application, found = objects[0]
        return Why(asked, chronicle.applications[application].name, tuple(_from_object(chronicle, application, found)))
    if (candidate := _candidate(chronicle, asked)) is not None:
        links = (*_became(chronicle, candidate), *_from_candidate(chronicle, candidate, None))
        return Why(asked, _name(chronicle, candidate.source), links)
    names = [str(o.ref) for b in bundles.values() for o in b.objects]
    return NotFound(asked, tuple(difflib.get_close_matches(asked.lower(), names, 3, 0.4) or names[:5]))


def _objects(bundles: Mapping[str, Bundle], asked: str) -> list[tuple[str, Object]]:
    parts = asked.split("/")
    name, kind, space = parts[-1], parts[-2].lower() if len(parts) > 1 else "", parts[-3] if len(parts) > 2 else ""
    kind = ALIAS.get(kind, kind)
    found = [
        (application, o)
        for application, bundle in bundles.items()
        for o in (*bundle.objects, *bundle.hooks)
        if o.ref.name == name and kind in ("", o.ref.kind.lower()) and space in ("", o.ref.namespace)
    ]
    if kind or len(found) < 2:
        return found
    # A bare name means the workload: its Service and ConfigMap often share it.
    return [f for f in found if f[1].images] or found


def _candidate(chronicle: Chronicle, asked: str) -> CandidateState | None:
    if len(asked) < 7:
        return None
    digest = asked.rpartition("@")[2]
    found = [
        c
        for c in chronicle.candidates.values()
        if c.commit.startswith(asked) or c.id == asked or any(i.digest.startswith(digest) for i in c.images.values())
    ]
    if not found:
        ours = {w.commit: w.candidate for s in chronicle.sources.values() for w in s.writes.values()}
        found = [
            chronicle.candidates[c]
            for commit, c in ours.items()
            if commit.startswith(asked) and c in chronicle.candidates
        ]
    return found[-1] if found else None


def _name(chronicle: Chronicle, source: str) -> str:
    found = chronicle.sources.get(source)
    return found.name if found else ""


def _from_object(chronicle: Chronicle, application: str, found: Object) -> Iterator[Link]:
    state = chronicle.applications[application]
    health = f", {state.health}{f': {state.health_reason}' if state.health_reason else ''}" if state.health else ""
    yield Link(
        what="object",
        id=str(found.ref),
        text=f"{found.ref} of {state.name} in {found.ref.namespace} on {state.target or found.ref.cluster}{health}",
        place=str(found.place),
    )
    own = rollouts(chronicle, application)
    if not own:
        return
    yield from _from_rollout(chronicle, own, found)


def _from_rollout(chronicle: Chronicle, own: list[Rollout], found: Object) -> Iterator[Link]:
    last = own[-1]
    yield _rollout(last, f"{last.attempt} ({last.why or 'push'})")
    if last.why == "undo":
        yield from _undone(chronicle, own)
    if last.why == "rollback":
        yield from _asked(chronicle, last)
    candidate = chronicle.candidates.get(last.candidate)
    if candidate is not None:
        yield from _from_candidate(chronicle, candidate, found)


def _rollout(found: Rollout, which: str) -> Link:
    ended = f"{found.outcome} after {took(found.seconds)}" if found.ended else found.outcome
    return Link(
        what="rollout",
        id=f"{found.stream}#{found.attempt}",
        text=f"{which}, {ended}{f': {found.reason}' if found.reason else ''}",
        time=found.started,
        by=found.who,
        record=found.record if found.outcome in ("held", "condemned") else "",
    )


def _became(chronicle: Chronicle, candidate: CandidateState) -> Iterator[Link]:
    """What became of a commit: its newest rollout in each application, and the commit of ours that undid it."""
    made = made_from(chronicle, candidate.id)
    for stream, state in chronicle.applications.items():
        own = [r for r in rollouts(chronicle, stream) if r.candidate in made]
        if own:
            yield _rollout(own[-1], f"{own[-1].attempt} of {state.name} ({own[-1].why or 'push'})")
    for write in _undoing(chronicle, made):
        yield Link(
            what="undo",
            id=write.commit,
            text=f"{write.state.value} as commit {short(write.commit)}{f': {write.reason}' if write.reason else ''}",
            by="trueup",
        )


def _undoing(chronicle: Chronicle, condemned: Collection[str]) -> list[Write]:
    every = (w for s in chronicle.sources.values() for w in s.writes.values())
    return [w for w in every if w.purpose == "undo" and w.condemned in condemned]


def _undone(chronicle: Chronicle, own: list[Rollout]) -> Iterator[Link]:
    bad = next((r for r in reversed(own[:-1]) if r.outcome == "condemned"), None)
    if bad is None:
        return
    writes = _undoing(chronicle, (bad.candidate,))
    stated = f"; {writes[-1].state.value} as commit {short(writes[-1].commit)}" if writes else ""
    yield Link(
        what="undo",
        id=writes[-1].commit if writes else bad.candidate,
        text=f"of {short(bad.commit)} “{bad.subject}” by {bad.author}: {bad.reason}{stated}",
        time=bad.ended,
        by="trueup",
        record=bad.record,
    )


def _asked(chronicle: Chronicle, last: Rollout) -> Iterator[Link]:
    source = chronicle.applications[last.stream].source
    asked = [e for e in chronicle.streams.get(source, ()) if isinstance(e.fact, ev.SourceRollback)]
    for event in asked[-1:]:
        assert isinstance(event.fact, ev.SourceRollback)
        reason = f": {event.fact.why}" if event.fact.why else ""
        yield Link(
            what="rollback",
            id=last.commit,
            text=f"{event.by.name} asked to go back to {short(last.commit)}{reason}",
            time=event.time,
            by=event.by.name,
        )


def _from_candidate(chronicle: Chronicle, candidate: CandidateState, found: Object | None) -> Iterator[Link]:
    code = chronicle.candidates.get(candidate.from_candidate)
    if code is not None:
        yield _deployed(chronicle, candidate)
    built = code or candidate
    yield from _images(chronicle, built, found)
    yield from _pipelines(chronicle, built)
    if code is not None:
        yield from _pipelines(chronicle, candidate)
    yield _commit(chronicle, built)
    yield Link(what="author", id=built.author, text=built.author, by=built.author)


def _deployed(chronicle: Chronicle, candidate: CandidateState) -> Link:
    source = chronicle.sources.get(candidate.source)
    return Link(
        what="deploy",
        id=candidate.commit,
        text=f"{short(candidate.commit)} of ours in {source.name if source else candidate.source}: "
        f"“{candidate.subject}”",
        time=candidate.created,
        by="trueup",
        place=source.url if source else "",
    )


def _images(chronicle: Chronicle, candidate: CandidateState, found: Object | None) -> Iterator[Link]:
    text = str(found.body) if found else ""
    for event in chronicle.streams.get(candidate.id, ()):
        match event.fact:
            case ev.CandidateImage() as image if not found or image.digest in text:
                how = "found again" if image.cached else "built"
                yield Link(
                    what="image",
                    id=image.digest,
                    text=f"{image.repository}:{short_tag(image.tag)} is {short_digest(image.digest)}, {how}"
                    + (f" by {chronicle.runs[image.run].workflow}" if image.run in chronicle.runs else ""),
                    time=event.time,
                    place=image.place,
                )
            case _:
                pass


def _pipelines(chronicle: Chronicle, candidate: CandidateState) -> Iterator[Link]:
    for run in runs_of(chronicle, candidate):
        kind = "required" if run.id in candidate.required else "advisory"
        jobs = [
            f"{j.name}: {j.outcome or 'running'}"
            + (f" in {took(j.seconds)}" if j.outcome else "")
            + (f", {j.tests.passed} tests passed" if j.tests else "")
            for j in run.jobs
        ]
        yield Link(
            what="pipeline",
            id=run.id,
            text=f"{run.workflow} ({kind}): {run.outcome or 'running'}"
            + (f" in {took(run.seconds)}" if run.outcome else ""),
            time=run.started,
            place=run.place,
            detail=tuple(jobs),
        )


def _commit(chronicle: Chronicle, candidate: CandidateState) -> Link:
    source = chronicle.sources.get(candidate.source)
    where = f" on {source.branch} of {source.name}" if source else ""
    return Link(
        what="commit",
        id=candidate.commit,
        text=f"{short(candidate.commit)} “{candidate.subject}”{where}",
        time=candidate.created,
        by=candidate.author,
        place=source.url if source else "",
    )
