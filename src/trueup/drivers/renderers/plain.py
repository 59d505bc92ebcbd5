"""Plain manifests: files → desired objects, with the place of each and the span of every image.

Pure: gets bytes, never fetches. What cannot be read is an ERROR finding that names file and line; the objects of a
file with such a finding are left out, so that a caller deploys nothing on the strength of half a file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence

from trueup.core.images import image_uses
from trueup.core.manifests import Manifest, Rendered
from trueup.core.model import Finding, Json, Oid, Place, Severity, Tree
from trueup.core.objects import Malformed, dotted, make_object
from trueup.core.sealed import Opened, is_sealed, out_of_place, sealed_paths
from trueup.core.text import shown
from trueup.core.yamldoc import Doc, Limits, YamlFault, child, documents, too_large

FILE_MODES = (0o100644, 0o100755, 0o100664)
LFS = b"version https://git-lfs.github.com/spec/"


def render(
    tree: Tree,
    blobs: Mapping[Oid, bytes],
    paths: Sequence[str],
    *,
    namespace: str = "default",
    limits: Limits | None = None,
    kept: MutableMapping[tuple[str, Oid], tuple[Manifest, ...]] | None = None,
    opened: Opened | None = None,
) -> Rendered:
    """Every object that the files at `paths` state, in order of path and position.

    `opened` is what SOPS encrypted, by path, in the clear or not opened; an encrypted file that is not in it is only
    named (`encrypted-not-read`).
    `kept` is what was read before, by path and blob id: a file in it costs a look-up, and what is read anew is added.
    It is good for one `namespace` and may be emptied at any time.
    """
    limits = limits or Limits()
    manifests: list[Manifest] = []
    findings: list[Finding] = []
    for path in sorted(paths):
        entry = tree.get(path)
        key = (path, entry.oid if entry is not None and entry.mode in FILE_MODES else "")
        if kept is not None and key in kept:
            manifests += kept[key]
            continue
        try:
            data = _bytes(tree, blobs, path, limits)
            if is_sealed(path, data):
                clear = (opened or {}).get(path)
                if not isinstance(clear, bytes):
                    findings.append(clear.finding(path) if clear else not_read(path))
                    continue
                read = read_sealed(path, data, clear, namespace=namespace, limits=limits)
            else:
                read = read_file(path, data, namespace=namespace, limits=limits)
            manifests += read
            if kept is not None:
                kept[key] = read
        except YamlFault as fault:
            findings.append((_template(tree, blobs, path) or fault).finding("manifest-unreadable"))
        except Invalid as fault:
            findings += fault.findings
    return Rendered(tuple(manifests), (*findings, *stated_twice(manifests)))


class Invalid(Exception):
    """Documents that are no Kubernetes objects."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        super().__init__(findings[0].message)
        self.findings = tuple(findings)


def read_file(
    path: str, data: bytes, *, namespace: str = "default", limits: Limits | None = None
) -> tuple[Manifest, ...]:
    """The objects of one file. Same bytes, same objects: they may be kept by blob id. Raises YamlFault, Invalid."""
    if data.startswith(LFS):
        raise YamlFault(Place(path, 1), "a Git LFS pointer, not a manifest", "Keep manifests out of LFS.")
    manifests: list[Manifest] = []
    findings: list[Finding] = []
    for doc in documents(data, path, limits=limits):
        for part in _flat(doc):
            try:
                manifests.append(_manifest(part, namespace))
            except Malformed as fault:
                place = part.key_place(*fault.path) if fault.path else part.place()
                message = shown(fault.message)
                findings.append(Finding(Severity.ERROR, "manifest-invalid", place, message, fault.fix))
    if findings:
        raise Invalid(findings)
    return tuple(manifests)


def read_sealed(
    path: str, data: bytes, clear: bytes, *, namespace: str = "default", limits: Limits | None = None
) -> tuple[Manifest, ...]:
    """The objects of a file that SOPS encrypted: bodies of `clear`, places of `data`. What is told of them quotes no
    value. Raises YamlFault, Invalid."""
    outer = [part for doc in documents(data, path, limits=limits) for part in _flat(doc)]
    try:
        inner = [part for doc in documents(clear, path, limits=limits) for part in _flat(doc)]
    except YamlFault:
        inner = []
    if len(inner) != len(outer):
        raise YamlFault(Place(path), "what SOPS encrypted here is no YAML as Kubernetes reads it", _AGAIN)
    return tuple(_sealed(at, within.body, namespace) for at, within in zip(outer, inner, strict=True))


