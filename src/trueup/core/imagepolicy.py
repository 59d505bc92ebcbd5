"""Which tag of an image a policy selects: by a range of versions, by letters or by number. Pure.

Source: image-reflector-controller v1.2.5, docs/spec/v1/imagepolicies.md.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable

from msgspec import Struct

from trueup.core.semver import InvalidRange, Version, read_range, version


class By(enum.Enum):
    SEMVER = "semver"
    ALPHABETICAL = "alphabetical"
    NUMERICAL = "numerical"


class Policy(Struct, frozen=True, kw_only=True):
    """`range` is for versions; `descending` takes the least of the others. `pattern` keeps the tags that it matches,
    `extract` says what of them is compared."""

    by: By
    range: str = ""
    descending: bool = False
    pattern: str = ""
    extract: str = ""


class Unselected(Exception):
    """No tag is selected; the message says why."""


def select(policy: Policy, tags: Iterable[str]) -> str:
    """The tag. Raises Unselected."""
    listed = list(tags)
    compared = _filtered(policy, listed)
    if not compared:
        raise Unselected(f"none of {len(listed)} tags matches {policy.pattern!r}" if listed else "there is no tag")
    match policy.by:
        case By.SEMVER:
            return compared[_by_version(policy, compared)]
        case By.ALPHABETICAL:
            return compared[min(compared) if policy.descending else max(compared)]
    return compared[_by_number(policy, compared)]


def _filtered(policy: Policy, tags: Iterable[str]) -> dict[str, str]:
    """What is compared → the tag that it is of."""
    if not policy.pattern:
        return {tag: tag for tag in tags}
    try:
        pattern = re.compile(re.sub(r"\(\?<(?![=!])", "(?P<", policy.pattern))
    except re.error as error:
        raise Unselected(f"{policy.pattern!r} is no pattern: {error}") from error
    found: dict[str, str] = {}
    for tag in tags:
        if (match := pattern.search(tag)) is not None:
            found[expanded(policy.extract, match) if policy.extract else tag] = tag
    return found


_REFERENCE = re.compile(r"\$(?:(\w+)|\{(\w+)\}|(\$))", re.ASCII)


def expanded(template: str, match: re.Match[str]) -> str:
    """`$name`, `${name}` and `$1` put in; what the pattern does not have is nothing. Source: Go regexp, Expand."""

    def of(reference: re.Match[str]) -> str:
        if reference[3]:
            return "$"
        name = reference[1] or reference[2]
        try:
            return match.group(int(name) if name.isdigit() else name) or ""
        except IndexError:
            return ""

    return _REFERENCE.sub(of, template)


def _by_version(policy: Policy, compared: Iterable[str]) -> str:
    try:
        wanted = read_range(policy.range)
    except InvalidRange as error:
        raise Unselected(str(error)) from error
    known = [one for text in compared if (one := _strictly(text)) is not None and wanted.holds(one)]
    if not known:
        raise Unselected(f"no tag is a version within {policy.range}")
    return max(known).text


_STRICT = re.compile(r"v?(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)([-+].*)?")


def _strictly(text: str) -> Version | None:
    """All three numbers, nothing before them but a "v". Source: fluxcd/pkg/version v0.20.0, ParseVersion."""
    return version(text) if _STRICT.fullmatch(text) else None


def _by_number(policy: Policy, compared: Iterable[str]) -> str:
    numbers: dict[str, float] = {}
    for text in compared:
        try:
            numbers[text] = float(text)
        except ValueError:
            raise Unselected(f"{text!r} is no number: let filterTags keep and extract only numbers") from None
    return min(numbers, key=numbers.__getitem__) if policy.descending else max(numbers, key=numbers.__getitem__)
