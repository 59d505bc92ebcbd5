"""A file without what a write-back states of certain images: commits that differ in nothing else read the same. Pure.

Tag and digest of an image in a manifest, a kustomization, the values of a chart or Jsonnet are the record of a build,
not an input of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence

from trueup.core.model import Json
from trueup.core.reference import split
from trueup.core.writeback import DIGEST, KUSTOMIZATIONS, REPOSITORY, TAG
from trueup.core.yamldoc import YamlFault, documents

ENDINGS = (".yaml", ".yml", ".jsonnet", ".libsonnet", "Kustomization")
_PINNED = re.compile(r"[\w.-]*@sha256:\w+")


def unspliced(path: str, data: bytes, own: Sequence[str]) -> bytes:
    """`own` are last path components of the images that are left untold. What is not YAML is read as text."""
    text = _images(path, data, own)
    kustomization = path.rpartition("/")[2] in KUSTOMIZATIONS
    if not kustomization and not any(key.encode() in data for key in (*TAG, *DIGEST)):
        return text
    try:
        before = [doc.body for doc in documents(data, path)]
    except YamlFault:
        return text
    if kustomization:
        return json.dumps([_entries(body, own) for body in before], sort_keys=True).encode()
    after = [body if _manifest(body) else _values(body, own) for body in before]
    return text if after == before else json.dumps(after, sort_keys=True).encode()


def _manifest(body: Json) -> bool:
    return isinstance(body, dict) and "apiVersion" in body and "kind" in body


def _images(path: str, data: bytes, own: Sequence[str]) -> bytes:
    names = b"|".join(re.escape(name.encode()) for name in own)
    quoted = path.endswith("sonnet")
    start = rb"[\"']" if quoted else rb"^[ \t-]*[\"']?image[\"']?[ \t]*:[ \t]*[\"']?"
    end = rb"(?=[\"'])" if quoted else rb"(?=[\"'\s]|\Z)"
    line = rb"(?m)(" + start + rb"(?:[^\s\"'@#]*/)?(?:" + names + rb"))(?::[\w.-]+)?(?:@sha256:\w+)?"
    return re.sub(line + end, rb"\1", data)


def _entries(body: Json, own: Collection[str]) -> Json:
    """A kustomization whose entries of these images say neither tag nor digest; an entry of nothing else is gone."""
    images = body.get("images") if isinstance(body, dict) else None
    if not isinstance(images, list):
        return body
    kept = []
    for entry in images:
        ours = isinstance(entry, dict) and not {_last(entry.get("name")), _last(entry.get("newName"))}.isdisjoint(own)
        told = {key: one for key, one in entry.items() if key not in ("newTag", "digest")} if ours else entry
        kept += [told] if not ours or set(told) != {"name"} else []
    rest = {key: one for key, one in body.items() if key != "images"}
    return {**rest, "images": kept} if kept else rest


def _values(value: Json, own: Collection[str]) -> Json:
    """Values in which mappings that name one of these images lose tag and digest."""
    if isinstance(value, list):
        return [_values(one, own) for one in value]
    if not isinstance(value, dict):
        return value
    ours = not {_last(value.get(key)) for key in REPOSITORY if key != "name"}.isdisjoint(own)
    gone = {key for key in (*TAG, *DIGEST) if ours and not isinstance(value.get(key), dict | list)}
    gone |= {key for key in TAG if isinstance(value.get(key), str) and _PINNED.fullmatch(value[key])}
    return {key: _values(one, own) for key, one in value.items() if key not in gone}


def _last(name: Json) -> str:
    """The last path component of a reference, tag and digest left out."""
    return split(name)[0].rpartition("/")[2] if isinstance(name, str) else ""
