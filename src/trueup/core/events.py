"""What is written to the ledger: one frozen record per kind of event, and the envelope around it.

Events are small: ids, hashes, counts and one-line reasons. Logs, plans, bundles and names of people's
machines are records (`ports.Records`), referred to by key. Transitions only. A kind's meaning never
changes: a new shape gets a new `VERSION` and an upcast in `core.ledger`.
Streams are "<kind>/<ulid>": source, candidate, run, application. Names are attributes.
"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from msgspec import Struct

from trueup.core.model import Principal, TestCount


class Fact(Struct, frozen=True, gc=False, tag_field="kind", kw_only=True, omit_defaults=True):
    """The data of an event. The tag is the event's kind."""

    VERSION: ClassVar[int] = 1


class Event(Struct, frozen=True, gc=False, kw_only=True):
    """The envelope. `hash` = SHA-256 over (prev, canonical JSON of all other fields)."""

    stream: str
    seq: int  # from 1, without gaps, in its stream
    time: datetime  # aware UTC; never goes back within a stream
    by: Principal
    cause: str  # "<stream>@<seq>" of the event this follows from, or "" for the first
    version: int
    fact: Fact
    prev: str  # hash of the event before, "" for the first
    hash: str


class Draft(Struct, frozen=True, kw_only=True):
    """What a writer appends; the ledger adds seq, time, prev and hash."""

    fact: Fact
    by: Principal
    cause: str = ""


# --- source/<id>: one watched branch of one repository; the only stream that decides what Git is told


class SourceRegistered(Fact, frozen=True, tag="source.registered"):
    url: str  # without credentials
    branch: str
    name: str  # last path component, the default application name
    role: str  # "both" | "code" | "config"


class SourceMoved(Fact, frozen=True, tag="source.moved"):
    before: str  # "" for the first look
    after: str
    forced: bool = False  # `before` is not an ancestor of `after`
    commits: int = 1
    ours: bool = False  # every new commit is one of ours, proven
    candidate: str = ""  # the Candidate this push makes; "" for none
    number: int = 0  # its order of arrival in this source, from 1


class SourceGone(Fact, frozen=True, tag="source.gone"):
    """The branch vanished. What runs stays."""

    branch: str


class SourceDown(Fact, frozen=True, tag="source.down"):
    reason: str


class SourceUp(Fact, frozen=True, tag="source.up"):
    pass


class SourceRights(Fact, frozen=True, tag="source.rights"):
    """Whether we may push, as far as can be told without pushing. `reason` "" means yes."""

    reason: str


class SourcePaused(Fact, frozen=True, tag="source.paused"):
    until: datetime | None
    why: str


class SourceResumed(Fact, frozen=True, tag="source.resumed"):
    why: str = ""


class SourceRollback(Fact, frozen=True, tag="source.rollback"):
    """A person asked for an earlier Candidate; the next push resumes."""

    candidate: str
    why: str = ""


class WriteIntended(Fact, frozen=True, tag="source.write_intended"):
    """Before a commit of ours is pushed. `commit` is already computed: id is the idempotency key."""

    purpose: str  # "write-back" | "undo" | "rollback" | "deploy" (write-back to a configuration repository)
    candidate: str  # the one written about; for an undo, the one restored
    condemned: str = ""  # for an undo: the bad one
    parent: str = ""
    commit: str = ""
    files: tuple[str, ...] = ()


class WritePushed(Fact, frozen=True, tag="source.write_pushed"):
    purpose: str
    candidate: str
    commit: str


class WriteRaced(Fact, frozen=True, tag="source.write_raced"):
    purpose: str
    candidate: str
    commit: str


class WriteRefused(Fact, frozen=True, tag="source.write_refused"):
    """The remote said no (protection, hook, signature). The change waits on `waits_on`."""

    purpose: str
    candidate: str
    commit: str
    reason: str
    waits_on: str = ""  # branch or pull request URL; "" when even that was refused


