"""Reconciles one watched branch: what the remote says, what it makes run, and what Git is told. One write at a time.

Reads everything into `SourceSeen`, calls `decide_source` once, performs, and looks again while something was done.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from trueup.core import decide as d
from trueup.core import events as ev
from trueup.core.candidate import (
    ApplicationState,
    CandidateState,
    Seen,
    SourceState,
    Write,
    WriteState,
    child_id,
    newest_green,
)
from trueup.core.model import BuiltImage, Commit, Oid, Principal
from trueup.engine.book import TRUEUP, Book
from trueup.engine.trailers import message, parse
from trueup.engine.trees import differing
from trueup.ports import Clock, Conflict, Pushed, Raced, Refused, Source, SourceError

Edits = Mapping[str, bytes | tuple[int, Oid] | None]


class Stating(Protocol):
    """Where images are stated in a commit's manifests."""

    async def stated(self, source: Source, commit: Oid) -> Mapping[str, str]:
        """repository → digest ("" when stated by tag only)."""
        ...

    async def edits(self, source: Source, commit: Oid, images: Sequence[BuiltImage]) -> Mapping[str, bytes]:
        """Files of `commit` as they read with these digests stated; only files that change."""
        ...


class Links(Protocol):
    """Which streams belong together."""

    def applications(self, source: str) -> Sequence[str]: ...

    def code_of(self, source: str) -> Sequence[str]:
        """For a configuration repository: the code sources whose images it states."""
        ...

    def config_of(self, source: str) -> Sequence[str]: ...

    def sick(self) -> tuple[int, float]:
        """How many applications are sick, and their share of all."""
        ...


async def no_anchor(_: str) -> str:
    """For a ledger whose checkpoints are anchored nowhere."""
    return ""


class NotStated(Exception):
    """A configuration repository states no image that its code repository built: nothing of it would ever run."""

    expected = True


