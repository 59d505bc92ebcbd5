"""Where desired state is read from: one file per product."""

from trueup.drivers.sources.git import Git, Settings

SOURCES = {"git": Git}

__all__ = ["SOURCES", "Git", "Settings"]
