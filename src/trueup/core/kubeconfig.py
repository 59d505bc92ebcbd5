"""Kubeconfig files → how a cluster is reached. Pure: gets bytes, names files, never opens one.

Source: Kubernetes API reference, "kubeconfig (v1)"; "Organizing Cluster Access Using kubeconfig Files", merging rules.
"""

from __future__ import annotations

import base64
import binascii
import posixpath
from collections.abc import Mapping, Sequence

from msgspec import Struct

from trueup.core.model import Json
from trueup.core.yamldoc import YamlFault, documents


class ConfigFault(Exception):
    """A kubeconfig that cannot be used; the message says which part, and what to write."""


class Exec(Struct, frozen=True):
    """A program that gives credentials. Source: "client-go credential plugins", client.authentication.k8s.io/v1."""

    api_version: str
    command: str
    args: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    hint: str = ""
    cluster_info: bool = False


class User(Struct, frozen=True, kw_only=True):
    """Who asks. Of data and file the data wins, as in client-go."""

    token: str = ""
    token_file: str = ""
    certificate: bytes = b""
    certificate_file: str = ""
    key: bytes = b""
    key_file: str = ""
    username: str = ""
    password: str = ""
    exec: Exec | None = None
    impersonate: str = ""
    impersonate_groups: tuple[str, ...] = ()


class Access(Struct, frozen=True, kw_only=True):
    """One context, resolved."""

    name: str  # the context's
    server: str
    ca: bytes = b""
    ca_file: str = ""
    insecure: bool = False
    server_name: str = ""
    proxy: str = ""
    namespace: str = "default"
    user: User = User()


SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"


def in_cluster(environ: Mapping[str, str], namespace: str = "default") -> Access:
    """A pod's own service account; its token file is read anew as it rotates. Raises ConfigFault.

    Source: "Accessing the Kubernetes API from a Pod"."""
    host, port = environ.get("KUBERNETES_SERVICE_HOST", ""), environ.get("KUBERNETES_SERVICE_PORT", "")
    if not host or not port:
        raise ConfigFault("this is no pod (KUBERNETES_SERVICE_HOST is not set): give a kubeconfig")
    host = f"[{host}]" if ":" in host else host
    return Access(
        name="in-cluster",
        server=f"https://{host}:{port}",
        ca_file=f"{SERVICE_ACCOUNT}/ca.crt",
        namespace=namespace.strip() or "default",
        user=User(token_file=f"{SERVICE_ACCOUNT}/token"),
    )


def resolve(files: Sequence[tuple[str, bytes]], context: str = "") -> Access:
    """The context named, or the current one, of files merged in order: the first to name a thing wins.

    `files` are (path, bytes); paths inside are relative to their own file. Raises ConfigFault.
    """
    parts: dict[str, dict[str, tuple[str, Json]]] = {"clusters": {}, "users": {}, "contexts": {}}
    current = context
    for path, data in files:
        body = _body(path, data)
        current = current or _text(body, "current-context")
        for part, found in parts.items():
            for entry in body.get(part) or ():
                if isinstance(entry, dict):
                    held = entry.get(part[:-1])
                    found.setdefault(str(entry.get("name")), (path, held if isinstance(held, dict) else {}))
    names = ", ".join(path for path, _ in files) or "no file"
    if not current:
        raise ConfigFault(f"{names}: no current-context; name a context, or run `kubectl config use-context NAME`")
    if current not in parts["contexts"]:
        known = ", ".join(sorted(parts["contexts"])) or "none"
        raise ConfigFault(f"{names}: no context is named {current!r}; there is: {known}")
    chosen = parts["contexts"][current][1]
    return _access(current, chosen, _named(parts, "clusters", chosen, current), _user(parts, chosen, current))


def _body(path: str, data: bytes) -> dict[str, Json]:
    try:
        read = [doc.body for doc in documents(data, path) if doc.body is not None]
    except YamlFault as fault:
        raise ConfigFault(str(fault)) from fault
    if not read:
        return {}
    if len(read) > 1 or not isinstance(read[0], dict):
        raise ConfigFault(f"{path}: this is no kubeconfig: one mapping with clusters, users and contexts")
    return read[0]


def _named(parts: dict[str, dict[str, tuple[str, Json]]], part: str, chosen: Json, context: str) -> tuple[str, Json]:
    name = str(chosen.get(part[:-1]) or "")
    if name not in parts[part]:
        raise ConfigFault(f"context {context!r} names the {part[:-1]} {name!r}, which stands in none of the files")
    return parts[part][name]


def _access(name: str, chosen: Json, cluster: tuple[str, Json], user: User) -> Access:
    path, body = cluster
    server = _text(body, "server").rstrip("/")
    if not server.startswith(("https://", "http://")):
        raise ConfigFault(f"{path}: the cluster of context {name!r} has no server address; write `server: https://…`")
    return Access(
        name=name,
        server=server,
        ca=_data(path, body, "certificate-authority-data"),
        ca_file=_beside(path, _text(body, "certificate-authority")),
        insecure=body.get("insecure-skip-tls-verify") is True,
        server_name=_text(body, "tls-server-name"),
        proxy=_text(body, "proxy-url"),
        namespace=_text(chosen, "namespace") or "default",
        user=user,
    )


def _user(parts: dict[str, dict[str, tuple[str, Json]]], chosen: Json, context: str) -> User:
    if not chosen.get("user"):
        return User()
    path, body = _named(parts, "users", chosen, context)
    if "auth-provider" in body:
        raise ConfigFault(f"{path}: the user of context {context!r} has an auth-provider, which Kubernetes removed "
                          "in 1.26; use the cloud's exec plugin")  # fmt: skip
    return User(
        token=_text(body, "token"),
        token_file=_beside(path, _text(body, "tokenFile")),
        certificate=_data(path, body, "client-certificate-data"),
        certificate_file=_beside(path, _text(body, "client-certificate")),
        key=_data(path, body, "client-key-data"),
        key_file=_beside(path, _text(body, "client-key")),
        username=_text(body, "username"),
        password=_text(body, "password"),
        exec=_exec(path, body.get("exec")),
        impersonate=_text(body, "as"),
        impersonate_groups=tuple(str(g) for g in body.get("as-groups") or ()),
    )


def _exec(path: str, body: Json) -> Exec | None:
    if not isinstance(body, dict):
        return None
    command = _text(body, "command")
    if not command:
        raise ConfigFault(f"{path}: users[].exec has no command; write the credential plugin's name")
    if "/" in command:
        command = _beside(path, command)
    env = tuple((str(e.get("name")), str(e.get("value", ""))) for e in body.get("env") or () if isinstance(e, dict))
    args = tuple(str(a) for a in body.get("args") or ())
    version = _text(body, "apiVersion")
    return Exec(version, command, args, env, _text(body, "installHint"), body.get("provideClusterInfo") is True)


def _text(body: Json, key: str) -> str:
    value = body.get(key)
    return value if isinstance(value, str) else ""


def _beside(path: str, name: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(path), name)) if name else ""


def _data(path: str, body: Json, key: str) -> bytes:
    text = _text(body, key)
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ConfigFault(f"{path}: {key} is no base64; write it as `base64 -w0 FILE` gives it") from error
