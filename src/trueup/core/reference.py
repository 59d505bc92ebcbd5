"""Image references: parse, complete, and map to the embedded mirror. Never asks a registry anything.

Source: distribution/reference, `grammar` and `normalize.go`, version 0.6.
"""

from __future__ import annotations

import re

from msgspec import Struct

DEFAULT_DOMAIN = "docker.io"
OFFICIAL = "library/"

_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|[-]+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*\Z")
_DOMAIN = re.compile(
    r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*)(?::[0-9]+)?\Z"
)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}\Z")
_DIGEST = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[+._-][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}\Z")
_LENGTHS = {"sha256": 64, "sha384": 96, "sha512": 128}


class ReferenceInvalid(ValueError):
    """The text is no image reference; the message says which part is wrong."""


class Reference(Struct, frozen=True):
    """A complete reference: `domain` "docker.io", `path` "library/python", `tag` and `digest` "" when not given."""

    domain: str
    path: str
    tag: str = ""
    digest: str = ""

    @property
    def repository(self) -> str:
        """ "docker.io/library/python" """
        return f"{self.domain}/{self.path}"

    @property
    def familiar(self) -> str:
        """The repository as people write it: "python", "acme/app", "ghcr.io/acme/app"."""
        if self.domain != DEFAULT_DOMAIN:
            return self.repository
        short = self.path.removeprefix(OFFICIAL)
        return self.path if "/" in short else short

    def __str__(self) -> str:
        return self.repository + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")


def split(text: str) -> tuple[str, str, str]:
    """(name, tag, digest) as written, nothing checked or completed: the repository that a file names."""
    name, _, digest = text.partition("@")
    head, colon, tag = name.rpartition(":")
    if colon and "/" not in tag:
        return head, tag, digest
    return name, "", digest


def parse(text: str) -> Reference:
    """Read a reference, completing `docker.io` and `library/`. No tag is added. Raises ReferenceInvalid."""
    if re.fullmatch(r"[0-9a-f]{64}", text):
        raise ReferenceInvalid(f"{text!r} is an image id, not a name: write repository[:tag][@digest]")
    name, tag, digest = split(text)
    first, slash, rest = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost" or first != first.lower()):
        domain, path = first, rest
    else:
        domain, path = DEFAULT_DOMAIN, name
    if domain == "index.docker.io":
        domain = DEFAULT_DOMAIN
    if domain == DEFAULT_DOMAIN and "/" not in path:
        path = OFFICIAL + path
    _check(text, domain, path, tag, digest)
    return Reference(domain=domain, path=path, tag=tag, digest=digest)


def _check(text: str, domain: str, path: str, tag: str, digest: str) -> None:
    if not _DOMAIN.match(domain):
        raise ReferenceInvalid(f"{text!r}: {domain!r} is not a registry's host name")
    if not _PATH.match(path):
        why = "must be lower case" if path != path.lower() else "may hold only a-z, 0-9 and . _ - between them"
        raise ReferenceInvalid(f"{text!r}: the repository {path.removeprefix(OFFICIAL)!r} {why}")
    if len(domain) + 1 + len(path) > 255:
        raise ReferenceInvalid(f"{text[:40]!r}…: a repository name has at most 255 characters")
    if (tag or text.endswith(":")) and not _TAG.match(tag):
        raise ReferenceInvalid(f"{text!r}: {tag!r} is not a tag (letters, digits, _ . -, at most 128)")
    if digest or "@" in text:
        algorithm = digest.partition(":")[0]
        if not _DIGEST.match(digest) or len(digest) - len(algorithm) - 1 != _LENGTHS.get(algorithm, -1):
            raise ReferenceInvalid(f"{text!r}: {digest!r} is not a digest (sha256:<64 hex digits>)")


def tagged(text: str, tag: str = "latest") -> Reference:
    """As `parse`, with `tag` where neither tag nor digest is written."""
    reference = parse(text)
    if reference.tag or reference.digest:
        return reference
    return Reference(domain=reference.domain, path=reference.path, tag=tag)


def same_repository(one: str, other: str) -> bool:
    """Whether two written references name the same repository ("python" and "docker.io/library/python")."""
    return parse(one).repository == parse(other).repository


def mirror_path(reference: str) -> str:
    """The repository's path in the embedded registry: "ghcr.io/acme/app", "docker.io/library/python".

    A port's ":" becomes "_", which no host name holds, so that two names never share a path."""
    parsed = parse(reference)
    return f"{parsed.domain.lower().replace(':', '_')}/{parsed.path}"


def mirror_name(reference: str, address: str) -> str:
    """Where the embedded registry at `address` ("127.0.0.1:5001") keeps `reference`, by digest where it has one."""
    parsed = parse(reference)
    tail = f":{parsed.tag}" if parsed.tag else ""
    if parsed.digest:
        tail = f"@{parsed.digest}"  # Podman refuses a name with both
    return f"{address}/{mirror_path(reference)}{tail}"
