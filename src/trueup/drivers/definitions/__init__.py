"""Where what should run is stated: by convention, or in the resources of other products. The dict is the registry."""

from __future__ import annotations

from collections.abc import Callable

from trueup.core.definition import Definition
from trueup.core.fields import Kind
from trueup.core.origin import Origin
from trueup.core.yamldoc import Doc
from trueup.drivers.definitions import argocd, flux

DEFINITIONS: dict[str, tuple[tuple[Kind, ...], Callable[[Origin, Doc], Definition]]] = {
    "argo cd": (argocd.KINDS, argocd.read),
    "flux": (flux.KINDS, flux.read),
}
