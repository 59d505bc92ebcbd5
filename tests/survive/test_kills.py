"""kill -9 of `trueup up` at random moments from a push to its write-back, on the real host, under load.

The kill comes after a random time: that pause is what is tested, not a wait for something.
"""

from __future__ import annotations

import asyncio
import collections
import os
import random

import pytest

from survive.real import CRASH, REPLICAS, Real, first, page, real
from trueup.core import events as ev
from trueup.core.reference import split

KILLS = int(os.environ.get("TRUEUP_KILLS", "30"))
A_PUSH = 6  # kills before a push is left alone to settle
AGENT = 0.2  # of the kills hit the agent, too
SETTLE_S = 90.0
LONGEST_S = 6.0
KINDS = (
    "source.moved",
    "candidate.created",
    "candidate.image",
    "candidate.green",
    "application.sync_started",
    "application.sync_applied",
    "application.sync_healthy",
    "application.condemned",
    "source.write_intended",
    "source.write_pushed",
)

pytestmark = [pytest.mark.integration, pytest.mark.slow]


async def test_killed_at_random_moments_under_load() -> None:
    seed = int(os.environ.get("TRUEUP_SEED", random.randrange(1 << 30)))
    print(f"TRUEUP_SEED={seed}")
    chance = random.Random(seed)
    async with real() as world:
        await world.up()
        await settle(world, await world.push(first(), "first"), bad=False)
        await world.serve()
        pushes = await killed(world, chance)
        await world.ready()
        await world.traffic.stop()
        await look_at_the_end(world, pushes)
        count = world.traffic.count()
        print(f"{len(pushes) + 1} pushes, {KILLS} kills, {count.sent} requests, {count.lost} lost")
        assert count.lost == 0 and count.answered == count.sent, world.traffic.reasons()


async def killed(world: Real, chance: random.Random) -> list[tuple[str, bool]]:
    """Push good and bad ones in turn, kill in between; the pushes and whether each was bad."""
    pushes: list[tuple[str, bool]] = []
    kills, hit = 0, collections.Counter[str]()  # the ledger's last word before each kill
    while kills < KILLS:
        bad = len(pushes) % 2 == 1
        files = {**page(str(len(pushes) + 2)), **({"app/start": CRASH} if bad else {})}
        commit = await world.push(files, f"{'bad' if bad else 'good'} {len(pushes)}")
        pushes.append((commit, bad))
        for _ in range(min(A_PUSH, KILLS - kills)):
            if not await until_the_kill(world, commit, bad, chance):
                break
            hit[last(world)] += 1
            await world.kill()
            if chance.random() < AGENT:
                await world.kill_agent()
            kills += 1
            await world.up()
        await settle(world, commit, bad)
    print("killed after:", ", ".join(f"{kind} {n}" for kind, n in hit.most_common()))
    return pushes


def is_settled(world: Real, commit: str, bad: bool) -> bool | None:
    return world.undone(commit) if bad else world.good(commit)


async def settle(world: Real, commit: str, bad: bool) -> None:
    await world.until(f"{commit[:8]} settled", lambda: is_settled(world, commit, bad), SETTLE_S)


async def until_the_kill(world: Real, commit: str, bad: bool, chance: random.Random) -> bool:
    """Wait for the moment to kill: some time, or right behind an event of some kind. False when all settled before."""
    kind, seconds = chance.choice(("", *KINDS)), chance.uniform(0.0, LONGEST_S)
    before = count(world, kind)
    try:
        async with asyncio.timeout(seconds):
            while True:
                await world.loop.look()
                if kind and count(world, kind) > before:
                    return True
                if is_settled(world, commit, bad):
                    return False
                await asyncio.sleep(0.01)
    except TimeoutError:
        return True


def count(world: Real, kind: str) -> int:
    return sum(e.fact.__struct_config__.tag == kind for own in world.known.streams.values() for e in own)


def last(world: Real) -> str:
    """The kind of the ledger's newest event."""
    newest = max((own[-1] for own in world.known.streams.values()), key=lambda e: e.time)
    return str(newest.fact.__struct_config__.tag)


async def look_at_the_end(world: Real, pushes: list[tuple[str, bool]]) -> None:
    overview = await world.until_asked("only what is wanted runs", lambda: world.loop.ready(REPLICAS))
    mine = {container for pod in overview.pods for container in pod.containers}
    await world.until("no orphan container or sandbox", lambda: True if world.containers() == mine else None)
    stated = next(
        line.split("image: ")[1] for line in world.person.show("config/web.yaml").splitlines() if "image: " in line
    )
    assert {split(image)[2] for pod in overview.pods for image in pod.images} == {split(stated)[2]} != {""}
    version = world.person.show("app/www/index.html").split()[3]
    assert version in dict(world.traffic.count().versions)
    assert world.person.show("app/start").strip() == "exec /bin/busybox httpd -f -p 8000 -h /www"
    await world.loop.look()
    nothing_twice(world, pushes)
    verified = await world.loop.trueup("ledger", "verify")
    assert verified.code == 0, verified.said


def nothing_twice(world: Real, pushes: list[tuple[str, bool]]) -> None:
    subjects = collections.Counter(world.person.subjects())
    assert set(subjects.values()) == {1}, f"a commit was made twice: {subjects}"
    bad = sum(each for _, each in pushes)
    people = ours = len(pushes) + 1  # a write-back for each good one, an undo for each bad one
    assert sum(subjects.values()) == people + ours, world.person.subjects()
    for stream, events in world.known.streams.items():
        facts = [e.fact for e in events]
        if stream.startswith("candidate/"):
            built = collections.Counter(f.repository for f in facts if isinstance(f, ev.CandidateImage))
            assert all(n == 1 for n in built.values()), f"{stream}: built twice: {built}"
            assert sum(isinstance(f, ev.CandidateCreated) for f in facts) == 1
    commits = [c.commit for c in world.known.candidates.values()]
    assert sorted(commits) == sorted(set(commits)), "two Candidates of one push"
    assert world.undos() == bad
