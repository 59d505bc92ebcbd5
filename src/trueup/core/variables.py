"""Variables in pipeline files: what the file itself states of them, and what a text with the others left open could be.

Never runs or expands anything else: commands, secrets and matrices stay unknown.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from trueup.core.model import Json

_VARIABLE = re.compile(
    r"\$\{\{(?P<expression>[^}]{0,500})\}\}|\$\{(?:env\.)?(?P<braces>\w{1,200})\}|\$(?P<plain>\w{1,200})"
    r"|\$\{[^}]{0,500}\}|\$\([^)]{0,500}\)"
)
_TEXT = 1000  # characters of a name or tag; what is longer is left as it is
_ROUNDS = 3  # a variable may be made of others


def of_repository(name: str) -> dict[str, str]:
    """What pipelines are told of the repository that they are for, as far as its name says.

    Source: GitHub Docs, "Contexts", github context; GitLab Docs, "Predefined CI/CD variables"."""
    github, gitlab = f"${{{{ github.repository_owner }}}}/{name}", f"$CI_PROJECT_NAMESPACE/{name}"
    return {
        "github.repository": github, "GITHUB_REPOSITORY": github, "github.event.repository.name": name,
        "CI_PROJECT_NAME": name, "CI_PROJECT_PATH": gitlab, "CI_REGISTRY_IMAGE": f"$CI_REGISTRY/{gitlab}",
    }  # fmt: skip


def filled(text: str, values: Mapping[str, str]) -> str:
    """`text` with the variables that `values` knows put in; the others stay as they are written."""
    for _ in range(_ROUNDS if len(text) <= _TEXT else 0):
        before, text = text, _VARIABLE.sub(lambda found: values.get(_name(found), found.group()), text)
        if text == before:
            break
    return text


def stated(places: Iterable[Json]) -> dict[str, str]:
    """Of several `env:` or `variables:` mappings, the variables that have one value wherever they are stated."""
    found: dict[str, set[str]] = {}
    for place in places:
        for name, value in place.items() if isinstance(place, dict) else ():
            if isinstance(value, (str, int)) and not isinstance(value, bool):
                found.setdefault(str(name), set()).add(str(value))
    return {name: next(iter(values)) for name, values in found.items() if len(values) == 1}


def could_be(written: str, name: str) -> bool:
    """Whether `name` is what `written` becomes with some value for each variable. No letter or digit of its own: no."""
    first, *others = _VARIABLE.split(written[:_TEXT])[:: _VARIABLE.groups + 1]
    if not any(character.isalnum() for part in (first, *others) for character in part):
        return False
    if not others:
        return written == name
    *middle, last = others
    at, end = len(first), len(name) - len(last)
    for part in middle:  # each variable is at least one character
        at = name.find(part, at + 1, end) + len(part)
        if at < len(part):
            return False
    return at < end and name.startswith(first) and name.endswith(last)


def _name(found: re.Match[str]) -> str:
    return (found["expression"] or "").strip().removeprefix("env.") or found["braces"] or found["plain"] or ""
