"""What git and its remotes say when something goes wrong, told as what happened and what to do. Pure."""

from __future__ import annotations

import re
from typing import TypeAlias

from trueup.core.address import Address

_Rule: TypeAlias = tuple[re.Pattern[str], str, str]  # what git says; what it means; what to do


def _rule(pattern: str, what: str, todo: str) -> _Rule:
    return re.compile(pattern, re.IGNORECASE), what, todo


# The first that matches wins, so the particular stand before the general.
# Source: messages of git 2.30 to 2.50 (LC_ALL=C), OpenSSH 8.4 to 9.9, and the forges' own.
_RULES: tuple[_Rule, ...] = (
    _rule(
        r"no space left on device|out of diskspace|disk quota exceeded|enospc",
        "the disk is full",
        "free some space (`df -h`; `trueup doctor` says what Trueup holds), it goes on by itself",
    ),
    _rule(
        r"REMOTE HOST IDENTIFICATION HAS CHANGED|host key for .* has changed",
        "the host key is not the one in known_hosts: the server was reinstalled, or somebody is in between",
        "compare it with the one the host publishes, then `ssh-keygen -R {known}` and `{keyscan}`",
    ),
    _rule(
        r"host key verification failed|no .* host key is known for|authenticity of host",
        "the host key is not known",
        "`{keyscan}`, and compare the key with the one the host publishes",
    ),
    _rule(
        r"permission denied \(|could not read from agent|too many authentication failures|no such identity",
        "the host did not accept the ssh key",
        "load the key into ssh-agent (`ssh-add -l` shows what is there) or give a key file, and add its public "
        "half to the repository as a deploy key",
    ),
    _rule(
        r"authentication failed|could not read (username|password)|terminal prompts disabled|"
        r"invalid (username|credentials)|HTTP Basic: Access denied|returned error: 401",
        "the remote wants credentials, or refused the ones it got",
        "give a token with read and write access to this repository: set the secret TRUEUP_GIT_TOKEN "
        "(`trueup secret set TRUEUP_GIT_TOKEN`), or configure a git credential helper",
    ),
    _rule(
        r"returned error: 403|access denied|not allowed to|denied to",
        "the remote knows who asks and says no",
        "give the token or key access to this repository",
    ),
    _rule(
        r"detected dubious ownership",
        "the repository belongs to another user, and git does not open it",
        "`git config --global --add safe.directory {path}` as the user who runs Trueup, if you trust it",
    ),
    _rule(
        r"repository .*not found|does not appear to be a git repository|returned error: 404|"
        r"project you were looking for could not be found|no such file or directory.*\.git|does not exist",
        "there is no such repository, or these credentials may not see it",
        "check the address, and that the token or key has access",
    ),
    _rule(
        r"certificate|SSL|TLS|gnutls",
        "the connection's certificate was not accepted",
        "if your company signs its own, point SSL_CERT_FILE at its CA bundle",
    ),
    _rule(
        r"could not resolve|name or service not known|temporary failure in name resolution",
        "the host's name does not resolve",
        "check the address and this machine's DNS; it is tried again by itself",
    ),
    _rule(
        r"could not connect|failed to connect|connection (refused|timed out|reset|closed)|network is unreachable|"
        r"no route to host|returned error: 5\d\d|no answer within|hung up|early eof|operation (too slow|timed out)|"
        r"rpc failed|unexpected disconnect|broken pipe|empty reply|recv failure|transfer closed|could not read from",
        "the remote is down or cannot be reached",
        "what runs stays as it is; it is tried again by itself",
    ),
    _rule(
        r"bad object|loose object .* is corrupt|object file .* is empty|packfile .* (corrupt|cannot be accessed)|"
        r"pack has bad|index-pack (died|failed)|unable to read tree",
        "the local clone is damaged",
        "remove the folder {folder}; it is fetched anew",
    ),
    _rule(
        r"unable to create '.*\.lock'|another git process",
        "another git process holds the clone",
        "wait until it ends; it is tried again by itself",
    ),
    _rule(
        r"mismatched algorithms|unsupported hash|object-format",
        "the repository uses SHA-256 object names, which are not supported yet",
        "use a repository with SHA-1 object names",
    ),
)


