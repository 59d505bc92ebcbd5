"""What a shell script in a pipeline does, as far as its commands say: build, push, test, deploy. Reads text only."""

from __future__ import annotations

import re
from collections.abc import Iterator

from msgspec import Struct


class Doing(Struct, frozen=True):
    """One command of a script. `line` counts from 0 within the script."""

    role: str  # "build" | "push" | "test" | "deploy" | "login" | "lint" | "release"
    command: str
    line: int


_ROLES = (
    ("deploy", r"kubectl\s+(?:apply|create|replace|set|rollout|patch|delete)|oc\s+apply|helm\s+(?:upgrade|install)"),
    (
        "deploy",
        r"argocd\s+app\s+(?:sync|set|create)|kustomize\s+build.*\|\s*kubectl|terraform\s+apply|ansible-playbook",
    ),
    ("deploy", r"flux\s+reconcile|skaffold\s+(?:run|deploy)|docker(?:-|\s+)compose\s+up|docker\s+stack\s+deploy"),
    (
        "build",
        r"(?:docker|podman)\s+(?:buildx\s+)?build\b|buildah\s+(?:bud|build)|kaniko|(?:docker|podman)\s+image\s+build",
    ),
    ("push", r"(?:docker|podman)\s+(?:image\s+)?push\b|skopeo\s+copy|crane\s+push"),
    ("login", r"(?:docker|podman|helm\s+registry|skopeo)\s+login\b"),
    (
        "test",
        r"pytest|python3?\s+-m\s+(?:pytest|unittest)|tox\b|nox\b|npm\s+(?:run\s+)?test|yarn\s+test|go\s+test|cargo\s+test",
    ),
    ("test", r"mvn\s+.*\b(?:test|verify)\b|gradlew?\s+.*\b(?:test|check)\b|make\s+(?:test|check)\b|rspec\b|phpunit\b"),
    ("lint", r"ruff\s|flake8|pylint|mypy\b|black\s|eslint|golangci-lint|shellcheck|hadolint|helm\s+lint"),
    ("release", r"git\s+tag\b|gh\s+release|twine\s+upload|npm\s+publish|goreleaser"),
)
_PATTERNS = tuple((role, re.compile(rf"(?:^|[\s;&|(/]){pattern}")) for role, pattern in _ROLES)


def doings(script: str) -> Iterator[Doing]:
    """Every command of a known role, in order; a line may hold several."""
    for number, line in _lines(script[:100_000]):
        text = line.strip()[:2000]
        if not text or text.startswith("#"):
            continue
        seen: set[str] = set()
        for role, pattern in _PATTERNS:
            if role not in seen and pattern.search(text):
                seen.add(role)
                yield Doing(role, text, number)


def _lines(script: str) -> Iterator[tuple[int, str]]:
    """Lines with their continuations, numbered by where they begin."""
    held, first = "", 0
    for number, line in enumerate(script.split("\n")):
        if not held:
            first = number
        if line.endswith("\\"):
            held += line[:-1] + " "
            continue
        yield first, held + line
        held = ""
    if held:
        yield first, held
