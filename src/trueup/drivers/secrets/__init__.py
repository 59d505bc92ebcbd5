"""Where secrets are kept, and what opens the encrypted ones: one module a product; `SECRETS` is the registry."""

from trueup.drivers.secrets.memory import MemoryVault
from trueup.drivers.secrets.sops import Sops
from trueup.drivers.secrets.vault import FileVault

SECRETS = {"vault": FileVault, "memory": MemoryVault, "sops": Sops}

__all__ = ["SECRETS", "FileVault", "MemoryVault", "Sops"]
