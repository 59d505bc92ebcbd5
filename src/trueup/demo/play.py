"""The whole play: sets the stage, runs the acts under load, sums up, and leaves the machine as it was found.

Raises Failed when an act does not end as it should or a request was lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from trueup.core.layout import Layout
from trueup.core.views.timeline import took
from trueup.demo import acts, machine
from trueup.demo.acts import Scene
from trueup.demo.command import Failed
from trueup.demo.loop import Loop
from trueup.demo.person import Person
from trueup.demo.telling import Telling, clock, counted
from trueup.demo.traffic import Count, Traffic

TICK_S = 0.5
OBJECT = "deployment/python-app"
ACTS: tuple[tuple[str, Callable[[Scene], Awaitable[str]]], ...] = (
    ("Act 1: the first push", acts.first),
    ("Act 2: a second push, under load", acts.second),
    ("Act 3: a push that is green in its tests and crashes at its start", acts.broken),
    ("Act 4: somebody removes a container", acts.removed),
)


class Settings(Struct, frozen=True, kw_only=True):
    """`stay`: leave all running afterwards, until Ctrl-C. `state` "" is a folder of the play's own."""

    environ: Mapping[str, str]
    python: str
    state: str = ""
    stay: bool = False


class Done(Struct, frozen=True):
    """How an act ended."""

    title: str
    outcome: str
    began_s: float
    seconds: float
    count: Count


async def play(settings: Settings, tell: Telling, ask: Callable[[str], bool]) -> None:
    """Raises Failed. `ask` puts a yes-or-no question to the person at the terminal; only with `stay`."""
    tell.say("trueup demo: everything here is real: Git, tests, images, containers, requests")
    await machine.prepare(settings.environ, tell.say)
    folder = Path(tempfile.mkdtemp(prefix="trueup-demo-", dir=_roomy()))
    folder.chmod(0o711)  # the steps of pipelines run under other uids, in workspaces below it
    layout = Layout(settings.state or str(folder / "state"))
    person = Person(folder, settings.environ)
    loop = Loop(layout, person.remote, settings.python, settings.environ, tell.moment)
    scene = Scene(person, loop, Traffic(), tell)
    whole = False
    try:
        with interrupted() as stop:
            if not await until(stop, _whole(scene)):
                raise Failed("stopped before its end")
            whole = True
            if settings.stay:
                _explore(scene)
                await stop.wait()
    except Failed:
        tell.lines(["", f"the last lines of {loop.log}:", *(f"  {line}" for line in loop.last_lines())])
        raise
    finally:
        tell.close()
        await scene.traffic.stop()
        await _end(scene, folder, settings, whole, ask)


async def _whole(scene: Scene) -> None:
    await scene.person.begin()
    scene.tell.say(f"an empty remote: {scene.person.remote}; Ann's clone of it: {scene.person.clone}")
    scene.tell.say(f"the loop, in a process of its own: {scene.loop.words}")
    await scene.loop.start()
    scene.tell.open()
    async with ticking(scene):
        done = [await perform(scene, title, act) for title, act in ACTS]
        await scene.traffic.stop()
    scene.tell.close()
    await sum_up(scene, done)


async def perform(scene: Scene, title: str, act: Callable[[Scene], Awaitable[str]]) -> Done:
    scene.tell.act(title)
    began_s, before = scene.tell.elapsed_s(), scene.traffic.count()
    outcome = await act(scene)
    seen = scene.traffic.count().since(before)
    if _too_few(scene, seen.sent - seen.lost, seen.sent):
        raise Failed(f"{title}: {counted(seen)}: {'; '.join(scene.traffic.reasons())}")
    scene.tell.say(
        f"{counted(seen)}{': ' if seen.lost else ''}{'; '.join(scene.traffic.reasons()) if seen.lost else ''}"
    )
    return Done(title, outcome, began_s, scene.tell.elapsed_s() - began_s, seen)


def _too_few(scene: Scene, answered: int, sent: int) -> bool:
    return answered < sent * scene.carried


