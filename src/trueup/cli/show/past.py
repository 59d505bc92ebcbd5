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
    """One step back a row: what it is, what is said of it, where and when."""
    table = grid("", "")
    for depth, link in enumerate(found.links):
        said = Text(link.text)
        if link.place and link.place not in link.text:
            said.append(f"  {link.place}", "dim")
        if link.time:
            said.append(f"  {when(link.time)}", "dim")
        for detail in link.detail:
            said.append(f"\n{detail}", "dim")
        table.add_row(Text.assemble(("  " if depth == 0 else "← ", "dim"), (link.what, "bold cyan")), said)
    console.print(table)


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
