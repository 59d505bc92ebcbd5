"""What a running loop can be asked besides verbs: what it knows this second, and logs. Plain records."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from trueup.core.model import Judgement


class Now(Struct, frozen=True):
    """What only the running process knows: the target's word on each object, and what it is stuck on."""

    judgements: Mapping[str, tuple[Judgement, ...]] = {}  # application id → objects
    problems: Mapping[str, str] = {}  # key → why its last pass failed
    pid: int = 0
    webhook: str = ""  # where webhooks are taken, "" for nowhere
    watched: tuple[str, ...] = ()  # ids of the sources it watches; () when it does not say


class LogQuery(Struct, frozen=True, kw_only=True):
    """Either a run's job, or what an application's objects print."""

    run: str = ""
    job: str = ""  # "" every job of the run
    application: str = ""  # id; "" the only one
    object: str = ""  # "deployment/web", or "" for all
    follow: bool = False
    tail: int = 0  # lines; 0 for all that is kept


class NoSuchLog(Exception):
    """Nothing of this name has logs; the message names what has."""
