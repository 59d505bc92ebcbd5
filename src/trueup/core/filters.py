"""Name filters of pipelines: `*`, `**`, `?`, `+`, `[…]` and a leading `!`. Linear in the name, whatever the pattern.

Source: GitHub Docs, "Workflow syntax for GitHub Actions", filter pattern cheat sheet.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from msgspec import Struct

ANY, NOT_SLASH, LITERAL, SET = "any", "not-slash", "literal", "set"
FOLDERS = "folders"  # reads nothing; stands before the two atoms of "**/" and may jump over them


class Atom(Struct, frozen=True):
    """One element of a pattern: what it matches, and how often ("1", "?", "+", "*")."""

    kind: str
    chars: str = ""
    times: str = "1"

    def matches(self, char: str) -> bool:
        if self.kind == ANY:
            return True
        if self.kind == NOT_SLASH:
            return char != "/"
        if self.kind == FOLDERS:
            return False
        return char in self.chars


def passes(only: Sequence[str], ignore: Sequence[str], name: str) -> bool:
    """Whether a branch or tag passes. No patterns at all: everything does."""
    if only:
        return selected(only, name)
    return not (ignore and selected(ignore, name))


def passes_any(only: Sequence[str], ignore: Sequence[str], names: Sequence[str]) -> bool:
    """Whether at least one changed path passes; with no patterns, true even of no paths."""
    return (not only and not ignore) or any(passes(only, ignore, name) for name in names)


def selected(patterns: Sequence[str], name: str) -> bool:
    """The last pattern that matches decides; one that starts with `!` takes the name out again."""
    chosen = False
    for pattern in patterns:
        negated = pattern.startswith("!")
        if matches(pattern[1:] if negated else pattern, name):
            chosen = not negated
    return chosen


def matches(pattern: str, name: str) -> bool:
    """Whether the whole name matches, by simulating all states at once (no backtracking)."""
    atoms = _atoms(pattern)
    states = _closure(atoms, {0})
    for char in name:
        after: set[int] = set()
        for state in states:
            if state < len(atoms) and atoms[state].matches(char):
                after.add(state + 1)
                if atoms[state].times in "+*":
                    after.add(state)
        states = _closure(atoms, after)
        if not states:
            return False
    return len(atoms) in states


def _closure(atoms: tuple[Atom, ...], states: set[int]) -> set[int]:
    ahead = list(states)
    while ahead:
        state = ahead.pop()
        if state < len(atoms):
            for step in _free(atoms[state]):
                if state + step not in states:
                    states.add(state + step)
                    ahead.append(state + step)
    return states


def _free(atom: Atom) -> tuple[int, ...]:
    """How far one may go on from here without reading a character."""
    if atom.kind == FOLDERS:
        return (1, 3)
    return (1,) if atom.times in "?*" else ()


@lru_cache(maxsize=512)
def _atoms(pattern: str) -> tuple[Atom, ...]:
    atoms: list[Atom] = []
    at = 0
    while at < len(pattern):
        atom, at = _atom(pattern, at)
        if at < len(pattern) and pattern[at] in "?+" and atom.times == "1":
            atom, at = Atom(atom.kind, atom.chars, pattern[at]), at + 1
        if atom.kind == ANY and atom.times == "*" and pattern[at : at + 1] == "/" and _at_segment(pattern, at):
            atoms += [Atom(FOLDERS), atom, Atom(LITERAL, "/")]  # "**/x": x here or in any folder
            at += 1
        else:
            atoms.append(atom)
    return tuple(atoms)


def _at_segment(pattern: str, end: int) -> bool:
    return end == 2 or pattern[end - 3] == "/"


def _atom(pattern: str, at: int) -> tuple[Atom, int]:
    char = pattern[at]
    if char == "*":
        return (
            (Atom(ANY, times="*"), at + 2) if pattern[at + 1 : at + 2] == "*" else (Atom(NOT_SLASH, times="*"), at + 1)
        )
    if char == "[" and (end := pattern.find("]", at + 1)) > 0:
        return Atom(SET, _set(pattern[at + 1 : end])), end + 1
    if char == "\\" and at + 1 < len(pattern):
        return Atom(LITERAL, pattern[at + 1]), at + 2
    return Atom(LITERAL, char), at + 1


def _set(text: str) -> str:
    chars: list[str] = []
    at = 0
    while at < len(text):
        if text[at + 1 : at + 2] == "-" and at + 2 < len(text):
            chars.extend(chr(code) for code in range(ord(text[at]), min(ord(text[at + 2]), 0x10FF) + 1))
            at += 3
        else:
            chars.append(text[at])
            at += 1
    return "".join(chars)
