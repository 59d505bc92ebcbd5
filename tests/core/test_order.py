"""The order of a sync: data cases under tests/sync, played step by step against a world that does what the case says.

A case states `objects` as in tests/plan, and `play`: lines in the order in which they must happen. "wait" is a point at
which nothing is due; the lines below `then` say what the world does there ("healthy deployment/web").
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from trueup.core import events as ev
from trueup.core import order, syncoptions
from trueup.core.bundle import make_bundle
from trueup.core.candidate import ApplicationState, fold_application
from trueup.core.hooks import (
    CRD_INSTALL,
    HELM,
    HELM_HOOK,
    HELM_POLICY,
    HELM_REMOVAL,
    HELM_WEIGHT,
    HOOK,
    POLICY,
    SKIP,
    WAVE,
    Removal,
    When,
    faults,
    hook_of,
    key_of,
    run_of,
    wave_of,
)
from trueup.core.model import Action, Bundle, Fault, Health, Judgement, Live, LiveObject, Object, Place, Principal, Ref
from trueup.core.objects import make_object
from trueup.core.plan import plan
from trueup.core.policy import Policy
from trueup.core.references import Known, batches, uses

FOLDER = Path(__file__).parent.parent / "sync"
CASES = sorted(FOLDER.glob("*.yaml"))
START = datetime(2026, 1, 1, tzinfo=UTC)
GROUPS = {
    "Deployment": "apps/v1", "Job": "batch/v1", "CustomResourceDefinition": "apiextensions.k8s.io/v1",
    "APIService": "apiregistration.k8s.io/v1", "RoleBinding": "rbac.authorization.k8s.io/v1",
    "ValidatingWebhookConfiguration": "admissionregistration.k8s.io/v1", "Ingress": "networking.k8s.io/v1",
}  # fmt: skip
SHORT = {"wave": "argocd.argoproj.io/sync-wave", "hook": "argocd.argoproj.io/hook",
         "policy": "argocd.argoproj.io/hook-delete-policy", "helm": "helm.sh/hook",
         "weight": "helm.sh/hook-weight", "helm-policy": "helm.sh/hook-delete-policy"}  # fmt: skip


def object_of(short: Any, line: int = 1) -> Object:
    """{Kind/name: {wave: 1, hook: PreSync, …}} → an object; every other key is a field of the body."""
    ((name, given),) = short.items()
    kind, _, name = name.partition("/")
    given = dict(given or {})
    notes = {SHORT[key]: str(given.pop(key)) for key in list(given) if key in SHORT}
    metadata: dict[str, Any] = {"name": name, "annotations": notes}
    if "namespace" in given:
        metadata["namespace"] = given.pop("namespace")
    version = given.pop("apiVersion", GROUPS.get(kind, "v1"))
    return make_object({"apiVersion": version, "kind": kind, "metadata": metadata, **given}, Place("a.yaml", line))


class Play:
    """A world that holds objects and hooks, and a ledger of one application."""

    def __init__(self, case: Any) -> None:
        objects = [object_of(each, at + 1) for at, each in enumerate(case["objects"])]
        self.bundle = make_bundle("app", "c1", objects)
        self.live: dict[Ref, LiveObject] = {}
        self.hooks: dict[Ref, Object] = {object_of(each).ref: object_of(each) for each in case.get("left", ())}
        for each in case.get("standing", ()):
            made = object_of(each)
            self.live[made.ref] = LiveObject(made.ref, made.hash, made.body, "u", 1)
        self.health: dict[str, Judgement] = {}
        self.always = case.get("always", "healthy")  # of what is made
        self.state = ApplicationState("app")
        self.now, self.seq, self.log = START, 0, list[str]()
        self.record(ev.SyncStarted("c1", 1, "b", why="push", hooks=case.get("hooks", True)))

    def record(self, fact: ev.Fact) -> None:
        self.seq += 1
        by = Principal("trueup", "rule")
        event = ev.Event(
            stream="app", seq=self.seq, time=self.now, by=by, cause="", version=1, fact=fact, prev="", hash=""
        )
        self.state = fold_application(self.state, [event])

    def judge(self, ref: Ref) -> Judgement:
        return self.health.get(str(ref)) or Judgement(ref, Health(self.always), "", Fault.NONE)

    def seen(self) -> order.SyncSeen:
        planned = plan(self.bundle, Live(tuple(self.live.values())), Policy(max_delete_share=1.0, min_deletes=99))
        return order.SyncSeen(
            planned,
            {ref: self.judge(ref) for ref in self.live},
            {ref: each.hash for ref, each in self.hooks.items()},
            {ref: self.judge(ref) for ref in self.hooks},
        )

    def step(self, *, ending: bool = False) -> order.Step:
        assert self.state.current is not None
        return order.step(self.bundle, self.state.current, self.seen(), self.now, ending=ending)

    def go(self) -> str:
        """On until it waits, blocks or ends; the word for that."""
        for _ in range(1000):
            word = self.take(self.step())
            if word:
                return word
        raise AssertionError("it never ends")

    def take(self, step: order.Step) -> str:
        match step:
            case order.Make(changes):
                by_ref = {o.ref: o for o in self.bundle.objects}
                self.log.append("make " + " ".join(str(c.ref) for c in changes)
                                if changes[0].action is not Action.DELETE
                                else "delete " + " ".join(str(c.ref) for c in changes))  # fmt: skip
                for change in changes:
                    if change.action is Action.DELETE:
                        del self.live[change.ref]
                    else:
                        each = by_ref[change.ref]
                        self.live[each.ref] = LiveObject(each.ref, each.hash, each.body, "u", 1)
            case order.StartHooks(when, hooks):
                self.record(ev.HooksStarted("c1", 1, when.value, tuple(key_of(h, when) for h in hooks)))
            case order.CreateHooks(when, hooks, replaced, taken):
                self.log += [f"replace {ref}" for ref in replaced] + [f"take {ref}" for ref in taken]
                for ref in taken:
                    del self.live[ref]
                for ref in replaced:
                    del self.hooks[ref]
                self.log.append(f"run {when.value} " + " ".join(str(h.object.ref) for h in hooks))
                for hook in hooks:
                    self.hooks[hook.object.ref] = run_of(hook, when, 1, "c1")
                self.record(ev.HooksCreated("c1", 1, when.value, tuple(key_of(h, when) for h in hooks)))
            case order.EndHook(when, key, end, judgement):
                self.log.append(f"{end.value} {judgement.ref}")
                self.record(ev.HookEnded("c1", 1, when.value, key, end.value, judgement.reason))
            case order.RemoveHooks(refs):
                self.log.append("remove " + " ".join(map(str, refs)))
                for ref in refs:
                    del self.hooks[ref]
            case order.Fail(judgement):
                self.log.append(f"fail {judgement.ref}: {judgement.reason}")
                if self.bundle.hooks and not (self.state.current and self.state.current.failing):
                    self.record(ev.SyncFailing("c1", 1, judgement.reason))
                    return ""
                return "condemned"
            case order.Block(reason):
                return f"block {reason}"
            case order.Wait():
                return "wait"
            case order.Finish(failed):
                return "condemned" if failed else "applied"
        return ""

    def world(self, line: str) -> None:
        """ "healthy job/x", "degraded job/x: why", "world deployment/x: why", "gone job/x", "later 400"."""
        word, _, rest = line.partition(" ")
        if word == "later":
            self.now += timedelta(seconds=float(rest))
            return
        name, _, why = rest.partition(": ")
        ref = next(r for r in (*self.live, *self.hooks) if str(r) == name)
        if word == "gone":
            del self.hooks[ref]
            return
        fault = Fault.WORLD if word == "world" else Fault.CHANGE if word == "degraded" else Fault.NONE
        self.health[name] = Judgement(ref, Health("degraded" if word == "world" else word), why, fault)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_case(case: Path) -> None:
    given_case = yaml.safe_load(case.read_text())
    played = Play(given_case)
    expected: list[str] = []
    for part in given_case["play"]:
        if isinstance(part, str):
            expected.append(part)
            continue
        ((word, then),) = part.items()
        expected.append(word)
        played.log.append(played.go())
        assert played.log == expected
        for line in then or ():
            played.world(line)
    assert played.log == expected


def test_every_hook_runs_once_wherever_it_was_interrupted() -> None:
    """The ledger and the world stay, everything else is forgotten, at each step of a sync of three waves with hooks."""
    case = yaml.safe_load((FOLDER / "three-waves-with-hooks-of-every-phase.yaml").read_text())
    clean = Play(case)
    assert clean.go() == "applied"
    for lost in range(40):
        played, steps = Play(case), 0
        while True:
            step = played.step()
            if steps == lost and isinstance(step, order.CreateHooks):
                for hook in step.hooks:  # made, and killed before that was recorded
                    played.hooks[hook.object.ref] = run_of(hook, step.when, 1, "c1")
                played.log.append(f"run {step.when.value} " + " ".join(str(h.object.ref) for h in step.hooks))
                steps += 1
                continue
            steps += 1
            if played.take(step):
                break
        assert [line for line in played.log if line.startswith("run")] == [
            line for line in clean.log if line.startswith("run")
        ]


def test_with_another_candidate_waiting_only_what_runs_is_ended() -> None:
    case = {"objects": [{"Job/a": {"hook": "PreSync"}}, {"ConfigMap/web": None}], "play": [], "always": "progressing"}
    played = Play(case)
    assert played.go() == "wait"
    assert isinstance(played.step(ending=True), order.Wait)
    played.world("healthy job/a")
    end = played.step(ending=True)
    assert isinstance(end, order.EndHook)
    played.take(end)
    assert played.step(ending=True) == order.Finish()


# --- words of annotations ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "when"),
    [
        ({"hook": "PreSync"}, "PreSync"),
        ({"hook": "PreSync,PostSync"}, "PostSync PreSync"),
        ({"hook": "Skip"}, ""),
        ({"hook": "Sync,Skip"}, "Sync"),
        ({"helm": "pre-install,pre-upgrade"}, "PreSync"),
        ({"helm": "post-install"}, "PostSync"),
        ({"helm": "pre-delete"}, "PreDelete"),
        ({"helm": "post-delete, post-upgrade"}, "PostDelete PostSync"),
        ({"helm": "pre-rollback"}, ""),
        ({"helm": "test"}, ""),
        ({"hook": "SyncFail", "helm": "pre-install"}, "SyncFail"),
    ],
)
def test_when_a_hook_runs(given: dict[str, str], when: str) -> None:
    made = make_bundle("app", "c", [object_of({"Job/x": given})])
    assert not made.objects
    assert " ".join(sorted(w.value for w in hook_of(made.hooks[0]).when)) == when


@pytest.mark.parametrize("given", [{}, {"helm": "crd-install"}, {"wave": "3"}, {"weight": "3"}])
def test_what_is_no_hook(given: dict[str, str]) -> None:
    assert len(make_bundle("app", "c", [object_of({"ConfigMap/x": given})]).objects) == 1


@pytest.mark.parametrize(
    ("given", "removal"),
    [
        ({}, "BeforeHookCreation"),
        ({"policy": "HookSucceeded"}, "HookSucceeded"),
        ({"helm-policy": "hook-succeeded,hook-failed"}, "HookFailed HookSucceeded"),
        ({"policy": "HookFailed", "helm-policy": "before-hook-creation"}, "BeforeHookCreation HookFailed"),
    ],
)
def test_when_a_hook_is_removed(given: dict[str, str], removal: str) -> None:
    hook = hook_of(object_of({"Job/x": {"hook": "PreSync", **given}}))
    assert " ".join(sorted(r.value for r in hook.removal)) == removal


def test_a_weight_counts_where_no_wave_is_stated() -> None:
    assert wave_of(object_of({"Job/x": {"weight": "-5"}}).body) == -5
    assert wave_of(object_of({"Job/x": {"weight": "-5", "wave": "2"}}).body) == 2


def test_words_that_mean_nothing_are_named() -> None:
    body = object_of({"Job/x": {"hook": "PreSynk", "policy": "Never", "helm": "before", "wave": "one"}}).body
    assert [message for _, message, _ in faults(body)] == [
        "argocd.argoproj.io/hook: 'PreSynk' is nothing that is known",
        "argocd.argoproj.io/hook-delete-policy: 'Never' is nothing that is known",
        "helm.sh/hook: 'before' is nothing that is known",
        "argocd.argoproj.io/sync-wave: 'one' is no whole number",
    ]
    assert not list(faults(object_of({"Job/x": {"hook": "PreSync", "wave": "-1"}}).body))


# --- what others need first --------------------------------------------------------------------------


def names(groups: list[list[Object]]) -> list[list[str]]:
    return [[str(o.ref) for o in group] for group in groups]


def pod(**spec: Any) -> dict[str, Any]:
    return {"spec": {"template": {"metadata": {"labels": {"app": "web"}}, "spec": spec}}}


def test_what_is_used_is_patched_first() -> None:
    web = pod(
        serviceAccountName="web", imagePullSecrets=[{"name": "pull"}],
        volumes=[{"configMap": {"name": "files"}}, {"projected": {"sources": [{"secret": {"name": "keys"}}]}},
                 {"persistentVolumeClaim": {"claimName": "data"}}],
        containers=[{"name": "web", "envFrom": [{"configMapRef": {"name": "environment"}}],
                     "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "one", "key": "a"}}}]}],
    )  # fmt: skip
    binding = {"subjects": [{"kind": "ServiceAccount", "name": "web"}], "roleRef": {"kind": "Role", "name": "reader"}}
    given_objects = [
        {"Deployment/web": web}, {"ConfigMap/files": None}, {"Secret/keys": None}, {"Secret/pull": None},
        {"PersistentVolumeClaim/data": None}, {"ConfigMap/environment": None}, {"Secret/one": None},
        {"ConfigMap/other": None}, {"RoleBinding/web": binding}, {"ServiceAccount/web": None},
        {"Role/reader": {"apiVersion": "rbac.authorization.k8s.io/v1"}},
    ]  # fmt: skip
    groups = names(batches([object_of(each) for each in given_objects]))
    assert groups[1:] == [["rolebinding/web"], ["deployment/web"]]
    assert len(groups[0]) == 9


def test_what_uses_nothing_here_is_one_batch() -> None:
    alone = [object_of({"Deployment/web": pod(containers=[{"envFrom": [{"configMapRef": {"name": "elsewhere"}}]}])}),
             object_of({"ConfigMap/a": None})]  # fmt: skip
    assert len(batches(alone)) == 1
    assert batches([]) == []


def test_rings_are_cut() -> None:
    ring = [object_of({"HorizontalPodAutoscaler/a": {"spec": {"scaleTargetRef": {
        "apiVersion": "v1", "kind": "HorizontalPodAutoscaler", "name": "b"}}}}),
        object_of({"HorizontalPodAutoscaler/b": {"spec": {"scaleTargetRef": {
            "apiVersion": "v1", "kind": "HorizontalPodAutoscaler", "name": "a"}}}})]  # fmt: skip
    assert sorted(name for group in names(batches(ring)) for name in group) == [
        "horizontalpodautoscaler/a",
        "horizontalpodautoscaler/b",
    ]


def test_an_ingress_uses_its_services_and_certificate() -> None:
    rules = [{"http": {"paths": [{"backend": {"service": {"name": "web"}}}]}}]
    used = uses(object_of({"Ingress/in": {"spec": {"rules": rules, "tls": [{"secretName": "tls"}]}}}))
    assert {("", "Service", "default", "web"), ("", "Secret", "default", "tls")} <= used


def test_gates() -> None:
    crd = {"spec": {"group": "example.org", "names": {"kind": "Widget"}}}
    service = {"spec": {"selector": {"app": "web"}}}
    hook = {"webhooks": [{"clientConfig": {"service": {"name": "web", "namespace": "shop"}}}]}
    objects = [object_of(each) for each in (
        {"Namespace/shop": None}, {"CustomResourceDefinition/widgets.example.org": crd},
        {"APIService/v1.metrics": {"spec": {"group": "metrics"}}},
        {"Widget/a": {"apiVersion": "example.org/v1", "namespace": "shop"}},
        {"Reading/a": {"apiVersion": "metrics/v1", "namespace": "elsewhere"}},
        {"Service/web": {**service, "namespace": "shop"}}, {"Deployment/web": {**pod(), "namespace": "shop"}},
        {"ValidatingWebhookConfiguration/guard": hook}, {"ConfigMap/a": {"namespace": "elsewhere"}},
    )]  # fmt: skip
    known = Known(objects)
    told = {str(o.ref): [str(r) for r in known.gates_of(o)] for o in objects}
    assert {name: gates for name, gates in told.items() if gates} == {
        "widget/a": ["namespace/shop", "customresourcedefinition/widgets.example.org"],
        "reading/a": ["apiservice/v1.metrics"],
        "service/web": ["namespace/shop"],
        "deployment/web": ["namespace/shop"],
        "validatingwebhookconfiguration/guard": ["service/web", "deployment/web"],
    }


@given(st.dictionaries(st.integers(0, 12), st.sets(st.integers(0, 12)), max_size=12))
def test_batches_hold_every_object_once_whatever_uses_what(edges: dict[int, set[int]]) -> None:
    objects = [
        object_of({f"Deployment/d{name}": {"spec": {"template": {"spec": {"serviceAccountName": "x", "containers": [
            {"name": "c", "envFrom": [{"configMapRef": {"name": f"d{o}"}} for o in sorted(used)]}]}}}}})
        for name, used in edges.items()
    ] + [object_of({f"ConfigMap/d{name}": None}) for name in edges]  # fmt: skip
    groups = batches(objects)
    assert sorted(str(o.ref) for group in groups for o in group) == sorted(str(o.ref) for o in objects)


def bundle_of(*entries: Any) -> Bundle:
    return make_bundle("app", "c1", [object_of(each) for each in entries])


def test_hooks_change_the_hash_of_a_bundle_but_not_what_stands() -> None:
    plain, hooked = bundle_of({"ConfigMap/a": None}), bundle_of({"ConfigMap/a": None}, {"Job/x": {"hook": "Sync"}})
    assert plain.objects == hooked.objects
    assert plain.hash != hooked.hash


def test_the_page_tells_of_every_word() -> None:
    page = (Path(__file__).parents[2] / "docs/kubernetes.md").read_text()
    words = [*(w.value for w in When), *(r.value for r in Removal), *HELM, *HELM_REMOVAL, CRD_INSTALL, SKIP]
    names = [HOOK, POLICY, WAVE, HELM_HOOK, HELM_POLICY, HELM_WEIGHT]
    assert not [word for word in (*words, *names) if f"`{word}`" not in page]


def test_the_page_has_a_row_for_every_sync_option() -> None:
    page = (Path(__file__).parents[2] / "docs/kubernetes.md").read_text()
    rows = [f"| `{r.word}` | {r.answer.value} | {r.says} |" for r in syncoptions.TABLE]
    assert not [row for row in rows if row not in page]


def test_the_hooks_of_a_sync_in_their_order() -> None:
    bundle = bundle_of(
        {"Job/after": {"hook": "PostSync"}}, {"Job/late": {"hook": "PreSync", "wave": 2}},
        {"Job/early": {"hook": "PreSync,PostSync", "wave": -1}}, {"Job/fail": {"hook": "SyncFail"}},
    )  # fmt: skip
    assert [f"{when.value} {hook.object.ref.name}" for when, hook in order.in_order(bundle)] == [
        "PreSync early", "PreSync late", "PostSync early", "PostSync after",
    ]  # fmt: skip


waves = st.integers(-1, 2)
phases = st.sampled_from(["", "PreSync", "Sync", "PostSync", "PreSync,PostSync", "SyncFail"])
policies = st.sampled_from(["", "HookSucceeded", "HookFailed", "BeforeHookCreation,HookSucceeded"])
things = st.lists(st.tuples(waves, phases, policies), max_size=7)


@settings(deadline=None)
@given(things, st.randoms(use_true_random=False))
def test_whatever_is_stated_comes_in_its_order_and_every_hook_once(stated: Any, random: Any) -> None:
    """The world lets one thing after the other turn healthy, in any order."""
    objects = []
    for number, (wave, phase, policy) in enumerate(stated):
        given_notes = {"wave": wave} | ({"hook": phase} if phase else {}) | ({"policy": policy} if policy else {})
        objects.append({f"Job/hook{number}" if phase else f"ConfigMap/c{number}": given_notes})
    played = Play({"objects": objects, "always": "progressing", "play": []})
    hooks = {o.ref: hook_of(o) for o in played.bundle.hooks}
    for _ in range(200):
        word = played.go()
        if word == "applied":
            break
        assert word == "wait"
        waits = [str(r) for r in (*played.live, *played.hooks) if str(r) not in played.health]
        assert waits, played.log
        played.world(f"healthy {random.choice(waits)}")
    else:
        raise AssertionError(played.log)
    made = [name for line in played.log if line.startswith("make ") for name in line.split()[1:]]
    assert sorted(made) == sorted(str(o.ref) for o in played.bundle.objects)
    at = {str(o.ref): wave_of(o.body) for o in played.bundle.objects}
    assert [at[name] for name in made] == sorted(at[name] for name in made)
    ran = [tuple(line.split()[1:]) for line in played.log if line.startswith("run ")]
    expected = [(w.value, str(ref)) for ref, h in hooks.items() for w in h.when if w is not When.SYNC_FAIL]
    assert sorted((phase, name) for phase, *names in ran for name in names) == sorted(expected)
    order_of = ["PreSync", "Sync", "PostSync"]
    assert [order_of.index(phase) for phase, *_ in ran] == sorted(order_of.index(phase) for phase, *_ in ran)
    if played.bundle.objects and any(phase == "PreSync" for phase, *_ in ran):
        first_make = next(i for i, line in enumerate(played.log) if line.startswith("make "))
        last_before = max(i for i, line in enumerate(played.log) if line.startswith("run PreSync"))
        assert last_before < first_make
