"""Hatchling's hook: put the render worker into the wheel when it was built, and say which machines that is for."""

from __future__ import annotations

import platform
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CustomBuildHook(BuildHookInterface):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        worker = Path(self.root) / ".cache" / "trueup-render"
        if version == "editable" or not worker.is_file() or not sys.platform.startswith("linux"):
            return
        build_data["force_include"][str(worker.resolve())] = "trueup/_bin/trueup-render"
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-linux_{platform.machine()}"
