"""`kubectl`, `helm` and `argocd` in a pipeline: a second writer is recorded, never executed. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from msgspec import Struct

from trueup.core.events import RunIntent


class Said(Struct, frozen=True):
    """What a shim answers; `intent` when the command would have changed what runs."""

    text: str
    code: int = 0
    intent: RunIntent | None = None


_Verbs: TypeAlias = Mapping[str, tuple[tuple[str, ...], ...]]
_WRITES: _Verbs = {
    "kubectl": (("apply",), ("set", "image"), ("rollout", "restart"), ("replace",)),
    "helm": (("upgrade",), ("install",)),
    "argocd": (("app", "sync"), ("app", "set"), ("app", "create")),
}
_QUIET: _Verbs = {
    "kubectl": (("version",), ("config",), ("cluster-info",), ("rollout", "status"), ("wait",), ("diff",)),
    "helm": (("version",), ("repo",), ("dependency",), ("registry",), ("env",)),
    "argocd": (("version",), ("login",), ("logout",), ("context",), ("app", "wait"), ("app", "get"), ("app", "diff")),
}
_FILES = ("-f", "--filename", "-k", "--kustomize", "--values")
_VALUES = frozenset(
    [
        "-n",
        "--namespace",
        "--context",
        "--kubeconfig",
        "-o",
        "--output",
        "--cluster",
        "--user",
        "--timeout",
        "-l",
        "--selector",
        "--server",
        "-s",
        "--token",
        "--set",
        "--set-string",
        "--version",
        "--repo",
        "--kube-context",
        "--username",
        "--password",
        "--revision",
        "--field-manager",
        "--dry-run-strategy",
        "--auth-token",
        "--set-file",
        "--namespace-name",
        "--grpc-web-root-path",
        "-v",
        "--v",
    ]
)


def answer(tool: str, argv: Sequence[str]) -> Said:
    """What `tool argv…` gets for an answer in a pipeline."""
    words, files, options = _split(argv)
    if tool == "helm" and words[:1] in (["upgrade"], ["install"]) and len(words) > 2:
        files = (*files, words[2])
    verbs = tuple(words[:2])
    writes = next((v for v in _WRITES[tool] if verbs[: len(v)] == v), None)
    if writes and _dry(options):
        return Said(f"{tool} {' '.join(writes)}: a dry run changes nothing; `trueup plan` shows what a commit would do")
    if writes:
        command = shlex.join([tool, *_masked(argv)])[:500]
        what = " ".join(files) or "what Git states"
        text = (
            f"{tool} {' '.join(writes)} is recorded and not executed: Trueup is the one writer. "
            f"It deploys {what} once every required check of this commit is green."
        )
        return Said(text, 0, RunIntent(command=command, files=files[:50]))
    quiet = next((v for v in _QUIET[tool] if verbs[: len(v)] == v), None)
    if quiet or not words:
        return Said(f"{tool}: Trueup's shim; nothing to do in a pipeline (Trueup deploys and waits itself)")
    offered = ", ".join(sorted(" ".join(v) for v in _WRITES[tool]))
    text = (
        f"{tool} {' '.join(words[:1])} is not offered in a pipeline: it has no access to what runs. "
        f"Recorded are {offered}; see what runs with `trueup status`."
    )
    return Said(text, 1)


def _split(argv: Sequence[str]) -> tuple[list[str], tuple[str, ...], dict[str, str]]:
    """(words, files, options) of a command line in the style of kubectl."""
    words: list[str] = []
    files: list[str] = []
    options: dict[str, str] = {}
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        if word == "--":
            break
        if name in _FILES:
            files += (value if equals else rest.pop(0) if rest else "").split(",")
        elif name.startswith("-"):
            options[name] = value if equals else rest.pop(0) if name in _VALUES and rest else ""
        else:
            words.append(word)
    return words, tuple(file for file in files if file), options


def _dry(options: dict[str, str]) -> bool:
    return "--dry-run" in options and options["--dry-run"] not in ("none", "false")


def _masked(argv: Sequence[str]) -> list[str]:
    """The words with the values of credentials left out: an event is for ever."""
    out: list[str] = []
    hide = False
    for word in argv:
        name, equals, _ = word.partition("=")
        secret = name in ("--token", "--password", "--auth-token", "--from-literal", "--set", "--set-string")
        out.append("***" if hide else f"{name}=***" if secret and equals else word)
        hide = secret and not equals
    return out
