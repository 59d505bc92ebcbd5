"""What is asked of a cluster as a whole: which one it is, its version, its nodes, and what we may do there."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from trueup.core.model import Json
from trueup.drivers.targets.kubernetes.client import ApiError, Call, Client
from trueup.ports import TargetDown


class Node(Struct, frozen=True):
    name: str
    addresses: tuple[str, ...]  # InternalIP
    takes_pods: bool = True  # not cordoned


class Right(Struct, frozen=True):
    """One verb on one resource ("deployments.apps") in a namespace, "" for all of them."""

    verb: str
    resource: str
    namespace: str = ""

    def __str__(self) -> str:
        return f"{self.verb} {self.resource} {f'in {self.namespace}' if self.namespace else 'in every namespace'}"


async def identity(client: Client) -> str:
    """The same for as long as the cluster lives: kube-system's uid, or the server's address where that may not be
    read. Raises TargetDown."""
    try:
        return str((await client.get("/api/v1/namespaces/kube-system"))["metadata"]["uid"])
    except ApiError as error:
        if error.status == 401:
            raise TargetDown(f"{client.access.server} takes no such credentials: {error.message}") from error
        return client.access.server


async def version(client: Client) -> str:
    """ "v1.36.3". Raises ApiError, TargetDown."""
    return str((await client.get("/version"))["gitVersion"])


async def nodes(client: Client) -> tuple[Node, ...]:
    """Raises ApiError, TargetDown."""
    return tuple([_node(item) async for item, _ in client.pages("/api/v1/nodes")])


def _node(body: Json) -> Node:
    listed = (body.get("status") or {}).get("addresses") or ()
    own = tuple(each["address"] for each in listed if each.get("type") == "InternalIP")
    return Node(body["metadata"]["name"], own, not (body.get("spec") or {}).get("unschedulable"))


async def lacking(client: Client, rights: Sequence[Right]) -> tuple[Right, ...]:
    """Those that our account does not have. Source: authorization.k8s.io/v1 SelfSubjectAccessReview.

    Raises ApiError, TargetDown."""
    return tuple([each for each in rights if not await _may(client, each)])


async def _may(client: Client, right: Right) -> bool:
    name, _, group = right.resource.partition(".")
    resource, _, below = name.partition("/")
    asked = {
        "verb": right.verb, "resource": resource, "subresource": below, "group": group, "namespace": right.namespace,
    }  # fmt: skip
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": asked},
    }
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    return bool((await client.send(Call(method="POST", path=path, body=body)))["status"]["allowed"])