def _sealed(outer: Doc, body: Json, namespace: str) -> Manifest:
    kind = body.get("kind") if isinstance(body, dict) else None
    shown_at = out_of_place(str(kind), sealed_paths(outer.body))
    if shown_at is not None:
        what = f"the encrypted value {dotted(shown_at)} would be shown in plans: only a Secret's data is hidden there"
        raise YamlFault(outer.key_place(*shown_at), what, _ONLY_SECRETS)
    try:
        return Manifest(make_object(body, outer.place(), namespace=namespace), outer, sealed=True)
    except Malformed as fault:
        raise YamlFault(
            outer.place(*fault.path), f"{dotted(fault.path) or 'this'} is not what Kubernetes takes", _AGAIN
        ) from None


NOT_READ = "encrypted-not-read"


def not_read(path: str) -> Finding:
    """An encrypted file, where no keys are asked for."""
    return Finding(
        Severity.NOTE, NOT_READ, Place(path), "encrypted by SOPS: what it states is not looked at here",
        "Nothing: `trueup up` opens it with the keys that were set.",
    )  # fmt: skip


_AGAIN = "Look at it with `sops decrypt`, and correct it with `sops edit`."
_ONLY_SECRETS = "Put it into a Secret, or encrypt with `--encrypted-regex '^(data|stringData)$'`."


def _bytes(tree: Tree, blobs: Mapping[Oid, bytes], path: str, limits: Limits) -> bytes:
    entry = tree.get(path)
    if entry is None:
        raise YamlFault(Place(path), "no such file in this commit", "Restore the file, or remove what names it.")
    if entry.mode == 0o120000:
        raise YamlFault(Place(path), "a symbolic link, which is not followed", "Put the manifest itself here.")
    if entry.mode not in FILE_MODES:
        raise YamlFault(Place(path), "a submodule, which is not read", "Put the manifest itself here.")
    if entry.size_bytes > limits.size_bytes:
        raise too_large(path, entry.size_bytes, limits)
    data = blobs.get(entry.oid)
    if data is None:
        raise YamlFault(Place(path), "its content could not be read from Git", "Run `git fsck` in the repository.")
    return data


_TEMPLATE = re.compile(rb"^[^#\n]*\{\{[-\s]*[.$a-z]", re.M)


def _template(tree: Tree, blobs: Mapping[Oid, bytes], path: str) -> YamlFault | None:
    """What to say of a file that is no YAML because it is to be filled in first: where its first gap is."""
    entry = tree.get(path)
    data = blobs.get(entry.oid, b"") if entry is not None else b""
    gap = _TEMPLATE.search(data)
    if gap is None:
        return None
    return YamlFault(
        Place(path, data.count(b"\n", 0, gap.start()) + 1),
        "a template such as Helm's (`{{ … }}`), not a manifest",
        "State plain manifests: render the chart (`helm template`) and keep what it prints in the repository.",
    )


def _flat(doc: Doc) -> Iterator[Doc]:
    """The document, or the items of a List. Empty documents are nothing."""
    body = doc.body
    if body is None:
        return
    if isinstance(body, dict) and body.get("kind") == "List" and isinstance(body.get("items"), list):
        items = child(doc.root, "items")
        for node in items.items if items is not None and isinstance(items.items, list) else ():
            yield from _flat(Doc(doc.file, doc.data, node))
        return
    yield doc


def _manifest(doc: Doc, namespace: str) -> Manifest:
    return Manifest(make_object(doc.body, doc.place(), image_uses(doc), namespace=namespace), doc)


def stated_twice(manifests: Iterable[Manifest]) -> Iterator[Finding]:
    """An error for each object that an earlier one among `manifests` states already."""
    first: dict[object, Manifest] = {}
    for manifest in manifests:
        before = first.setdefault(manifest.object.ref, manifest)
        if before is not manifest:
            ref, places = manifest.object.ref, f"{before.object.place} and {manifest.object.place}"
            yield Finding(
                Severity.ERROR,
                "object-stated-twice",
                manifest.object.place,
                f"{ref} in namespace {ref.namespace or '(none)'} is stated at {places}",
                "Keep one of them, or rename one.",
            )
