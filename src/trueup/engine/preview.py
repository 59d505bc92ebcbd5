"""What a commit would do to what runs, for people: exactly these changes, or none. Reads; changes nothing."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from trueup.core import order
from trueup.core import plan as planner
from trueup.core.bundle import make_bundle
from trueup.core.candidate import CandidateState
from trueup.core.images import Unmatched
from trueup.core.model import Action, Bundle, Change, Live, Plan, Ref, Severity
from trueup.drivers.targets.kubernetes.dryrun import Tried
from trueup.engine.cluster import Cluster
from trueup.engine.planning import BundleRefused
from trueup.engine.rendering import Rendering
from trueup.engine.stating import state as state_images
from trueup.engine.study import Reading, buildable


class PlannedChange(Struct, frozen=True):
    action: str
    object: str
    namespace: str
    place: str
    held: str = ""  # why it waits for a person
    diff: tuple[str, ...] = ()
    refused: str = ""  # on a cluster: why its API server would not take it
    untried: str = ""  # on a cluster: why a dry run could not tell


class PlanView(Struct, frozen=True):
    """What a commit would do: exactly these changes, or none."""

    application: str
    commit: str  # "" for a folder as it stands
    changes: tuple[PlannedChange, ...]
    approval: str = ""  # the hash that `trueup approve` takes; "" when nothing is held
    images: tuple[str, ...] = ()  # named by the manifests and built by the pipeline: their digests are not known yet
    unread: tuple[str, ...] = ()
    hooks: tuple[str, ...] = ()  # that run when something changes: "PreSync job/migrate", in their order


async def plan_bundle(
    reading: Reading, application: str, candidate: CandidateState | None, rendering: Rendering
) -> Bundle:
    """What `reading` would run, with the images of `candidate`. Raises BundleRefused, RendererDown, SourceError."""
    errors = [f for f in reading.rendered.findings if f.severity is Severity.ERROR]
    if errors:
        raise BundleRefused(f"{errors[0].place}: {errors[0].message}. {errors[0].fix}")
    built = tuple(candidate.images.values()) if candidate else ()
    bound = await state_images(reading.view, built, rendering)
    if isinstance(bound, Unmatched):
        raise BundleRefused(bound.reason)
    return make_bundle(application, candidate.id if candidate else "plan", bound.objects)


def plan_view(
    planned: Plan,
    bundle: Bundle,
    live: Live,
    key: bytes,
    commit: str,
    images: tuple[str, ...],
    trials: Mapping[Ref, Tried],
) -> PlanView:
    """Pure: `planned`, from what the target holds to `bundle`, for people. `trials`: what a cluster says to it."""
    desired = {o.ref: o for o in bundle.objects}
    held = {h.change: h.reason for h in planned.held}
    have = {o.ref: o for o in live.objects}

    def shown(change: Change) -> PlannedChange:
        want, has, tried = desired.get(change.ref), have.get(change.ref), trials.get(change.ref, Tried())
        before, after = (tried.before, tried.after) if tried.after else (has.body if has else tried.before, None)
        if tried.after and tried.before is None:
            after = None  # what is made is shown as it is stated, without what the server fills in
        lines = planner.diff(before, after or (want.body if want else None), key)
        return PlannedChange(
            action="update" if change.action is Action.CREATE and tried.before else change.action.value,
            object=str(change.ref),
            namespace=change.ref.namespace,
            place=str(want.place) if want else "",
            held=held.get(change, ""),
            diff=lines,
            refused=tried.refused,
            untried=tried.untried,
        )

    return PlanView(
        bundle.application,
        commit,
        tuple(shown(c) for c in (*planned.changes, *held)),
        planner.approval(planned),
        images,
        tuple(f"{u.what}: {u.reason}" for u in planned.unread),
        tuple(f"{when.value} {hook.object.ref}" for when, hook in order.in_order(bundle)),
    )


def unbuilt(reading: Reading, bundle: Bundle, candidate: CandidateState | None) -> tuple[str, ...]:
    """The images that a pipeline has yet to build."""
    known = {i.repository for i in candidate.images.values()} if candidate else set()
    every = (*bundle.objects, *bundle.hooks)
    return tuple(b.repository for b in buildable(reading.found, every) if b.repository not in known)


async def try_plan(planned: Plan, bundle: Bundle, application: str, cluster: Cluster) -> Mapping[Ref, Tried]:
    """A server-side dry run of everything that `planned` makes or changes, and of nothing else. Raises TargetDown."""
    changes = (*planned.changes, *(held.change for held in planned.held))
    touched = {change.ref for change in changes if change.action is not Action.DELETE}
    return await cluster.trials(application, [each for each in bundle.objects if each.ref in touched])
