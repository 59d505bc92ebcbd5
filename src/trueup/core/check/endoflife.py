"""Base images and language versions past their end of life. The table is data; the day is given."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import date

from trueup.core import dockerfile
from trueup.core.check.rule import Rule, Subject
from trueup.core.commands import github_steps
from trueup.core.found import Pipeline
from trueup.core.model import Finding, Json, Place, Severity
from trueup.core.objects import dig
from trueup.core.reference import ReferenceInvalid, parse
from trueup.core.yamldoc import PathStep, YamlFault

END_OF_LIFE = Rule(
    "end-of-life", Severity.WARNING,
    "An image, or a version that a workflow asks for, gets no more security fixes (Python, Node.js, Debian, Ubuntu, "
    "Alpine, Go, PHP, Ruby, PostgreSQL).",
)  # fmt: skip
DOCKERFILE = Rule("dockerfile-invalid", Severity.ERROR, "A Dockerfile cannot be read: its image cannot be built.")
RULES = (END_OF_LIFE, DOCKERFILE)

# product → version → last day with security fixes, in the order of release.
# Source: endoflife.date, products/*.md of its repository, compared in November 2026; where its day and the makers' own
# differ, the makers': devguide.python.org/versions, github.com/nodejs/Release schedule.json, wiki.debian.org/LTS (the
# end of LTS), wiki.ubuntu.com/Releases (standard support), alpinelinux.org/releases, php.net/supported-versions,
# ruby-lang.org/en/downloads/branches, postgresql.org/support/versioning. A Go release ends when the second newer one
# comes (go.dev/doc/devel/release): those that were still supported in spring 2026 have no day yet and are left out.
ENDS: Mapping[str, Mapping[str, date]] = {
    "python": {
        "2.7": date(2020, 1, 1), "3.4": date(2019, 3, 18), "3.5": date(2020, 9, 30), "3.6": date(2021, 12, 23),
        "3.7": date(2023, 6, 27), "3.8": date(2024, 10, 7), "3.9": date(2025, 10, 31), "3.10": date(2026, 10, 31),
        "3.11": date(2027, 10, 31), "3.12": date(2028, 10, 31), "3.13": date(2029, 10, 31), "3.14": date(2030, 10, 31),
    },
    "node": {
        "6": date(2019, 4, 30), "7": date(2017, 6, 30), "8": date(2019, 12, 31), "9": date(2018, 6, 30),
        "10": date(2021, 4, 30), "11": date(2019, 6, 1), "12": date(2022, 4, 30), "13": date(2020, 6, 1),
        "14": date(2023, 4, 30), "15": date(2021, 6, 1), "16": date(2023, 9, 11), "17": date(2022, 6, 1),
        "18": date(2025, 4, 30), "19": date(2023, 6, 1), "20": date(2026, 4, 30), "21": date(2024, 6, 1),
        "22": date(2027, 4, 30), "23": date(2025, 6, 1), "24": date(2028, 4, 30), "25": date(2026, 6, 1),
        "26": date(2029, 4, 30),
    },
    "debian": {
        "7": date(2018, 5, 31), "8": date(2020, 6, 30), "9": date(2022, 6, 30), "10": date(2024, 6, 30),
        "11": date(2026, 8, 31), "12": date(2028, 6, 30), "13": date(2030, 6, 30),
    },
    "ubuntu": {
        "14.04": date(2019, 4, 30), "16.04": date(2021, 4, 30), "18.04": date(2023, 5, 31), "20.04": date(2025, 5, 31),
        "20.10": date(2021, 7, 22), "21.04": date(2022, 1, 20), "21.10": date(2022, 7, 14), "22.04": date(2027, 4, 30),
        "22.10": date(2023, 7, 20), "23.04": date(2024, 1, 25), "23.10": date(2024, 7, 11), "24.04": date(2029, 5, 31),
        "24.10": date(2025, 7, 10), "25.04": date(2026, 1, 17), "25.10": date(2026, 7, 1), "26.04": date(2031, 4, 30),
    },
    "alpine": {
        "3.8": date(2020, 5, 1), "3.9": date(2020, 11, 1), "3.10": date(2021, 5, 1), "3.11": date(2021, 11, 1),
        "3.12": date(2022, 5, 1), "3.13": date(2022, 11, 1), "3.14": date(2023, 5, 1), "3.15": date(2023, 11, 1),
        "3.16": date(2024, 5, 23), "3.17": date(2024, 11, 22), "3.18": date(2025, 5, 9), "3.19": date(2025, 11, 1),
        "3.20": date(2026, 4, 1), "3.21": date(2026, 11, 1), "3.22": date(2027, 5, 1), "3.23": date(2027, 11, 1),
    },
    "golang": {
        "1.15": date(2021, 8, 16), "1.16": date(2022, 3, 15), "1.17": date(2022, 8, 2), "1.18": date(2023, 2, 1),
        "1.19": date(2023, 9, 6), "1.20": date(2024, 2, 6), "1.21": date(2024, 8, 13), "1.22": date(2025, 2, 11),
        "1.23": date(2025, 8, 12), "1.24": date(2026, 2, 11),
    },
    "php": {
        "5.6": date(2018, 12, 31), "7.0": date(2019, 1, 10), "7.1": date(2019, 12, 1), "7.2": date(2020, 11, 30),
        "7.3": date(2021, 12, 6), "7.4": date(2022, 11, 28), "8.0": date(2023, 11, 26), "8.1": date(2025, 12, 31),
        "8.2": date(2026, 12, 31), "8.3": date(2027, 12, 31), "8.4": date(2028, 12, 31), "8.5": date(2029, 12, 31),
    },
    "ruby": {
        "2.4": date(2020, 3, 31), "2.5": date(2021, 3, 31), "2.6": date(2022, 3, 31), "2.7": date(2023, 3, 31),
        "3.0": date(2024, 4, 23), "3.1": date(2025, 3, 31), "3.2": date(2026, 3, 31), "3.3": date(2027, 3, 31),
        "3.4": date(2028, 3, 31), "4.0": date(2029, 3, 31),
    },
    "postgres": {
        "9.5": date(2021, 2, 11), "9.6": date(2021, 11, 11), "10": date(2022, 11, 10), "11": date(2023, 11, 9),
        "12": date(2024, 11, 21), "13": date(2025, 11, 13), "14": date(2026, 11, 12), "15": date(2027, 11, 11),
        "16": date(2028, 11, 9), "17": date(2029, 11, 8),
    },
}  # fmt: skip
MAX_DOCKERFILE = 32 << 10  # characters; stages refer to one another, so reading costs the square of their number
_CODE_NAMES = {
    "wheezy": "7", "jessie": "8", "stretch": "9", "buster": "10", "bullseye": "11", "bookworm": "12", "trixie": "13",
    "trusty": "14.04", "xenial": "16.04", "bionic": "18.04", "focal": "20.04", "jammy": "22.04", "noble": "24.04",
    "plucky": "25.04", "questing": "25.10", "resolute": "26.04",
}  # fmt: skip
_ACTION_INPUTS = {"python-version": "python", "node-version": "node", "go-version": "golang", "ruby-version": "ruby",
                  "php-version": "php"}  # fmt: skip


def check(subject: Subject) -> Iterator[Finding]:
    for found in subject.found.dockerfiles:
        text = subject.text(found.path)
        if text is not None and len(text) <= MAX_DOCKERFILE:
            yield from _dockerfile(found.path, text, subject.today)
    for manifest in subject.applied:
        for use in manifest.object.images:
            yield from _image(use.text, use.place, subject.today)
    for pipeline in subject.found.pipelines:
        if pipeline.system == "github":
            yield from _workflow(subject, pipeline.path)
        if pipeline.system in _IMAGES_OF:
            yield from _containers(subject, pipeline)


def _dockerfile(path: str, text: str, today: date) -> Iterator[Finding]:
    try:
        bases = dockerfile.bases(dockerfile.read(text, path))
    except dockerfile.DockerfileInvalid as error:
        message = str(error).removeprefix(f"{error.place}: ")
        yield DOCKERFILE.at(error.place, message, "Correct the Dockerfile.")
        return
    for base in bases:
        yield from _image(base.image, Place(path, base.line), today)


def _workflow(subject: Subject, path: str) -> Iterator[Finding]:
    docs = subject.docs(path)
    for doc in () if isinstance(docs, YamlFault) else docs:
        for at, _, step in github_steps(doc):
            given = step.get("with")
            for name, value in given.items() if isinstance(given, dict) else ():
                product = _ACTION_INPUTS.get(name)
                if product and isinstance(value, (str, int, float)):
                    yield from _ended(product, str(value), doc.place(*at, "with", name), subject.today)


_IMAGES_OF: Mapping[str, tuple[str, ...]] = {"github": ("container", "services"), "gitlab": ("image", "services")}


def _containers(subject: Subject, pipeline: Pipeline) -> Iterator[Finding]:
    """The images that jobs run in and beside: `container:`, `image:`, `services:`."""
    docs = subject.docs(pipeline.path)
    for doc in () if isinstance(docs, YamlFault) else docs:
        jobs = dig(doc.body, ("jobs",)) if pipeline.system == "github" else doc.body
        above: tuple[PathStep, ...] = ("jobs",) if pipeline.system == "github" else ()
        for job in jobs if isinstance(jobs, dict) else ():
            for key in _IMAGES_OF[pipeline.system]:
                for at, text in _named((*above, job, key), dig(jobs, (job, key))):
                    yield from _image(text, doc.place(*at), subject.today)
        if pipeline.system == "gitlab" and isinstance(jobs, dict):
            for at, text in _named(("image",), jobs.get("image")):
                yield from _image(text, doc.place(*at), subject.today)


def _named(at: tuple[PathStep, ...], value: Json) -> Iterator[tuple[tuple[PathStep, ...], str]]:
    """Images as text, as `{image: …}` or `{name: …}`, or several of these in a list or mapping."""
    if isinstance(value, str):
        yield at, value
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from _named((*at, index), each)
    elif isinstance(value, dict):
        own = next((key for key in ("image", "name") if isinstance(value.get(key), str)), "")
        for key in (own,) if own else [key for key, each in value.items() if isinstance(each, dict)]:
            yield from _named((*at, key), value[key])


def _image(text: str, place: Place, today: date) -> Iterator[Finding]:
    try:
        reference = parse(text)
    except ReferenceInvalid:
        return
    if reference.domain == "docker.io" and reference.path.startswith("library/"):
        yield from _ended(reference.path.removeprefix("library/"), reference.tag, place, today)
        for part in re.split(r"[-_]", reference.tag)[1:]:
            yield from _ended(*_beneath(part), place, today)


def _beneath(part: str) -> tuple[str, str]:
    """(product, version) of the distribution that a tag such as "3.12-slim-bullseye" or "22-alpine3.18" stands on."""
    if version := _CODE_NAMES.get(part):
        return "ubuntu" if "." in version else "debian", version
    return "alpine", part.removeprefix("alpine") if part.startswith("alpine") else ""


def _ended(product: str, tag: str, place: Place, today: date) -> Iterator[Finding]:
    versions = ENDS.get(product, {})
    version = version_of(tag, versions)
    if not version or today <= versions[version]:
        return
    living = [each for each, end in versions.items() if end > today]
    newest = f"{product} {living[-1]} (until {versions[living[-1]].year})" if living else f"a newer {product}"
    yield END_OF_LIFE.at(
        place, f"{product} {version} gets no security fixes since {versions[version].isoformat()}",
        f"Move to {newest}.",
    )  # fmt: skip


def version_of(tag: str, versions: Mapping[str, date]) -> str:
    """The version of the table that a tag names: "3.7-slim" → "3.7", "3.7.17" → "3.7", "buster-slim" → "10"."""
    first = re.split(r"[-_]", tag, maxsplit=1)[0]
    first = _CODE_NAMES.get(first, first)
    parts = first.split(".")
    return next((name for n in (2, 1) if (name := ".".join(parts[:n])) in versions), "")
