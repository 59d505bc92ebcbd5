"""Which target a state folder rolls out to: remembered, and never another one by mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from trueup.core.layout import Layout
from trueup.core.model import Ref
from trueup.engine.cluster import Way, WayRefused, access, agreed, applied, keep, kept, to_go

CLUSTER = Way(target="kubernetes", context="a", namespace="shop", cluster="uid-1", server="https://one.example")


def test_a_new_folder_takes_any_target_and_remembers_it(tmp_path: Path) -> None:
    layout = Layout(str(tmp_path))
    assert kept(layout) == Way()
    keep(layout, agreed(layout, CLUSTER))
    assert kept(layout) == CLUSTER == agreed(layout, CLUSTER)


def test_another_target_or_cluster_is_refused_with_what_to_do(tmp_path: Path) -> None:
    layout = Layout(str(tmp_path))
    keep(layout, CLUSTER)
    with pytest.raises(WayRefused, match=r"the cluster at https://one\.example, not to this machine: .*--state"):
        agreed(layout, Way())
    other = Way(target="kubernetes", cluster="uid-2", server="https://two.example")
    with pytest.raises(WayRefused, match=r"one\.example; https://two\.example is another one"):
        agreed(layout, other)


def test_a_folder_of_an_earlier_version_with_an_agent_is_one_machines(tmp_path: Path) -> None:
    (tmp_path / "agent").mkdir()
    with pytest.raises(WayRefused, match="rolls out to this machine, not to a cluster"):
        agreed(Layout(str(tmp_path)), CLUSTER)


def test_without_a_kubeconfig_it_says_where_one_is_looked_for(tmp_path: Path) -> None:
    with pytest.raises(WayRefused, match=f"there is no kubeconfig: .*{tmp_path}/.kube/config"):
        access(Way(target="kubernetes"), {"HOME": str(tmp_path)})
    with pytest.raises(WayRefused, match="KUBECONFIG names /absent: no such file"):
        access(Way(target="kubernetes"), {"HOME": str(tmp_path), "KUBECONFIG": "/absent"})


def test_in_a_pod_its_own_account_is_used(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path), "KUBERNETES_SERVICE_HOST": "10.96.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    assert access(Way(target="kubernetes"), environ).server == "https://10.96.0.1:443"
    assert access(Way(target="kubernetes", namespace="shop"), environ).namespace == "shop"


async def test_leaving_keeps_what_holds_other_things(tmp_path: Path) -> None:
    assert await applied(Layout(str(tmp_path))) == ()
    claim, web = (Ref("host", "", kind, "shop", "x") for kind in ("PersistentVolumeClaim", "Service"))
    assert (to_go(claim, data=False), to_go(web, data=False), to_go(claim, data=True)) == (False, True, True)
