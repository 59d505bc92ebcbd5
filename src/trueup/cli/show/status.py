"""Draws `trueup status`."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from trueup.cli.show.style import SIGN, grid, when, word
from trueup.core.views.chronicle import short, short_digest
from trueup.core.views.stages import Stage, StageState
from trueup.core.views.status import ApplicationStatus, CandidateBrief, SourceStatus, Status
from trueup.core.views.timeline import took


def status(found: Status, console: Console) -> None:
    if not found.sources:
        console.print("nothing is watched yet: trueup up REPO")
        return
    for source in found.sources:
        _source(source, console)
    for application in found.applications:
        console.print()
        _application(application, console)
    for key, problem in found.problems.items():
        console.print(Text.assemble(("\nstuck ", "yellow"), f"{key}: {problem}; it is tried again"))
    if not found.running:
        console.print(Text("\nno `trueup up` runs here: this is what the ledger says", "dim"))


def _source(source: SourceStatus, console: Console) -> None:
    title = Text.assemble((source.name, "bold"), ("  ", ""), (f"{source.url} branch {source.branch}", "dim"))
    console.print(title)
    table = grid("dim", "")
    if source.newest:
        table.add_row("  newest", _candidate(source.newest))
        table.add_row("  stages", _stages(source.stages))
    for name, text in _notes(source):
        table.add_row(f"  {name}", Text(text, "yellow"))
    console.print(table)


def _candidate(found: CandidateBrief) -> Text:
    said = Text.assemble(f"{short(found.commit)} “{found.subject}” by {found.author}  ", word(found.state))
    return said.append(f": {found.reason}") if found.reason else said


def _stages(stages: tuple[Stage, ...]) -> Text:
    line = Text()
    for stage in stages:
        sign, style = SIGN[stage.state]
        line.append(f"{sign} ", style).append(stage.name)
        if stage.seconds and stage.state is not StageState.SKIPPED:
            line.append(f" {took(stage.seconds)}", "dim")
        if stage.name == "write-back" and stage.detail:
            line.append(f" {stage.detail}", "dim")
        line.append("  ")
    line.rstrip()
    return line


def _notes(source: SourceStatus) -> list[tuple[str, str]]:
    notes: list[tuple[str, str]] = []
    if not source.watched:
        again = f"what runs of it stays; end this `trueup up` and run `trueup up {source.url}` to go on with it"
        notes.append(("watched", f"not by the `trueup up` that runs here: {again}"))
    if source.ahead:
        plural = "s" if source.ahead > 1 else ""
        reason = f": {source.ahead_reason}" if source.ahead_reason else ""
        notes.append(("ahead", f"the branch is {source.ahead} commit{plural} ahead of what runs{reason}"))
    if source.gone:
        notes.append(("gone", f"there is no branch {source.branch} at the remote; what runs stays"))
    if source.down:
        notes.append(("remote", source.down))
    if source.rights:
        notes.append(("rights", source.rights))
    if source.paused:
        until = f" until {when(source.paused.until)}" if source.paused.until else " until resumed"
        notes.append(("paused", f"{until.strip()} by {source.paused.by}: {source.paused.why or 'no reason given'}"))
    if source.rollback:
        notes.append(("rollback", source.rollback))
    for write in source.writes:
        if write.state == "refused":
            waits = f"; waits on {write.waits_on}" if write.waits_on else ""
            notes.append(("git", f"not stated in Git ({write.purpose}): {write.reason}{waits}"))
    notes += [("pinned out", f"{short(c)}: {why}") for c, why in source.pinned_out.items()]
    notes += [("undo held", f"{short(c)}: {why}") for c, why in source.undo_held.items()]
    return notes


def _application(found: ApplicationStatus, console: Console) -> None:
    where = f"{found.environment} on {found.target}"
    console.print(Text.assemble((found.name, "bold"), ("  ", ""), (where, "dim"), "  ", word(found.health or "new")))
    table = grid("dim", "")
    if found.reason:
        table.add_row("  reason", Text(found.reason))
    if found.running:
        since = f" since {when(found.since)}" if found.since else ""
        table.add_row("  runs", f"{short(found.running.commit)} “{found.running.subject}”{since}")
    for image in found.images:
        table.add_row("  image", f"{image.repository} {short_digest(image.digest)}")
    if found.sync:
        reason = f": {found.sync.reason}" if found.sync.reason else ""
        said = Text.assemble(
            f"rollout {found.sync.attempt} of {short(found.sync.commit)} ({found.sync.why}) ",
            word(found.sync.phase),
            f", {took(found.sync.seconds)}{reason}",
        )
        table.add_row("  rollout", said)
    if found.held:
        what = f"{found.held.count} deletion{'s' if found.held.count > 1 else ''} ({', '.join(found.held.objects)})"
        allow = f"trueup plan shows them, trueup approve {found.held.approval[:12]} allows them"
        table.add_row("  held", Text(f"{what}: {found.held.reason}; {allow}", "yellow"))
    if found.drift:
        repaired = "repaired" if found.drift_repaired else "not repaired"
        table.add_row("  drift", f"{found.drift}, {repaired} ({when(found.drift_at)})")
    console.print(table)
    if found.objects:
        console.print(_objects(found))


def _objects(found: ApplicationStatus) -> Table:
    table = grid("", "", "")
    for one in found.objects:
        table.add_row(f"  {one.object}", word(one.health), one.reason)
    return table
