"""Pipeline files of other products: bytes → Graph. One module a product; `FORMATS` is the registry."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec import Struct

from trueup.core.pipeline import Dialect, Parsed
from trueup.drivers.formats import github, gitlab, jenkins
from trueup.drivers.formats.github_dialect import GitHubDialect


class Format(Struct, frozen=True):
    """How one product's files are found and read."""

    name: str
    title: str
    owns: Callable[[str], bool]  # by path in the repository
    parse: Callable[[str, bytes], Parsed]


FORMATS: Mapping[str, Format] = {
    "github": Format("github", "GitHub Actions", github.owns, github.parse),
    "gitlab": Format("gitlab", "GitLab CI", gitlab.owns, gitlab.parse),
    "jenkins": Format("jenkins", "Jenkins", jenkins.owns, jenkins.parse),
}
# Only these run; the others are found, named and shown.
DIALECTS: Mapping[str, Dialect] = {"github": GitHubDialect()}


def format_of(path: str) -> Format | None:
    """The product whose pipeline file this is, by its path."""
    return next((each for each in FORMATS.values() if each.owns(path)), None)


def parse(path: str, content: bytes) -> Parsed | None:
    """Read a pipeline file; None when the path is none."""
    found = format_of(path)
    return found.parse(path, content) if found else None
