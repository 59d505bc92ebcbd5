"""Versions and ranges as Helm reads them. Pure.

Source: Semantic Versioning 2.0.0, §11; Masterminds/semver v3 README, "Checking Version Constraints" (hyphen, caret,
tilde, wildcard, "," or space for and, "||" for or; a pre-release only when the constraint names one).
"""

from __future__ import annotations

import re

from msgspec import Struct

_VERSION = re.compile(
    r"v?(\d+)(?:\.(\d+))?(?:\.(\d+))?(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:\+([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?"
)
_PIECE = r"v?(\d+|[xX*])(?:\.(\d+|[xX*]))?(?:\.(\d+|[xX*]))?(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?"
_TERM = re.compile(rf"\s*,?\s*(=>|=<|!=|>=|<=|>|<|=|~>|~|\^)?\s*{_PIECE}(?=[\s,|]|$)")
_HYPHEN = re.compile(rf"\s*({_PIECE})\s+-\s+({_PIECE})\s*")


class Version(Struct, frozen=True, eq=False):
    """Build metadata orders nothing."""

    major: int
    minor: int = 0
    patch: int = 0
    pre: str = ""
    text: str = ""

    @property
    def _key(self) -> tuple[object, ...]:
        parts = tuple((0, int(p), "") if p.isdigit() else (1, 0, p) for p in self.pre.split(".")) if self.pre else ()
        return (self.major, self.minor, self.patch, not self.pre, parts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Version) and self._key == other._key

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __lt__(self, other: Version) -> bool:
        return self._key < other._key

    def __le__(self, other: Version) -> bool:
        return self._key <= other._key

    def __gt__(self, other: Version) -> bool:
        return self._key > other._key

    def __ge__(self, other: Version) -> bool:
        return self._key >= other._key

    def __hash__(self) -> int:
        return hash(self._key)


class InvalidRange(ValueError):
    """This is no range of versions."""


def version(text: str) -> Version | None:
    """A version as people write it, "v1.2" too; None for anything else."""
    match = _VERSION.fullmatch(text.strip())
    if match is None:
        return None
    major, minor, patch, pre, _ = match.groups()
    return Version(int(major), int(minor or 0), int(patch or 0), pre or "", text.strip())


class _Term(Struct, frozen=True):
    sign: str
    low: Version
    width: int  # how many numbers were given: 3 an exact version, 0 "*"

    def holds(self, v: Version) -> bool:
        """Pre-releases are judged by the way as a whole. `numbers`: 2.0.0-rc.1 is of 2, not before it."""
        numbers = Version(v.major, v.minor, v.patch)
        match self.sign:
            case "" | "=":
                return self._within(v, numbers) if self.width < 3 else v == self.low
            case "!=":
                return not self._within(v, numbers) if self.width < 3 else v != self.low
            case ">":
                return numbers >= self._next(self.width) if self.width < 3 else v > self.low
            case ">=" | "=>":
                return v >= self.low
            case "<":
                return v < self.low
            case "<=" | "=<":
                return numbers < self._next(self.width) if self.width < 3 else v <= self.low
            case "~" | "~>":
                if self.width == 3 and self.low == Version(0):
                    return True
                return v >= self.low and numbers < self._next(min(self.width, 2))
            case _:
                return v >= self.low and numbers < self._caret()

    def _within(self, v: Version, numbers: Version) -> bool:
        return v >= self.low and numbers < self._next(self.width)

    def _next(self, width: int) -> Version:
        """The first version past those that share the first `width` numbers."""
        if width == 0:
            return Version(1 << 62)
        if width == 1:
            return Version(self.low.major + 1)
        return Version(self.low.major, self.low.minor + 1)

    def _caret(self) -> Version:
        """What keeps the leftmost number that is not zero."""
        if self.width == 0:
            return Version(1 << 62)
        if self.low.major > 0 or self.width == 1:
            return Version(self.low.major + 1)
        if self.low.minor > 0 or self.width == 2:
            return Version(0, self.low.minor + 1)
        return Version(0, 0, self.low.patch + 1)


class Range(Struct, frozen=True):
    """Any of `ways`, all terms of one."""

    ways: tuple[tuple[_Term, ...], ...]

    def holds(self, v: Version) -> bool:
        return any(
            all(term.holds(v) for term in way) for way in self.ways if not v.pre or any(term.low.pre for term in way)
        )


def read_range(text: str) -> Range:
    """Raises InvalidRange. "" is any released version."""
    return Range(tuple(_way(part) for part in (text or "*").split("||")))


def _way(text: str) -> tuple[_Term, ...]:
    hyphen = _HYPHEN.fullmatch(text)
    if hyphen is not None:
        groups = hyphen.groups()
        return _term(">=", groups[1:5]), _term("<=", groups[6:10])
    terms: list[_Term] = []
    at, text = 0, text.rstrip()
    while at < len(text):
        match = _TERM.match(text, at)
        if match is None:
            raise InvalidRange(f"{text.strip()!r} is no range of versions such as `^1.2` or `>=1.0, <2`")
        terms.append(_term(match.group(1) or "", match.groups()[1:5]))
        at = match.end()
    if not terms:
        raise InvalidRange("an empty range of versions beside ||")
    return tuple(terms)


def _term(sign: str, parts: tuple[str | None, ...]) -> _Term:
    numbers: list[int] = []
    for part in parts[:3]:
        if part is None or part in "xX*":
            break
        numbers.append(int(part))
    width = len(numbers)
    numbers += [0] * (3 - width)
    low = Version(numbers[0], numbers[1], numbers[2], parts[3] or "")
    return _Term(sign, low, width)
