"""Draws `trueup check`, `inspect` and `plan`."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from trueup.cli.repository import Report
from trueup.cli.show.style import grid
from trueup.core.model import Severity
from trueup.engine.inspect import ApplicationView, DefinitionView, ImageView, Inspection, PipelineView
from trueup.engine.preview import PlanView

SEVERITY = {Severity.ERROR: "bold red", Severity.WARNING: "yellow", Severity.NOTE: "cyan"}


def report(found: Report, console: Console) -> None:
    """One finding on two lines: where and what, then what to do."""
    for finding in found.findings:
        console.print(
            Text.assemble(
                (f"{finding.place}: ", "bold"),
                (f"{finding.severity.value}: ", SEVERITY[finding.severity]),
                finding.message,
                (f"  [{finding.rule}]", "dim"),
            ),
            soft_wrap=True,
        )
        if finding.fix:
            console.print(Text(f"    {finding.fix}"), soft_wrap=True)
    console.print(Text(_counted(found), "green" if not found.errors else "bold red"))


def _counted(found: Report) -> str:
    counts = ((found.errors, "error"), (found.warnings, "warning"), (found.notes, "note"))
    said = [f"{n} {word}{'s' if n > 1 else ''}" for n, word in counts if n]
    return ", ".join(said) if said else "nothing to say: no error, no warning"


def inspection(found: Inspection, console: Console) -> None:
    console.print(Text(found.name, "bold"))
    for application in found.applications:
        _title(console, f"runs: application {application.name}{_made_from(application)}")
        table = grid("", "dim")
        for one in application.objects:
            replicas = f" × {one.replicas}" if one.replicas is not None else ""
            table.add_row(f"  {one.kind.lower()}/{one.name}{replicas}", one.place)
        console.print(table)
    if found.definitions:
        _title(console, "definitions: what other products' resources state")
        for stated in found.definitions:
            _definition(stated, console)
    if found.images:
        _title(console, "images")
        for image in found.images:
            console.print(Text(f"  {image.repository}  {_comes_from(image)}"), soft_wrap=True)
    if found.links:
        _title(console, "how it hangs together")
        for link in found.links:
            console.print(Text(f"  {link.subject} {link.how} {link.object}"), soft_wrap=True)
    if found.pipelines:
        _title(console, "pipelines")
        for pipeline in found.pipelines:
            _pipeline(pipeline, console)
    if found.second_writers:
        _title(console, "second writers: recorded, not executed")
        for line in found.second_writers:
            console.print(Text(f"  {line}", "yellow"), soft_wrap=True)
    _others(found, console)
    console.print()
    counts = ((found.errors, "error"), (found.warnings, "warning"), (found.notes, "note"))
    said = ", ".join(f"{n} {word}{'s' if n > 1 else ''}" for n, word in counts if n)
    console.print(f"check: {said} (trueup check tells them)" if said else "check: nothing to say")


def _definition(one: DefinitionView, console: Console) -> None:
    made = f" as {', '.join(dict.fromkeys(one.renderers))}" if one.renderers else ""
    source = f"  {'; '.join(one.sources)}{made}" if one.sources else ""
    state = " (suspended)" if one.suspended else ""
    line = Text.assemble(f"  {one.kind.lower()}/{one.name}{state}", source, (f"  {one.place}", "dim"))
    console.print(line, soft_wrap=True)
    for wrong in one.not_served:
        console.print(Text(f"    not served: {wrong}", "yellow"), soft_wrap=True)
    if one.served_differently:
        fields = ", ".join(field.partition(":")[0] for field in one.served_differently)
        console.print(Text(f"    served differently: {fields}", "dim"), soft_wrap=True)


def _made_from(application: ApplicationView) -> str:
    if application.renderer == "plain":
        return ""
    said = f", {application.renderer} of {application.path or '.'}"
    return f"{said} (environment {application.environment})" if application.environment else said


def _title(console: Console, words: str) -> None:
    console.print(Text(f"\n{words}", "bold cyan"))


def _comes_from(image: ImageView) -> str:
    digest = f", pinned to {image.digest[:19]}" if image.digest else ""
    if not image.built_by:
        return f"pulled{digest}"
    source = f" from {image.dockerfile}" if image.dockerfile else ""
    return f"built{source} by {image.built_by}{digest}"


def _pipeline(pipeline: PipelineView, console: Console) -> None:
    how = "run by Trueup" if pipeline.native else "shown, not run by Trueup yet"
    triggers = f" on {', '.join(pipeline.triggers)}" if pipeline.triggers else ""
    console.print(Text(f"  {pipeline.path} ({pipeline.system}, {how}){triggers}"), soft_wrap=True)
    for command in pipeline.commands:
        console.print(Text(f"    {command}", "dim"), soft_wrap=True)


def _others(found: Inspection, console: Console) -> None:
    rows = {
        "Terraform": found.terraform,
        "Prometheus": found.prometheus,
        "alert rules": found.rules,
        "dashboards": found.dashboards,
        "Compose files": found.compose,
        "Kustomize and Helm, of no application here": found.not_rendered,
    }
    if any(rows.values()):
        _title(console, "also here")
        for name, paths in rows.items():
            if paths:
                console.print(Text(f"  {name}: {', '.join(paths)}"), soft_wrap=True)


ACTION = {"create": ("+", "green"), "update": ("~", "yellow"), "delete": ("-", "red")}
DIFF = {"+": "green", "-": "red"}


def plan(found: PlanView, console: Console) -> None:
    of = f"commit {found.commit[:10]}" if found.commit else "this folder"
    if not found.changes and not found.unread:
        console.print(f"{found.application}: {of} changes nothing")
    for change in found.changes:
        sign, style = ACTION[change.action]
        head = Text.assemble((f"{sign} {change.action} {change.object}", style), (f"  {change.place}", "dim"))
        console.print(head, soft_wrap=True)
        if change.held:
            console.print(Text(f"    held: {change.held}", "yellow"), soft_wrap=True)
        if change.refused:
            console.print(Text(f"    the cluster refuses it: {change.refused}", "bold red"), soft_wrap=True)
        if change.untried:
            console.print(Text(f"    not tried on the cluster: {change.untried}", "yellow"), soft_wrap=True)
        for line in change.diff:
            console.print(Text(f"    {line}", DIFF.get(line[:1], "")), soft_wrap=True)
    if found.hooks and found.changes:
        console.print(Text(f"· hooks that run with it: {', '.join(found.hooks)}", "dim"), soft_wrap=True)
    for repository in found.images:
        console.print(Text(f"· {repository} is built once this is pushed; its digest is not known yet", "dim"))
    for line in found.unread:
        console.print(Text(f"! not read: {line}; nothing is deleted on the strength of it", "yellow"), soft_wrap=True)
    if found.approval:
        console.print(Text(f"held changes are allowed by: trueup approve {found.approval}", "yellow"))
