"""The four acts. Each does one thing, waits for what must come of it, and says what it saw; or raises Failed.

Nothing is simulated: pushes are Git's, the loop is `trueup up`, a replica is removed by `podman rm`.
"""

from __future__ import annotations

from msgspec import Struct

from trueup.core.views.chronicle import short
from trueup.core.views.timeline import Tone, took
from trueup.demo import sight
from trueup.demo.command import Failed, must
from trueup.demo.loop import Loop
from trueup.demo.person import BROKEN, CODE, FIRST, SECOND, Person, Push
from trueup.demo.telling import Telling, counted
from trueup.demo.traffic import Count, Traffic

REPLICAS = 3
FIRST_S = 1500.0  # makes the runner's and the base image on a fresh machine
PUSH_S = 600.0
UNDO_S = 600.0
STATED_S = 120.0
REPAIR_S = 120.0
ANSWER_S = 60.0
PODMAN_S = 60.0


class Scene(Struct, frozen=True):
    """What every act plays with."""

    person: Person
    loop: Loop
    traffic: Traffic
    tell: Telling
    carried: float = 1.0  # the share of requests that the network in front answers for: all of them, where it is ours


# --- act 1 and 2: a good push --------------------------------------------------------------------


async def first(scene: Scene) -> str:
    """First push → tests → image → replicas serving."""
    seconds = await _good(scene, FIRST, FIRST_S)
    await _base_image(scene)
    served = await scene.loop.until_asked("an address for the Service", scene.loop.service, ANSWER_S)
    port = served.ports[0][1]
    url = f"http://{served.address}{'' if port == 80 else f':{port}'}/"
    scene.traffic.start(url)
    scene.tell.say(f"from now on: {scene.traffic.rate:g} requests a second to {url}, none of them ever repeated")
    await _only(scene, FIRST.version)
    return f"{REPLICAS} replicas serve, {took(seconds)} after the push"


async def _base_image(scene: Scene) -> None:
    """Say what the image really stands on: the build's log knows."""
    log = await scene.loop.trueup("logs", "--run", "deploy")
    notes = [line.partition(" note: ")[2] for line in log.said.splitlines() if " note: " in line]
    if log.code:
        raise Failed(f"the build's log cannot be read: {log.last}")
    for note in notes or ["the base image is the public registry's own"]:
        scene.tell.say(note)


async def second(scene: Scene) -> str:
    """Second push → the replicas change under load."""
    seconds = await _good(scene, SECOND, PUSH_S)
    await _only(scene, SECOND.version)
    return f"every answer comes from version {SECOND.version}, {took(seconds)} after the push"


async def _good(scene: Scene, push: Push, deadline_s: float) -> float:
    """Push, and wait until it is healthy everywhere and stated in Git; how long that took."""
    began_s = scene.tell.elapsed_s()
    commit = await _push(scene, push)
    what = f"“{push.subject}” healthy"
    await scene.loop.until(
        what, lambda known: sight.healthy(known, commit), deadline_s, lambda known: sight.bad(known, commit)
    )
    seconds = scene.tell.elapsed_s() - began_s
    await scene.loop.until_asked(f"{REPLICAS} ready replicas", lambda: scene.loop.ready(REPLICAS), ANSWER_S)
    scene.tell.say(f"{REPLICAS} of {REPLICAS} replicas are ready", Tone.GOOD)
    stated = await scene.loop.until(
        "the digest stated in Git", lambda known: sight.written(known, "write-back"), STATED_S, sight.write_trouble
    )
    scene.tell.say(f"what runs is stated in Git: {short(stated)} “{await scene.person.subject(stated)}”", Tone.GOOD)
    return seconds


async def _push(scene: Scene, push: Push) -> str:
    commit = await scene.person.push(push)
    scene.tell.say(f"Ann pushes {short(commit)} “{push.subject}”")
    return commit


async def _only(scene: Scene, version: str) -> None:
    """Wait until a whole look at the answers shows this version and no other."""
    before = scene.traffic.count()

    async def look() -> Count | None:
        nonlocal before
        now = scene.traffic.count()
        fresh = now.since(before)
        if fresh.answered < scene.traffic.rate / 2:
            return None
        before = now
        return fresh if [v for v, _ in fresh.versions] == [version] else None

    seen = await scene.loop.until_asked(f"answers from version {version} alone", look, ANSWER_S)
    scene.tell.say(f"the last {seen.answered} answers all come from version {version}", Tone.GOOD)


# --- act 3: a bad push ---------------------------------------------------------------------------


async def broken(scene: Scene) -> str:
    """Third push, green in its tests, crashes at its start → stopped, undone by a commit, still serving."""
    began_s, before = scene.tell.elapsed_s(), scene.traffic.count()
    good = await scene.person.on_branch(CODE)
    commit = await _push(scene, BROKEN)
    reason = await scene.loop.until(
        "the broken push stopped",
        lambda known: sight.condemned(known, commit),
        UNDO_S,
        lambda known: sight.refused(known, commit),
    )
    scene.tell.say(f"stopped, {took(scene.tell.elapsed_s() - began_s)} after the push: {reason}", Tone.GOOD)
    undo = await scene.loop.until(
        "the undo in Git", lambda known: sight.undone(known, commit), STATED_S, sight.write_trouble
    )
    if await scene.person.on_branch(CODE) != good:
        raise Failed(f"the undo {short(undo)} did not bring {CODE} back to what it was")
    scene.tell.say(f"undone by a commit: {short(undo)} “{await scene.person.subject(undo)}”", Tone.GOOD)
    await scene.loop.until("the last good push healthy again", sight.settled, ANSWER_S, lambda known: "")
    await scene.loop.until_asked(f"{REPLICAS} ready replicas", lambda: scene.loop.ready(REPLICAS), ANSWER_S)
    await _only(scene, SECOND.version)
    seen = scene.traffic.count().since(before)
    if [version for version, _ in seen.versions] != [SECOND.version]:
        raise Failed(f"only version {SECOND.version} should have answered meanwhile: {counted(seen)}")
    return f"stopped and undone by a commit; version {SECOND.version} answered all the time"


# --- act 4: a hand in the machine ----------------------------------------------------------------


async def removed(scene: Scene) -> str:
    """Somebody removes a container → repaired."""
    began_s, drifts = scene.tell.elapsed_s(), sight.drifts(scene.loop.known)
    pod = (await scene.loop.overview()).pods[0]
    container = pod.containers[-1]
    command = ("podman", "rm", "-f", container)
    scene.tell.say(f"somebody removes the container of {pod.name} by hand: {' '.join(command[:3])} {container[:12]}")
    await must(command, environ=scene.loop.container_environ, timeout_s=PODMAN_S)
    await scene.loop.until_asked(
        f"{REPLICAS} ready replicas again", lambda: scene.loop.ready(REPLICAS, without=container), REPAIR_S
    )
    seconds = scene.tell.elapsed_s() - began_s
    scene.tell.say(f"{REPLICAS} of {REPLICAS} replicas are ready again, {took(seconds)} later", Tone.GOOD)
    what = await scene.loop.until(
        "the removal in the ledger", lambda known: sight.drift(known, drifts), REPAIR_S, lambda known: ""
    )
    return f"{what}; repaired after {took(seconds)}"
