"""The addresses that a kustomization may name instead of a folder or file of its own. Pure.

Source: kustomize api v0.21.1, internal/git/repospec.go (what is a repository, its path, ref, timeout) and
internal/loader/fileloader.go (https resources are files when they answer as such).
"""

from __future__ import annotations

import posixpath
import re
from urllib.parse import parse_qsl

from msgspec import Struct

TIMEOUT_S = 27.0
YAML = (".yaml", ".yml", ".json")
_SCHEMES = ("ssh://", "https://", "http://", "file://")
_USER = re.compile(r"[a-zA-Z][a-zA-Z0-9-]*@")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_PART = re.compile(r"([0-9]*\.?[0-9]+|[0-9]+\.)(h|ms|us|µs|ns|m|s)")


class Base(Struct, frozen=True):
    """A folder of a Git repository. `ref` "" is the head of the remote's own branch."""

    url: str  # what git is given
    path: str = ""
    ref: str = ""
    timeout_s: float = TIMEOUT_S
    submodules: bool = True


class File(Struct, frozen=True):
    """One file, by http or https."""

    url: str


def read(text: str) -> Base | File | None:
    """What an entry of a kustomization names, when it is nothing of this repository."""
    if text.startswith("/"):
        return None
    lower = text.lower()
    if lower.startswith(("https://", "http://")) and lower.partition("?")[0].endswith(YAML):
        return File(text)
    name, _, query = text.partition("?")
    found = _host(name)
    parts = _parts(found[1], found[0]) if found is not None else None
    if found is None or parts is None:
        return File(text) if lower.startswith(("https://", "http://")) else None
    return Base(found[0] + parts[0], parts[1], *_query(query))


def _host(name: str) -> tuple[str, str] | None:
    """(scheme, user and host with their separator, the rest)"""
    if name[:5].lower() == "git::":
        name = name[5:]
    scheme = next((s for s in _SCHEMES if name.lower().startswith(s)), "")
    name = name[len(scheme) :]
    match = _USER.match(name)
    user = match.group() if match else ""
    rest = name[len(user) :]
    github = rest.lower().startswith(("github.com/", "github.com:"))
    scp = not scheme and bool(user or github)
    if not scheme and not scp:
        return None
    if scheme == "file://":
        return scheme, user + rest
    at = rest.find("/")
    colon = rest.find(":") if scp else -1
    if scp and (at == -1 or 0 < colon < at):
        at = colon
    host, rest = (rest[: at + 1], rest[at + 1 :]) if at >= 0 else (rest, "")
    if github:
        secure = scheme == "ssh://" or bool(user)
        return (f"{user}github.com:" if secure else "https://github.com/"), rest
    return (f"{scheme}{user}{host}", rest) if host else None


def _parts(rest: str, host: str) -> tuple[str, str] | None:
    """(repository, path in it)"""
    for mark in ("_git/", "//", ".git"):
        at = rest.find(mark)
        if at < 0:
            continue
        if mark == "_git/":
            name, _, path = rest[at + len(mark) :].partition("/")
            return _inside(rest[: at + len(mark)] + name, path)
        if mark == "//":
            return _inside(rest[:at], rest[at + 2 :])
        return _inside(rest[: at + len(mark)], rest[at + len(mark) :])
    if host == "file://":
        return _inside(rest, "")
    segments = rest.split("/")
    return _inside("/".join(segments[:2]), "/".join(segments[2:])) if len(segments) >= 2 else None


def _inside(repository: str, path: str) -> tuple[str, str] | None:
    clean = posixpath.normpath(path.removeprefix("/") or ".")
    if not repository or clean == ".." or clean.startswith("../"):
        return None
    return repository, "" if clean == "." else clean.strip("/")


def _query(query: str) -> tuple[str, float, bool]:
    values: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        values.setdefault(name, value)
    ref = values.get("ref") or values.get("version") or ""
    return ref, _timeout(values.get("timeout", "")), values.get("submodules", "") not in _FALSE


_FALSE = frozenset({"0", "f", "F", "false", "False", "FALSE"})


def _timeout(text: str) -> float:
    if text.isdigit() and int(text) > 0:
        return float(int(text))
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return TIMEOUT_S
    return sum(float(number) * _SECONDS[unit] for number, unit in parts) or TIMEOUT_S
