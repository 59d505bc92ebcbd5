"""What makes images: one module a product; `BUILDERS` names them."""

from __future__ import annotations

from collections.abc import Mapping

# name → module, imported by `app.py` alone when chosen
BUILDERS: Mapping[str, str] = {
    "buildah": "trueup.drivers.builders.buildah",
    "memory": "trueup.drivers.builders.memory",
}
