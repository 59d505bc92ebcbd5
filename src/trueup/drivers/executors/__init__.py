"""Where jobs run. One module a product; `EXECUTORS` names them."""

from __future__ import annotations

from collections.abc import Mapping

# name → module, imported by `app.py` alone when chosen
EXECUTORS: Mapping[str, str] = {
    "container": "trueup.drivers.executors.container",
    "process": "trueup.drivers.executors.process",
}
