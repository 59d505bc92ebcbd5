"""How git proves who it is: records, and the environment that hands them over. Never in arguments, never stored."""

from __future__ import annotations

import re
import shlex
from base64 import b64encode
from collections.abc import Mapping
from typing import TypeAlias
from urllib.parse import quote

from msgspec import Struct

from trueup.core.address import Address


class HostCredentials(Struct, frozen=True):
    """What the machine has: ssh-agent, ~/.ssh, and the credential helpers of its git configuration."""


class Token(Struct, frozen=True):
    """An access token or password for https."""

    secret: str
    username: str = "x-access-token"

    def __repr__(self) -> str:
        return f"Token(***, {self.username!r})"


class SshKey(Struct, frozen=True):
    """A private key file without a passphrase, and the file of host keys to believe ("" for the usual ones)."""

    path: str
    known_hosts: str = ""


Credentials: TypeAlias = HostCredentials | Token | SshKey


def credentials_from(values: Mapping[str, str]) -> Credentials:
    """From settings by name (the environment, or secrets of the repository): TRUEUP_GIT_TOKEN with
    TRUEUP_GIT_USERNAME, or TRUEUP_GIT_SSH_KEY with TRUEUP_GIT_KNOWN_HOSTS, or what the machine has."""
    if token := values.get("TRUEUP_GIT_TOKEN"):
        return Token(secret=token, username=values.get("TRUEUP_GIT_USERNAME") or "x-access-token")
    if key := values.get("TRUEUP_GIT_SSH_KEY"):
        return SshKey(path=key, known_hosts=values.get("TRUEUP_GIT_KNOWN_HOSTS", ""))
    return HostCredentials()


# What a person may set for git and is wanted here too; every other GIT_* (GIT_DIR inside a hook, …) would mislead it.
_KEPT = {"GIT_SSL_CAINFO", "GIT_SSL_CAPATH", "GIT_SSH", "GIT_SSH_COMMAND", "GIT_EXEC_PATH", "GIT_PROXY_COMMAND"} | {
    "GIT_CONFIG_GLOBAL",
    "GIT_CONFIG_SYSTEM",
    "GIT_CONFIG_NOSYSTEM",
}
_DROPPED = {"SSH_ASKPASS", "LANGUAGE"}

# Read by the helper below; the shell takes them from the environment, so no secret is in an argument.
_HELPER = (
    '!f() { test "$1" = get || exit 0; '
    'printf "username=%s\\npassword=%s\\n" "$TRUEUP_GIT_USERNAME" "$TRUEUP_GIT_SECRET"; }; f'
)

Config: TypeAlias = tuple[tuple[str, str], ...]  # in order; git adds the values of a key up or takes the last

_CONFIG: Config = (
    ("core.hooksPath", "/dev/null"),  # a person's own hooks are not for our clone
    ("core.askPass", ""),
    ("core.fsmonitor", "false"),
    ("gc.autoDetach", "false"),
    ("gc.pruneExpire", "never"),  # what a Candidate names stays readable after history is rewritten
    ("gc.cruftPacks", "true"),  # … in packs
    ("http.lowSpeedLimit", "1"),
    ("http.lowSpeedTime", "60"),
    ("i18n.commitEncoding", "UTF-8"),
    ("push.followTags", "false"),
    ("push.recurseSubmodules", "no"),
    ("fetch.recurseSubmodules", "false"),
    ("submodule.recurse", "false"),
    ("safe.bareRepository", "all"),  # the clone is one; a person may have told git to find none by itself
)


def base_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The person's environment, freed of what would mislead git or make it ask."""
    kept = {
        name: value
        for name, value in environment.items()
        if name not in _DROPPED and not name.startswith("TRUEUP_") and (not name.startswith("GIT_") or name in _KEPT)
    }
    if "SSL_CERT_FILE" in kept:
        kept.setdefault("GIT_SSL_CAINFO", kept["SSL_CERT_FILE"])
    return kept | {
        "LC_ALL": "C",
        "GIT_TERMINAL_PROMPT": "0",
        "SSH_ASKPASS_REQUIRE": "never",
        "GCM_INTERACTIVE": "never",
        "GIT_ALLOW_PROTOCOL": "file:git:http:https:ssh",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_OPTIONAL_LOCKS": "0",
    }


def config_environment(config: Config) -> dict[str, str]:
    """git's configuration, handed over in the environment. Source: git-config(1), ENVIRONMENT, 2.39."""
    pairs = _CONFIG + config
    named = {f"GIT_CONFIG_KEY_{i}": key for i, (key, _) in enumerate(pairs)}
    return {
        "GIT_CONFIG_COUNT": str(len(pairs)),
        **named,
        **{f"GIT_CONFIG_VALUE_{i}": v for i, (_, v) in enumerate(pairs)},
    }


def remote_environment(address: Address, credentials: Credentials, ssh: str) -> tuple[dict[str, str], Config]:
    """(environment, configuration) with which git may speak to this remote. `ssh` is the ssh command to extend.

    A token is given by a credential helper bound to the remote's host, so that a redirect elsewhere never gets it.
    Raises ValueError when the token would travel in the clear."""
    if isinstance(credentials, Token) and address.scheme in ("http", "https"):
        return _token(address, credentials)
    key = credentials if isinstance(credentials, SshKey) else None
    return {"GIT_SSH_COMMAND": _ssh_command(ssh, key), "GIT_SSH_VARIANT": "ssh"}, ()


def _token(address: Address, token: Token) -> tuple[dict[str, str], Config]:
    if address.scheme == "http" and address.host not in ("localhost", "127.0.0.1", "::1"):
        raise ValueError(f"{address.url}: a token is not sent over plain http: use the https address")
    host = f"[{address.host}]" if ":" in address.host else address.host
    scope = f"{address.scheme}://{host}{f':{address.port}' if address.port else ''}"
    # The empty helper first makes git forget the machine's own for this host.
    config = ((f"credential.{scope}.helper", ""), (f"credential.{scope}.helper", _HELPER))
    return {"TRUEUP_GIT_USERNAME": token.username, "TRUEUP_GIT_SECRET": token.secret}, config


def _ssh_command(ssh: str, key: SshKey | None) -> str:
    options = ["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", "ConnectTimeout=15"]
    options += ["-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=4"]
    if key:
        options += ["-i", key.path, "-o", "IdentitiesOnly=yes"]
    if key and key.known_hosts:
        options += ["-o", f"UserKnownHostsFile={key.known_hosts}", "-o", "GlobalKnownHostsFile=/dev/null"]
    return f"{ssh} {shlex.join(options)}"


_IN_URL = re.compile(r"(\w+://)[^/@\s]+@")


def mask(text: str, credentials: Credentials) -> str:
    """The text without the secret, in any form it travels in, and without credentials in URLs."""
    text = _IN_URL.sub(r"\1***@", text)
    if not isinstance(credentials, Token) or not credentials.secret:
        return text
    basic = b64encode(f"{credentials.username}:{credentials.secret}".encode()).decode()
    for form in (basic, credentials.secret, quote(credentials.secret, safe="")):
        text = text.replace(form, "***")
    return text
