"""Conditions of a status. Source: Kubernetes API conventions, "Typical status properties"."""

from __future__ import annotations

from collections.abc import Mapping

from trueup.core.model import Json


def conditions(status: Json) -> dict[str, Mapping[str, str]]:
    """type → condition."""
    listed = status.get("conditions") if isinstance(status, dict) else None
    return {c["type"]: c for c in listed if isinstance(c, dict) and "type" in c} if isinstance(listed, list) else {}


def told(condition: Mapping[str, str]) -> str:
    """ "Reason: message" of a condition."""
    parts = [str(condition.get(key) or "") for key in ("reason", "message")]
    return ": ".join(" ".join(p.split()) for p in parts if p)[:400] or f"{condition['type']} is {condition['status']}"