async def sum_up(scene: Scene, done: list[Done]) -> None:
    tell, total = scene.tell, scene.traffic.count()
    tell.act("The timeline")
    tell.lines(
        [f"{clock(d.began_s):>6}  {d.title}: {d.outcome} ({took(d.seconds)}, {d.count.sent:,} requests)" for d in done]
    )
    tell.act("The branch, newest first")
    tell.lines([f"  {line}" for line in await scene.person.history()])
    tell.act(f"trueup why {OBJECT}")
    why = await scene.loop.trueup("why", OBJECT)
    if why.code:
        raise Failed(f"trueup why {OBJECT} ended with {why.code}: {why.last}")
    tell.lines([f"  {line}" for line in why.said.splitlines()])
    tell.act("Requests")
    tell.lines([f"  sent {total.sent:,}, answered {total.answered:,}, lost {total.lost:,}; "
                f"99 of 100 answered within {scene.traffic.p99_ms():.0f} ms"])  # fmt: skip
    if _too_few(scene, total.answered, total.sent):
        raise Failed(f"{counted(total)}: {'; '.join(scene.traffic.reasons())}")


def _explore(scene: Scene) -> None:
    trueup = _command(scene)
    scene.tell.act("It goes on running. Have a look")
    scene.tell.lines(
        [
            f"  curl {scene.traffic.url}",
            f"  {trueup} status",
            f"  {trueup} history",
            f"  {trueup} logs {OBJECT} --follow",
            f"  cd {scene.person.clone} && git pull --rebase origin main && git log",
            "  (edit something there, commit, git push origin main, and watch)",
            "Ctrl-C ends it.",
        ]
    )


def _command(scene: Scene) -> str:
    """What a person types: by name when the shell finds it."""
    name = "trueup" if shutil.which("trueup") else str(Path(sys.executable).with_name("trueup"))
    return f"{name} --state {scene.loop.layout.root}"


# --- the end -------------------------------------------------------------------------------------


async def _end(scene: Scene, folder: Path, settings: Settings, whole: bool, ask: Callable[[str], bool]) -> None:
    """Stop the loop; remove what the play made, unless the person wants to keep it. Logs of a failure stay."""
    loop, tell = scene.loop, scene.tell
    await loop.stop()
    if settings.stay and not ask("Remove what the demo made?"):
        trueup = _command(scene)
        tell.say(f"left running: `{trueup} up {scene.person.remote} --stand-ins` watches it again")
        tell.say(f"`{trueup} down --data` removes it; then remove {folder}")
        return
    if Path(loop.layout.root).exists():
        ended = await loop.down(data=whole and not settings.state)
        tell.say(ended.last if ended.code == 0 else f"trueup down ended with {ended.code}: {ended.last}")
    if whole:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
    else:
        tell.say(f"for a look at what went wrong, {folder} was kept")


async def until(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Run to its end, or stop in order when told to: then False. Raises what it raises."""
    task, stopped = asyncio.create_task(work), asyncio.create_task(stop.wait())
    await asyncio.wait((task, stopped), return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if task.done():
        task.result()
        return True
    task.cancel()
    await asyncio.wait((task,))
    return False


@contextlib.contextmanager
def interrupted() -> Iterator[asyncio.Event]:
    """Set by Ctrl-C or SIGTERM; a second one ends the process."""
    event, running = asyncio.Event(), asyncio.get_running_loop()

    def once() -> None:
        restore()
        event.set()

    def restore() -> None:
        for each in (signal.SIGINT, signal.SIGTERM):
            running.remove_signal_handler(each)

    for each in (signal.SIGINT, signal.SIGTERM):
        running.add_signal_handler(each, once)
    try:
        yield event
    finally:
        restore()


@contextlib.asynccontextmanager
async def ticking(scene: Scene) -> AsyncIterator[None]:
    """Keep a terminal's last line fresh."""

    async def tick() -> None:
        while True:
            scene.tell.status(scene.traffic.count())
            await asyncio.sleep(TICK_S)

    task = asyncio.create_task(tick())
    try:
        yield
    finally:
        task.cancel()


def _roomy() -> str | None:
    """/var/tmp where there is one: /tmp is often in memory."""
    return "/var/tmp" if Path("/var/tmp").is_dir() else None
