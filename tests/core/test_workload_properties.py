"""What holds for every rollout, whatever the order and luck of its replicas."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, datetime, timedelta

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from trueup.core.kinds import DeploymentSpec
from trueup.core.workload import (
    CRASH_LIMIT,
    Create,
    Progress,
    Replica,
    Revision,
    Stop,
    available,
    back_off_s,
    bounds,
    decide,
    template_hash,
)

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
AMOUNT = st.one_of(st.integers(0, 5), st.integers(0, 100).map(lambda p: f"{p}%"))
LUCK = st.integers(0, 1 << 32).map(random.Random)
TEMPLATE = {"spec": {"containers": [{"name": "web", "image": "web"}]}}


@st.composite
def specs(draw: st.DrawFn, recreate: bool = False) -> DeploymentSpec:
    strategy = (
        {"type": "Recreate"}
        if recreate
        else {"rollingUpdate": {"maxSurge": draw(AMOUNT), "maxUnavailable": draw(AMOUNT)}}
    )
    body = {"selector": {}, "template": TEMPLATE, "replicas": draw(st.integers(1, 12)), "strategy": strategy}
    return msgspec.convert({**body, "minReadySeconds": draw(st.sampled_from([0, 3]))}, DeploymentSpec)


class World:
    """Replicas that obey, one second a step: created ones turn ready or crash, stopped ones vanish a step later."""

    def __init__(self, spec: DeploymentSpec, luck: random.Random, broken: frozenset[str] = frozenset()) -> None:
        self.spec, self.luck, self.broken = spec, luck, broken
        self.now = START
        self.replicas: dict[str, Replica] = {}
        self.revisions: tuple[Revision, ...] = ()
        self.progress, self.status = Progress(), None
        self.made = 0

    def step(self, template: str) -> None:
        order = sorted(self.replicas)
        self.luck.shuffle(order)
        decision = decide(
            self.spec,
            template,
            self.revisions,
            [self.replicas[name] for name in order],
            self.progress,
            self.status,
            generation=1,
            now=self.now,
        )
        self.revisions, self.progress, self.status = decision.revisions, decision.progress, decision.status
        for name in [n for n, r in self.replicas.items() if r.stopping]:
            del self.replicas[name]
        for action in decision.actions:
            self._act(action)
        self._live()

    def _act(self, action: Create | Stop) -> None:
        if isinstance(action, Create):
            self.made += 1
            name = f"{action.template}-{self.made}"
            self.replicas[name] = Replica(name=name, template=action.template, created=self.now)
        else:
            assert action.replica in self.replicas, "stopped what is not there"
            self.replicas[action.replica] = replace(self.replicas[action.replica], stopping=True)

    def _live(self) -> None:
        self.now += timedelta(seconds=1)
        for name, replica in self.replicas.items():
            if replica.template in self.broken:
                self.replicas[name] = replace(replica, restarts=replica.restarts + 1)
            elif replica.ready_since is None and self.luck.random() < 0.5:
                self.replicas[name] = replace(replica, ready_since=self.now)

    def until_complete(self, template: str, limit: int = 400) -> None:
        for _ in range(limit):
            if (
                self.progress.complete
                and self.progress.template == template
                and len(self.replicas) == self.spec.replicas
            ):
                return
            self.step(template)
        raise AssertionError(f"no end after {limit} steps: {self.status}")

    @property
    def up(self) -> int:
        return sum(available(r, self.spec.min_ready_seconds, self.now) for r in self.replicas.values())

    @property
    def staying(self) -> int:
        return sum(not r.stopping for r in self.replicas.values())


@settings(max_examples=60, deadline=None)
@given(specs(), LUCK)
def test_it_converges_within_its_bounds(spec: DeploymentSpec, luck: random.Random) -> None:
    world, limit = World(spec, luck), bounds(spec)
    world.until_complete("one")
    for _ in range(300):
        if world.progress.complete and world.progress.template == "two":
            break
        world.step("two")
        assert world.up >= spec.replicas - limit.unavailable
        assert world.staying <= spec.replicas + limit.surge
    assert Counter(r.template for r in world.replicas.values() if not r.stopping) == {"two": spec.replicas}


@settings(max_examples=60, deadline=None)
@given(specs(), LUCK)
def test_a_broken_template_never_takes_the_old_away(spec: DeploymentSpec, luck: random.Random) -> None:
    world, limit = World(spec, luck, broken=frozenset({"bad"})), bounds(spec)
    world.until_complete("good")
    for _ in range(CRASH_LIMIT + 20):
        world.step("bad")
        assert world.up >= spec.replicas - limit.unavailable
    old = {name for name, r in world.replicas.items() if r.template == "good" and not r.stopping}
    made = world.made
    world.until_complete("good")
    assert old <= set(world.replicas), "going back restarted what was good"
    assert world.made - made == spec.replicas - len(old)


@settings(max_examples=40, deadline=None)
@given(specs(recreate=True), LUCK)
def test_recreate_never_mixes(spec: DeploymentSpec, luck: random.Random) -> None:
    world = World(spec, luck)
    world.until_complete("one")
    for _ in range(60):
        world.step("two")
        assert len({r.template for r in world.replicas.values()}) <= 1


@settings(max_examples=60, deadline=None)
@given(specs(), LUCK)
def test_a_finished_rollout_has_nothing_to_do(spec: DeploymentSpec, luck: random.Random) -> None:
    world = World(spec, luck)
    world.until_complete("one")
    made, names = world.made, set(world.replicas)
    for _ in range(5):
        world.step("one")
    assert (world.made, set(world.replicas)) == (made, names)


@settings(max_examples=80, deadline=None)
@given(specs(), LUCK)
def test_the_order_of_facts_does_not_matter(spec: DeploymentSpec, luck: random.Random) -> None:
    world = World(spec, luck)
    world.until_complete("one")
    for _ in range(luck.randint(0, 6)):
        world.step("two")
    facts, revisions = list(world.replicas.values()), list(world.revisions)

    def answer() -> object:
        return decide(spec, "two", revisions, facts, world.progress, world.status, generation=1, now=world.now)

    before = answer()
    facts.reverse()
    revisions.reverse()
    assert answer() == before


@given(st.integers(0, 50))
def test_back_off_doubles_to_five_minutes(restarts: int) -> None:
    assert 0 <= back_off_s(restarts) <= back_off_s(restarts + 1) <= 300
    assert [back_off_s(n) for n in range(7)] == [0, 10, 20, 40, 80, 160, 300]


def test_what_a_pod_reads_is_part_of_its_template() -> None:
    one = template_hash(TEMPLATE, {("ConfigMap", "web"): "a", ("Secret", "web"): "b"})
    assert one == template_hash(TEMPLATE, {("Secret", "web"): "b", ("ConfigMap", "web"): "a"})
    assert one != template_hash(TEMPLATE, {("ConfigMap", "web"): "c", ("Secret", "web"): "b"})
    assert one != template_hash(TEMPLATE, {("ConfigMap", "web"): "a"})
