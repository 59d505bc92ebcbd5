"""What the API server would make of an object, asked by a server-side dry run; nothing is changed.

Source: Kubernetes API concepts, "Dry-run"; admission webhooks with side effects refuse it (400).
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from trueup.core.model import Json, Object
from trueup.drivers.targets.kubernetes.client import APPLY, Account, ApiError, Call, Client
from trueup.drivers.targets.kubernetes.discovery import Discovery
from trueup.drivers.targets.kubernetes.owned import MANAGER
from trueup.drivers.targets.kubernetes.prepare import prepared
from trueup.drivers.targets.kubernetes.refusals import refused
from trueup.ports import ObjectInvalid, TargetDown


class Tried(Struct, frozen=True):
    """`before` and `after`: the whole object as the server has it and would have it; None when it has none, or when
    it could not be tried. `refused`: why it would not take the object. `untried`: why that is not known."""

    before: Json = None
    after: Json = None
    refused: str = ""
    untried: str = ""


async def dry_run(
    client: Client, discovery: Discovery, account: Account, part_of: str, object: Object, made: Sequence[Object]
) -> Tried:
    """One object of `part_of`'s application. `made` are the objects of the same plan that do not exist yet.

    Raises TargetDown when the server is away."""
    resource = await discovery.find(object.ref.group, object.ref.kind, object.api_version.rpartition("/")[2])
    if resource is None:
        crd = any(each.ref.kind == "CustomResourceDefinition" for each in made)
        why = "its CustomResourceDefinition is made by the same change" if crd else "the cluster has no such kind"
        return Tried(untried=f"{why} ({object.api_version})")
    if resource.namespaced and any(e.ref.kind == "Namespace" and e.ref.name == object.ref.namespace for e in made):
        return Tried(untried=f"its namespace {object.ref.namespace} is made by the same change")
    path = resource.path(object.ref.namespace, object.ref.name)
    before = await _live(client, path)
    body, _ = prepared(object, part_of, resource.namespaced)
    query = (("fieldManager", MANAGER), ("force", "true"), ("dryRun", "All"))
    call = Call(
        method="PATCH", path=path, query=query, body=body, content=APPLY, account=account, patience_s=0, fenced=False
    )
    try:
        return Tried(before, await client.send(call))
    except ApiError as error:
        if error.status == 400 and "dry run" in error.message:  # "admission webhook … does not support dry run"
            return Tried(before, untried=error.message)
        found = refused(object, error)
        if isinstance(found, ObjectInvalid):
            return Tried(before, refused=str(found))
        return Tried(before, untried=str(found))
    except TargetDown as error:
        return Tried(before, untried=str(error))


async def _live(client: Client, path: str) -> Json:
    try:
        return await client.get(path)
    except ApiError as error:
        if error.status in (403, 404):
            return None
        raise TargetDown(f"{path} could not be read: {error.message} ({error.status})") from error
