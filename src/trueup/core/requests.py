"""What a person can ask a running `trueup up`: one record per verb, sent over its socket as tagged JSON."""

from __future__ import annotations

from datetime import datetime
from typing import TypeAlias

from msgspec import Struct


class Sync(Struct, frozen=True, tag_field="verb", tag="sync"):
    """Reconcile now. `application` "" means all."""

    application: str = ""


class Refresh(Struct, frozen=True, tag_field="verb", tag="refresh"):
    """Look at the remote now."""

    source: str = ""


class Retry(Struct, frozen=True, tag_field="verb", tag="retry"):
    """Run a candidate's failed jobs again, or a held sync again."""

    what: str = ""  # run id, commit, application; "" the newest that failed
    failed_only: bool = True


class Terminate(Struct, frozen=True, tag_field="verb", tag="terminate"):
    """Stop a sync or a run."""

    what: str = ""
    why: str = ""


class Rollback(Struct, frozen=True, tag_field="verb", tag="rollback"):
    commit: str = ""  # "" the last good one before what runs
    application: str = ""
    why: str = ""


class Pause(Struct, frozen=True, tag_field="verb", tag="pause"):
    source: str = ""
    until: datetime | None = None
    why: str = ""


class Resume(Struct, frozen=True, tag_field="verb", tag="resume"):
    source: str = ""
    why: str = ""


class CiRun(Struct, frozen=True, tag_field="verb", tag="ci-run"):
    """Run a workflow on a commit, outside the Candidate's verdict."""

    workflow: str = ""
    commit: str = ""
    job: str = ""


class Approve(Struct, frozen=True, tag_field="verb", tag="approve"):
    """Allow the held changes of this plan, and only these (`changes` is the hash that `plan` shows)."""

    application: str = ""
    changes: str = ""


class Remove(Struct, frozen=True, tag_field="verb", tag="remove"):
    """Take an application away. `orphan`: its objects stay as they are, and nobody's."""

    application: str = ""
    orphan: bool = False
    data: bool = False
    why: str = ""


class Stop(Struct, frozen=True, tag_field="verb", tag="stop"):
    """End the loop; what runs goes on running."""


Request: TypeAlias = Sync | Refresh | Retry | Terminate | Rollback | Pause | Resume | CiRun | Approve | Remove | Stop


class Reply(Struct, frozen=True):
    ok: bool
    message: str  # one line for a person; when not ok: what was wrong and what to do
    id: str = ""  # the run, candidate or stream it concerns
    unknown: bool = False  # nothing has the name that was asked for
