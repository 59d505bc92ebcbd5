"""The nouns: frozen records shared by every layer. Never does IO, never reads a clock."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeAlias

from msgspec import Struct

Json: TypeAlias = Any  # the body of a Kubernetes object, as JSON
Oid: TypeAlias = str  # a Git object id, 40 or 64 lower-case hex digits


# --- where things are stated -------------------------------------------------------------------


class Place(Struct, frozen=True, order=True):
    """A position in a repository. `line` and `column` count from 1; `line` 0 means the whole file."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        file = self.file if self.file.isprintable() else repr(self.file)[1:-1]  # a newline must not forge a line
        return f"{file}:{self.line}" if self.line else file


class Severity(enum.Enum):
    ERROR = "error"  # makes the Candidate red
    WARNING = "warning"  # deployed all the same, shown
    NOTE = "note"  # something Trueup does differently, or does not do natively


class Finding(Struct, frozen=True):
    """One thing `trueup check` has to say: what is wrong, where, and what to do."""

    severity: Severity
    rule: str  # stable kebab-case id, e.g. "promql-unknown-function"
    place: Place
    message: str  # what is wrong
    fix: str  # what to do


# --- Git -----------------------------------------------------------------------------------------


class Principal(Struct, frozen=True):
    """Who acts, by what authority. `name` is e.g. "git:ann@example.org", "uid:1000", "trueup"."""

    name: str
    authority: str  # e.g. "push:<commit>", "rule:undo", "socket", "webhook:github"


class Commit(Struct, frozen=True):
    id: Oid
    tree: Oid
    parents: tuple[Oid, ...]
    author: str  # "Ann <ann@example.org>"
    committer: str
    time: datetime  # committer time, aware UTC
    message: str  # whole, with trailers


class TreeEntry(Struct, frozen=True):
    """`mode` is Git's: 0o100644 file, 0o100755 executable, 0o120000 symlink, 0o160000 submodule."""

    mode: int
    oid: Oid
    size_bytes: int = -1  # -1: not asked for


Tree: TypeAlias = Mapping[str, TreeEntry]  # path from the root, "/" separated, recursive


# --- images --------------------------------------------------------------------------------------


class BuiltImage(Struct, frozen=True):
    """An image the loop built. `repository` is as the pipeline or manifest names it, without tag."""

    repository: str  # "ghcr.io/acme/app"
    tag: str
    digest: str  # manifest digest, "sha256:…"
    key: str  # build key: context, Dockerfile, base digests, arguments
    place: Place  # the Dockerfile


class ImageUse(Struct, frozen=True):
    """An image reference stated in a file: its text and its span there, so that it can be spliced."""

    text: str  # as written, quotes excluded
    place: Place
    start: int  # byte offset of `text` in the file
    end: int
    path: str  # where in the object: "spec.template.spec.containers[0].image"


# --- objects -------------------------------------------------------------------------------------


class Ref(Struct, frozen=True, order=True):
    """The identity of an object. `cluster` is "host" on one machine; `group` is "" for core."""

    cluster: str
    group: str
    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind.lower()}/{self.name}"


class Object(Struct, frozen=True):
    """One desired object. `hash` covers the body (see `core.objects.body_hash`)."""

    ref: Ref
    api_version: str
    body: Json
    hash: str
    place: Place
    images: tuple[ImageUse, ...] = ()


class Leave(Struct, frozen=True, kw_only=True):
    """Fields that are left to others. `group` and `kind` may have * and ?; an empty name or namespace is any."""

    group: str = "*"
    kind: str = "*"
    namespace: str = ""
    name: str = ""
    pointers: tuple[str, ...] = ()  # "/spec/replicas"
    jq: tuple[str, ...] = ()  # '.spec.template.spec.containers[] | select(.name == "x") | .image'
    managers: tuple[str, ...] = ()  # whatever these field managers hold


class DriftRules(Struct, frozen=True):
    """Of one application. `repair` False: drift is told and left as it is."""

    leave: tuple[Leave, ...] = ()
    repair: bool = True


class Bundle(Struct, frozen=True):
    """All desired objects of an application for a Candidate, in a stable order."""

    application: str
    candidate: str
    objects: tuple[Object, ...]
    hash: str
    accepted: tuple[str, ...] = ()  # what `trueup.yaml` accepts by name although the target cannot honour it
    hooks: tuple[Object, ...] = ()  # made at their time, and no part of what stands (see `core.hooks`)
    drift: DriftRules = DriftRules()


class LiveObject(Struct, frozen=True):
    ref: Ref
    hash: str  # of the desired body it was last applied from; "" if never by us
    body: Json
    uid: str
    generation: int


class Unread(Struct, frozen=True):
    """Something that could not be read. Never the same as absent."""

    what: str
    reason: str


class Live(Struct, frozen=True):
    """What the target holds for one application."""

    objects: tuple[LiveObject, ...]
    unread: tuple[Unread, ...] = ()


# --- plans ---------------------------------------------------------------------------------------


class Action(enum.Enum):
    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"


class Change(Struct, frozen=True):
    action: Action
    ref: Ref
    before: str  # hash of the live desired body, "" when created
    after: str  # desired hash, "" when deleted
    wave: int = 0


class Held(Struct, frozen=True):
    """A change that waits for a person, and why."""

    change: Change
    reason: str


class Plan(Struct, frozen=True):
    changes: tuple[Change, ...]
    held: tuple[Held, ...] = ()
    unread: tuple[Unread, ...] = ()


# --- health --------------------------------------------------------------------------------------


class Health(enum.Enum):
    HEALTHY = "healthy"
    PROGRESSING = "progressing"
    DEGRADED = "degraded"
    SUSPENDED = "suspended"
    MISSING = "missing"
    UNKNOWN = "unknown"


class Fault(enum.Enum):
    """Whose fault a degraded object is; only CHANGE is ever undone."""

    NONE = "none"
    CHANGE = "change"  # new replicas crash or fail probes while the old ones pass; invalid object; failed hook
    WORLD = "world"  # registry, pull, room, quota, node, API; or the old replicas fail too


class Judgement(Struct, frozen=True):
    """The health of one object, with the reason a person needs."""

    ref: Ref
    health: Health
    reason: str = ""
    fault: Fault = Fault.NONE
    excerpt: tuple[str, ...] = ()  # last log lines of the container that failed, secrets masked
    down: bool = False  # degraded, and nothing of it serves: no replica from before does either


# --- CI ------------------------------------------------------------------------------------------


class Outcome(enum.Enum):
    SUCCESS = "success"
    FAILURE = "failure"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"
    ERROR = "error"  # the machine's fault, not the repository's: never makes an undo


class TestCount(Struct, frozen=True):
    """Read from JUnit XML."""

    __test__ = False
    passed: int = 0
    failed: int = 0
    errored: int = 0
    skipped: int = 0
    first_failure: str = ""  # "tests/test_app.py::test_home: assert 500 == 200"
