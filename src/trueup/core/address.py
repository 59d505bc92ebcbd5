"""Git addresses: every form a person writes, read into one record. Never holds a credential."""

from __future__ import annotations

import re
from urllib.parse import unquote, urlsplit, urlunsplit

from msgspec import Struct

_SCP = re.compile(r"(?:(?P<user>[^@/\s]+)@)?(?P<host>\[[0-9a-fA-F:.]+\]|[^:/\s]+):(?P<path>[^\s].*)")
_REMOTE_HELPER = re.compile(r"[A-Za-z0-9+.-]+::")  # "ext::sh -c …" runs a command
_SCHEMES = ("https", "http", "ssh", "git", "file")


class Address(Struct, frozen=True):
    """Where a repository is. `url` is what git is given: without password or token."""

    url: str
    scheme: str  # "https" | "http" | "ssh" | "git" | "file" | "path"
    host: str = ""
    port: int = 0  # 0: the scheme's own
    user: str = ""
    path: str = ""  # on the host, as written

    @property
    def slug(self) -> str:
        """ "acme/app": the path as forges name it, without slashes around it or ".git"."""
        return self.path.strip("/").removesuffix(".git").rstrip("/")

    @property
    def name(self) -> str:
        return self.slug.rpartition("/")[2]

    @property
    def identity(self) -> str:
        """ "github.com/acme/app" or "/srv/git/app": the same for every way to write one repository, and two never share
        it. A path has to be absolute. Forges do not tell capitals apart, file systems do."""
        return f"{self.host}/{self.slug.lower()}" if self.host else f"/{self.slug}"


class Login(Struct, frozen=True):
    """A user name and a secret that stood in an address."""

    username: str
    secret: str

    def __repr__(self) -> str:
        return f"Login({self.username!r}, ***)"


def parse(url: str) -> tuple[Address, Login | None]:
    """Read a path, a file, https, http, ssh or git URL, or `user@host:path`; what it held of credentials, apart.

    Raises ValueError, saying what is wrong, for anything else. Source: git-fetch(1), "Git URLs", 2.39."""
    if not url or url.startswith("-") or _REMOTE_HELPER.match(url) or "\n" in url or "\0" in url:
        raise ValueError(f"{url!r} is no Git address: give a path, or a URL of https, ssh or file")
    if "://" in url:
        return _of_url(url)
    if (scp := _SCP.fullmatch(url)) and "/" not in url.partition(":")[0]:
        host = scp["host"].strip("[]")
        return Address(url=url, scheme="ssh", host=host.lower(), user=scp["user"] or "", path=scp["path"]), None
    return Address(url=url, scheme="path", path=url), None


def _of_url(url: str) -> tuple[Address, Login | None]:
    try:
        parts = urlsplit(url)
        port = parts.port or 0
    except ValueError as error:
        raise ValueError(f"this Git address cannot be read ({error}): check its host and port") from None
    if parts.scheme not in _SCHEMES:
        raise ValueError(f"{parts.scheme}:// is no scheme that Trueup fetches from: use one of {', '.join(_SCHEMES)}")
    user, secret = unquote(parts.username or ""), unquote(parts.password or "")
    host = (parts.hostname or "").lower()
    if host.startswith("-"):
        raise ValueError(f"{host!r} is no host name: it would be taken for an option of ssh")
    if parts.scheme != "file" and not host:
        raise ValueError(f"{parts.scheme}:// without a host: write {parts.scheme}://HOST/PATH")
    keeps_user = parts.scheme == "ssh"
    where = parts.netloc.rpartition("@")[2]
    clean = urlunsplit(
        (parts.scheme, f"{parts.username}@{where}" if keeps_user and user else where, parts.path, "", "")
    )
    address = Address(
        url=clean, scheme=parts.scheme, host=host, port=port, user=user if keeps_user else "", path=unquote(parts.path)
    )
    return address, None if keeps_user or not (user or secret) else _login(user, secret)


def _login(user: str, secret: str) -> Login:
    """`https://TOKEN@host/…` is a token without a name."""
    return Login(username=user, secret=secret) if secret else Login(username="x-access-token", secret=user)


def same_repository(a: str, b: str) -> bool:
    """Whether two addresses name the same repository, however they are written (ssh or https, with `.git` or not)."""
    try:
        one, two = parse(a)[0], parse(b)[0]
    except ValueError:
        return False
    return one.identity == two.identity
