"""`trueup up`: the loop in this process, with its socket, shown as it works."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator

import click
from msgspec.structs import asdict

from trueup.api.server import serve
from trueup.app import App, Options, open_app
from trueup.cli import live, reading
from trueup.cli.common import console, layout, run, state_option
from trueup.cli.logging import log_to
from trueup.core.candidate import Undo
from trueup.core.events import Event
from trueup.core.running import Now
from trueup.engine.cluster import Way
from trueup.store.sqlite import open_readonly


@click.command()
@click.argument("repositories", nargs=-1, metavar="[REPO]...")
@click.option("--branch", "-b", default="", help="The branch to watch. [default: the remote's own]")
@click.option("--environment", "-e", default="default", show_default=True, help="The environment it runs in.")
@click.option(
    "--target", type=click.Choice(["host", "kubernetes"]), default="host", show_default=True, help="Where it runs."
)
@click.option("--kubeconfig", default="", metavar="FILE", help="With kubernetes. [default: as kubectl finds it]")
@click.option("--context", default="", help="With kubernetes: the kubeconfig's context. [default: its current one]")
@click.option("--namespace", default="", help="Of objects that state none. [default: the context's]")
@click.option("--namespaced", is_flag=True, help="Only that namespace is watched and written: rights in it are enough.")
@click.option(
    "--image-registry", default="", metavar="HOST/PREFIX", help="Where built images are pushed to and nodes pull from."
)
@click.option("--poll", type=click.FloatRange(1.0), default=15.0, show_default=True, help="Seconds between two looks.")
@click.option("--webhook", default="", metavar="HOST:PORT", help="Where to take the forge's webhooks.")
@click.option(
    "--undo",
    type=click.Choice([u.value for u in Undo]),
    help="A bad push: undone by a commit, only not run again, or left to a person. "
    "[default: as trueup.yaml says, else revert]",
)
@click.option(
    "--executor",
    type=click.Choice(["container", "process"]),
    default="container",
    show_default=True,
    help="Where the steps of a pipeline run.",
)
@click.option("--stand-ins", is_flag=True, help="Make a base image from Debian packages when it cannot be pulled.")
@click.option("--notify", default="", metavar="URL", help="Tell this address of a failure and of the recovery.")
@state_option
def up(
    repositories: tuple[str, ...],
    branch: str,
    environment: str,
    target: str,
    kubeconfig: str,
    context: str,
    namespace: str,
    namespaced: bool,
    image_registry: str,
    poll: float,
    webhook: str,
    undo: str | None,
    executor: str,
    stand_ins: bool,
    notify: str,
    state: str | None,
) -> None:
    """Watch a repository and make what runs equal to what Git says.

    REPO is a path or a URL (https, ssh, file); without one it is the folder you are in. Two of them are code and
    configuration: which is which is seen from what they hold. Ctrl-C ends the loop; what runs goes on running.

    \b
    Examples:
      trueup up .
      trueup up https://git.example/shop --branch main
      trueup up git@git.example:shop/code.git git@git.example:shop/config.git
      trueup up . --webhook 0.0.0.0:9000 --notify https://chat.example/hook
      trueup up . --target kubernetes --context staging --image-registry registry.example/team
    """
    way = Way(
        target=target,
        kubeconfig=kubeconfig,
        context=context,
        namespace=namespace,
        namespaced=namespaced,
        image_registry=image_registry,
    )
    if target == "host" and (given := [name for name, value in asdict(way).items() if value and name != "target"]):
        names = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise click.UsageError(f"{names}: only with --target kubernetes")
    options = Options(
        layout=layout(state),
        repositories=repositories or (".",),
        environ=dict(os.environ),
        branch=branch,
        environment=environment,
        poll_s=poll,
        webhook=webhook,
        undo=Undo(undo) if undo else None,
        executor=executor,
        stand_ins=stand_ins,
        notify=notify,
        way=way,
    )
    run(_up(options))
    click.echo("the loop has ended; what runs goes on running (trueup down ends that, too)", err=True)


async def _up(options: Options) -> None:
    screen = console()
    log_to(options.layout, terminal=screen.is_terminal)

    def say(line: str) -> None:
        screen.print(line, soft_wrap=True)

    async with open_app(options, say) as app, answering(app):
        feed = Own(app)
        known = await reading.chronicle(options.layout)
        with stopping(app.stopped.set):
            async with asyncio.TaskGroup() as tasks:
                picture = tasks.create_task(live.show(feed, known, screen), name="show")
                await app.run()
                picture.cancel()


@contextlib.asynccontextmanager
async def answering(app: App) -> AsyncIterator[None]:
    """The socket, for as long as the context is open."""
    where = app.options.layout
    reader = open_readonly(where.ledger)
    try:
        async with serve(where.socket, app, reader, app.state.ledger):
            yield
    finally:
        await reader.close()


@contextlib.contextmanager
def stopping(stop: Callable[[], None]) -> Iterator[None]:
    """The first Ctrl-C or SIGTERM ends the loop in order; a second one ends the process."""
    running = asyncio.get_running_loop()

    def once() -> None:
        for each in (signal.SIGINT, signal.SIGTERM):
            running.remove_signal_handler(each)
        stop()

    for each in (signal.SIGINT, signal.SIGTERM):
        running.add_signal_handler(each, once)
    try:
        yield
    finally:
        for each in (signal.SIGINT, signal.SIGTERM):
            running.remove_signal_handler(each)


class Own:
    """This process's own loop as a feed."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._news = app.state.ledger.follow()  # before the past is read: nothing falls between

    def events(self) -> AsyncIterator[Event]:
        return self._news

    async def now(self) -> Now:
        return await self._app.now()
