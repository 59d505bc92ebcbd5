"""Objects that ask to be replaced rather than merged, or made anew where a field can never change.

Source: Argo CD "Sync Options", Replace and Force; Flux Kustomization, `kustomize.toolkit.fluxcd.io/force`.
"""

from __future__ import annotations

from trueup.core import syncoptions
from trueup.core.model import Object
from trueup.core.objects import annotation
from trueup.drivers.targets.kubernetes.client import ApiError, Call, Client
from trueup.drivers.targets.kubernetes.owned import MANAGER

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

    Raises ApiError, of 409 when somebody was first."""
    try:
        live = await client.get(apply.path)
    except ApiError as error:
        if error.status == 404:
            return
        raise
    body = apply.body
    version = {name: live["metadata"][name] for name in ("uid", "resourceVersion")}
    put = {**body, "metadata": {**body["metadata"], **version}}
    query = (("fieldManager", MANAGER),)
    await client.send(Call(method="PUT", path=apply.path, query=query, body=put, account=apply.account))
