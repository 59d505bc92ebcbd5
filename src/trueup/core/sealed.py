"""Files that SOPS encrypted: which they are, and what of them is sealed. Pure; opens nothing.

Positions come from the encrypted file, bodies from the opened one: both have the same documents, keys and items.
Source: SOPS v3.13 README, "Usage" (formats by file name), "MAC verification", "Selectively encrypting".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TypeAlias

from msgspec import Struct

from trueup.core.model import Finding, Json, Place, Severity
from trueup.core.yamldoc import PathStep

SEALED = "ENC[AES256_GCM,"
METADATA = "sops"
# What names a Secret is no secret to Trueup: it stands in the ledger and in every plan.
NAMING = frozenset({"apiVersion", "kind", "metadata", "type", "immutable"})
VALUES = frozenset({"data", "stringData"})
_YAML = re.compile(rb"^sops[ ]*:", re.M)
_JSON = re.compile(rb'[{,\s]"sops"\s*:\s*\{')
_FLAT = re.compile(rb"^sops_mac\s*=", re.M)
_SECTION = re.compile(rb"^\[sops\]\s*$", re.M)
_WHAT = {"yaml": _YAML, "json": _JSON, "dotenv": _FLAT, "ini": _SECTION, "binary": _JSON}


class Fault(Struct, frozen=True):
    """Why a file was not opened. `named` is the value at fault, with dots, "" for the whole file."""

    message: str
    fix: str
    named: str = ""

    def finding(self, path: str) -> Finding:
        what = f"{self.message} ({self.named})" if self.named else self.message
        return Finding(Severity.ERROR, "sops-not-opened", Place(path), f"encrypted by SOPS, and {what}", self.fix)


Opened: TypeAlias = Mapping[str, bytes | Fault]  # by path


def format_of(path: str) -> str:
    """SOPS' own rule: by the end of the name."""
    for ends, format in ((".yaml", "yaml"), (".yml", "yaml"), (".json", "json"), (".env", "dotenv"), (".ini", "ini")):
        if path.endswith(ends):
            return format
    return "binary"


def is_sealed(path: str, data: bytes) -> bool:
    """Whether SOPS wrote this file encrypted; a text that only quotes one is none."""
    return SEALED.encode() in data and _WHAT[format_of(path)].search(data) is not None


def is_cipher(value: Json) -> bool:
    return isinstance(value, str) and value.startswith(SEALED)


def sealed_paths(encrypted: Json) -> Iterator[tuple[PathStep, ...]]:
    """The path of every sealed value of a document, its metadata left out."""
    stack: list[tuple[tuple[PathStep, ...], Json]] = [((), encrypted)]
    while stack:
        path, value = stack.pop()
        if isinstance(value, dict):
            stack += [((*path, k), v) for k, v in reversed(value.items()) if path or k != METADATA]
        elif isinstance(value, list):
            stack += [((*path, i), v) for i, v in reversed(list(enumerate(value)))]
        elif is_cipher(value):
            yield path


def out_of_place(kind: str, paths: Iterator[tuple[PathStep, ...]]) -> tuple[PathStep, ...] | None:
    """The first sealed value that would be shown as it is: everything but what is in a Secret, and its names."""
    return next((p for p in paths if kind != "Secret" or p[0] not in NAMING | VALUES), None)


def hidden(body: Json) -> Iterator[str]:
    """The texts of a Secret that must not be seen in a message."""
    for name in VALUES:
        values = body.get(name)
        yield from (v for v in (values.values() if isinstance(values, dict) else ()) if isinstance(v, str))
