"""`trueup get`, `tree`, `events`: what a cluster has of what was applied to it."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from trueup.cli.common import emit, layout, output_option, run, state_option
from trueup.cli.errors import Away, Unknown
from trueup.cli.show.live import HEALTH_SIGN
from trueup.cli.show.style import grid
from trueup.core.layout import Layout
from trueup.core.model import Ref
from trueup.core.views.tree import Branch
from trueup.engine.cluster import kept
from trueup.engine.clusterlook import Looking, Told, looking


@asynccontextmanager
async def _open(where: Layout, what: str) -> AsyncIterator[Looking]:
    way = await asyncio.to_thread(kept, where)
    if way.target != "kubernetes":
        raise Away(f"`trueup {what}` looks at a cluster, and {where.root} rolls out to this machine: `trueup status`")
    async with looking(where, way, os.environ) as found:
        yield found


def _chosen(found: Looking, name: str) -> list[Ref]:
    refs = found.named(name)
    if not refs:
        there = ", ".join(sorted({str(ref) for _, ref in found.held})) or "nothing yet"
        raise Unknown(f"nothing called {name!r} was applied; there is: {there}")
    return refs


@click.command()
@click.argument("object")
@click.option("--output", "-o", type=click.Choice(["yaml", "json"]), default="yaml", help="How to print.")
@state_option
def get(object: str, output: str, state: str | None) -> None:
    """An object as the cluster has it, status included. Values of Secrets are hidden.

    OBJECT is kind/name, namespace/kind/name or a name of something that was applied.

    \b
    Examples:
      trueup get deployment/web
      trueup get shop/configmap/settings --output json
    """
    bodies = run(_get(layout(state), object))
    if output == "json":
        import msgspec

        for body in bodies:
            sys.stdout.write(msgspec.json.format(msgspec.json.encode(body), indent=2).decode() + "\n")
        return
    from trueup.core.renderyaml import yaml_documents

    sys.stdout.write(yaml_documents(bodies))


async def _get(where: Layout, name: str) -> list[Any]:
    async with _open(where, "get") as found:
        refs = _chosen(found, name)
        bodies = [body for body in [await found.get(ref) for ref in refs] if body is not None]
    if not bodies:
        raise Unknown(f"{refs[0]} was applied and is not on the cluster any more")
    return bodies


@click.command()
@click.argument("object", default="")
@state_option
@output_option
def tree(object: str, state: str | None, output: str) -> None:
    """What was applied to the cluster, with what it owns, down to pods, each with its health.

    \b
    Examples:
      trueup tree
      trueup tree deployment/web
    """

    async def look() -> tuple[Branch, ...]:
        async with _open(layout(state), "tree") as found:
            return await found.tree(_chosen(found, object))

    emit(run(look()), output, _show_tree)


def _show_tree(found: tuple[Branch, ...], console: Console) -> None:
    namespaces = {branch.namespace for branch in found}
    for branch in found:
        _show_branch(branch, console, "", many=len(namespaces) > 1)


def _show_branch(branch: Branch, console: Console, indent: str, *, many: bool = False) -> None:
    sign, style = HEALTH_SIGN.get(branch.health, ("○", "yellow"))
    name = f"{branch.namespace}/{branch.object}" if many and branch.namespace else branch.object
    line = Text.assemble(indent, (f"{sign} ", style), name, (f"  {branch.reason}" if branch.reason else "", "dim"))
    console.print(line, soft_wrap=True)
    for each in branch.below:
        _show_branch(each, console, f"{indent}  ")


@click.command()
@click.argument("object", default="")
@state_option
@output_option
def events(object: str, state: str | None, output: str) -> None:
    """The cluster's events of what was applied and of what it owns, the oldest first.

    \b
    Examples:
      trueup events deployment/web
      trueup events --output json | jq '.[] | select(.type == "Warning")'
    """

    async def look() -> tuple[Told, ...]:
        async with _open(layout(state), "events") as found:
            return await found.events(_chosen(found, object))

    emit(run(look()), output, _show_events)


def _show_events(found: tuple[Told, ...], console: Console) -> None:
    table = grid("dim", "", "", "")
    for each in found:
        style = "yellow" if each.type == "Warning" else ""
        times = f" ×{each.count}" if each.count > 1 else ""
        table.add_row(each.time, each.object, Text(f"{each.reason}{times}", style), each.message)
    console.print(table if found else "no events: the cluster keeps them for an hour or so")
