"""`trueup down`: stop and remove what Trueup made; with --data also what it keeps, after a yes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from pathlib import Path

import click
from rich.console import Console

from trueup.api.client import Denied, NotRunning, connect
from trueup.app import looking
from trueup.cli import exits
from trueup.cli.common import console, emit, layout, output_option, run, state_option
from trueup.cli.errors import Away, Stop
from trueup.cli.show.style import grid
from trueup.cli.times import size
from trueup.core import requests
from trueup.core.layout import Layout
from trueup.engine.cluster import Way, applied, kept, open_cluster, pulls_here, to_go
from trueup.engine.leave import Kept, NotLeft, forget, leave, weigh
from trueup.engine.registry import Registry
from trueup.store.lock import StateBusy, StateLock

END_S = 60.0
LOOK_S = 0.1


@click.command()
@click.option("--data", is_flag=True, help="Also remove ledger, images, volumes, logs and secrets: lists them, asks.")
@click.option("--cluster", is_flag=True, help="Also delete from the cluster what was applied to it: lists it, asks.")
@click.option("--yes", is_flag=True, help="With --data or --cluster: do not ask.")
@click.option("--list", "only_list", is_flag=True, help="Only list what is kept, with sizes; stop nothing.")
@state_option
@output_option
def down(data: bool, cluster: bool, yes: bool, only_list: bool, state: str | None, output: str) -> None:
    """Stop and remove what Trueup made on this machine: loop, containers, Services, network, proxy, registry.

    Volumes, images and the ledger stay, so that `trueup up` goes on where it was. What runs on a cluster goes on
    running: only --cluster deletes it there, of that claims, volumes, namespaces and definitions only with --data.

    \b
    Examples:
      trueup down
      trueup down --list
      trueup down --data
      trueup down --cluster
    """
    where = layout(state)
    if not Path(where.root).is_dir():
        raise Away(f"{where.root}: there is no state folder; nothing was made from here (--state names another)")
    if not os.access(where.keys, os.R_OK | os.X_OK) and Path(where.ledger).exists():
        raise Away(f"{where.root} belongs to another user; run as that user, or name another --state")
    if only_list:
        emit(run(weigh(where, os.environ)), output, _list)
        return
    try:
        run(_down(where, data=data, cluster=cluster, yes=yes))
    except NotLeft as error:
        raise Stop(str(error)) from error


async def _down(where: Layout, *, data: bool, cluster: bool, yes: bool) -> None:
    way = await asyncio.to_thread(kept, where)
    if cluster and way.target != "kubernetes":
        raise click.UsageError(f"--cluster: {where.root} does not roll out to a cluster")
    if cluster and not yes:
        await _agree_cluster(where, way, data=data)
    if data and not yes:
        await _agree(where)
    await _end_loop(where)
    if cluster:
        await _clear(where, way, data=data)
    elif way.target == "kubernetes":
        after = "and nothing here will know it any more" if data else "(trueup down --cluster removes it)"
        click.echo(f"what runs on the cluster at {way.server} goes on {after}")
        if pulling := await pulls_here(where, Registry(where).addresses()):
            names = ", ".join(map(str, pulling[:3])) + (", …" if len(pulling) > 3 else "")
            click.echo(
                f"its nodes cannot pull again what {names} {'run' if len(pulling) > 1 else 'runs'} until the next "
                "trueup up: those images are in the embedded registry"
            )
    await leave(where, os.environ, click.echo)
    if not data:
        click.echo(f"kept: volumes, images and the ledger in {where.root} (trueup down --list; --data removes them)")
        return
    await forget(where, os.environ)
    click.echo(f"{where.root} and its images are gone")


async def _agree(where: Layout) -> None:
    _list(await weigh(where, os.environ), console())
    if not sys.stdin.isatty():
        raise Stop("nothing was stopped or removed: say --yes when you mean all of this", exits.WAITS)
    if not click.confirm(f"Remove all of this for good, and {where.root}?"):
        raise Stop("nothing was stopped or removed", exits.WAITS)


async def _agree_cluster(where: Layout, way: Way, *, data: bool) -> None:
    listed = [(ref, to_go(ref, data=data)) for _, ref in await applied(where)]
    for ref, goes in listed:
        click.echo(f"{'delete' if goes else 'keep  '} {ref}{f' in {ref.namespace}' if ref.namespace else ''}")
    question = f"Delete {sum(goes for _, goes in listed)} objects from the cluster at {way.server}?"
    if not sys.stdin.isatty():
        raise Stop("nothing was stopped or removed: say --yes when you mean all of this", exits.WAITS)
    if not click.confirm(question):
        raise Stop("nothing was stopped or removed", exits.WAITS)


async def _clear(where: Layout, way: Way, *, data: bool) -> None:
    async with open_cluster(where, way, os.environ, looking(where, way, os.environ)) as cluster:
        gone = await cluster.remove(data=data)
        left = [ref for _, ref in cluster.applied() if to_go(ref, data=data)]
    click.echo(f"{len(gone)} objects are deleted from the cluster at {way.server}")
    if left:
        raise Stop(f"{', '.join(map(str, left[:5]))} could not be deleted; ask again with trueup down --cluster")


def _list(listed: tuple[Kept, ...], screen: Console) -> None:
    table = grid("", "", "dim")
    table.columns[0].justify = "right"
    for each in listed:
        table.add_row(size(each.size_bytes), each.what, each.where)
    screen.print(table)
    shared = "; images share layers: less is freed" if sum(k.what == "image" for k in listed) > 1 else ""
    screen.print(f"{size(sum(k.size_bytes for k in listed))} in all{shared}")


async def _end_loop(where: Layout) -> None:
    """Ask a running loop to end and wait until it has let go of the folder. Raises Stop."""
    with contextlib.suppress(NotRunning):
        async with connect(where.socket) as client:
            try:
                await client.do(requests.Stop())
            except Denied as error:
                raise Away(str(error)) from error
    lock = StateLock(where.lock)
    try:
        async with asyncio.timeout(END_S):
            while True:
                try:
                    lock.take()
                    break
                except StateBusy:
                    await asyncio.sleep(LOOK_S)
    except TimeoutError as error:
        raise Stop(f"the loop in {where.root} did not end within {END_S:.0f} s; end its process, then again") from error
    lock.release()
