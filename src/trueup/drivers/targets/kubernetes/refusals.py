"""What an API server's refusal of an object means: the object's own fault, or the world's. Pure.

The change is at fault only for what the server says of the object itself; rights, quota and anything that is away
hold, and never make an undo. Source: DESIGN.md; Kubernetes API conventions, "HTTP status codes".
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from trueup.core.model import Object
from trueup.drivers.targets.kubernetes.client import ApiError
from trueup.ports import ObjectInvalid, TargetDown

DENIED = re.compile(r'admission webhook "([^"]+)" denied the request')
UNTYPED = re.compile("typed patch object|duplicate entries")  # a 500 that is about the object all the same


def refused(object: Object, error: ApiError) -> ObjectInvalid | TargetDown:
    """The error to raise; its message names file and line, the object, and what to do."""
    where = f"{object.place}: {object.ref}"
    message = " ".join(error.message.split())[:1000]
    denied = DENIED.search(message)
    if denied:
        return ObjectInvalid(f"{where}: webhook {denied[1]} refuses it: {message[denied.end() :].lstrip(': ')}")
    if error.status in (400, 422) and "immutable" in message:
        return ObjectInvalid(
            f"{where}: {message}; this field can never change: rename the object, or let Trueup delete and make it "
            'anew by the annotation trueup.io/replace: "true"'
        )
    if error.status in (400, 413, 415, 422) or (error.status == 500 and UNTYPED.search(message)):
        return ObjectInvalid(f"{where}: {message}")
    if error.status == 403 and "exceeded quota" in message:
        return TargetDown(f"{where}: {message}; free some, or raise the ResourceQuota")
    if error.status == 403 and "being terminated" in message:
        return TargetDown(f"{where}: its namespace is being deleted; it is applied once that has ended")
    if error.status == 403:
        return TargetDown(f"{where}: {message}; give Trueup's account this right")
    if error.status == 404:
        return TargetDown(f"{where}: {message}; state the namespace too, or create it")
    return TargetDown(f"{where}: {message} ({error.status}); it is tried again")


def unknown_kind(objects: Sequence[Object]) -> str:
    """For objects whose kind the cluster does not serve (yet); everything else was applied."""
    first = objects[0]
    more = f", and {len(objects) - 1} more objects" if len(objects) > 1 else ""
    return (
        f"{first.place}: the cluster has no kind {first.ref.kind} in {first.api_version}{more}; it is applied once its "
        "CustomResourceDefinition is there"
    )
