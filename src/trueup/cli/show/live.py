"""Draws what a running loop is doing: per source its newest commit and stages, per application its objects."""

from __future__ import annotations

from datetime import datetime

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from trueup.cli.show.style import SIGN, grid, word
from trueup.core.model import Health
from trueup.core.running import Now
from trueup.core.views.chronicle import Chronicle, short
from trueup.core.views.stages import Stage, StageState
from trueup.core.views.status import ApplicationStatus, SourceStatus, Status, status
from trueup.core.views.timeline import took

FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
FRAMES_PER_S = 8


def screen(chronicle: Chronicle, running: Now, now: datetime) -> tuple[RenderableType, bool]:
    """The whole picture, and whether anything in it moves with time."""
    found = status(chronicle, now, running=True, judgements=running.judgements, watched=running.watched)
    others = {s.id for s in found.sources if not s.watched}
    frame = FRAMES[int(now.timestamp() * FRAMES_PER_S) % len(FRAMES)]
    parts: list[RenderableType] = []
    for source in found.sources:
        if source.watched:
            parts += _source(source, frame)
    for application in found.applications:
        if application.source not in others:
            parts += _application(application, frame)
    parts += [Text(f"\n‖ stuck, tried again: {problem}", "yellow") for problem in running.problems.values()]
    return Group(*parts), active(found)


def active(found: Status) -> bool:
    """Whether a stage or a rollout is under way."""
    return any(s.state is StageState.RUNNING for source in found.sources for s in source.stages) or any(
        a.sync and a.sync.phase in ("applying", "verifying") for a in found.applications
    )


def _source(source: SourceStatus, frame: str) -> list[RenderableType]:
    head = Text.assemble((f"\n{source.name} ", "bold"), (f"{source.branch} ", "dim"))
    if source.down:
        return [head.append(f"the remote cannot be read: {source.down}", "yellow")]
    if source.gone:
        return [head.append(f"there is no branch {source.branch} at the remote; what runs stays", "yellow")]
    if source.newest is None:
        return [head.append("looking at the remote", "dim")]
    newest = source.newest
    head.append(f"{short(newest.commit)} “{newest.subject}” ").append(f"by {newest.author}", "dim")
    parts: list[RenderableType] = [head, _stages(source.stages, frame)]
    notes = [source.paused and "paused", source.rollback and f"rollback {source.rollback}", source.stopped]
    notes += [f"undo held: {why}" for why in source.undo_held.values()]
    notes += [f"not stated in Git ({w.purpose}): {w.reason}" for w in source.writes if w.state == "refused"]
    return parts + [Text(f"  ‖ {note}", "yellow") for note in notes if note]


def _stages(stages: tuple[Stage, ...], frame: str) -> Table:
    table = grid("", "", "dim", "")
    for stage in stages:
        sign, style = SIGN[stage.state]
        spent = took(stage.seconds) if stage.seconds and stage.state is not StageState.SKIPPED else ""
        running = stage.state is StageState.RUNNING
        table.add_row(
            Text(f"  {frame if running else sign}", style),
            Text(stage.name, "bold" if running else "dim" if stage.state is StageState.WAITING else ""),
            spent,
            Text(stage.detail, style if stage.state in (StageState.FAILED, StageState.HELD) else "dim"),
        )
    return table


HEALTH_SIGN = {
    Health.HEALTHY.value: ("●", "green"),
    Health.PROGRESSING.value: ("◐", "cyan"),
    Health.DEGRADED.value: ("●", "bold red"),
    Health.MISSING.value: ("○", "bold red"),
}


def _application(found: ApplicationStatus, frame: str) -> list[RenderableType]:
    head = Text.assemble((f"\n{found.name} ", "bold"), word(found.health or "new"))
    if found.running:
        head.append(f"  runs {short(found.running.commit)}", "dim")
    if found.sync and found.sync.phase in ("applying", "verifying"):
        verb = {"undo": "going back to", "rollback": "rolling back to"}.get(found.sync.why, "rolling out")
        head.append(f"  {frame} {verb} {short(found.sync.commit)} {took(found.sync.seconds)}", "cyan")
    if found.sync and found.sync.phase == "held":
        head.append(f"\n  ‖ held, nothing is undone: {found.sync.reason}", "yellow")
    if found.held:
        head.append(f"\n  ‖ {found.held.count} deletions held: trueup plan shows them", "yellow")
    table = grid("", "", "dim")
    for one in found.objects:
        sign, style = HEALTH_SIGN.get(one.health, ("○", "yellow"))
        table.add_row(Text(f"  {sign}", style), one.object, one.reason)
    return [head, table]
