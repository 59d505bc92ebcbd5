"""plan, release, due and diff: data cases under tests/plan, and what holds whatever is planned."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from trueup.core.bundle import make_bundle
from trueup.core.hooks import wave_of
from trueup.core.model import (
    Action,
    Bundle,
    Change,
    Health,
    Held,
    Judgement,
    Live,
    LiveObject,
    Object,
    Place,
    Plan,
    Ref,
    Unread,
)
from trueup.core.objects import make_object
from trueup.core.order import due
from trueup.core.plan import approval, change_key, changes_hash, diff, plan, release
from trueup.core.policy import Policy

CASES = sorted(p for p in (Path(__file__).parent.parent / "plan").iterdir() if p.is_dir())


# --- data cases ------------------------------------------------------------------------------------


def load(case: Path, name: str) -> Any:
    return yaml.safe_load((case / name).read_text())


def body_of(short: Any) -> dict[str, Any]:
    """{Kind/name: {…}} → a body; `data`, `annotations` and `namespace` may be given."""
    ((name, given),) = short.items()
    kind, _, name = name.partition("/")
    given = given or {}
    metadata = {"name": name} | {k: given[k] for k in ("annotations", "namespace") if k in given}
    body = {"apiVersion": "v1", "kind": kind, "metadata": metadata}
    return body | ({"data": given["data"]} if "data" in given else {})


def desired_of(entries: Any) -> Bundle:
    return make_bundle("app", "c1", [make_object(body_of(entry), Place("a.yaml", 1)) for entry in entries or ()])


def live_of(entries: Any, unread: Any = ()) -> Live:
    objects = []
    for entry in entries or ():
        ((_, given),) = entry.items()
        each = make_object(body_of(entry), Place("a.yaml", 1))
        owned = (given or {}).get("owned", True)
        objects.append(LiveObject(each.ref, each.hash if owned else "", each.body, "uid", 1))
    return Live(tuple(objects), tuple(Unread(u["what"], u["reason"]) for u in unread or ()))


def shown(changes: Sequence[Change]) -> list[str]:
    return [
        f"{change.action.value} {change.ref}" + (f" wave {change.wave}" if change.wave else "") for change in changes
    ]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case: Path) -> None:
    live, expect = load(case, "live.yaml"), load(case, "expect.yaml")
    got = plan(desired_of(load(case, "desired.yaml")), live_of(live["objects"], live.get("unread")),
               Policy(**live.get("policy", {})))  # fmt: skip
    assert shown(got.changes) == (expect["changes"] or [])
    assert {str(h.change.ref): h.reason for h in got.held} == (expect.get("held") or {})


# --- what always holds -----------------------------------------------------------------------------

kinds = st.sampled_from(["ConfigMap", "Secret", "Service", "Deployment", "Namespace"])
keys = st.tuples(kinds, st.sampled_from("abcde"))
bodies = st.dictionaries(keys, st.tuples(st.integers(0, 3), st.integers(-1, 2)), max_size=8)


def object_of(key: tuple[str, str], value: tuple[int, int]) -> Object:
    annotations = {"argocd.argoproj.io/sync-wave": str(value[1])}
    body = {"apiVersion": "v1", "kind": key[0], "metadata": {"name": key[1], "annotations": annotations}}
    return make_object(body | {"data": {"v": str(value[0])}}, Place("a.yaml", 1))


def bundle(given: dict[tuple[str, str], tuple[int, int]]) -> Bundle:
    return make_bundle("app", "c1", [object_of(key, value) for key, value in given.items()])


def standing(objects: Sequence[Object], owned: bool = True) -> Live:
    return Live(tuple(LiveObject(o.ref, o.hash if owned else "", o.body, "uid", 1) for o in objects))


def applied(live: Live, changes: Sequence[Change], desired: Bundle) -> Live:
    held = {each.ref: each for each in live.objects}
    wanted = {each.ref: each for each in desired.objects}
    for change in changes:
        if change.action is Action.DELETE:
            del held[change.ref]
        else:
            each = wanted[change.ref]
            held[change.ref] = LiveObject(each.ref, each.hash, each.body, "uid", 1)
    return Live(tuple(held.values()), live.unread)


@given(bodies, bodies)
def test_applying_a_released_plan_converges_and_replanning_is_empty(a: Any, b: Any) -> None:
    desired, live = bundle(a), standing(bundle(b).objects)
    planned = plan(desired, live)
    free = release(planned, {approval(planned)})
    assert not free.held
    after = applied(live, free.changes, desired)
    assert plan(desired, after) == Plan(())
    assert {(o.ref, o.hash) for o in after.objects} == {(o.ref, o.hash) for o in desired.objects}


@given(bodies, bodies)
def test_what_is_not_owned_is_never_deleted(a: Any, b: Any) -> None:
    planned = plan(bundle(a), standing(bundle(b).objects, owned=False))
    assert all(change.action is not Action.DELETE for change in planned.changes)
    assert not planned.held


@given(bodies, bodies)
def test_nothing_is_deleted_while_something_is_unread(a: Any, b: Any) -> None:
    live = Live(standing(bundle(b).objects).objects, (Unread("Secrets", "forbidden"),))
    planned = plan(bundle(a), live, Policy(max_delete_share=1.0))
    assert all(change.action is not Action.DELETE for change in planned.changes)
    assert approval(planned) == ""
    assert release(planned, {"", changes_hash(h.change for h in planned.held)}) == planned


@given(bodies, bodies, st.randoms(use_true_random=False))
def test_the_order_of_what_is_given_does_not_matter(a: Any, b: Any, random: Any) -> None:
    desired, live = bundle(a), standing(bundle(b).objects)
    shuffled, turned = list(desired.objects), list(live.objects)
    random.shuffle(shuffled)
    random.shuffle(turned)
    assert make_bundle("app", "c1", shuffled) == desired
    assert plan(Bundle("app", "c1", tuple(shuffled), ""), Live(tuple(turned))) == plan(desired, live)


@given(bodies, bodies)
def test_by_waves_everything_gets_made_and_nothing_before_its_time(a: Any, b: Any) -> None:
    desired, live = bundle(a), standing(bundle(b).objects)
    planned = release(plan(desired, live), {approval(plan(desired, live))})
    waves: list[int] = []
    while planned.changes:
        batch = due(planned, desired, [Judgement(each.ref, Health.HEALTHY) for each in live.objects])
        assert batch
        assert len({change.wave for change in batch}) == 1
        if batch[0].action is not Action.DELETE:
            waves.append(batch[0].wave)
        live = applied(live, batch, desired)
        left = plan(desired, live)
        planned = release(left, {approval(left)})
    assert waves == sorted(waves)


@given(bodies)
def test_a_wave_waits_for_the_health_of_those_before(a: Any) -> None:
    desired = bundle(a)
    live = Live(())
    while batch := due(plan(desired, live), desired, ()):
        live = applied(live, batch, desired)
        if len(live.objects) == len(desired.objects):
            break
    made = {each.ref for each in live.objects}
    waves = {each.ref: wave_of(each.body) for each in desired.objects}
    if made:
        assert {waves[ref] for ref in made} == {min(waves.values())}


# --- single facts ----------------------------------------------------------------------------------


def change(name: str, action: Action = Action.DELETE, before: str = "h") -> Change:
    return Change(action, Ref("host", "", "ConfigMap", "default", name), before, "")


def test_an_approval_covers_exactly_its_set() -> None:
    held = tuple(Held(change(name), "why") for name in "ab")
    planned = Plan((), held)
    assert release(planned, {changes_hash([change("b"), change("a")])}).changes == (change("a"), change("b"))
    assert release(planned, {changes_hash([change("a")])}) == planned
    assert release(planned, {changes_hash([change("a"), change("b", before="moved")])}) == planned
    assert release(Plan((change("a"),)), {""}) == Plan((change("a"),))
    assert change_key(change("a")) != change_key(change("a", Action.UPDATE))


@pytest.mark.parametrize(
    ("text", "wave"),
    [("5", 5), ("-3", -3), ("x", 0), ("", 0), ("--1", 0), ("9" * 99, 0), (" 2 ", 2), ("²", 0), ("-", 0)],
)
def test_waves_that_are_no_number_are_zero(text: str, wave: int) -> None:
    assert wave_of({"metadata": {"annotations": {"argocd.argoproj.io/sync-wave": text}}}) == wave


def test_diff_by_field_with_names_in_lists() -> None:
    live = {
        "kind": "Deployment", "metadata": {"name": "web", "uid": "u", "generation": 3}, "status": {"replicas": 2},
        "spec": {"replicas": 2, "containers": [{"name": "a", "image": "x:1"}, {"name": "b", "image": "y"}]},
    }  # fmt: skip
    desired = {
        "kind": "Deployment", "metadata": {"name": "web", "labels": {"app.kubernetes.io/name": "web"}},
        "spec": {"replicas": 3, "containers": [{"name": "b", "image": "y"}, {"name": "a", "image": "x:2"}], "z": []},
    }  # fmt: skip
    assert diff(live, desired, b"k") == (
        "- spec.replicas: 2",
        "+ spec.replicas: 3",
        '- spec.containers[a].image: "x:1"',
        '+ spec.containers[a].image: "x:2"',
        '+ metadata.labels."app.kubernetes.io/name": "web"',
        "+ spec.z: []",
    )
    assert diff(desired, desired, b"k") == ()
    assert diff(None, {"kind": "A"}, b"k") == ('+ kind: "A"',)
    assert diff({"kind": "A"}, None, b"k") == ('- kind: "A"',)


def test_diff_hides_what_a_secret_holds_but_not_that_it_changed() -> None:
    def secret(value: str) -> dict[str, object]:
        return {"kind": "Secret", "data": {"password": value}, "stringData": {"user": value}}

    lines = diff(secret("hunter2"), secret("hunter3"), b"key")
    assert len(lines) == 4
    assert "hunter" not in "".join(lines)
    assert lines[0] != lines[1]
    assert all("(hidden " in line for line in lines)
    assert diff(secret("a"), secret("a"), b"key") == ()
    assert diff(secret("a"), secret("b"), b"key") != diff(secret("a"), secret("b"), b"other")
