"""What the pods of an application print: found by owner, merged line by line, followed while pods come and go.

Source: Kubernetes API reference v1.36, "read log of the specified Pod".
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence

from msgspec import Struct

from trueup.core.model import Json, Ref
from trueup.drivers.targets.kubernetes.client import ApiError, Client, Gone
from trueup.ports import TargetDown

WORKLOADS = {  # of what we apply: those that have pods
    ("apps", "Deployment"), ("apps", "StatefulSet"), ("apps", "DaemonSet"), ("apps", "ReplicaSet"),
    ("batch", "Job"), ("batch", "CronJob"), ("", "Pod"), ("", "ReplicationController"),
}  # fmt: skip
BETWEEN = {  # owner of owners of pods: their kind, and where they are listed
    "Deployment": ("ReplicaSet", "/apis/apps/v1/namespaces/{}/replicasets"),
    "CronJob": ("Job", "/apis/batch/v1/namespaces/{}/jobs"),
}
LOOK_S = 2.0  # between two looks for new pods, when following
QUEUE = 1000  # lines


class Printing(Struct, frozen=True):
    """One container of one pod."""

    namespace: str
    pod: str
    container: str
    uid: str


async def logs(
    client: Client, refs: Sequence[Ref], wanted: str = "", *, follow: bool = False, tail: int = -1
) -> AsyncIterator[bytes]:
    """Lines of the containers of "deployment/web", of a pod by its name, or of all of `refs`; each begins with its pod
    where there is more than one container. Raises TargetDown."""
    try:
        found = await printing(client, refs, wanted)
        if not found and not follow:
            raise TargetDown(
                f"no pod of {wanted or 'this application'} is there: nothing has been printed that is kept"
            )
        async for line in _merged(client, refs, wanted, found, follow=follow, tail=tail):
            yield line
    except ApiError as error:
        raise TargetDown(f"logs cannot be read: {error.message} ({error.status})") from error


async def printing(client: Client, refs: Sequence[Ref], wanted: str = "") -> list[Printing]:
    """The containers that have started, of pods owned by what `refs` name. Raises ApiError, TargetDown."""
    own = [ref for ref in refs if (ref.group, ref.kind) in WORKLOADS]
    named = [ref for ref in own if wanted in ("", str(ref), ref.name, f"{ref.namespace}/{ref}")]
    pod = "" if named else wanted.removeprefix("pod/")
    chosen = named or own
    found: list[Printing] = []
    for namespace in sorted({ref.namespace for ref in chosen}):
        here = {(ref.kind, ref.name) for ref in chosen if ref.namespace == namespace}
        found += await _in_namespace(client, namespace, here, pod)
    return found


async def _in_namespace(client: Client, namespace: str, own: set[tuple[str, str]], pod: str) -> list[Printing]:
    kinds = {kind for kind, _ in own}
    for above, (kind, path) in BETWEEN.items():
        if above in kinds:
            async for item, _ in client.pages(path.format(namespace)):
                if _owned(item, own):
                    own = own | {(kind, item["metadata"]["name"])}
    found = []
    async for item, _ in client.pages(f"/api/v1/namespaces/{namespace}/pods"):
        name = item["metadata"]["name"]
        if (_owned(item, own) or ("Pod", name) in own) and pod in ("", name):
            found += _containers(namespace, item)
    return found


def _owned(body: Json, own: Iterable[tuple[str, str]]) -> bool:
    owners = body["metadata"].get("ownerReferences") or ()
    return any((o.get("kind"), o.get("name")) in own for o in owners if o.get("controller"))


def _containers(namespace: str, pod: Json) -> list[Printing]:
    metadata, status = pod["metadata"], pod.get("status") or {}
    states = (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ()))
    begun = [s["name"] for s in states if set(s.get("state") or {}) & {"running", "terminated"} or s.get("lastState")]
    return [Printing(namespace, metadata["name"], name, metadata["uid"]) for name in begun]


async def _merged(
    client: Client, refs: Sequence[Ref], wanted: str, found: list[Printing], *, follow: bool, tail: int
) -> AsyncIterator[bytes]:
    if not follow:
        heads = _heads(found)
        for each in found:
            async for line in _lines(client, each, follow=False, tail=tail):
                yield heads[each] + line
        return
    queue: asyncio.Queue[bytes] = asyncio.Queue(QUEUE)
    following = asyncio.create_task(_follow(client, refs, wanted, found, tail, queue))
    try:
        while True:
            yield await queue.get()
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


async def _follow(
    client: Client, refs: Sequence[Ref], wanted: str, found: list[Printing], tail: int, queue: asyncio.Queue[bytes]
) -> None:
    """For ever: every container that is there, those that come later from their beginning."""

    async def copy(each: Printing, head: bytes, tail: int) -> None:
        async for line in _lines(client, each, follow=True, tail=tail):
            await queue.put(head + line)

    copies: dict[Printing, asyncio.Task[None]] = {}
    async with asyncio.TaskGroup() as tasks:
        first = True
        while True:
            heads = _heads(found)
            for each in found:
                before = copies.get(each)
                if before is None or before.done():  # new, or its container has ended and may have been started anew
                    begin = tail if first else -1 if before is None else 0
                    copies[each] = tasks.create_task(copy(each, heads[each] or f"{each.pod} | ".encode(), begin))
            first = False
            await asyncio.sleep(LOOK_S)
            with contextlib.suppress(ApiError, TargetDown):
                found = await printing(client, refs, wanted)


async def _lines(client: Client, each: Printing, *, follow: bool, tail: int) -> AsyncIterator[bytes]:
    query = {"container": each.container, "follow": str(follow).lower()}
    if tail >= 0:
        query["tailLines"] = str(tail)
    path = f"/api/v1/namespaces/{each.namespace}/pods/{each.pod}/log"
    try:
        async for line in client.lines(path, query):
            yield line + b"\n"
    except (ApiError, Gone) as error:
        if getattr(error, "status", 0) in (400, 404):  # it has not started, or has gone meanwhile
            return
        yield f"[no logs of {each.container}: {error}]\n".encode()
    except TargetDown as error:
        yield f"[no logs of {each.container}: {error}]\n".encode()


def _heads(found: Sequence[Printing]) -> dict[Printing, bytes]:
    """What each line begins with: nothing for a single container, else its pod, with the container where a pod has
    several."""
    if len(found) < 2:
        return dict.fromkeys(found, b"")
    several = {pod for pod, count in Counter(each.pod for each in found).items() if count > 1}
    return {e: f"{e.pod}/{e.container} | ".encode() if e.pod in several else f"{e.pod} | ".encode() for e in found}
