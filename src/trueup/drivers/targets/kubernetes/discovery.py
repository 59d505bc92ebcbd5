"""Which kinds a cluster knows, and at which paths. Source: Kubernetes API concepts, "Aggregated discovery" (v2)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from urllib.parse import quote

from msgspec import Struct

from trueup.core.model import Json
from trueup.drivers.targets.kubernetes.client import Client

ACCEPT = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
FRESH_S = 2.0  # a kind that is not known is not asked for again sooner


class Resource(Struct, frozen=True):
    """One kind in one version. `reports`: it has a status of its own; `scales`: others can set its replicas."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool
    verbs: frozenset[str]
    reports: bool
    scales: bool = False

    def path(self, namespace: str = "", name: str = "") -> str:
        """Of one object, or of the list; without a namespace over all of them."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        inside = f"/namespaces/{quote(namespace, safe='')}" if namespace and self.namespaced else ""
        return f"{root}{inside}/{self.plural}" + (f"/{quote(name, safe='')}" if name else "")

    @property
    def path_version(self) -> str:
        """As `apiVersion` has it."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def group_kind(self) -> str:
        """ "Deployment.apps", "ConfigMap"."""
        return f"{self.kind}.{self.group}" if self.group else self.kind


class Discovery:
    """Read at first use, and again when something is asked that it does not know."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._known: dict[tuple[str, str], list[Resource]] = {}  # (group, kind) → versions, the preferred one first
        self._read_at = -FRESH_S
        self._reading = asyncio.Lock()

    async def find(self, group: str, kind: str, version: str = "") -> Resource | None:
        """The kind in this version, or the preferred one; None when the cluster does not serve it.

        Raises ApiError, TargetDown."""
        found = self._find(group, kind, version)
        loop = asyncio.get_running_loop()
        if found is None and loop.time() - self._read_at >= FRESH_S:
            async with self._reading:
                if loop.time() - self._read_at >= FRESH_S:
                    await self.refresh()
            found = self._find(group, kind, version)
        return found

    def known(self, group: str, kind: str) -> Resource | None:
        """The preferred version, without asking."""
        return self._find(group, kind, "")

    def _find(self, group: str, kind: str, version: str) -> Resource | None:
        return next((r for r in self._known.get((group, kind), ()) if not version or r.version == version), None)

    async def refresh(self) -> None:
        core, groups = await asyncio.gather(self._client.get("/api", ACCEPT), self._client.get("/apis", ACCEPT))
        known: dict[tuple[str, str], list[Resource]] = {}
        for item in (*core.get("items", ()), *groups.get("items", ())):
            for each in _resources(item):
                known.setdefault((each.group, each.kind), []).append(each)
        self._known = known
        self._read_at = asyncio.get_running_loop().time()


def _resources(item: Json) -> Iterator[Resource]:
    group = item["metadata"].get("name") or ""
    for version in item.get("versions", ()):
        for each in version.get("resources", ()):
            verbs = frozenset(each.get("verbs", ()))
            if "patch" not in verbs:
                continue
            kind = each["responseKind"]
            parts = {s.get("subresource") for s in each.get("subresources") or ()}
            yield Resource(
                group, version["version"], kind["kind"], each["resource"], each.get("scope") == "Namespaced", verbs,
                reports="status" in parts, scales="scale" in parts,
            )  # fmt: skip
