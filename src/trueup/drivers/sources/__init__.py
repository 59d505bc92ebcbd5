"""Where desired state is read from: one file per product."""

from collections.abc import Callable

from trueup.drivers.sources.credentials import credentials_from
from trueup.drivers.sources.git import Git, Settings
from trueup.drivers.sources.writing import signing_from
from trueup.ports import Source

SOURCES: dict[str, Callable[[Settings], Source]] = {"git": Git}

__all__ = ["SOURCES", "Git", "Settings", "credentials_from", "signing_from"]
