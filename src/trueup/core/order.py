"""What of a sync is due now: phases, hooks, waves, what others need first. Pure; one call gives one step.

A sync is (application, Candidate, attempt). What its hooks have done stands in the ledger (`Attempt.hooks`), what the
objects are like in what was seen: after a crash the next call goes on where it stopped, and no hook runs twice.
Source: Argo CD "Sync Phases and Waves", "Resource Hooks"; gitops-engine `pkg/sync/sync_context.go`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TypeAlias

from msgspec import Struct

from trueup.core.candidate import Attempt, End, Phase, Ran
from trueup.core.hooks import Hook, Removal, When, hook_of, key_of, run_of, wave_of
from trueup.core.model import Action, Bundle, Change, Fault, Health, Judgement, Plan, Ref
from trueup.core.plan import backward, forward
from trueup.core.references import Known

FAIL_HOOKS_S = 300.0  # SyncFail hooks that take longer do not keep an undo waiting
RUN_ONCE = frozenset({"Job", "Pod", "Workflow"})  # what ended is not started again by applying it
WELL = frozenset({Health.HEALTHY, Health.SUSPENDED})


# --- what is seen, and what comes of it --------------------------------------------------------------


class SyncSeen(Struct, frozen=True):
    """Read for one step. `hooks`: hook objects that stand, by the hash they were applied with."""

    plan: Plan
    judgements: Mapping[Ref, Judgement]
    hooks: Mapping[Ref, str] = {}
    hook_judgements: Mapping[Ref, Judgement] = {}
    gone: frozenset[Ref] = frozenset()  # of them those that ended and were removed by somebody since


class Make(Struct, frozen=True):
    """Apply or delete these."""

    changes: tuple[Change, ...]


class StartHooks(Struct, frozen=True):
    """Record that these are about to run."""

    when: When
    hooks: tuple[Hook, ...]


class CreateHooks(Struct, frozen=True):
    """Make what was recorded as started; first delete what stands in the way: hooks of earlier syncs (`replaced`), and
    objects of the application that have become hooks (`taken`)."""

    when: When
    hooks: tuple[Hook, ...]
    replaced: tuple[Ref, ...]
    taken: tuple[Ref, ...] = ()


class EndHook(Struct, frozen=True):
    """Record how a hook ended."""

    when: When
    key: str
    end: End
    judgement: Judgement


class RemoveHooks(Struct, frozen=True):
    """Delete hooks that ended, as their policy says."""

    refs: tuple[Ref, ...]


class Fail(Struct, frozen=True):
    """The sync fails by this: SyncFail hooks run first, then it is condemned. `record`: the log of a failed hook."""

    judgement: Judgement
    record: str = ""


class Block(Struct, frozen=True):
    """It waits for something that no rollout brings about: a person should know."""

    reason: str
    judgement: Judgement | None = None


class Wait(Struct, frozen=True):
    """Nothing is due; an event of the target wakes the sync."""

    reason: str = ""


class Finish(Struct, frozen=True):
    """All is made. With `failed` its SyncFail hooks have run and it is to be condemned."""

    failed: bool = False


Step: TypeAlias = Make | StartHooks | CreateHooks | EndHook | RemoveHooks | Fail | Block | Wait | Finish


# --- the step ----------------------------------------------------------------------------------------


def step(bundle: Bundle, attempt: Attempt, seen: SyncSeen, now: datetime, *, ending: bool = False) -> Step:
    """The next thing to do. `ending`: only what is under way is brought to its end, nothing new is begun."""
    hooks = _Hooks(bundle, attempt, seen)
    found = hooks.removal() or hooks.progress()
    if found is not None and not (attempt.failing and isinstance(found, Wait) and _late(attempt, now)):
        return found
    if attempt.failing:
        return hooks.due(When.SYNC_FAIL) or Finish(failed=True)
    failed = hooks.failed()
    if failed is not None:
        return failed
    if ending:
        return Finish()
    return (
        hooks.due(When.PRE_SYNC)
        or _sync(bundle, attempt, seen, hooks)
        or _after(bundle, seen, hooks)
        or Finish()
    )  # fmt: skip


def end_step(bundle: Bundle, attempt: Attempt, seen: SyncSeen) -> Step:
    """The next thing to do to take an application away: PreDelete hooks, deletions by reverse waves, PostDelete hooks.

    `seen.plan` is `plan.ending`; a hook that fails keeps the rest as it is until a person asks again.
    Source: Argo CD "Resource Hooks", PreDelete and PostDelete."""
    hooks = _Hooks(bundle, attempt, seen)
    found = hooks.removal() or hooks.progress() or hooks.failed()
    if isinstance(found, Fail):
        return Block(found.judgement.reason, found.judgement)
    if found is not None:
        return found
    if before := hooks.due(When.PRE_DELETE):
        return before
    if seen.plan.unread:
        return Block(f"{seen.plan.unread[0].what} could not be read ({seen.plan.unread[0].reason})")
    if seen.plan.changes:
        last = max(change.wave for change in seen.plan.changes)
        return Make(tuple(change for change in seen.plan.changes if change.wave == last))
    return hooks.due(When.POST_DELETE) or Finish()


def _late(attempt: Attempt, now: datetime) -> bool:
    since = attempt.failing_since
    return since is not None and (now - since).total_seconds() > FAIL_HOOKS_S


def _sync(bundle: Bundle, attempt: Attempt, seen: SyncSeen, hooks: _Hooks) -> Step | None:
    """The Sync phase: objects and Sync hooks by wave, then what is deleted."""
    makes = [change for change in seen.plan.changes if change.action is not Action.DELETE]
    waits = hooks.unstarted(When.SYNC)
    if makes or waits:
        wave = min([*(change.wave for change in makes), *(hook.wave for hook in waits)])
        before = _unhealthy(bundle, seen, wave)
        if before is not None:
            return _stuck(before, attempt)
        here = [change for change in makes if change.wave == wave]
        free, gate = _free(here, bundle, seen)
        if free:
            return Make(free)
        if here:
            return _stuck(gate, attempt) if gate is not None else Wait()
        return StartHooks(When.SYNC, tuple(hook for hook in waits if hook.wave == wave))
    deletes = [change for change in seen.plan.changes if change.action is Action.DELETE]
    if not deletes:
        return None
    before = _unhealthy(bundle, seen, None)
    if before is not None:
        return _stuck(before, attempt)
    last = max(change.wave for change in deletes)
    return Make(tuple(sorted((change for change in deletes if change.wave == last), key=backward)))


def _after(bundle: Bundle, seen: SyncSeen, hooks: _Hooks) -> Step | None:
    """PostSync: only once everything is healthy. Source: Argo CD "Resource Hooks"."""
    if not hooks.unstarted(When.POST_SYNC):
        return None
    sick = _unhealthy(bundle, seen, None)
    if sick is not None:
        return _stuck(sick, None)
    return hooks.due(When.POST_SYNC)


def _unhealthy(bundle: Bundle, seen: SyncSeen, wave: int | None) -> Judgement | None:
    """The worst of the desired objects before this wave (None: of all) that is not well; None when all are."""
    found: Judgement | None = None
    for each in bundle.objects:
        judged = seen.judgements.get(each.ref) or Judgement(each.ref, Health.MISSING, "not there yet")
        if judged.health in WELL or (wave is not None and wave_of(each.body) >= wave):
            continue
        if judged.health is Health.DEGRADED:
            return judged
        found = found or judged
    return found


def _stuck(sick: Judgement, attempt: Attempt | None) -> Step:
    if sick.health is not Health.DEGRADED:
        return Wait(_told(sick))
    return Fail(sick) if sick.fault is Fault.CHANGE else Block(_told(sick), sick)


def _free(here: Sequence[Change], bundle: Bundle, seen: SyncSeen) -> tuple[tuple[Change, ...], Judgement | None]:
    """Of a wave's changes those that wait for nothing in it; and what the first of the others waits for."""
    known = Known(bundle.objects)
    if not known.gates and not known.backed:
        return tuple(sorted(here, key=forward)), None
    by_ref = {each.ref: each for each in bundle.objects}
    changing = {change.ref for change in here}
    free: list[Change] = []
    gate: Judgement | None = None
    for change in sorted(here, key=forward):
        waits = [
            ref
            for ref in known.gates_of(by_ref[change.ref])
            if wave_of(by_ref[ref].body) <= change.wave and not _stands(ref, changing, seen)
        ]
        if waits:
            gate = gate or seen.judgements.get(waits[0]) or Judgement(waits[0], Health.MISSING, "not there yet")
        else:
            free.append(change)
    return tuple(free), gate