class WriteDropped(Fact, frozen=True, tag="source.write_dropped"):
    """An intended write is no longer wanted (newer digest stated, later commit on the same file)."""

    purpose: str
    candidate: str
    reason: str


class PinnedOut(Fact, frozen=True, tag="source.pinned_out"):
    """This Candidate will not run again; nothing is pushed to the branch for it."""

    candidate: str
    reason: str


class UndoHeld(Fact, frozen=True, tag="source.undo_held"):
    candidate: str
    reason: str  # "no last-good", "an undo is open", "too many applications are sick", "undo: none"


# --- candidate/<id>: what may run


class CandidateCreated(Fact, frozen=True, tag="candidate.created"):
    source: str
    commit: str
    number: int  # order of arrival in its source, from 1
    author: str
    subject: str  # first line of the commit message
    ref: str = ""
    from_candidate: str = ""  # in a configuration repository: the code Candidate whose digest it states


class CandidateChecked(Fact, frozen=True, tag="candidate.checked"):
    VERSION = 2  # 1 had no `undo`

    errors: int
    warnings: int
    undo: str  # "revert" | "pin" | "none": what its trueup.yaml says; "": nothing
    record: str = ""  # findings
    first: str = ""  # first error, one line


class CandidateRuns(Fact, frozen=True, tag="candidate.runs"):
    """The pipeline runs it triggered. The required ones decide."""

    required: tuple[str, ...]
    advisory: tuple[str, ...] = ()
    anew: bool = False  # every job is run again, also those that ended well in the attempt before


class CandidateImage(Fact, frozen=True, tag="candidate.image"):
    repository: str
    tag: str
    digest: str
    key: str
    place: str
    run: str = ""  # "" when Trueup built it by convention
    cached: bool = False


class CandidateGreen(Fact, frozen=True, tag="candidate.green"):
    pass


class CandidateRed(Fact, frozen=True, tag="candidate.red"):
    reason: str


class CandidateSuperseded(Fact, frozen=True, tag="candidate.superseded"):
    by: str


# --- run/<id>: one pipeline run


class RunCreated(Fact, frozen=True, tag="run.created"):
    candidate: str
    workflow: str  # "test"
    place: str  # ".github/workflows/test.yml"
    trigger: str  # "push", "manual"
    attempt: int = 1


class JobStarted(Fact, frozen=True, tag="run.job_started"):
    job: str
    executor: str


class JobFinished(Fact, frozen=True, tag="run.job_finished"):
    job: str
    outcome: str  # model.Outcome value
    seconds: float
    reason: str = ""
    outputs: str = ""  # record key
    tests: TestCount | None = None


class RunIntent(Fact, frozen=True, tag="run.intent"):
    """A second writer in a pipeline (`kubectl apply`): recorded, not executed."""

    command: str
    files: tuple[str, ...] = ()


class RunCancelRequested(Fact, frozen=True, tag="run.cancel_requested"):
    reason: str


class RunFinished(Fact, frozen=True, tag="run.finished"):
    outcome: str
    reason: str = ""
    seconds: float = 0.0


# --- application/<id>: one application in one environment


class ApplicationRegistered(Fact, frozen=True, tag="application.registered"):
    name: str
    source: str
    environment: str
    target: str


class SyncStarted(Fact, frozen=True, tag="application.sync_started"):
    candidate: str
    attempt: int
    bundle: str  # record key of the Bundle to be applied
    create: int = 0
    update: int = 0
    delete: int = 0
    why: str = ""  # "push" | "undo" | "rollback" | "manual" | "retry" | "resume"
    hooks: bool = True  # its hooks run: there is something to change, or they changed themselves


class HooksStarted(Fact, frozen=True, tag="application.hooks_started"):
    """Intention: these hooks of one phase and wave are about to be made. `hooks`: "PreSync batch/Job/shop/migrate"."""

    candidate: str
    attempt: int
    phase: str
    hooks: tuple[str, ...]


