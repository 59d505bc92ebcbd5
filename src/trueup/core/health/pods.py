"""Why a workload of a cluster is not healthy, from its pods: the words a person needs, and whose fault it is. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from trueup.core.health.conditions import conditions
from trueup.core.model import Fault, Health, Json

CRASHES = 2  # restarts of one container after which it is taken to fail by itself
PULLING = frozenset(
    {"ImagePullBackOff", "ErrImagePull", "ErrImageNeverPull", "RegistryUnavailable", "InvalidImageName"}
)
STARTING = frozenset({"ContainerCreating", "PodInitializing", ""})


class Trouble(Struct, frozen=True):
    """Of one pod. `container` is the one whose log says more, "" when none started."""

    pod: str
    words: str
    health: Health
    fault: Fault
    container: str = ""
    crashed: bool = False
    runs: bool = False  # anew, after a crash
    unsaid: bool = False  # the pod's status does not say why: its events may


def trouble(pod: Json) -> Trouble | None:
    """What keeps a pod from being ready; None when nothing does."""
    name, status = pod["metadata"]["name"], pod.get("status") or {}
    have = conditions(status)
    if status.get("phase") == "Succeeded" or have.get("Ready", {}).get("status") == "True":
        return None
    scheduled = have.get("PodScheduled", {})
    if scheduled.get("status") == "False":
        words = f"pod {name} {scheduled.get('reason', 'Unschedulable')}: {scheduled.get('message', '')}"
        return Trouble(name, words[:400], Health.PROGRESSING, Fault.WORLD)
    if status.get("reason") == "Evicted":
        return Trouble(name, f"pod {name} Evicted: {status.get('message', '')}"[:400], Health.DEGRADED, Fault.WORLD)
    for state in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        found = _of_container(name, state)
        if found is not None:
            return found
    words = f"pod {name} is {status.get('phase', 'Pending')}"
    return Trouble(name, words, Health.PROGRESSING, Fault.NONE, unsaid=True)


def _of_container(pod: str, state: Json) -> Trouble | None:
    now, last = state.get("state") or {}, state.get("lastState") or {}
    waiting = now.get("waiting") or {}
    ended = now.get("terminated") or last.get("terminated") or {}
    reason, container = str(waiting.get("reason") or ""), str(state.get("name"))
    if reason in PULLING:
        health = Health.PROGRESSING if reason == "ErrImagePull" else Health.DEGRADED  # the first try may be unlucky
        return Trouble(pod, f"pod {pod} {reason}: {waiting.get('message', '')}"[:400], health, Fault.WORLD)
    if reason not in STARTING and reason != "CrashLoopBackOff":
        words = f"pod {pod} {reason}: {waiting.get('message', '')}"[:400]
        return Trouble(pod, words, Health.DEGRADED, Fault.CHANGE, container)
    failed, runs = ended.get("exitCode", 0) != 0, "running" in now
    if state.get("restartCount", 0) >= CRASHES and (failed or reason == "CrashLoopBackOff"):
        words = f"pod {pod} {reason or 'Error'}: {_exit(ended)}"
        return Trouble(pod, words, Health.DEGRADED, Fault.CHANGE, container, crashed=True, runs=runs)
    if failed or reason == "CrashLoopBackOff":
        words = f"pod {pod} {_exit(ended)}"
        return Trouble(pod, words, Health.PROGRESSING, Fault.CHANGE, container, crashed=True, runs=runs)
    if now.get("running") and not state.get("ready"):
        words = f"pod {pod} runs, its readiness probe does not pass"
        return Trouble(pod, words, Health.PROGRESSING, Fault.CHANGE, container, unsaid=True)
    return None


def _exit(ended: Json) -> str:
    if not ended:
        return "it ends again and again"
    if ended.get("reason") == "OOMKilled":
        return "OOMKilled: it took more memory than its limit"
    signal = f" (signal {ended['signal']})" if ended.get("signal") else ""
    message = f": {' '.join(str(ended['message']).split())[-200:]}" if ended.get("message") else ""
    return f"exit {ended.get('exitCode')}{signal}{message}"


class Explained(Struct, frozen=True):
    health: Health
    reason: str
    fault: Fault
    worst: Trouble | None = None
    down: bool = False  # degraded, and no pod is well, old ones included


def explain(health: Health, reason: str, new: Sequence[Json], old: Sequence[Json], *, proven: bool) -> Explained:
    """The judgement of a workload that is not healthy, its pods looked at: `new` are of the wanted template.

    The change is at fault only when its own pods fail by themselves while the old ones pass, or when there are no old
    ones and it never worked.
    Source: DESIGN.md, "Candidates and the Git protocol".
    """
    troubles = [t for t in map(trouble, new) if t is not None]
    worst = min(troubles, key=lambda t: (t.health is not Health.DEGRADED, t.fault is not Fault.CHANGE), default=None)
    if worst is None:
        return Explained(health, reason, Fault.WORLD if health is Health.DEGRADED else Fault.NONE)
    words = "; ".join(part for part in (reason, worst.words) if part)
    ill = Health.DEGRADED if Health.DEGRADED in (health, worst.health) else health
    if ill is not Health.DEGRADED:
        return Explained(ill, words, Fault.NONE, worst)
    blame = worst.fault is Fault.CHANGE and all(trouble(pod) is None for pod in old) and bool(old or not proven)
    down = not any(trouble(pod) is None for pod in (*new, *old))
    return Explained(ill, words, Fault.CHANGE if blame else Fault.WORLD, worst, down)


def of_job(health: Health, reason: str, found: Explained) -> Explained:
    """A Job has its own patience: pods that fail are told, but only the Job itself fails, and then by itself.

    When its pods are gone by then, it is its own failure unless the time was up (they may never have started).
    Source: Kubernetes "Jobs", backoff and terminal conditions.
    """
    if health is not Health.DEGRADED:
        if found.health is Health.DEGRADED and found.fault is Fault.CHANGE:
            return Explained(health, found.reason, Fault.NONE, found.worst)
        return found
    if found.worst is None and not reason.startswith("DeadlineExceeded"):
        return Explained(health, found.reason, Fault.CHANGE)
    return found
