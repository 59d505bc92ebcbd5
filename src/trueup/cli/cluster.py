"""`trueup get`, `tree`, `diff`, `events`: what a cluster has of what was applied to it."""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import click
from msgspec import Struct
from rich.console import Console
from rich.text import Text

from trueup.app import looking as delivery_of
from trueup.cli import exits, reading
from trueup.cli.common import emit, layout, output_option, run, state_option
from trueup.cli.errors import Away, Unknown
from trueup.cli.show.live import HEALTH_SIGN
from trueup.cli.show.style import grid
from trueup.core import plan as planner
from trueup.core.layout import Layout
from trueup.core.model import Ref
from trueup.core.views.tree import Branch
from trueup.engine.cluster import kept, open_cluster
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


class Differs(Struct, frozen=True):
    """One object that is not as it was applied, or of which that is not known."""

    object: str
    namespace: str
    diff: tuple[str, ...] = ()
    refused: str = ""
    untried: str = ""


@click.command()
@click.argument("object", default="")
@state_option
@output_option
@click.pass_context
def diff(ctx: click.Context, object: str, state: str | None, output: str) -> None:
    """What on the cluster differs from what was applied last, by a server-side dry run. Nothing is changed.

    Only fields that Git states count. Exit code 1 when something differs.

    \b
    Examples:
      trueup diff
      trueup diff deployment/web
    """
    found = run(_diff(layout(state), object))
    emit(found, output, _show_diff)
    if found:
        ctx.exit(exits.FAILED)


async def _diff(where: Layout, name: str) -> tuple[Differs, ...]:
    known = await reading.chronicle(where)
    bundles = await reading.bundles(where, known)
    async with _open(where, "diff") as found:
        refs = set(_chosen(found, name))
    way, key = await asyncio.to_thread(kept, where), secrets.token_bytes(32)
    differing: list[Differs] = []
    async with open_cluster(where, way, os.environ, delivery_of(where, way, os.environ)) as cluster:
        for id, bundle in bundles.items():
            objects = [each for each in bundle.objects if each.ref in refs]
            for ref, tried in (await cluster.trials(id, objects)).items():
                lines = planner.diff(tried.before, tried.after, key) if tried.after else ()
                if lines or tried.refused or tried.untried:
                    differing.append(Differs(str(ref), ref.namespace, lines, tried.refused, tried.untried))
    return tuple(differing)


def _show_diff(found: tuple[Differs, ...], console: Console) -> None:
    for each in found:
        console.print(Text(f"~ {each.object}", "yellow"))
        for line in (*each.diff, *filter(None, (each.refused, each.untried))):
            console.print(f"    {line}", soft_wrap=True)
    if not found:
        console.print("nothing differs")


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
