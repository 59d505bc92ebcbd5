"""Objects that ask to be replaced rather than merged, or made anew where a field can never change.

Source: Argo CD "Sync Options", Replace and Force; Flux Kustomization, `kustomize.toolkit.fluxcd.io/force`.
"""

from __future__ import annotations

from trueup.core import syncoptions
from trueup.core.model import Json, Object
from trueup.core.objects import annotation
from trueup.drivers.targets.kubernetes.client import ApiError, Call, Client
from trueup.drivers.targets.kubernetes.owned import MANAGER
from trueup.ports import TargetDown

JSON_PATCH = "application/json-patch+json"
REPLACE = "Replace=true"
ANEW = {
    syncoptions.OPTIONS: ("Force=true",),
    "kustomize.toolkit.fluxcd.io/force": ("enabled",),
    "trueup.io/replace": ("true",),
}
HOLDS = frozenset({"PersistentVolumeClaim", "PersistentVolume", "Namespace", "CustomResourceDefinition"})


def may_make_anew(object: Object) -> bool:
    """Whether it may be deleted and made again. By Replace=true alone nothing is that takes data with it."""
    body = object.body
    if any(word.strip() in words for name, words in ANEW.items() for word in annotation(body, name).split(",")):
        return True
    return syncoptions.has(body, REPLACE) and object.ref.kind not in HOLDS


async def whole(client: Client, apply: Call) -> None:
    """Put the body in the place of what stands, so that nothing stays of it; the apply that follows makes it ours.

    A patch, so that no other right is needed than for an apply. Raises ApiError, TargetDown."""
    try:
        live = await client.get(apply.path)
        query = (("fieldManager", MANAGER),)
        await client.send(
            Call(
                method="PATCH",
                path=apply.path,
                query=query,
                body=operations(live, apply.body),
                content=JSON_PATCH,
                account=apply.account,
            )
        )
    except ApiError as error:
        if error.status == 404:
            return
        if "does not apply" in error.message:
            raise TargetDown(f"{apply.path} is written by others at the same time; it is tried again") from error
        raise


def operations(live: Json, body: Json) -> list[Json]:
    """What makes `live` the body, as a JSON patch: every field below the top, labels and annotations as a whole."""
    apart = ("apiVersion", "kind", "metadata", "status")
    made = [{"op": "add", "path": f"/{key}", "value": value} for key, value in body.items() if key not in apart]
    made += [{"op": "remove", "path": f"/{key}"} for key in live if key not in body and key not in apart]
    stated, there = body["metadata"], live["metadata"]
    for key in ("labels", "annotations"):
        if stated.get(key):
            made.append({"op": "add", "path": f"/metadata/{key}", "value": stated[key]})
        elif there.get(key):
            made.append({"op": "remove", "path": f"/metadata/{key}"})
    return made
