"""What each application leaves to others: its rules, and the fields of a live or desired object that they mean."""

from __future__ import annotations

from trueup.core.leave import Path, concerning, leads, pointed
from trueup.core.model import DriftRules, Json, Leave, Ref
from trueup.drivers.targets.kubernetes.client import ApiError, Client
from trueup.drivers.targets.kubernetes.leaving import (
    REPLICAS,
    Steps,
    held_by,
    managed,
    scaled_by,
    steps_of,
    union,
)
from trueup.drivers.targets.kubernetes.records import Records
from trueup.ports import Expressions, TargetDown

AUTOSCALERS = "/apis/autoscaling/v2"  # KEDA's are among them
NONE = DriftRules()


class Rules:
    """Of one cluster. `expressions` evaluates jq, which is another program's language (DESIGN.md, "One semantics")."""

    def __init__(self, client: Client, records: Records, expressions: Expressions | None) -> None:
        self._client, self._records, self._expressions = client, records, expressions

    def of(self, application: str) -> DriftRules:
        return self._records.rules.get(application, NONE)

    def concern(self, application: str, ref: Ref) -> bool:
        """Whether any rule of the application is about this object."""
        rules = self._records.rules.get(application)
        return rules is not None and bool(concerning(rules.leave, ref))

    async def left(self, application: str, ref: Ref, live: Json, desired: Json, *, scales: bool) -> frozenset[Steps]:
        """The fields left to others, found in the live object and in what is desired. Raises TargetDown.

        Replicas are left where an autoscaler set them, and where Git does not state them: that never means one."""
        rules = concerning(self.of(application).leave, ref)
        fields = union([each.get("fieldsV1") or {} for each in managed(live)])
        found: set[Steps] = set()
        for body in (live, desired):
            found |= {steps_of(body, path, fields) for path in await self._paths(rules, ref, body)}
        for rule in rules:
            found.update(held_by(live, rule.managers))
        if scales and ("replicas" not in (desired.get("spec") or {}) or await self._autoscaled(ref, live)):
            found.add(REPLICAS)
        return frozenset(found)

    async def _autoscaled(self, ref: Ref, live: Json) -> bool:
        """Somebody scaled it, and an autoscaler is for it; where these may not be read, anybody but kubectl counts."""
        manager = scaled_by(live)
        if not manager:
            return False
        try:
            listed = await self._client.get(f"{AUTOSCALERS}/namespaces/{ref.namespace}/horizontalpodautoscalers")
        except ApiError as error:
            if error.status not in (403, 404):
                raise TargetDown(f"{ref}: its autoscalers could not be read: {error.message}") from error
            return manager != "kubectl"
        wanted = (ref.kind, ref.name)
        targets = [each["spec"]["scaleTargetRef"] for each in listed.get("items") or ()]
        return any((each["kind"], each["name"]) == wanted for each in targets)

    async def _paths(self, rules: tuple[Leave, ...], ref: Ref, body: Json) -> list[Path]:
        paths: list[Path] = []
        for rule in rules:
            paths += pointed(body, rule.pointers)
            if rule.jq and self._expressions is None:
                raise TargetDown(
                    f"{ref}: the jq expression {rule.jq[0]!r} needs the render worker: build it with `make render`"
                )
            if rule.jq and self._expressions is not None:
                paths += [path for path in await self._expressions.paths(rule.jq, body) if leads(body, path)]
        return paths