def explain(doing: str, address: Address, said: str, folder: str) -> str:
    """One paragraph: what failed, on which remote, what it means, in the remote's own words, and what to do."""
    words = own_words(said)
    for pattern, what, todo in _RULES:
        if pattern.search(said):
            advice = todo.format(known=_known(address), keyscan=_keyscan(address), path=address.path, folder=folder)
            return f"cannot {doing} {address.url}: {what} ({words}). Do: {advice}."
    return f"cannot {doing} {address.url}: git said: {words}. Do: run the same by hand to see more."


def _known(address: Address) -> str:
    return f"'[{address.host}]:{address.port}'" if address.port else address.host


def _keyscan(address: Address) -> str:
    port = f" -p {address.port}" if address.port else ""
    return f"ssh-keyscan{port} {address.host} >> ~/.ssh/known_hosts"


_NOISE = re.compile(
    r"^(hint:|warning: no common commits|Warning: Permanently added|@+$|To |Everything up-to-date|Done$|"
    r"Please make sure you have the correct access|and the repository exists|error: failed to push some refs|"
    r"remote: (Resolving|Counting|Compressing|Enumerating|Total)|debug\d:)"
)


def own_words(said: str, limit: int = 300) -> str:
    """What was said, on one line, without git's hints and progress."""
    lines = [line.strip() for line in re.split(r"[\r\n]+", said)]
    kept = [line for line in lines if line and not _NOISE.match(line)]
    text = "; ".join(dict.fromkeys(kept)) or "nothing"
    return text if len(text) <= limit else text[: limit - 1] + "…"


_RACED = re.compile(
    r"stale info|fetch first|non-fast-forward|already exists|remote ref updated since checkout|but expected"
)
_LOCKED = re.compile(r"cannot lock ref|failed to update ref|failed to lock|unable to lock|incorrect old value")
_WORLD = re.compile(
    r"unpacker error|remote failed to report status|unable to migrate objects|no space left|diskspace", re.IGNORECASE
)
_NO_RIGHT = re.compile(
    r"denied to|marked as read only|returned error: 40[13]|insufficient permission|not allowed to|"
    r"authentication failed|could not read username|terminal prompts disabled|write access|"
    r"permission denied(?! \()|access denied|protected branch|archived|deploy key|"
    r"read-only file system|service not enabled",
    re.IGNORECASE,
)


def rejection(porcelain: str) -> str:
    """Why the one ref that was pushed was not taken; "" when it was. Source: git-push(1), --porcelain."""
    for line in porcelain.splitlines():
        if line.startswith("!\t"):
            return line.split("\t", 2)[-1]
    return ""


def is_race(reason: str) -> bool:
    return bool(_RACED.search(reason))


def is_lock(reason: str) -> bool:
    """Somebody moved the ref in the same instant, or left a lock: only a look at the ref can tell."""
    return bool(_LOCKED.search(reason))


def is_world(reason: str, said: str) -> bool:
    """The remote could not take the push for want of room or health, rather than would not."""
    return bool(_WORLD.search(reason)) and not _NO_RIGHT.search(said)


def is_no_right(said: str) -> bool:
    return bool(_NO_RIGHT.search(said))


def refusal(branch: str, reason: str, said: str, address: Address) -> str:
    """Why the remote refused, in its own words, and what to do."""
    spoken = [line[8:].strip() for line in re.split(r"[\r\n]+", said) if line.startswith("remote: ")]
    words = own_words("\n".join(spoken) if any(spoken) else said.partition("\n")[0])
    todo = _advice(reason + said, address)
    return f"{address.url} refused the push to {branch}: {reason or 'no right to push'}: {words}. Do: {todo}."


def _advice(said: str, address: Address) -> str:
    if "currently checked out" in said or "refusing to update checked out branch" in said:
        return checked_out_advice(address.path)
    if re.search(r"unstaged changes|uncommitted changes|dirty|working tree", said, re.IGNORECASE):
        return f"commit or stash what is changed in {address.path}, then `trueup retry`"
    if re.search(r"protected branch|GH006|GH013|ruleset|not allowed to push", said, re.IGNORECASE):
        return "let Trueup's user push to this branch in the forge's protection rules"
    if re.search(r"sign", said, re.IGNORECASE) and "commit" in said:
        return "give Trueup a signing key, and register it with the forge"
    if "hook" in said:
        return "let the hook accept Trueup's commits"
    return "give the token or key write access to this repository"


def checked_out_advice(path: str) -> str:
    return f"`git -C {path} config receive.denyCurrentBranch updateInstead`, or push to a bare repository"
