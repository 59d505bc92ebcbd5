"""Images in manifests: which built image each one is, pinned by digest, and spliced into the file byte by byte.

The repository name in a manifest never changes; only tag and digest do. Never asks a registry.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct, structs

from trueup.core.model import BuiltImage, Finding, ImageUse, Json, Object, Severity
from trueup.core.objects import body_hash, containers, dotted, undotted
from trueup.core.reference import ReferenceInvalid, parse, split
from trueup.core.text import shown
from trueup.core.yamldoc import Doc, node_at, spans


class Splice(Struct, frozen=True, order=True):
    """Replace `old`, which stands at bytes `start`..`end` of `file`, by `new`."""

    file: str
    start: int
    end: int
    old: str
    new: str


class SpliceMismatch(ValueError):
    """The file no longer holds what was to be replaced."""


class Bound(Struct, frozen=True):
    """`objects` in the order given, images pinned; `splices` makes the files say so."""

    objects: tuple[Object, ...]
    splices: tuple[Splice, ...]
    findings: tuple[Finding, ...] = ()


class Unmatched(Struct, frozen=True):
    """A built image and the manifests do not go together: nothing may be deployed. Both places are named."""

    findings: tuple[Finding, ...]

    @property
    def reason(self) -> str:
        return "; ".join(f"{finding.place}: {finding.message}" for finding in self.findings)


# --- reading ---------------------------------------------------------------------------------------


def image_uses(doc: Doc) -> tuple[ImageUse, ...]:
    """The images of a workload's containers. `start` is -1 where the text is not written as it reads, and cannot
    be spliced."""
    found = [((*path, "image"), c["image"]) for path, c in containers(doc.body) if isinstance(c.get("image"), str)]
    nodes = [node_at(doc.root, path) for path, _ in found]
    where = spans(doc.data, [node for node in nodes if node is not None])
    return tuple(
        ImageUse(text, doc.place(*path), span.start if span else -1, span.end if span else -1, dotted(path))
        for (path, text), span in zip(found, where, strict=True)
    )


def stated(objects: Iterable[Object]) -> frozenset[str]:
    """The digests that the manifests state, "sha256:…"."""
    return frozenset(d for o in objects for use in o.images if (d := split(use.text)[2]))


# --- matching --------------------------------------------------------------------------------------


def bind(objects: Sequence[Object], built: Sequence[BuiltImage]) -> Bound | Unmatched:
    """Pin each use of a built image by digest.

    An image matches the uses of exactly its repository; else those whose repository's last path component is the
    same, when only one repository and only one image have it; else it is refused with both places. When at least
    one image matched, another that no manifest uses is only noted (pipelines build images for their own use too).
    """
    uses = [use for each in objects for use in each.images]
    chosen, findings = _choose(uses, built)
    if any(finding.severity is Severity.ERROR for finding in findings):
        return Unmatched(tuple(f for f in findings if f.severity is Severity.ERROR))
    splices: set[Splice] = set()
    bound = tuple(_bind_one(each, chosen, splices) for each in objects)
    return Bound(bound, tuple(sorted(splices)), (*findings, *_notes(uses, chosen)))


def pinned(text: str, image: BuiltImage) -> str:
    """The use's text with the image's tag and digest; unchanged when it states the digest already."""
    repository, _, digest = split(text)
    if digest == image.digest:
        return text
    return f"{repository}:{image.tag}@{image.digest}" if image.tag else f"{repository}@{image.digest}"


def repository_of(text: str) -> str:
    """The complete repository of a reference as written, tags like `$BUILD_ID` and all."""
    name = split(text)[0]
    try:
        return parse(name).repository
    except ReferenceInvalid:
        return name


def _choose(uses: Sequence[ImageUse], built: Sequence[BuiltImage]) -> tuple[dict[str, BuiltImage], list[Finding]]:
    """repository in the manifests → the image that is to run there."""
    stated_at: dict[str, list[ImageUse]] = {}
    for use in uses:
        stated_at.setdefault(repository_of(use.text), []).append(use)
    chosen: dict[str, BuiltImage] = {}
    findings: list[Finding] = []
    idle: list[BuiltImage] = []
    by_repository: dict[str, list[BuiltImage]] = {}
    for image in built:
        by_repository.setdefault(repository_of(image.repository), []).append(image)
    for repository, images in sorted(by_repository.items()):
        image, clash = _one_of(images, stated_at.get(repository, ()))
        if repository in stated_at:
            findings += clash
            chosen[repository] = image
    for repository, images in sorted(by_repository.items()):
        if repository in chosen:
            continue
        image, clash = _one_of(images, ())
        match, ambiguous = _by_last_component(repository, image, by_repository, stated_at, chosen)
        findings += [*ambiguous, *(clash if match else ())]
        if match:
            chosen[match] = image
        elif not ambiguous:
            idle.append(image)
    return chosen, findings + _idle(idle, uses, bool(chosen))


def _one_of(images: Sequence[BuiltImage], uses: Sequence[ImageUse]) -> tuple[BuiltImage, list[Finding]]:
    """Several images of one repository: the one whose tag a manifest names, else they must be the same."""
    last = images[-1]
    if len({image.digest for image in images}) == 1:
        return last, []
    tags = {split(use.text)[1] for use in uses}
    named = [image for image in images if image.tag in tags]
    if len({image.digest for image in named}) == 1:
        return named[-1], []
    what = ", ".join(f"{i.tag} from {i.place}" for i in images)
    message = f"the pipeline built {len(images)} different images of {last.repository}: {what}"
    return last, [
        Finding(Severity.ERROR, "image-ambiguous", last.place, shown(message), "Name one of the tags in the manifest.")
    ]


def _by_last_component(
    repository: str,
    image: BuiltImage,
    by_repository: Mapping[str, Sequence[BuiltImage]],
    stated_at: Mapping[str, Sequence[ImageUse]],
    chosen: Mapping[str, BuiltImage],
) -> tuple[str, list[Finding]]:
    last = _last(repository)
    there = sorted(name for name in stated_at if _last(name) == last and name not in chosen)
    rivals = sorted(name for name in by_repository if _last(name) == last and name not in stated_at)
    if not there:
        return "", []
    if len(there) == 1 and len(rivals) == 1:
        return there[0], []
    places = ", ".join(f"{stated_at[name][0].text!r} at {stated_at[name][0].place}" for name in there)
    images = ", ".join(f"{by_repository[name][0].repository!r} from {by_repository[name][0].place}" for name in rivals)
    message = f"built {images}, and the manifests use {places}: which is which cannot be told"
    fix = "Write the repository in the manifest exactly as the pipeline names it."
    return "", [Finding(Severity.ERROR, "image-ambiguous", image.place, shown(message), fix)]


def _last(repository: str) -> str:
    return repository.rpartition("/")[2]


def _idle(idle: Sequence[BuiltImage], uses: Sequence[ImageUse], some_match: bool) -> list[Finding]:
    if not idle or not uses:
        return []
    places = ", ".join(f"{use.text!r} at {use.place}" for use in uses[:5])
    severity = Severity.NOTE if some_match else Severity.ERROR
    return [
        Finding(
            severity,
            "image-unmatched",
            image.place,
            shown(f"built {image.repository!r}, which no manifest uses; they use {places}"),
            "Write the same repository in both, or the same last path component.",
        )
        for image in idle
    ]


# --- binding ---------------------------------------------------------------------------------------


def _bind_one(each: Object, chosen: Mapping[str, BuiltImage], splices: set[Splice]) -> Object:
    edits: dict[str, str] = {}
    uses: list[ImageUse] = []
    for use in each.images:
        image = chosen.get(repository_of(use.text))
        text = pinned(use.text, image) if image else use.text
        uses.append(use if text == use.text else structs.replace(use, text=text))
        if text == use.text:
            continue
        edits[use.path] = text
        if use.start >= 0:
            splices.add(Splice(use.place.file, use.start, use.end, use.text, text))
    if not edits:
        return each
    body = _edited(each.body, edits)
    return structs.replace(each, body=body, hash=body_hash(body), images=tuple(uses))


def _edited(body: Json, edits: Mapping[str, str]) -> Json:
    body = copy.deepcopy(body)
    for path, text in edits.items():
        at = body
        *above, last = undotted(path)
        for step in above:
            at[step] = copy.copy(at[step])  # an alias may share this container with another
            at = at[step]
        at[last] = text
    return body


def _notes(uses: Sequence[ImageUse], chosen: Mapping[str, BuiltImage]) -> list[Finding]:
    notes = []
    for use in uses:
        image = chosen.get(repository_of(use.text))
        if image is None:
            continue
        if "$" in split(use.text)[1]:
            message = f"the tag of {use.text!r} is a variable that nobody fills in; it runs as {image.digest[:19]}"
            notes.append(
                Finding(Severity.NOTE, "image-tag-variable", use.place, shown(message), "Nothing: it deploys as built.")
            )
        if use.start < 0:
            message = (
                f"the image {use.text!r} is written with escapes or over lines: it runs pinned, but Git cannot say so"
            )
            fix = "Write the image on one line, plain or in simple quotes."
            notes.append(Finding(Severity.WARNING, "image-not-spliceable", use.place, shown(message), fix))
    return notes


# --- splicing --------------------------------------------------------------------------------------


def splices_by_file(splices: Iterable[Splice]) -> dict[str, tuple[Splice, ...]]:
    """path → its splices, in order of position."""
    grouped: dict[str, list[Splice]] = {}
    for each in sorted(set(splices)):
        grouped.setdefault(each.file, []).append(each)
    return {file: tuple(each) for file, each in grouped.items()}


def splice(data: bytes, splices: Sequence[Splice]) -> bytes:
    """`data` with the splices made; every other byte is kept. Raises SpliceMismatch when the old text is not there."""
    parts: list[bytes] = []
    at = 0
    for each in sorted(set(splices)):
        if each.start < at or data[each.start : each.end] != each.old.encode():
            raise SpliceMismatch(
                f"{each.file}: bytes {each.start}–{each.end} no longer hold {each.old!r}; read the file again and retry"
            )
        parts += (data[at : each.start], each.new.encode())
        at = each.end
    return b"".join((*parts, data[at:]))