class HooksCreated(Fact, frozen=True, tag="application.hooks_created"):
    """They are made: from here on none of them is made again in this attempt."""

    candidate: str
    attempt: int
    phase: str
    hooks: tuple[str, ...]


class HookEnded(Fact, frozen=True, tag="application.hook_ended"):
    candidate: str
    attempt: int
    phase: str
    hook: str
    outcome: str  # "succeeded" | "failed" | "gone" | "terminated"
    reason: str = ""
    record: str = ""  # last lines of its log


class SyncFailing(Fact, frozen=True, tag="application.sync_failing"):
    """The attempt is lost; its SyncFail hooks run before it is condemned."""

    candidate: str
    attempt: int
    reason: str
    record: str = ""


class SyncApplied(Fact, frozen=True, tag="application.sync_applied"):
    """Every change of the plan has been made; the objects turn healthy or not from here."""

    candidate: str
    attempt: int


class SyncHealthy(Fact, frozen=True, tag="application.sync_healthy"):
    candidate: str
    attempt: int
    seconds: float


class SyncHeld(Fact, frozen=True, tag="application.sync_held"):
    """Not the change's fault, or waiting for a person: nothing is undone."""

    candidate: str
    attempt: int
    reason: str
    record: str = ""


class SyncCondemned(Fact, frozen=True, tag="application.condemned"):
    candidate: str
    attempt: int
    reason: str
    record: str = ""  # the failed container's last lines


class SyncTerminated(Fact, frozen=True, tag="application.sync_terminated"):
    candidate: str
    attempt: int
    why: str = ""


class Approved(Fact, frozen=True, tag="application.approved"):
    """Held changes a person allowed; covers exactly this set."""

    candidate: str
    changes: str  # hash over the set


class ChangesHeld(Fact, frozen=True, tag="application.changes_held"):
    """Changes that Git asks for and that wait for a person, or, with `changes` "", that none waits any more."""

    changes: str  # hash over the set: what `trueup approve` takes
    count: int = 0
    reason: str = ""
    objects: tuple[str, ...] = ()


class Pruned(Fact, frozen=True, tag="application.pruned"):
    """Objects that Git no longer states were deleted after the rollout, when what held them had gone."""

    objects: tuple[str, ...]


class Drifted(Fact, frozen=True, tag="application.drifted"):
    """One per batch: what was changed by hand, and whether it was put back."""

    objects: tuple[str, ...]
    what: str
    repaired: bool
    journal: int = 0  # the target's own sequence number, so that nothing is told twice


class EndAsked(Fact, frozen=True, tag="application.end_asked"):
    """A person takes an application away: "cascade" deletes its objects, "orphan" lets go of them as they are."""

    mode: str
    data: bool = False  # Namespaces, claims and definitions are deleted, too
    why: str = ""


class ApplicationEnded(Fact, frozen=True, tag="application.ended"):
    """It is gone; nothing of it is synced until a person asks for it. `kept`: what was left, and why."""

    mode: str
    kept: tuple[str, ...] = ()


class Contested(Fact, frozen=True, tag="application.contested"):
    """Another application stated objects of this one, and was refused before anything was touched."""

    by: str  # its name
    objects: tuple[str, ...]
    place: str  # where it states the first of them


class HealthChanged(Fact, frozen=True, tag="application.health_changed"):
    health: str
    reason: str = ""


class Notified(Fact, frozen=True, tag="application.notified"):
    """A failure or a recovery was told outside, once."""

    what: str  # "failure" | "recovery"
    candidate: str


# --- any stream


class Erased(Fact, frozen=True, tag="record.erased"):
    """Tombstone of a record."""

    record: str
    why: str


class Checkpoint(Fact, frozen=True, tag="ledger.checkpoint"):
    """Signed digest over all heads; on the stream "ledger/0"."""

    heads: str  # SHA-256 over sorted "<stream> <seq> <hash>" lines
    streams: int
    signature: str  # Ed25519, hex
    anchor: str = ""  # the last commit of ours whose trailer carries a checkpoint
