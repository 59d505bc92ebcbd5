"""When a project lets its applications be synced: windows of time that allow or deny. Pure; the clock is an argument.

Source: Argo CD v3.5.7, docs/user-guide/sync_windows.md and pkg/apis/application/v1alpha1/types.go (SyncWindows);
schedules as robfig/cron v3 reads five fields.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from msgspec import Struct

from trueup.core.globs import matches

Clock = Callable[[str], datetime]  # a zone's name → what its clocks show


class Window(Struct, frozen=True):
    kind: str  # "allow" | "deny"
    schedule: str
    duration: str
    zone: str = "UTC"
    applications: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    clusters: tuple[str, ...] = ()
    manual: bool = False  # a person may sync all the same
    all_of: bool = False  # every list that is given must match, not any
    overrun: bool = False  # a sync that began when it was allowed may end

    @property
    def chosen(self) -> str:
        return ",".join((*self.applications, "|", *self.namespaces, "|", *self.clusters))


class Synced(Struct, frozen=True):
    """The application that is to be synced. `clusters` are the name and the address of its destination."""

    name: str
    namespace: str
    clusters: tuple[str, ...] = ()


def concerns(window: Window, application: Synced) -> bool:
    """Whether a window is about an application."""
    asked = (
        (window.applications, (application.name,)),
        (window.clusters, application.clusters),
        (window.namespaces, (application.namespace,)),
    )
    found = [any(matches(rule, text) for rule in rules for text in texts) for rules, texts in asked if rules]
    return bool(found) and (all(found) if window.all_of else any(found))


def may_sync(
    windows: Iterable[Window], application: Synced, now: Clock, manual: bool, began: Clock | None = None
) -> bool:
    """Whether a sync may start, or with `began` go on that began then. Schedules must be valid (`wrong_window`)."""
    mine = [window for window in windows if concerns(window, application)]
    active = [window for window in mine if is_active(window, now)]
    denies = [window for window in active if window.kind == "deny"]
    if denies:
        stops = denies
    elif any(window.kind == "allow" for window in active):
        return True
    else:
        stops = [window for window in mine if window.kind == "allow"]
        if not stops:
            return True
    if manual and all(window.manual for window in stops):
        return True
    if began is not None and all(window.overrun for window in stops):
        return may_sync(mine, application, began, manual)
    return False


def is_active(window: Window, now: Clock) -> bool:
    """Whether the schedule came up within the duration before now."""
    length, at = duration(window.duration), now(window.zone).replace(tzinfo=None)
    schedule = parse(window.schedule)
    first = (at - length).replace(second=0, microsecond=0) + timedelta(minutes=1)
    return (next_time := schedule.following(first, at)) is not None and next_time < at


def wrong_window(window: Window) -> str | None:
    """Why a window cannot be, None when it can."""
    told = f"window {window.kind}:{window.schedule}:{window.duration}"
    if window.kind not in ("allow", "deny"):
        return f"{told}: its kind is allow or deny"
    if not (window.applications or window.namespaces or window.clusters):
        return f"{told} names no application, namespace or cluster"
    try:
        parse(window.schedule)
        duration(window.duration)
    except ValueError as error:
        return f"{told}: {error}"
    return None


_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h))+")


def duration(text: str) -> timedelta:
    """A length of time as Go writes it: "1h30m". Raises ValueError."""
    if not _DURATION.fullmatch(text):
        raise ValueError(f"{text!r} is no duration such as 1h30m")
    parts = re.findall(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)", text)
    return timedelta(seconds=sum(float(number) * _UNITS[unit] for number, unit in parts))


# --- schedules -------------------------------------------------------------------------------------

_MONTHS = {
    m: i for i, m in enumerate(["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"], 1)
}
_DAYS = {d: i for i, d in enumerate(["sun", "mon", "tue", "wed", "thu", "fri", "sat"])}
_FIELDS: tuple[tuple[str, int, int, dict[str, int]], ...] = (
    ("minute", 0, 59, {}), ("hour", 0, 23, {}), ("day of the month", 1, 31, {}), ("month", 1, 12, _MONTHS),
    ("day of the week", 0, 6, _DAYS),
)  # fmt: skip


class Schedule(Struct, frozen=True):
    """`stars`: whether the days of the month and of the week are left open; when neither is, either suffices."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    stars: tuple[bool, bool]

    def following(self, first: datetime, last: datetime) -> datetime | None:
        """The first time from `first` on that comes up, None when there is none until `last`."""
        at = first
        while at <= last:
            if not self._day(at):
                at = at.replace(hour=0, minute=0) + timedelta(days=1)
            elif at.hour not in self.hours:
                at = at.replace(minute=0) + timedelta(hours=1)
            elif at.minute not in self.minutes:
                at += timedelta(minutes=1)
            else:
                return at
        return None

    def _day(self, at: datetime) -> bool:
        day, weekday = at.day in self.days, at.isoweekday() % 7 in self.weekdays
        return at.month in self.months and ((day and weekday) if any(self.stars) else (day or weekday))


def parse(text: str) -> Schedule:
    """Five fields of cron. Raises ValueError."""
    parts = text.split()
    if len(parts) != 5:
        raise ValueError(f"{text!r} is no schedule: it has {len(parts)} of five fields")
    found = [_field(part, *field) for part, field in zip(parts, _FIELDS, strict=True)]
    stars = (parts[2][0] in "*?", parts[4][0] in "*?")
    return Schedule(found[0], found[1], found[2], found[3], found[4], stars)


def _field(text: str, name: str, least: int, most: int, names: dict[str, int]) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        span, slash, step = part.partition("/")
        low, dash, high = span.partition("-")
        if slash and (not step.isdigit() or int(step) == 0):
            raise ValueError(f"{part!r} is no {name}")
        if span in ("*", "?"):
            first, last = least, most
        else:
            first = _number(low, name, names)
            last = _number(high, name, names) if dash else most if slash else first
        if not least <= first <= last <= most:
            raise ValueError(f"{part!r} is no {name} from {least} to {most}")
        found.update(range(first, last + 1, int(step) if slash else 1))
    return frozenset(found)


def _number(text: str, name: str, names: dict[str, int]) -> int:
    if text.lower() in names:
        return names[text.lower()]
    if not text.isdigit():
        raise ValueError(f"{text!r} is no {name}")
    return int(text)
