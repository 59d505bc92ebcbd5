"""All desired objects of an application as one Bundle: what stands, and the hooks that are made at their time. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from trueup.core.hooks import is_hook
from trueup.core.model import Bundle, Object
from trueup.core.objects import order


def make_bundle(application: str, candidate: str, objects: Iterable[Object]) -> Bundle:
    """A Bundle in its stable order. Its hash covers what is applied, neither where it is written nor the Candidate."""
    ordered = tuple(sorted(objects, key=lambda o: order(o.ref)))
    lines = [f"{(r := o.ref).group}/{r.kind}/{r.namespace}/{r.name} {o.hash}\n" for o in ordered]
    hash = hashlib.sha256("".join(lines).encode()).hexdigest()
    hooks = tuple(o for o in ordered if is_hook(o.body))
    if not hooks:
        return Bundle(application, candidate, ordered, hash)
    apart = {id(o) for o in hooks}
    return Bundle(application, candidate, tuple(o for o in ordered if id(o) not in apart), hash, hooks=hooks)
