"""What SOPS encrypted, in the objects that are made of it: opened by file, put in place by value.

A renderer gets files as they stand in Git: it moves ciphertexts about and sees no clear text. Each stands for one value
only (its nonce is random), so what it became is known wherever it ended.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

from msgspec import Struct

from trueup.core.model import Finding, Json, Place, Severity
from trueup.core.objects import dotted
from trueup.core.sealed import METADATA, SEALED, Fault, Opened, format_of, is_cipher, is_sealed, out_of_place
from trueup.core.sealed import sealed_paths as paths_of
from trueup.core.yamldoc import YamlFault, documents
from trueup.drivers.definitions.convention import is_manifest
from trueup.drivers.renderers.plain import not_read

Opener: TypeAlias = Callable[[Mapping[str, bytes]], Awaitable[Opened]]
OPEN_ONLY = "Encrypt a manifest (a Secret in YAML), and name it under `resources:`."


class Clear(Struct, frozen=True):
    """ciphertext → value, of every encrypted file that a render read."""

    values: Mapping[str, Json]
    findings: tuple[Finding, ...] = ()


async def clear(contents: Mapping[str, bytes], opener: Opener | None) -> Clear:
    """Open what is encrypted of the files read. Raises NoKey."""
    sealed = {path: data for path, data in contents.items() if is_sealed(path, data)}
    if not sealed:
        return Clear({})
    unfit = [p for p, data in sealed.items() if format_of(p) not in ("yaml", "json") or not is_manifest(p, data)]
    if unfit:
        message = "encrypted by SOPS and no manifest: a render that reads it gets it as it stands, and it is not opened"
        return Clear({}, tuple(Finding(Severity.ERROR, "sops-not-opened", Place(p), message, OPEN_ONLY) for p in unfit))
    if opener is None:
        return Clear({}, tuple(not_read(path) for path in sealed))
    values: dict[str, Json] = {}
    findings: list[Finding] = []
    for path, found in (await opener(sealed)).items():
        if isinstance(found, Fault):
            findings.append(found.finding(path))
            continue
        try:
            inner = documents(found, path)
            for outer, within in zip(documents(sealed[path], path), inner, strict=True):
                values |= {_at(outer.body, at): _at(within.body, at) for at in paths_of(outer.body)}
        except (YamlFault, ValueError, LookupError, TypeError):
            wrong = Fault("what it holds is no YAML as Kubernetes reads it", "Correct it with `sops edit`.")
            findings.append(wrong.finding(path))
    return Clear(values, tuple(findings))


def _at(body: Json, path: tuple[str | int, ...]) -> Json:
    for step in path:
        body = body[step]
    return body


def placed(body: Json, values: Mapping[str, Json]) -> Json:
    """The body with every ciphertext replaced, its metadata left out. Raises Left when one would be seen or is not
    known."""
    if not isinstance(body, dict) or not (_metadata(body) or any(True for _ in paths_of(body))):
        return body
    opened = _replaced({k: v for k, v in body.items() if k != METADATA}, values)
    shown = out_of_place(str(opened.get("kind")), paths_of(body))
    if shown is not None:
        raise Left(f"the encrypted value {dotted(shown)} would be shown in plans: only a Secret's data is hidden there")
    left = next(paths_of(opened), None)
    if left is not None:
        raise Left(f"the encrypted value {dotted(left)} comes from no file that could be opened")
    return opened


class Left(Exception):
    """A ciphertext that cannot be what it stands for; the message names it and quotes none."""


def _metadata(body: dict[str, Json]) -> bool:
    found = body.get(METADATA)
    return isinstance(found, dict) and str(found.get("mac", "")).startswith(SEALED)


def _replaced(value: Json, values: Mapping[str, Json]) -> Json:
    if isinstance(value, dict):
        return {k: _replaced(v, values) for k, v in value.items()}
    if isinstance(value, list):
        return [_replaced(v, values) for v in value]
    return values.get(value, value) if is_cipher(value) else value
