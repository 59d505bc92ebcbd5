"""Where secrets are kept: one module a product; `SECRETS` is the registry."""

from trueup.drivers.secrets.memory import MemoryVault
from trueup.drivers.secrets.vault import FileVault

SECRETS = {"vault": FileVault, "memory": MemoryVault}

__all__ = ["SECRETS", "FileVault", "MemoryVault"]
