"""Loads the application by its file: a name with a hyphen cannot be imported by statement."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def application() -> ModuleType:
    sys.path.insert(0, str(Path(__file__).parent.parent))
    try:
        return importlib.import_module("your-application")
    finally:
        sys.path.pop(0)
