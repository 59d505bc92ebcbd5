"""Reconciles one application: the wanted Candidate's Bundle is applied by waves, judged, kept so."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from trueup.core import decide as d
from trueup.core import events as ev
from trueup.core.candidate import ApplicationState, CandidateState, HeldChanges, Phase, child_id
from trueup.core.index import Mark, moved
from trueup.core.model import Action, Bundle, Change, Health, Judgement, Live, Plan, Ref
from trueup.engine.book import Book
from trueup.engine.claims import Claim, Claims
from trueup.engine.planning import BundleRefused, Planning
from trueup.engine.removing import Removing
from trueup.engine.syncing import Syncing
from trueup.ports import Clock, Records, Target, TargetDown

_encode = msgspec.json.Encoder()
_decode = msgspec.json.Decoder(Bundle)
AGAIN_S = 5.0


class _Reading(Struct, frozen=True):
    seen: d.ApplicationSeen
    bundle: Bundle | None = None
    live: Live | None = None
    plan: Plan | None = None


class ApplicationLoop:
    def __init__(
        self,
        book: Book,
        records: Records,
        targets: Mapping[str, Target],
        planning: Planning,
        clock: Clock,
        policy: d.Policy,
        wake: Callable[[str], None],
    ) -> None:
        self._book, self._records, self._targets, self._planning = book, records, targets, planning
        self._clock, self._policy, self._wake = clock, policy, wake
        self._claims = Claims()
        self._syncing = Syncing(book, records, targets, planning, clock)
        self._removing = Removing(self._syncing, book, targets)
        self._bundles: dict[str, Bundle] = {}
        self._settled: dict[str, Mark] = {}  # what each application stood on when there was nothing left to do
        self._moves: dict[str, int] = {}  # the last that the target told of each

    async def reconcile(self, id: str) -> float | None:
        """One pass. What it left settled is looked at again when its mark moves (see `stale`); the rest soon."""
        for _ in range(50):
            mark = await self._mark(id)
            reading, actions = await self._look(id)
            progressed = False
            for action in actions:
                progressed |= await self._perform(await self._book.application(id), reading, action)
            if not progressed:
                break
            self._wake((await self._book.application(id)).source)
        state = await self._book.application(id)
        settled = state.current is None or state.current.phase in (Phase.HEALTHY, Phase.CONDEMNED)
        if state.ending is not None and not state.ending.done:
            self._settled.pop(id, None)
            return AGAIN_S
        if not settled or (reading.seen.judgements is None and state.current is not None):
            self._settled.pop(id, None)
            return AGAIN_S  # events wake it; this is for one that was lost
        self._settled[id] = mark
        return None

    # --- what a whole pass looks at --------------------------------------------------------------

    def stale(self) -> tuple[str, ...]:
        """The applications that were settled and that something has happened to since: none when nothing has."""
        applications, stamp, moves = self._book.applications, self._book.stamp, self._moves
        now = {
            id: (state.seq, stamp(state.source), moves.get(id, 0))
            for id in self._settled
            if (state := applications.get(id)) is not None
        }
        return moved(now, self._settled)

    def forget(self) -> tuple[str, ...]:
        """Take nothing for settled: the applications to be looked at with everything they stand on."""
        settled = tuple(self._settled)
        self._settled.clear()
        return settled

    def moved(self, id: str, seq: int) -> None:
        """The target says that something of this application is not as it was."""
        self._moves[id] = seq

    async def _mark(self, id: str) -> Mark:
        state = await self._book.application(id)
        return state.seq, self._book.stamp(state.source), self._moves.get(id, 0)

    async def look(self, id: str) -> tuple[d.ApplicationAction, ...]:
        """What a pass would do now, without doing it."""
        return (await self._look(id))[1]

    async def _look(self, id: str) -> tuple[_Reading, tuple[d.ApplicationAction, ...]]:
        state = await self._book.application(id)
        reading = await self._read(state)
        return reading, d.decide_application(state, reading.seen, self._policy, self._clock.now())

    # --- reading ---------------------------------------------------------------------------------

    async def _read(self, state: ApplicationState) -> _Reading:
        source = await self._book.source(state.source)
        candidates = await self._book.candidates(source.candidates)
        seen = d.ApplicationSeen(source, candidates)
        current = state.current
        if current is None or current.phase is Phase.TERMINATED or d.unfinished(current) or state.ending:
            return _Reading(seen)
        target = self._targets[state.target]
        try:
            live = await target.read(state.id)
            judgements = await target.judge(state.id)
        except TargetDown as error:
            return _Reading(replace(seen, judgements=None, unread=str(error)))
        bundle = await self._applied(current.bundle)
        if bundle is None:
            return _Reading(replace(seen, judgements=judgements))
        self._claims.hold(state.id, state.target, current.bundle, bundle)
        plan = self._planning.plan(bundle, live, state.approved)
        seen = replace(
            seen,
            judgements=_of(bundle, judgements),
            changes=len(plan.changes),
            approvable=(approvable := self._planning.approval(plan)),
            held=_held(plan, approvable),
            unread_objects=bool(plan.unread),
        )
        return _Reading(seen, bundle, live, plan)

    async def _applied(self, record: str) -> Bundle | None:
        if record not in self._bundles:
            data = await self._records.get(record)
            if data is None:
                return None
            if len(self._bundles) > 2000:
                self._bundles.clear()
            self._bundles[record] = _decode.decode(data)
        return self._bundles[record]

    # --- performing ------------------------------------------------------------------------------

    async def _perform(self, state: ApplicationState, reading: _Reading, action: d.ApplicationAction) -> bool:
        """True when something was recorded that changes the next decision."""
        current = state.current
        match action:
            case d.StartSync(candidate, why):
                await self._start(state, await self._book.candidate(candidate), why)
                return True
            case d.FinishApply():
                return await self._apply(state)
            case d.EndHooks():
                return await self._apply(state, ending=True)
            case d.StopHooks():
                await self._syncing.stop(state, await self._wanted_bundle(state))
            case d.EndApplication():
                kept = await self._applied(current.bundle) if current is not None else None
                self._claims.hold(state.id, state.target, "", Bundle(state.id, "", (), ""))
                return await self._removing.run(state.id, kept or Bundle(state.id, "", (), ""))
            case d.Repair():
                assert reading.plan is not None and reading.bundle is not None
                await self._syncing.change(state, reading.bundle, reading.plan.changes)
                await self._book.write(state.id, state.seq, _repaired(reading.plan))
                return False
            case d.RecordHeldChanges(held):
                fact = ev.ChangesHeld(held.changes, held.count, held.reason, held.objects) if held else None
                await self._append(state, fact or ev.ChangesHeld(""))
                return False
            case d.TurnHealthy():
                assert current is not None
                seconds = (self._clock.now() - current.started).total_seconds() if current.started else 0.0
                await self._append(state, ev.SyncHealthy(current.candidate, current.number, max(0.0, seconds)))
            case d.Condemn(judgement):
                return await self._syncing.fail(state, await self._wanted_bundle(state), judgement)
            case d.Hold(reason, sick):
                assert current is not None
                record = await self._syncing.excerpt(state, sick) if sick else ""
                await self._append(state, ev.SyncHeld(current.candidate, current.number, reason, record))
                return False
            case d.RecordHealth(health, reason):
                await self._append(state, ev.HealthChanged(health, reason))
                return False
        return True

    async def _append(self, state: ApplicationState, fact: ev.Fact) -> None:
        await self._book.write(state.id, state.seq, [fact])

    async def held(self, id: str) -> tuple[str, int]:
        """The hash over the changes that wait for a person, and how many they are. Raises TargetDown."""
        reading = await self._read(await self._book.application(id))
        return (reading.seen.approvable, len(reading.plan.held)) if reading.plan else ("", 0)

    async def restart(self, id: str, candidate: str = "") -> None:
        """A person asks for another attempt at what is held, condemned or terminated; `candidate`: when that is not
        what the last attempt was about."""
        state = await self._book.application(id)
        again = candidate or (state.current.candidate if state.current else "")
        if again:
            await self._start(state, await self._book.candidate(again), "retry")
        self._wake(state.source)

    async def _start(self, state: ApplicationState, candidate: CandidateState, why: str) -> None:
        known = await self._applied(state.bundles[candidate.id]) if candidate.id in state.bundles else None
        try:
            bundle = known or await self._planning.bundle(state, candidate)
        except BundleRefused as error:
            number = state.attempts + 1
            started = ev.SyncStarted(candidate.id, number, "", why=why)
            await self._book.write(state.id, state.seq, [started, ev.SyncCondemned(candidate.id, number, str(error))])
            return
        record = await self._records.put("bundle", _encode.encode(bundle), stream=state.id)
        self._bundles[record] = bundle
        if claims := self._claims.taken(state.id, state.target, bundle):
            await self._refuse(state, candidate, why, claims)
            return
        self._claims.hold(state.id, state.target, record, bundle)
        live = await self._targets[state.target].read(state.id)
        plan = self._planning.plan(bundle, live, state.approved)
        count = {a: sum(c.action is a for c in plan.changes) for a in Action}
        await self._append(
            state,
            ev.SyncStarted(
                candidate.id,
                state.attempts + 1,
                record,
                create=count[Action.CREATE],
                update=count[Action.UPDATE],
                delete=count[Action.DELETE],
                why=why,
                hooks=bool(plan.changes) or why == "retry" or await self._hooks_changed(state, bundle),
            ),
        )

    async def _refuse(
        self, state: ApplicationState, candidate: CandidateState, why: str, claims: Sequence[Claim]
    ) -> None:
        """It states what another application has: both are told, and nothing is touched."""
        other = await self._book.application(claims[0].other)
        more = f" (and {len(claims) - 1} more objects)" if len(claims) > 1 else ""
        number = state.attempts + 1
        started = ev.SyncStarted(candidate.id, number, "", why=why)
        condemned = ev.SyncCondemned(candidate.id, number, claims[0].told(other.name) + more)
        await self._book.write(state.id, state.seq, [started, condemned])
        for id in dict.fromkeys(claim.other for claim in claims):
            names = tuple(str(claim.mine.ref) for claim in claims if claim.other == id)[:20]
            place = next(claim.mine.place for claim in claims if claim.other == id)
            holder = await self._book.application(id)
            await self._book.write(id, holder.seq, [ev.Contested(state.name, names, str(place))])

    async def _hooks_changed(self, state: ApplicationState, bundle: Bundle) -> bool:
        """Whether the hooks are others than those of the last attempt."""
        if not bundle.hooks:
            return False
        before = await self._applied(state.current.bundle) if state.current else None
        return before is None or [o.hash for o in before.hooks] != [o.hash for o in bundle.hooks]

    async def _apply(self, state: ApplicationState, *, ending: bool = False) -> bool:
        """Go on with the attempt; it waits for the health of what stands before. True when all is made."""
        return await self._syncing.run(state.id, await self._wanted_bundle(state), ending=ending)

    async def _wanted_bundle(self, state: ApplicationState) -> Bundle:
        """The Bundle of the attempt; made again when its record has gone."""
        assert state.current is not None
        kept = await self._applied(state.current.bundle)
        return kept or await self._planning.bundle(state, await self._book.candidate(state.current.candidate))


def application_id(source: str, environment: str) -> str:
    return child_id("application", source, environment)


def _repaired(plan: Plan) -> list[ev.Fact]:
    """What was put back is drift; what is deleted after a rollout is what had been held until now."""
    deleted = _names(c for c in plan.changes if c.action is Action.DELETE)
    gone = _names(c for c in plan.changes if c.action is Action.CREATE)
    changed = _names(c for c in plan.changes if c.action is Action.UPDATE)
    told = [f"{', '.join(names)} {what}" for names, what in ((gone, "gone"), (changed, "changed by hand")) if names]
    facts: list[ev.Fact] = [ev.Drifted((*gone, *changed), "; ".join(told), repaired=True)] if told else []
    return [*facts, *([ev.Pruned(deleted)] if deleted else [])]


def _held(plan: Plan, approvable: str) -> HeldChanges | None:
    if not approvable:
        return None
    reasons = list(dict.fromkeys(h.reason for h in plan.held))
    return HeldChanges(approvable, len(plan.held), "; ".join(reasons[:3]), _names(h.change for h in plan.held))


def _names(changes: Iterable[Change]) -> tuple[str, ...]:
    return tuple(str(c.ref) for c in changes)[:20]


def _of(bundle: Bundle, judgements: Sequence[Judgement]) -> tuple[Judgement, ...]:
    """The Bundle's objects' health; one the target does not hold is missing."""
    by_ref: dict[Ref, Judgement] = {j.ref: j for j in judgements}
    return tuple(by_ref.get(o.ref, Judgement(o.ref, Health.MISSING, "not there yet")) for o in bundle.objects)
