"""Why a workload is not healthy, and whose fault that is, from its pods."""

from __future__ import annotations

from typing import Any

from trueup.core.health.pods import explain, trouble
from trueup.core.model import Fault, Health

P, D = Health.PROGRESSING, Health.DEGRADED


def pod(name: str = "web-1", **status: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "status": {"phase": "Running", **status}}


def container(restarts: int = 0, last: Any = None, **state: Any) -> dict[str, Any]:
    given = {"name": "web", "ready": False, "restartCount": restarts, "state": state}
    return {**given, "lastState": {"terminated": last}} if last else given


def crashed(restarts: int = 3) -> dict[str, Any]:
    last = {"exitCode": 1, "reason": "Error"}
    return pod(containerStatuses=[container(restarts, last, waiting={"reason": "CrashLoopBackOff"})])


READY = pod("web-0", conditions=[{"type": "Ready", "status": "True"}])
PULL = pod(containerStatuses=[container(waiting={"reason": "ImagePullBackOff", "message": "not found"})])
CONFIG = pod(containerStatuses=[container(waiting={"reason": "CreateContainerConfigError", "message": "no cm"})])
KILLED = pod(containerStatuses=[container(3, {"exitCode": 137, "reason": "OOMKilled"}, running={})])


def test_a_ready_pod_is_no_trouble() -> None:
    assert trouble(READY) is None


def test_a_crash_is_the_changes_fault_while_old_pods_pass() -> None:
    found = explain(P, "1/2 ready", [crashed()], [READY], proven=False)
    assert (found.health, found.fault) == (D, Fault.CHANGE)
    assert found.reason == "1/2 ready; pod web-1 CrashLoopBackOff: exit 1"


def test_one_crash_is_not_yet_a_failure() -> None:
    assert explain(P, "", [crashed(1)], [], proven=False).health is P


def test_old_pods_that_fail_too_make_it_the_worlds_fault() -> None:
    assert explain(P, "", [crashed()], [crashed()], proven=False).fault is Fault.WORLD


def test_what_worked_before_is_the_worlds_fault() -> None:
    assert explain(P, "", [crashed()], [], proven=True).fault is Fault.WORLD


def test_what_worked_once_is_the_changes_fault_while_old_pods_pass() -> None:
    found = explain(P, "", [crashed()], [READY], proven=True)
    assert (found.fault, found.down) == (Fault.CHANGE, False)
    assert explain(P, "", [crashed()], [], proven=False).down


def test_a_pull_error_is_the_worlds_fault() -> None:
    found = explain(P, "", [PULL], [READY], proven=False)
    assert (found.health, found.fault, "not found" in found.reason) == (D, Fault.WORLD, True)


def test_a_missing_config_map_is_the_changes_fault() -> None:
    assert explain(P, "", [CONFIG], [READY], proven=False).fault is Fault.CHANGE


def test_a_pod_out_of_memory_says_so() -> None:
    assert "more memory than its limit" in explain(P, "", [KILLED], [], proven=False).reason


def test_the_worst_pod_is_told() -> None:
    found = explain(P, "", [PULL, crashed()], [READY], proven=False)
    assert found.worst is not None and found.worst.crashed
