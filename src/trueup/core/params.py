"""Sets of parameters that applications are made from: paths, elements, combinations, selectors. Pure, Argo CD's rules.

With Go templates parameters nest; without, they are flat names to texts.
Source: Argo CD v3.5.7, docs/operator-manual/applicationset and applicationset/generators.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import TypeAlias

from trueup.core.globs import matches
from trueup.core.model import Json

Params: TypeAlias = dict[str, Json]


class Unfit(ValueError):
    """Parameters that cannot be made or combined; the message says why."""


def normalize(name: str) -> str:
    """A text as a DNS name. Source: applicationset/utils/template_functions.go SanitizeName."""
    return re.sub(r"[^-a-z0-9.]", "-", name.lower())[:253].strip("-.")


# --- Git -------------------------------------------------------------------------------------------


def of_folder(path: str, nested: bool, prefix: str) -> Params:
    base = path.rpartition("/")[2]
    told: Params = {"path": path, "basename": base, "basenameNormalized": normalize(base)}
    return _pathed(told, path, nested, prefix)


def of_file(path: str, body: Params, nested: bool, prefix: str) -> Params:
    folder, _, name = path.rpartition("/")
    folder = folder or "."
    base = folder.rpartition("/")[2]
    told: Params = {
        "path": folder, "basename": base, "filename": name,
        "basenameNormalized": normalize(base), "filenameNormalized": normalize(name),
    }  # fmt: skip
    own = dict(body) if nested else {key: as_text(value) for key, value in flat(body)}
    return {**own, **_pathed(told, folder, nested, prefix)}


def _pathed(told: Params, path: str, nested: bool, prefix: str) -> Params:
    segments = path.split("/")
    if nested:
        whole = {**told, "segments": segments}
        return {prefix: {"path": whole}} if prefix else {"path": whole}
    name = f"{prefix}.path" if prefix else "path"
    found = {name if key == "path" else f"{name}.{key}": value for key, value in told.items()}
    return {**found, **{f"{name}[{at}]": part for at, part in enumerate(segments) if part}}


def chosen_folders(folders: Iterable[str], wanted: Sequence[tuple[str, bool]]) -> list[str]:
    """Folders that a pattern names and no excluding one does. `wanted`: pattern, whether it excludes."""
    found = []
    for path in folders:
        fits = [excludes for pattern, excludes in wanted if matches(pattern.replace("**", "*"), path, "/")]
        if fits and not any(fits):
            found.append(path)
    return found


def chosen_files(files: Iterable[str], wanted: Sequence[tuple[str, bool]]) -> list[str]:
    """Files that a pattern names as Git's pathspecs do: * crosses folders, a folder stands for all below it."""
    listed = sorted(files)
    kept = {p for pattern, excludes in wanted if not excludes for p in listed if _pathspec(pattern, p)}
    dropped = {p for pattern, excludes in wanted if excludes for p in listed if _pathspec(pattern, p)}
    return sorted(kept - dropped)


def _pathspec(pattern: str, path: str) -> bool:
    return (
        matches(pattern.replace("**/", "*"), path)
        or matches(pattern, path)
        or path.startswith(pattern.rstrip("/") + "/")
    )


# --- flat ------------------------------------------------------------------------------------------


def flat(value: Json, name: str = "") -> Iterator[tuple[str, Json]]:
    """Every leaf with its dotted name; what is empty is a leaf."""
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if not below or not value:
        if name:
            yield name, value
        return
    for key, one in below:
        yield from flat(one, f"{name}.{key}" if name else str(key))


def as_text(value: Json) -> str:
    """A value as Go prints it."""
    if isinstance(value, str):
        return value
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return _number(float(value))
    return "map[]" if isinstance(value, dict) else "[]"


def _number(value: float) -> str:
    """Shortest, with an exponent below 1e-4 and from 1e6 on. Source: Go strconv.FormatFloat(value, 'g', -1, 64)."""
    if value == 0:
        return "0"
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    assert isinstance(exponent, int)
    text, power = "".join(map(str, digits)), len(digits) + exponent - 1
    if power < -4 or power >= 6:
        mantissa = text[0] + (f".{text[1:]}" if text[1:] else "")
        return f"{'-' if sign else ''}{mantissa}e{'-' if power < 0 else '+'}{abs(power):02d}"
    return f"{Decimal(repr(value)).normalize():f}"


# --- combinations ----------------------------------------------------------------------------------


def combined(first: Params, second: Params, nested: bool) -> Params:
    """Two sets of a matrix as one. Raises Unfit."""
    if nested:
        return merged(second, first)
    texts = {key: as_text(value) for key, value in first.items()}
    for key, value in second.items():
        text = as_text(value)
        if texts.setdefault(key, text) != text:
            raise Unfit(f"both generators of a matrix give {key}: {texts[key]!r} and {text!r}")
    return dict(texts)


def merged(below: Params, above: Params) -> Params:
    """Deep: mappings key by key; what is empty above leaves what is below."""
    result = dict(below)
    for key, value in above.items():
        known = result.get(key)
        if isinstance(known, dict) and isinstance(value, dict):
            result[key] = merged(known, value)
        elif key not in result or value not in (None, "", 0, False, [], {}):
            result[key] = value
    return result


def merge_all(keys: Sequence[str], sets: Sequence[Sequence[Params]], nested: bool) -> list[Params]:
    """The first generator's sets, each with what the others give for the same keys over it. Raises Unfit."""
    if not keys:
        raise Unfit("a merge needs at least one of mergeKeys")
    base = _by_keys(keys, sets[0])
    for others in sets[1:]:
        for key, params in _by_keys(keys, others).items():
            if key in base:
                base[key] = merged(base[key], params) if nested else {**base[key], **params}
    return list(base.values())


def _by_keys(keys: Sequence[str], sets: Iterable[Params]) -> dict[str, Params]:
    found: dict[str, Params] = {}
    for params in sets:
        key = json.dumps({name: params.get(name) for name in keys}, sort_keys=True)
        if key in found:
            raise Unfit(f"a generator of a merge gives {key} twice: mergeKeys must tell its sets apart")
        found[key] = params
    return found


# --- selectors -------------------------------------------------------------------------------------


def selected(params: Params, selector: Mapping[str, Json] | None) -> bool:
    """Whether the flat names of a set fit a label selector. Raises Unfit."""
    if not selector:
        return True
    labels = {key: as_text(value) for key, value in flat(params)}
    wanted = selector.get("matchLabels") or {}
    return all(labels.get(k) == v for k, v in wanted.items()) and all(
        _fits(labels, one) for one in selector.get("matchExpressions") or ()
    )


def _fits(labels: Mapping[str, str], one: Mapping[str, Json]) -> bool:
    key, values = one["key"], one.get("values") or ()
    match one["operator"]:
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
    raise Unfit(f"{one['operator']!r} is no operator of a selector: In, NotIn, Exists, DoesNotExist")


def patched(body: Json, patch: Json) -> Json:
    """A merge patch: null takes away. Source: RFC 7396."""
    if not isinstance(patch, dict):
        return patch
    result = dict(body) if isinstance(body, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = patched(result.get(key), value)
    return result


def filled_from(own: Json, base: Json) -> Json:
    """A generator's own template, with the set's where it says nothing."""
    if isinstance(own, dict) and isinstance(base, dict):
        return {**base, **{k: filled_from(v, base[k]) if k in base else v for k, v in own.items()}}
    return base if own in (None, "", [], {}) else own