def _stands(ref: Ref, changing: set[Ref], seen: SyncSeen) -> bool:
    judged = seen.judgements.get(ref)
    return judged is not None and judged.health in WELL and ref not in changing


def _told(judgement: Judgement) -> str:
    return f"{judgement.ref}: {judgement.reason or judgement.health.value}"


def due(planned: Plan, desired: Bundle, judgements: Iterable[Judgement]) -> tuple[Change, ...]:
    """The changes of a sync without hooks that may be made now."""
    seen = SyncSeen(planned, {each.ref: each for each in judgements})
    plain = Bundle(desired.application, desired.candidate, desired.objects, desired.hash)
    found = _sync(plain, _NOBODY, seen, _Hooks(plain, _NOBODY, seen))
    return found.changes if isinstance(found, Make) else ()


# --- hooks -------------------------------------------------------------------------------------------


class _Hooks:
    """The hooks of one attempt: what the ledger tells of them beside what stands."""

    def __init__(self, bundle: Bundle, attempt: Attempt, seen: SyncSeen) -> None:
        self._attempt, self._seen = attempt, seen
        every = [hook_of(o) for o in bundle.hooks] if attempt.with_hooks or attempt.hooks else []
        self._all = [(when, hook) for when in When for hook in every if when in hook.when]

    def _told(self) -> Iterator[tuple[When, Hook, str, Ran]]:
        """Those that the ledger knows in this attempt."""
        for when, hook in self._all:
            key = key_of(hook, when)
            ran = self._attempt.hooks.get(key)
            if ran is not None:
                yield when, hook, key, ran

    def _standing(self, when: When, hook: Hook) -> bool:
        run = run_of(hook, when, self._attempt.number, self._attempt.candidate)
        return self._seen.hooks.get(hook.object.ref) == run.hash

    def removal(self) -> RemoveHooks | None:
        gone = [
            hook.object.ref
            for when, hook, _, ran in self._told()
            if _POLICY.get(ran.end) in hook.removal and self._standing(when, hook)
        ]
        return RemoveHooks(tuple(gone)) if gone else None

    def progress(self) -> Step | None:
        """What follows for hooks that were started; None when none is under way."""
        under_way = [(w, h, k, r) for w, h, k, r in self._told() if r.end is End.RUNS]
        lost = [(w, h) for w, h, _, r in under_way if not r.created and not self._standing(w, h)]
        if lost:
            return self._create(lost[0][0], tuple(h for w, h in lost if w is lost[0][0]))
        waits: Step | None = None
        for when, hook, key, _ in under_way:
            found = self._observe(when, hook, key)
            if isinstance(found, EndHook):
                return found
            waits = found if waits is None or isinstance(found, Block) else waits
        return waits

    def _create(self, when: When, hooks: tuple[Hook, ...]) -> Step:
        """What an earlier sync left goes first, where the policy says so."""
        standing = self._seen.hooks.keys() - self._seen.gone
        in_the_way = [h for h in hooks if h.object.ref in standing]
        replaced = [h for h in in_the_way if Removal.BEFORE in h.removal or self._of_this_attempt(h)]
        for hook in in_the_way:
            if hook not in replaced and hook.object.ref.kind in RUN_ONCE:
                return Block(
                    f"{hook.object.place}: {hook.object.ref} of an earlier sync still stands, and its delete policy "
                    "keeps it: delete it, or add BeforeHookCreation to its hook-delete-policy"
                )
        plan = self._seen.plan
        leaves = {c.ref for c in (*plan.changes, *(held.change for held in plan.held)) if c.action is Action.DELETE}
        return CreateHooks(
            when,
            hooks,
            tuple(h.object.ref for h in replaced),
            tuple(h.object.ref for h in hooks if h.object.ref in leaves),
        )

    def _of_this_attempt(self, hook: Hook) -> bool:
        """It ran in another phase of this very sync."""
        return any(self._standing(when, hook) for when in hook.when)

    def _observe(self, when: When, hook: Hook, key: str) -> Step:
        ref = hook.object.ref
        judged = self._seen.hook_judgements.get(ref)
        if judged is None or judged.health is Health.MISSING or not self._standing(when, hook):
            gone = Judgement(ref, Health.MISSING, "deleted before its end was seen", Fault.WORLD)
            return EndHook(when, key, End.GONE, gone)
        if judged.health is Health.HEALTHY:
            return EndHook(when, key, End.SUCCEEDED, judged)
        if judged.health is Health.DEGRADED and judged.fault is not Fault.WORLD:
            return EndHook(when, key, End.FAILED, judged)
        words = f"{when.value} hook {_told(judged)}"
        return Block(words, judged) if judged.health is Health.DEGRADED else Wait(words)

    def failed(self) -> Step | None:
        for when, hook, _, ran in self._told():
            if when is When.SYNC_FAIL:
                continue
            words = f"{when.value} hook failed: {ran.reason}"
            if ran.end is End.FAILED:
                return Fail(Judgement(hook.object.ref, Health.DEGRADED, words, Fault.CHANGE), ran.record)
            if ran.end is End.GONE:
                return Block(f"{when.value} hook {hook.object.ref}: {ran.reason}; `trueup retry` runs the sync again")
        return None

    def unstarted(self, when: When) -> list[Hook]:
        if not self._attempt.with_hooks:
            return []
        return [h for w, h in self._all if w is when and key_of(h, w) not in self._attempt.hooks]

    def due(self, when: When) -> Step | None:
        """The next wave of hooks of a phase; those of one wave start together."""
        waits = self.unstarted(when)
        if not waits:
            return None
        wave = min(hook.wave for hook in waits)
        return StartHooks(when, tuple(hook for hook in waits if hook.wave == wave))


def in_order(bundle: Bundle) -> tuple[tuple[When, Hook], ...]:
    """The hooks of a sync that goes well, in the order in which they run."""
    hooks = [hook_of(each) for each in bundle.hooks]
    phases = (When.PRE_SYNC, When.SYNC, When.POST_SYNC)
    return tuple((w, h) for w in phases for h in sorted(hooks, key=lambda h: h.wave) if w in h.when)


_POLICY = {End.SUCCEEDED: Removal.SUCCEEDED, End.FAILED: Removal.FAILED}
_NOBODY = Attempt("", 0, Phase.STARTED, with_hooks=False)
