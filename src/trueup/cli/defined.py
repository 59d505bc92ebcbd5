"""`trueup render APPLICATION`: the objects of an application that a definition in this repository states."""

from __future__ import annotations

from pathlib import Path

from msgspec import structs

from trueup.cli.errors import Stop, Unknown
from trueup.cli.revision import open_revision
from trueup.core.application import Application
from trueup.core.layout import Layout
from trueup.core.manifests import Manifest, Rendered
from trueup.core.model import Finding, Json, Severity
from trueup.core.objects import order
from trueup.core.resolve import Resolved
from trueup.engine.definitions import is_named
from trueup.engine.elsewhere import lay_beside
from trueup.engine.expansion import not_permitted
from trueup.engine.rendering import Rendering
from trueup.engine.study import Reading
from trueup.ports import Given

# API groups of Kubernetes itself: whether their kinds have a namespace is known without a cluster
_BUILT_IN = frozenset({"", "apps", "batch", "autoscaling", "policy", "networking.k8s.io", "rbac.authorization.k8s.io"})


async def objects(where: Layout, root: Path, name: str) -> tuple[list[Json], tuple[str, ...]]:
    """The bodies of an application in the order of their application, and what to warn about. Raises Stop."""
    async with open_revision(where, str(root), "") as revision:
        reading = revision.reading
        one, given = await _laid_beside(_named(reading, name), reading)
        if one.application is None:
            raise Stop("\n".join(_told(finding) for finding in one.findings))
        rendered = await _rendered(one.application, reading, given, revision.rendering)
        refused = not_permitted(one.stated, rendered, reading.expanded)
    if refused:
        raise Stop("\n".join(_told(finding) for finding in refused))
    errors = [f for f in rendered.findings if f.severity is Severity.ERROR]
    if errors:
        raise Stop("\n".join(_told(finding) for finding in errors))
    manifests = sorted((*rendered.manifests, *rendered.definitions), key=lambda m: order(m.object.ref))
    warnings = tuple(_told(f) for f in rendered.findings if f.severity is Severity.WARNING)
    return [_placed(manifest, one.application.namespace) for manifest in manifests], warnings


def _named(reading: Reading, name: str) -> Resolved:
    every = reading.expanded.resolved if reading.expanded is not None else ()
    found = [one for one in every if is_named(one.stated.origin, name)]
    if len(found) == 1:
        return found[0]
    if not found:
        there = ", ".join(str(one.stated.origin) for one in every) or "none"
        raise Unknown(f"{name}: no such file or folder, and no application of a definition here; there is: {there}")
    told = ", ".join(f"{one.stated.origin.namespace}/{name} ({one.stated.place})" for one in found)
    raise Unknown(f"{name} is the name of several: {told}; say which, with its namespace or kind before it")


async def _laid_beside(one: Resolved, reading: Reading) -> tuple[Resolved, Given]:
    """With what the application is made from elsewhere fetched, pinned and laid beside this repository."""
    given, beside, expanded = reading.view.given, reading.view.means.beside, reading.expanded
    if beside is None or expanded is None:
        return one, given
    whole, given = await lay_beside(structs.replace(expanded, resolved=(one,)), given, beside)
    return whole.resolved[0], given


async def _rendered(application: Application, reading: Reading, given: Given, rendering: Rendering) -> Rendered:
    known, tree = reading.view.blobs, given.folders.tree
    missing = [tree[path].oid for path in application.manifests if path in tree and tree[path].oid not in known]
    fetched = await given.blobs(missing) if missing else {}
    return await rendering.application(application, given, {**known, **fetched}, reading.view.means)


def _placed(manifest: Manifest, namespace: str) -> Json:
    """The body with the namespace that the definition says, where it names none of its own."""
    body, ref = manifest.object.body, manifest.object.ref
    if namespace == "default" or not ref.namespace or ref.group not in _BUILT_IN or body["metadata"].get("namespace"):
        return body
    return {**body, "metadata": {**body["metadata"], "namespace": namespace}}


def _told(finding: Finding) -> str:
    return f"{finding.place}: {finding.message}. {finding.fix}"
