"""Draws `trueup history`, `trueup why`, the timeline and the list of pipeline runs."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from trueup.cli.show.style import TONE, grid, when, word
from trueup.core.views.chronicle import RunView, short, short_digest
from trueup.core.views.history import History
from trueup.core.views.timeline import Moment, Timeline, took
from trueup.core.views.why import Why


def history(found: History, console: Console) -> None:
    if not found.rollouts:
        console.print("no rollout yet")
        return
    table = grid("dim", "", "", "", "", "", "", "")
    table.add_row(*(Text(t, "dim") for t in ("started", "app", "#", "commit", "outcome", "took", "why", "who, what")))
    for r in found.rollouts:
        images = "".join(f"  {i.repository.rpartition('/')[2]}@{short_digest(i.digest)}" for i in r.images)
        reason = f"\n{r.reason}" if r.reason else ""
        table.add_row(
            when(r.started),
            r.application,
            str(r.attempt),
            short(r.commit),
            word(r.outcome),
            took(r.seconds) if r.ended else "",
            r.why,
            f"{r.who}  “{r.subject}”{images}{reason}",
        )
    console.print(table)


def why(found: Why, console: Console) -> None:
    for depth, link in enumerate(found.links):
        arrow = "" if depth == 0 else "  " * (depth - 1) + "└ "
        line = Text.assemble((arrow, "dim"), (f"{link.what} ", "bold cyan"), link.text)
        if link.place and link.place not in link.text:
            line.append(f"  {link.place}", "dim")
        if link.time:
            line.append(f"  {when(link.time)}", "dim")
        console.print(line, soft_wrap=True)
        for detail in link.detail:
            console.print(Text(f"{'  ' * (depth + 1)}{detail}", "dim"), soft_wrap=True)


def line(moment: Moment) -> Text:
    """One plain line: time, subject, what happened."""
    subject = f"{moment.subject}: " if moment.subject else ""
    return Text.assemble((f"{moment.time:%H:%M:%S} ", "dim"), (subject, "bold"), (moment.text, TONE[moment.tone]))


def timeline(found: Timeline, console: Console) -> None:
    for moment in found.moments:
        console.print(line(moment), soft_wrap=True)


def runs(found: Sequence[RunView], console: Console) -> None:
    if not found:
        console.print("no pipeline has run yet")
        return
    table = grid("dim", "", "", "", "", "")
    table.add_row(*(Text(t, "dim") for t in ("started", "run", "workflow", "outcome", "took", "jobs")))
    for run in found:
        jobs = ", ".join(f"{j.name} {j.outcome or 'running'}" for j in run.jobs)
        reason = f"\n{run.reason}" if run.reason else ""
        table.add_row(
            when(run.started),
            run.id.rpartition("/")[2],
            run.workflow,
            word(run.outcome or "running"),
            took(run.seconds) if run.outcome else "",
            f"{jobs}{reason}",
        )
    console.print(table)
