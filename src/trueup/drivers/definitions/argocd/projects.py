"""Argo CD's AppProject → what it allows. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from trueup.core import project as p
from trueup.core.origin import Origin
from trueup.core.windows import Window
from trueup.core.yamldoc import Doc
from trueup.drivers.definitions.argocd import resources as r


def project(origin: Origin, doc: Doc) -> p.Project:
    """Raises msgspec.ValidationError."""
    spec = msgspec.convert(doc.body, r.Project).spec
    allowed, orphaned = spec.namespace_resource_whitelist, spec.orphaned_resources
    return p.Project(
        origin=origin,
        place=doc.place(),
        source_repos=spec.source_repos,
        destinations=tuple(p.Where(d.server, d.name, d.namespace) for d in spec.destinations),
        cluster_allowed=_kinds(spec.cluster_resource_whitelist),
        cluster_denied=_kinds(spec.cluster_resource_blacklist),
        namespaced_allowed=None if allowed is None else tuple(p.Kind(k.group, k.kind) for k in allowed),
        namespaced_denied=tuple(p.Kind(k.group, k.kind) for k in spec.namespace_resource_blacklist),
        roles=tuple(p.Role(role.name, role.groups, role.policies) for role in spec.roles),
        windows=tuple(_window(w) for w in spec.sync_windows),
        orphaned=None if orphaned is None else p.Orphaned(orphaned.warn, _kinds(orphaned.ignore)),
    )


def _kinds(stated: Iterable[r.Resource]) -> tuple[p.Kind, ...]:
    return tuple(p.Kind(k.group, k.kind, k.name) for k in stated)


def _window(w: r.Window) -> Window:
    return Window(
        w.kind, w.schedule, w.duration, w.time_zone or "UTC", w.applications, w.namespaces, w.clusters,
        w.manual_sync, w.and_operator, w.sync_overrun,
    )  # fmt: skip
