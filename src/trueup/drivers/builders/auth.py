"""Registry accounts: those of the run, then auth.json, then Docker's config.json with its credential helpers.

Never writes to the user's own files: each use gets a private file for one registry.
"""

from __future__ import annotations

import base64
import contextlib
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from trueup.drivers.builders import process
from trueup.ports import BuilderDown, Login

HELPER_S = 20.0
_HUB = ("docker.io", "index.docker.io", "https://index.docker.io/v1/", "registry-1.docker.io")


class Account(Struct, frozen=True, omit_defaults=True):
    """One entry of `auths`. Source: containers-auth.json(5); Docker CLI `config.json`."""

    auth: str = ""  # base64 of user:password
    username: str = ""
    password: str = ""
    identitytoken: str = ""

    def complete(self) -> Account | None:
        """With `auth` filled in from user and password; None when it holds nothing."""
        auth = self.auth
        if not auth and self.username:
            auth = base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
        return Account(auth=auth, identitytoken=self.identitytoken) if auth or self.identitytoken else None


class _Config(Struct):
    auths: dict[str, Account] = {}
    credHelpers: dict[str, str] = {}  # Docker's own spelling
    credsStore: str = ""


class _Answer(Struct):
    Username: str = ""
    Secret: str = ""


def auth_files(environ: Mapping[str, str], home: Path) -> tuple[Path, ...]:
    """Where accounts may stand, best first. Source: containers-auth.json(5), "Description"."""
    given = [Path(environ["REGISTRY_AUTH_FILE"])] if environ.get("REGISTRY_AUTH_FILE") else []
    if environ.get("XDG_RUNTIME_DIR"):
        given.append(Path(environ["XDG_RUNTIME_DIR"]) / "containers/auth.json")
    given.append(Path("/run/containers/0/auth.json"))
    given.append(Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "containers/auth.json")
    given.append(Path(environ.get("DOCKER_CONFIG") or home / ".docker") / "config.json")
    return tuple(given)


class Credentials:
    """Accounts found in `files`, read anew at each use so that a `docker login` beside us counts at once."""

    def __init__(self, files: Sequence[Path] = (), environ: Mapping[str, str] | None = None) -> None:
        self._files = tuple(files)
        self._environ = dict(environ or {})

    async def find(self, domain: str, path: str = "", logins: Sequence[Login] = ()) -> Account | None:
        """The account for `domain` (and `path` below it, where a file has one just for that)."""
        for login in logins:
            if login.registry == domain:
                return Account(username=login.user, password=login.password).complete()
        for file in self._files:
            found = await self._in_file(file, domain, path)
            if found is not None:
                return found
        return None

    async def _in_file(self, file: Path, domain: str, path: str) -> Account | None:
        try:
            config = msgspec.json.decode(file.read_bytes(), type=_Config)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError) as e:
            raise BuilderDown(f"registry accounts in {file} cannot be read: {e}") from e
        names = _names(domain, path)
        helper = next((config.credHelpers[name] for name in names if name in config.credHelpers), "")
        if helper:
            return await self._helped(helper, domain)
        for name in names:
            account = config.auths.get(name)
            if account is not None and (complete := account.complete()) is not None:
                return complete
        return await self._helped(config.credsStore, domain) if config.credsStore else None

    async def _helped(self, helper: str, domain: str) -> Account | None:
        """Ask docker-credential-<helper>. Source: docker/docker-credential-helpers, README "Development"."""
        asked = _HUB[2] if domain == "docker.io" else domain
        ended = await process.run(
            [f"docker-credential-{helper}", "get"], env=self._environ, timeout_s=HELPER_S, stdin=asked.encode()
        )
        try:
            answer = msgspec.json.decode(ended.text.encode(), type=_Answer)
        except msgspec.MsgspecError:
            return None  # "credentials not found in native keychain"
        if ended.code or not answer.Secret:
            return None
        if answer.Username == "<token>":
            return Account(identitytoken=answer.Secret)
        return Account(username=answer.Username, password=answer.Secret).complete()


def _names(domain: str, path: str) -> list[str]:
    parts = path.split("/") if path else []
    longest_first = ["/".join([domain, *parts[:count]]) for count in range(len(parts), 0, -1)]
    plain = list(_HUB) if domain == "docker.io" else [domain, f"https://{domain}", f"https://{domain}/v2/"]
    return [*longest_first, *plain]


@contextlib.asynccontextmanager
async def auth_file(domain: str, account: Account | None) -> AsyncIterator[Path]:
    """A private file with this one account, for `--authfile`; without an account, an empty one, so that a tool does
    not go looking for the user's own."""
    with tempfile.TemporaryDirectory(prefix="trueup-auth-") as folder:  # made 0700
        file = Path(folder) / "auth.json"
        file.touch(0o600)
        file.write_bytes(msgspec.json.encode({"auths": {domain: account} if account else {}}))
        yield file
