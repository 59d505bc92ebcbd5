"""The words of our commits: subject, body, trailers. A trailer alone proves nothing (see docs/git-states.md)."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from trueup.core.model import BuiltImage

SUBJECTS = {
    "write-back": "Record what runs",
    "deploy": "Deploy",
    "undo": "Undo",
    "rollback": "Roll back",
}


class Trailers(Struct, frozen=True):
    purpose: str = ""
    candidate: str = ""
    condemned: str = ""


def message(
    purpose: str,
    candidate: str,
    commit: str,
    *,
    images: Sequence[BuiltImage] = (),
    condemned: str = "",
    bad_commit: str = "",
    subject: str = "",
    reason: str = "",
    anchor: str = "",
) -> str:
    """The whole commit message. `[skip ci]` keeps other CI systems from building what was built."""
    short = commit[:10]
    match purpose:
        case "undo" | "rollback":
            what = f'{bad_commit[:10]} "{subject}"' if subject else bad_commit[:10]
            first = f"{SUBJECTS[purpose]} {what}: back to {short}"
        case _:
            first = f"{SUBJECTS[purpose]} {', '.join(i.repository for i in images)} of {short}"
    lines = [f"{first[:200]} [skip ci]", ""]
    if reason:
        lines += [reason, ""]
    lines += [f"{i.repository}: {i.digest}" for i in images]
    if images:
        lines.append("")
    lines += [f"Trueup-Purpose: {purpose}", f"Trueup-Candidate: {candidate}"]
    if condemned:
        lines.append(f"Trueup-Condemned: {condemned}")
    if anchor:
        lines.append(f"Trueup-Checkpoint: {anchor}")
    return "\n".join(lines) + "\n"


def parse(text: str) -> Trailers:
    """What a commit message claims."""
    found = {}
    for line in text.rstrip().rpartition("\n\n")[2].splitlines():
        key, colon, value = line.partition(": ")
        if colon and key.startswith("Trueup-"):
            found[key.removeprefix("Trueup-").lower()] = value.strip()
    return Trailers(found.get("purpose", ""), found.get("candidate", ""), found.get("condemned", ""))
