"""Argo CD's projects as its documentation describes them. Source: Argo CD v3.5.7, docs/user-guide/projects.md."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from trueup.core.model import Place, Ref
from trueup.core.origin import Origin
from trueup.core.project import (
    IN_CLUSTER,
    IN_CLUSTER_URL,
    Kind,
    Orphaned,
    Project,
    Role,
    Where,
    is_orphan,
    may,
    permits_destination,
    permits_kind,
    permits_source,
    wrong,
)
from trueup.core.windows import Clock, Synced, Window, may_sync, parse, wrong_window

PROJECT = Project(origin=Origin("Argo CD", "AppProject", "argocd", "team"), place=Place("project.yaml", 1))


@pytest.mark.parametrize(
    ("rules", "url", "allowed"),
    [
        (("*",), "https://git.example/acme/shop", True),
        ((), "https://git.example/acme/shop", False),
        (("https://git.example/acme/*",), "https://git.example/acme/shop.git", True),
        (("https://git.example/*",), "https://git.example/acme/shop", False),
        (("https://git.example/**",), "https://git.example/acme/shop", True),
        (("git@git.example:acme/shop",), "ssh://git@GIT.example/acme/shop.git", True),
        (("!ssh://git@git.example/acme/test", "*"), "git@git.example:acme/test", False),
        (("!https://git.example/group/**", "*"), "https://git.example/group/a/b", False),
        (("!https://git.example/group/**", "*"), "https://git.example/other/a", True),
    ],
)
def test_sources(rules: tuple[str, ...], url: str, allowed: bool) -> None:
    assert permits_source(replace(PROJECT, source_repos=rules), url) is allowed


DENIES = (
    Where(namespace="!kube-system", server="*"),
    Where(namespace="*", server="!https://team1-*"),
    Where(namespace="*", server="*"),
)


@pytest.mark.parametrize(
    ("rules", "server", "namespace", "allowed"),
    [
        ((Where("*", "", "*"),), IN_CLUSTER_URL, "shop", True),
        ((), IN_CLUSTER_URL, "shop", False),
        ((Where(IN_CLUSTER_URL, "", "shop-*"),), IN_CLUSTER_URL, "shop-eu", True),
        ((Where(IN_CLUSTER_URL, "", "shop-*"),), IN_CLUSTER_URL, "kube-system", False),
        (DENIES, IN_CLUSTER_URL, "kube-system", False),
        (DENIES, IN_CLUSTER_URL, "shop", True),
        (DENIES, "https://team1-a", "shop", False),
    ],
)
def test_destinations(rules: tuple[Where, ...], server: str, namespace: str, allowed: bool) -> None:
    assert permits_destination(replace(PROJECT, destinations=rules), server, "", namespace) is allowed


def test_a_destination_by_the_name_of_the_cluster() -> None:
    project = replace(PROJECT, destinations=(Where(name=IN_CLUSTER, namespace="*"),))
    assert permits_destination(project, IN_CLUSTER_URL, IN_CLUSTER, "shop")
    assert not permits_destination(project, "https://other", "other", "shop")


def ref(kind: str, group: str = "", namespace: str = "", name: str = "x") -> Ref:
    return Ref("host", group, kind, namespace, name)


def test_kinds_with_a_namespace_are_allowed_unless_denied_and_others_only_if_allowed() -> None:
    assert permits_kind(PROJECT, ref("Deployment", "apps", "shop"))
    assert not permits_kind(PROJECT, ref("Namespace"))
    project = replace(
        PROJECT,
        cluster_allowed=(Kind("", "Namespace", "team1-*"), Kind("rbac.*", "*")),
        cluster_denied=(Kind("rbac.authorization.k8s.io", "ClusterRoleBinding"),),
        namespaced_denied=(Kind("", "ResourceQuota"), Kind("networking.k8s.io", "*")),
    )
    assert permits_kind(project, ref("Namespace", name="team1-eu"))
    assert not permits_kind(project, ref("Namespace", name="kube-system"))
    assert permits_kind(project, ref("ClusterRole", "rbac.authorization.k8s.io"))
    assert not permits_kind(project, ref("ClusterRoleBinding", "rbac.authorization.k8s.io"))
    assert not permits_kind(project, ref("ResourceQuota", namespace="shop"))
    assert not permits_kind(project, ref("NetworkPolicy", "networking.k8s.io", "shop"))
    assert not permits_kind(replace(PROJECT, namespaced_allowed=()), ref("Pod", namespace="shop"))


def test_orphans() -> None:
    project = replace(PROJECT, orphaned=Orphaned(True, (Kind("", "ConfigMap", "kept-*"),)))
    left = ref("ConfigMap", namespace="shop", name="left")
    assert is_orphan(project, left, owned=False)
    assert not is_orphan(project, left, owned=True)
    assert not is_orphan(PROJECT, left, owned=False)
    assert not is_orphan(project, ref("ConfigMap", namespace="shop", name="kept-1"), owned=False)
    assert not is_orphan(project, ref("Service", namespace="default", name="kubernetes"), owned=False)


def test_roles_deny_before_they_allow() -> None:
    role = Role(
        "ci",
        ("deployers",),
        (
            "p, proj:team:ci, applications, sync, team/shop-*, allow",
            "p, proj:team:ci, applications, *, team/shop-prod, deny",
        ),
    )
    project = replace(PROJECT, roles=(role,))
    assert may(project, ["deployers"], "applications", "sync", "shop-eu")
    assert not may(project, ["deployers"], "applications", "sync", "shop-prod")
    assert not may(project, ["deployers"], "applications", "delete", "shop-eu")
    assert not may(project, ["readers"], "applications", "sync", "shop-eu")
    assert not list(wrong(project))


@pytest.mark.parametrize(
    ("project", "said"),
    [
        (replace(PROJECT, source_repos=("!*",)), "would deny everything"),
        (replace(PROJECT, source_repos=("a", "a")), "stated twice"),
        (replace(PROJECT, destinations=(Where("!*", "", "x"),)), "would deny everything"),
        (replace(PROJECT, destinations=(Where("a", "", "x"), Where("a", "n", "x"))), "stated twice"),
        (replace(PROJECT, roles=(Role("a b"),)), "no name"),
        (replace(PROJECT, roles=(Role("a", (), ("p, x",)),)), "not of the form"),
        (replace(PROJECT, roles=(Role("a", (), ("p, proj:team:b, applications, *, team/*, allow",)),)), "is about"),
        (replace(PROJECT, roles=(Role("a", (), ("p, proj:team:a, applications, *, all/*, allow",)),)), "not of this"),
        (replace(PROJECT, windows=(Window("allow", "* * * * *", "1h"),)), "names no application"),
    ],
)
def test_what_a_project_may_not_say(project: Project, said: str) -> None:
    (message,) = wrong(project)
    assert said in message


# --- windows ---------------------------------------------------------------------------------------

NOON = datetime(2026, 3, 4, 12, 30, tzinfo=UTC)  # a Wednesday
SHOP = Synced("shop", "shop", ("in-cluster",))


def clock(at: datetime, hours: int = 0) -> Clock:
    return lambda zone: at + timedelta(hours=0 if zone == "UTC" else hours)


def window(kind: str, schedule: str, length: str = "1h", **more: object) -> Window:
    return replace(Window(kind, schedule, length, applications=("*",)), **more)


OPEN, SHUT = "0 12 * * *", "0 3 * * *"


@pytest.mark.parametrize(
    ("windows", "allowed", "by_hand"),
    [
        ((), True, True),
        ((window("allow", OPEN),), True, True),
        ((window("allow", SHUT),), False, False),
        ((window("allow", SHUT, manual=True),), False, True),
        ((window("deny", OPEN),), False, False),
        ((window("deny", SHUT),), True, True),
        ((window("deny", OPEN, manual=True),), False, True),
        ((window("deny", OPEN, manual=True), window("deny", OPEN)), False, False),
        ((window("allow", OPEN), window("deny", OPEN)), False, False),
        ((window("allow", SHUT), window("allow", OPEN)), True, True),
        ((window("deny", OPEN, applications=("other",)),), True, True),
        ((window("deny", OPEN, applications=("other",), namespaces=("sh*",)),), False, False),
        ((window("deny", OPEN, namespaces=("other",), all_of=True),), True, True),
        ((window("deny", "0 12 * * 3"),), False, False),
        ((window("deny", "0 12 * * mon"),), True, True),
        ((window("deny", "0 12 1 * wed"),), False, False),  # either day suffices when both are given
        ((window("deny", "0 14 * * *", zone="Far/East"),), False, False),
        ((window("deny", "30 12 * * *"),), True, True),  # begins now: not yet
    ],
)
def test_windows(windows: tuple[Window, ...], allowed: bool, by_hand: bool) -> None:
    assert may_sync(windows, SHOP, clock(NOON, 2), manual=False) is allowed
    assert may_sync(windows, SHOP, clock(NOON, 2), manual=True) is by_hand


@pytest.mark.parametrize(
    ("windows", "goes_on"),
    [
        ((window("deny", OPEN, overrun=True),), True),
        ((window("deny", OPEN),), False),
        ((window("allow", "0 11 * * *", overrun=True), window("deny", OPEN, overrun=True)), True),
        ((window("allow", "0 11 * * *", overrun=True), window("deny", OPEN)), False),
        ((window("allow", "0 11 * * *"), window("deny", OPEN, overrun=True)), True),
        ((window("allow", "0 11 * * *", overrun=True),), True),
        ((window("allow", "0 11 * * *", overrun=True), window("allow", "0 11 * * *")), False),
    ],
)
def test_a_sync_that_began_when_it_was_allowed(windows: tuple[Window, ...], goes_on: bool) -> None:
    began = clock(NOON - timedelta(hours=1))
    assert may_sync(windows, SHOP, clock(NOON), manual=False, began=began) is goes_on
    assert not may_sync(windows, SHOP, clock(NOON), manual=False)


@pytest.mark.parametrize(
    "schedule", ["", "* * * *", "60 * * * *", "* * 0 * *", "5-1 * * * *", "*/0 * * * *", "x * * * *"]
)
def test_schedules_that_are_none(schedule: str) -> None:
    assert wrong_window(window("allow", schedule)) is not None


def test_steps_ranges_and_names() -> None:
    found = parse("*/20 8-10 1,15 jan-mar mon-fri")
    assert sorted(found.minutes) == [0, 20, 40]
    assert sorted(found.hours) == [8, 9, 10]
    assert (sorted(found.months), sorted(found.weekdays)) == ([1, 2, 3], [1, 2, 3, 4, 5])
