"""Hatchling's hook: put the programs written in Go into the wheel where they were built, and say which machines that
is for."""

from __future__ import annotations

import platform
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PROGRAMS = ("trueup-render", "trueup-sops")


class CustomBuildHook(BuildHookInterface):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        built = [p for name in PROGRAMS if (p := Path(self.root) / ".cache" / name).is_file()]
        if version == "editable" or not built or not sys.platform.startswith("linux"):
            return
        for program in built:
            build_data["force_include"][str(program.resolve())] = f"trueup/_bin/{program.name}"
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-linux_{platform.machine()}"