class SourceLoop:
    def __init__(
        self,
        book: Book,
        sources: Mapping[str, Source],
        stating: Stating,
        links: Links,
        clock: Clock,
        policy: d.Policy,
        wake: Callable[[str], None],
        anchor: Callable[[str], Awaitable[str]] = no_anchor,
        poll_s: float = 15.0,
    ) -> None:
        self._book, self._sources, self._stating, self._links = book, sources, stating, links
        self._unstated: dict[str, str] = {}  # configuration source → what it cannot be made to state
        self._clock, self._policy, self._wake, self._anchor, self._poll_s = clock, policy, wake, anchor, poll_s

    async def reconcile(self, id: str) -> float | None:
        """One pass. Returns when to look again, in seconds."""
        for _ in range(20):  # each round does one thing; what is left waits for the next wake
            state = await self._book.source(id)
            self._unstated.pop(id, None)
            await self._ensure_candidates(state)
            actions = d.decide_source(state, await self._read(state), self._policy, self._clock.now())
            if (await self._book.source(id)).seq != state.seq:
                continue  # a person asked for something while the remote was being read: decide on that
            for action in actions:
                await self._perform(await self._book.source(id), action)
            if not actions:
                break
            self._wake_dependants(id)
        if id in self._unstated:
            raise NotStated(f"{self._unstated[id]}: `trueup check` of this repository tells why")
        return self._poll_s

    def _wake_dependants(self, id: str) -> None:
        for stream in (*self._links.applications(id), *self._links.code_of(id), *self._links.config_of(id)):
            self._wake(stream)

    async def _ensure_candidates(self, state: SourceState) -> None:
        """After a kill between the push's record and its Candidate's: make the Candidate."""
        newest = state.newest
        if newest is not None and (await self._book.candidate(newest.id)).seq == 0:
            await self._create(state, newest)

    # --- reading ---------------------------------------------------------------------------------

    async def _read(self, state: SourceState) -> d.SourceSeen:
        source = self._sources[state.id]
        candidates = await self._book.candidates(state.candidates)
        applications = await self._applications(state)
        try:
            heads = await source.fetch()
            head = heads.get(state.branch)
            if head is None:
                return d.SourceSeen(candidates, applications, gone=True)
            if head != state.head:
                return d.SourceSeen(candidates, applications, move=await self._move(state, source, head))
            seen = d.SourceSeen(candidates, applications)
            if (write := state.open_write) is not None:
                found = await source.is_ancestor(write.commit, head) if await self._known(source, write) else False
                return replace(seen, open_write_found=found)
            undo = await self._undo_facts(state, source, candidates, applications)
            sick, share = self._links.sick() if undo is not None else (0, 0.0)
            return replace(
                seen,
                sick=sick,
                sick_share=share,
                undo=undo,
                rollback=await self._rollback_facts(state, source, candidates),
                writes=await self._write_facts(state, source, candidates, applications),
            )
        except SourceError as error:
            return d.SourceSeen(candidates, applications, down=str(error))

    @staticmethod
    async def _known(source: Source, write: Write) -> bool:
        try:
            await source.commit(write.commit)
        except (KeyError, SourceError):
            return False
        return True

    async def _applications(self, state: SourceState) -> tuple[ApplicationState, ...]:
        own = [await self._book.application(a) for a in self._links.applications(state.id)]
        for config in self._links.config_of(state.id):
            for id in self._links.applications(config):
                own.append(await self._as_seen_by_code(await self._book.application(id)))
        return tuple(own)

    async def _as_seen_by_code(self, application: ApplicationState) -> ApplicationState:
        """The same application, in terms of the code Candidates that its configuration states."""

        async def code(id: str) -> str:
            return (await self._book.candidate(id)).from_candidate

        good = [c for c in [await code(g) for g in application.good] if c]
        condemned = {c: why for c, why in [(await code(b), r) for b, r in application.condemned.items()] if c}
        current = application.current
        if current is not None:
            current = replace(current, candidate=await code(current.candidate))
        return replace(application, good=tuple(good), condemned=condemned, current=current)

    async def _move(self, state: SourceState, source: Source, head: Oid) -> d.Move:
        forced = bool(state.head) and not await source.is_ancestor(state.head, head)
        commits = await source.between("" if forced else state.head, head)
        proofs = [await self._proof(state, source, c) for c in commits]
        if not commits or not state.head or forced or not all(proofs):
            return d.Move(head, forced, len(commits), ours=False)
        last = proofs[-1]
        assert last is not None
        deploys = last.candidate if last.purpose == "deploy" else ""
        differs = last.purpose == "undo" and await self._differs(state, source, head, last.candidate)
        return d.Move(head, forced, len(commits), ours=True, deploys=deploys, differs=differs)

    async def _proof(self, state: SourceState, source: Source, commit: Commit) -> Write | None:
        """The write that `commit` is: by its id in the ledger, or by its trailer and an equal recomputed diff."""
        if (known := state.writes.get(commit.id)) is not None:
            return known
        claim = parse(commit.message)
        if not claim.purpose or len(commit.parents) != 1 or claim.candidate not in state.candidates:
            return None
        parent = commit.parents[0]
        edits: Edits
        if claim.purpose in ("write-back", "deploy"):
            images = tuple((await self._book.candidate(claim.candidate)).images.values())
            edits = await self._stating.edits(source, parent, images)
        elif claim.condemned in state.candidates:
            edits = await self._restoring(source, parent, await self._book.candidate(claim.candidate), None)
        else:
            return None
        again = await source.make_commit(parent, edits, commit.message, when=commit.time)
        if not edits or (await source.commit(again)).tree != commit.tree:
            return None
        return Write(claim.purpose, claim.candidate, commit.id, parent, claim.condemned, state=WriteState.PUSHED)

    async def _differs(self, state: SourceState, source: Source, head: Oid, good: str) -> bool:
        """Whether an undo's tree is something else than the last good Candidate with its digests stated."""
        candidate = await self._book.candidate(good)
        edits = await self._stating.edits(source, candidate.commit, tuple(candidate.images.values()))
        plain = await source.make_commit(candidate.commit, edits, "compare\n", when=self._clock.now())
        trees = {(await source.commit(c)).tree for c in (candidate.commit, plain)}
        return (await source.commit(head)).tree not in trees

    async def _undo_facts(
        self,
        state: SourceState,
        source: Source,
        candidates: Mapping[str, CandidateState],
        applications: tuple[ApplicationState, ...],
    ) -> d.UndoFacts | None:
        bad = d.pending_undo(state, candidates, applications, self._policy)
        if not bad:
            return None
        good = next((g for a in applications if bad in a.condemned for g in reversed(a.good) if g in candidates), "")
        return await self._range_facts(state, source, candidates, bad, good)

    async def _rollback_facts(
        self, state: SourceState, source: Source, candidates: Mapping[str, CandidateState]
    ) -> d.UndoFacts | None:
        """The range goes from what is asked for to the newest push, and over what our own commits changed since."""
        wish = state.rollback
        if wish is None or wish.candidate not in candidates:
            return None
        since = state.candidates[wish.candidate].seq
        ours = [w for w in state.writes.values() if w.purpose in ("undo", "rollback") and w.seq > since]
        pushed = [w for w in ours if w.state is WriteState.PUSHED and w.candidate in candidates]
        extra = {file for w in pushed for file in w.files}
        before = (c for c in candidates.values() if c.number <= wish.after)
        newest = max(before, key=lambda c: c.number, default=candidates[wish.candidate]).id
        facts = await self._range_facts(state, source, candidates, newest, wish.candidate, extra)
        if newest != wish.candidate:
            return facts
        return replace(facts, bad=pushed[-1].candidate) if pushed else None  # forward again, from where that went

    async def _range_facts(
        self,
        state: SourceState,
        source: Source,
        candidates: Mapping[str, CandidateState],
        bad: str,
        good: str,
        extra: Collection[str] = (),
    ) -> d.UndoFacts:
        """`extra`: files that our own commits changed since, on top of the range."""
        if not good:
            return d.UndoFacts(bad, "", True, True, ())
        worse, better = candidates[bad].commit, candidates[good].commit
        files = tuple(sorted({*await _changed(source, better, worse), *extra}))
        facts = d.UndoFacts(
            bad,
            good,
            bad_in_history=await source.is_ancestor(worse, state.head),
            good_in_history=await source.is_ancestor(better, state.head),
            files=files,
        )
        if not facts.bad_in_history:
            return facts
        touched: set[str] = set()
        for commit in await source.between(worse, state.head):
            if await self._proof(state, source, commit) is None:
                for parent in commit.parents[:1]:
                    touched.update(await _changed(source, parent, commit.id))
        return replace(facts, later=tuple(sorted(touched & set(files))))

    async def _write_facts(
        self,
        state: SourceState,
        source: Source,
        candidates: Mapping[str, CandidateState],
        applications: tuple[ApplicationState, ...],
    ) -> tuple[d.WriteFacts, ...]:
        if state.role == "config":
            return tuple(
                [f for code in self._links.code_of(state.id) for f in await self._deploys(state, source, code)]
            )
        if state.role == "code":
            return ()
        facts = []
        for application in applications:
            current = application.current
            if current is None or current.phase.value != "healthy" or current.candidate not in candidates:
                continue
            facts.append(await self._write_back(state, source, candidates, candidates[current.candidate]))
        return tuple(facts)

    async def _write_back(
        self,
        state: SourceState,
        source: Source,
        candidates: Mapping[str, CandidateState],
        running: CandidateState,
    ) -> d.WriteFacts:
        known = state.write_for("write-back", running.id)
        if known and known.state in (WriteState.REFUSED, WriteState.DROPPED):
            return d.WriteFacts(running.id, ())
        if known and known.state is WriteState.PUSHED and state.newest and state.newest.id == running.id:
            return d.WriteFacts(running.id, ())  # a person's edit since would be a push of its own
        images = tuple(running.images.values())
        edits = await self._stating.edits(source, state.head, images)
        blocked = ""
        if edits:
            stated = await self._stating.stated(source, state.head)
            newer = {
                image.digest: c
                for c in candidates.values()
                if c.number > running.number and c.id not in state.pinned
                for image in c.images.values()
            }
            for repository, digest in stated.items():
                if digest in newer and digest not in {i.digest for i in images}:
                    blocked = f"{repository} states the newer digest of {newer[digest].commit[:10]}"
            if not await source.is_ancestor(running.commit, state.head):
                blocked = "history was rewritten since"
        return d.WriteFacts(running.id, tuple(sorted(edits)), blocked)

    async def _deploys(self, state: SourceState, source: Source, code: str) -> list[d.WriteFacts]:
        """What a code repository's newest good build would change in this configuration repository."""
        other = await self._book.source(code)
        candidates = await self._book.candidates(other.candidates)
        newest = newest_green(other, candidates)
        if newest is None or newest.id in other.pinned or not newest.images:
            return []
        wish = other.rollback
        if wish and newest.number <= wish.after:
            newest = candidates[wish.candidate]
        bad = {c for a in await self._applications(other) for c in a.condemned}
        done = state.write_for("deploy", newest.id)
        if newest.id in bad or (done and done.state in (WriteState.PUSHED, WriteState.REFUSED, WriteState.DROPPED)):
            return []
        edits = await self._stating.edits(source, state.head, tuple(newest.images.values()))
        if not edits:
            stated = set((await self._stating.stated(source, state.head)).values())
            if stated.isdisjoint(image.digest for image in newest.images.values()):
                names = ", ".join(sorted(newest.images))
                self._unstated[state.id] = f"nothing here can be made to say that {names} of {newest.commit[:10]} runs"
        return [d.WriteFacts(newest.id, tuple(sorted(edits)), deploy=True)] if edits else []

    async def _restoring(
        self, source: Source, head: Oid, good: CandidateState, files: Sequence[str] | None
    ) -> dict[str, bytes | tuple[int, Oid] | None]:
        """Edits that give `files` (None: all that differ) the content of the good Candidate, digests stated."""
        tree = await source.tree(good.commit)
        at_head = await source.tree(head)
        paths = files if files is not None else sorted(set(tree) | set(at_head))
        edits: dict[str, bytes | tuple[int, Oid] | None] = {}
        for path in paths:
            want, have = tree.get(path), at_head.get(path)
            if (want and (want.mode, want.oid)) != (have and (have.mode, have.oid)):
                edits[path] = (want.mode, want.oid) if want else None
        stated = await self._stating.edits(source, good.commit, tuple(good.images.values()))
        for path, data in stated.items():
            if path in edits or files is None or path in files:
                edits[path] = data
        return edits

    # --- performing ------------------------------------------------------------------------------

    async def _perform(self, state: SourceState, action: d.SourceAction) -> None:
        match action:
            case d.RecordDown(reason):
                await self._append(state, ev.SourceDown(reason))
            case d.RecordUp():
                await self._append(state, ev.SourceUp())
            case d.RecordGone():
                await self._append(state, ev.SourceGone(state.branch))
            case d.Resume(why):
                await self._append(state, ev.SourceResumed(why))
            case d.RecordMove():
                await self._record_move(state, action)
            case d.Supersede(candidate, by):
                old = await self._book.candidate(candidate)
                await self._book.write(candidate, old.seq, [ev.CandidateSuperseded(by)])
                self._wake(candidate)
            case d.PinOut(candidate, reason):
                await self._append(state, ev.PinnedOut(candidate, reason))
            case d.HoldUndo(candidate, reason):
                await self._append(state, ev.UndoHeld(candidate, reason))
            case d.CloseWrite(write, to):
                fact = (
                    ev.WritePushed(write.purpose, write.candidate, write.commit)
                    if to is WriteState.PUSHED
                    else ev.WriteRaced(write.purpose, write.candidate, write.commit)
                )
                await self._append(state, fact)
            case d.PushWrite(write):
                await self._push(state, write)
            case d.MakeWrite():
                await self._make_write(state, action)

    async def _append(self, state: SourceState, *facts: ev.Fact, by: Principal = TRUEUP) -> SourceState:
        await self._book.write(state.id, state.seq, facts, by=by)
        return await self._book.source(state.id)

    async def _record_move(self, state: SourceState, action: d.RecordMove) -> None:
        source, move = self._sources[state.id], action.move
        head = await source.commit(move.after)
        number = (state.newest.number if state.newest else 0) + 1 if action.makes_candidate else 0
        id = child_id("candidate", state.id, number, move.after) if number else ""
        fact = ev.SourceMoved(state.head, move.after, move.forced, move.commits, move.ours, id, number)
        by = TRUEUP if move.ours else Principal(f"git:{_mail(head.author)}", f"push:{move.after}")
        state = await self._append(state, fact, by=by)
        if id:
            await self._create(state, state.candidates[id])

    async def _create(self, state: SourceState, seen: Seen) -> None:
        commit = await self._sources[state.id].commit(seen.commit)
        write = state.writes.get(seen.commit)
        fact = ev.CandidateCreated(
            source=state.id,
            commit=seen.commit,
            number=seen.number,
            author=commit.author,
            subject=commit.message.partition("\n")[0][:200],
            ref=f"refs/heads/{state.branch}",
            from_candidate=write.candidate if write and write.purpose == "deploy" else "",
        )
        by = Principal(f"git:{_mail(commit.author)}", f"push:{seen.commit}")
        with contextlib.suppress(Conflict):  # it was there: the kill came after
            await self._book.write(seen.id, 0, [fact], by=by, cause=f"{state.id}@{seen.seq}")
        self._wake(seen.id)

    async def _make_write(self, state: SourceState, action: d.MakeWrite) -> None:
        source = self._sources[state.id]
        about = await self._book.candidate(action.candidate)
        edits: Edits
        if action.purpose in ("write-back", "deploy"):
            edits = await self._stating.edits(source, state.head, tuple(about.images.values()))
        else:
            edits = await self._restoring(source, state.head, about, action.files)
        text = await self._message(state, action, about)
        if not edits:
            about_id = action.condemned if action.purpose == "undo" else action.candidate
            await self._append(state, ev.WriteDropped(action.purpose, about_id, "stated"))
            return
        commit = await source.make_commit(state.head, edits, text, when=self._clock.now())
        intent = ev.WriteIntended(
            purpose=action.purpose,
            candidate=action.candidate,
            condemned=action.condemned,
            parent=state.head,
            commit=commit,
            files=tuple(sorted(edits)),
        )
        state = await self._append(state, intent)
        if action.to_branch:
            await self._to_branch(state, state.writes[commit], action.to_branch)
        else:
            await self._push(state, state.writes[commit])

    async def _message(self, state: SourceState, action: d.MakeWrite, about: CandidateState) -> str:
        bad = await self._book.candidate(action.condemned) if action.condemned else None
        reason = ""
        if bad is not None:
            for application in await self._applications(state):
                reason = application.condemned.get(bad.id, reason)
        wish = state.rollback
        if action.purpose == "rollback" and wish and wish.candidate == action.candidate:
            reason = f"Asked for by {wish.by}" + (f": {wish.why}" if wish.why else "")
        pushed = (w for w in reversed(list(state.writes.values())) if w.state is WriteState.PUSHED)
        last = next(pushed, None)
        return message(
            action.purpose,
            action.candidate,
            about.commit,
            images=tuple(about.images.values()) if action.purpose in ("write-back", "deploy") else (),
            condemned=action.condemned,
            bad_commit=bad.commit if bad else "",
            subject=bad.subject if bad else "",
            reason=reason,
            anchor=await self._anchor(last.commit if last else ""),
        )

    async def _push(self, state: SourceState, write: Write) -> None:
        result = await self._sources[state.id].push(state.branch, write.commit, expect=write.parent)
        match result:
            case Pushed():
                await self._append(state, ev.WritePushed(write.purpose, write.candidate, write.commit))
            case Raced():
                await self._append(state, ev.WriteRaced(write.purpose, write.candidate, write.commit))
            case Refused(reason):
                await self._to_branch(state, write, reason)

    async def _to_branch(self, state: SourceState, write: Write, reason: str) -> None:
        """The change waits where the remote lets it: on a branch named after it."""
        branch = f"trueup/{write.purpose}-{write.commit[:10]}"
        try:
            result = await self._sources[state.id].push(branch, write.commit, expect=None)
        except SourceError:
            result = Refused("")
        there = branch if isinstance(result, Pushed | Raced) else ""
        await self._append(state, ev.WriteRefused(write.purpose, write.candidate, write.commit, reason, there))


class Waiting(Struct, frozen=True):
    """A change that Git has not taken: what it is, why, and where it waits."""

    purpose: str
    commit: str
    reason: str
    branch: str


def waiting(state: SourceState) -> tuple[Waiting, ...]:
    """What runs but is not stated in Git."""
    return tuple(
        Waiting(w.purpose, w.commit, w.reason, w.waits_on)
        for w in state.writes.values()
        if w.state is WriteState.REFUSED
    )


async def _changed(source: Source, before: Oid, after: Oid) -> tuple[str, ...]:
    """Paths whose mode or content differ between two commits."""
    return differing(await source.tree(before), await source.tree(after))


def _mail(author: str) -> str:
    return author.partition("<")[2].rstrip(">") or author
