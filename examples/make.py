"""Makes a Git repository of an example: python examples/make.py VARIANT DEST

Variants: standard (docker commands in its deploy workflow), build-push-action, jenkins, gitlab, tutorial (as people
write it, faults and all), kustomize (a base and two overlays), helm (a chart), split (two repositories: DEST/code and
DEST/config). Needs git and nothing else. The same
variant gives the same commit.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parent
VARIANTS = ("standard", "build-push-action", "jenkins", "gitlab", "tutorial", "kustomize", "helm", "split")
_WITHOUT_WORKFLOWS = ("jenkins", "gitlab")
_RENDERED = ("kustomize", "helm")
_CONFIGURATION = ("config", "infrastructure", "monitoring")
_IGNORED = shutil.ignore_patterns("__pycache__", ".pytest_cache", "*.pyc")
_WHO = {
    "GIT_AUTHOR_NAME": "Ann Example",
    "GIT_AUTHOR_EMAIL": "ann@example.org",
    "GIT_AUTHOR_DATE": "2025-01-01T12:00:00+00:00",
    "GIT_COMMITTER_NAME": "Ann Example",
    "GIT_COMMITTER_EMAIL": "ann@example.org",
    "GIT_COMMITTER_DATE": "2025-01-01T12:00:00+00:00",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
}


def make(variant: str, destination: Path) -> tuple[Path, ...]:
    """Make the repositories of a variant below `destination`, which must be empty or absent; their paths."""
    if variant not in VARIANTS:
        raise ValueError(f"no variant {variant!r}; there are {', '.join(VARIANTS)}")
    if destination.exists() and any(destination.iterdir()):
        raise ValueError(f"{destination} is not empty: give a new folder")
    if variant != "split":
        write(variant, destination)
        commit(destination, "Add the application")
        return (destination,)
    code, config = destination / "code", destination / "config"
    write_split(code, config)
    commit(code, "Add the application")
    commit(config, "Add what runs")
    return code, config


def write(variant: str, destination: Path) -> None:
    """The files of a variant, without Git."""
    source = EXAMPLES / ("tutorial" if variant == "tutorial" else "python-app")
    shutil.copytree(source, destination, ignore=_IGNORED, dirs_exist_ok=True)
    if variant in _WITHOUT_WORKFLOWS:
        shutil.rmtree(destination / ".github")
    if variant in _RENDERED:
        shutil.rmtree(destination / "config")
    overlay = EXAMPLES / "variants" / variant
    if overlay.is_dir():
        shutil.copytree(overlay, destination, dirs_exist_ok=True)


def write_split(code: Path, config: Path) -> None:
    """One application in two repositories: what is built, and what runs."""
    write("standard", code)
    for name in _CONFIGURATION:
        shutil.copytree(code / name, config / name)
        shutil.rmtree(code / name)
    shutil.copy(code / "README.md", config / "README.md")


def commit(repository: Path, message: str, environment: Mapping[str, str] | None = None) -> str:
    """Everything below `repository` as one commit on main; its id. Makes the repository when there is none."""
    if not (repository / ".git").exists():
        _git(repository, "init", "--quiet", "--initial-branch=main")
        _git(repository, "config", "receive.denyCurrentBranch", "updateInstead")
    _git(repository, "add", "--all")
    _git(repository, "commit", "--quiet", "--message", message, environment=environment)
    return _git(repository, "rev-parse", "HEAD").strip()


def _git(repository: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
    repository.mkdir(parents=True, exist_ok=True)
    return subprocess.run(
        ["git", "-C", str(repository), *arguments],
        env={**os.environ, **_WHO, **(environment or {})},
        check=True, stdout=subprocess.PIPE, text=True, timeout=60,
    ).stdout  # fmt: skip


def main(arguments: list[str]) -> int:
    if len(arguments) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        for path in make(arguments[0], Path(arguments[1])):
            print(path)
    except (ValueError, OSError, subprocess.CalledProcessError) as error:
        print(f"make.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
