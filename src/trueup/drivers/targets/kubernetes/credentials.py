"""Who we are to a cluster, kept fresh: token files as they rotate, exec plugins until they expire, TLS.

Source: "client-go credential plugins" (client.authentication.k8s.io/v1 and v1beta1); token files are read anew every
minute, as client-go does.
"""

from __future__ import annotations

import asyncio
import base64
import os
import ssl
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
from msgspec import Struct

from trueup.core.kubeconfig import Access, Exec, User
from trueup.ports import TargetDown

TOKEN_FILE_S = 60.0
EXEC_S = 60.0
MARGIN = timedelta(seconds=30)  # a credential is asked anew this long before it ends
VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")


class Given(Struct, frozen=True):
    """What stands now: a header's value, and a certificate with its key."""

    authorization: str = ""
    certificate: bytes = b""
    key: bytes = b""
    until: datetime | None = None  # None: for good


class Credentials:
    """Of one access. `environ` is what exec plugins run with."""

    def __init__(self, access: Access, environ: Mapping[str, str]) -> None:
        self.access, self._environ = access, environ
        self._given: Given | None = None
        self._busy = asyncio.Lock()

    async def now(self) -> Given:
        """What to send now. Raises TargetDown."""
        given = self._given
        if given is not None and given.until is None:
            return given
        async with self._busy:
            given = self._given
            if given is None or (given.until is not None and given.until <= datetime.now(UTC)):
                given = self._given = await self._ask()
            return given

    def refused(self) -> None:
        """The server did not know us (401): ask anew next time."""
        user = self.access.user
        if user.exec is not None or user.token_file or user.certificate_file:
            self._given = None

    async def _ask(self) -> Given:
        user = self.access.user
        certificate = await _either(user.certificate, user.certificate_file)
        key = await _either(user.key, user.key_file)
        if user.exec is not None:
            return await self._plugin(user.exec)
        if user.token:
            return Given(f"Bearer {user.token}", certificate, key)
        if user.token_file:
            token = (await _either(b"", user.token_file)).decode().strip()
            return Given(f"Bearer {token}", certificate, key, datetime.now(UTC) + timedelta(seconds=TOKEN_FILE_S))
        if user.username:
            pair = base64.b64encode(f"{user.username}:{user.password}".encode()).decode()
            return Given(f"Basic {pair}", certificate, key)
        until = datetime.now(UTC) + timedelta(seconds=TOKEN_FILE_S) if user.certificate_file else None
        return Given("", certificate, key, until)

    async def _plugin(self, plugin: Exec) -> Given:
        if plugin.api_version not in VERSIONS:
            raise TargetDown(
                f"exec plugin {plugin.command}: apiVersion {plugin.api_version!r} is not known; use {VERSIONS[0]}"
            )
        info = {"apiVersion": plugin.api_version, "kind": "ExecCredential", "spec": self._spec(plugin)}
        env = {**self._environ, **dict(plugin.env), "KUBERNETES_EXEC_INFO": orjson.dumps(info).decode()}
        out = await _run(plugin, env)
        try:
            status = orjson.loads(out)["status"]
            expires = status.get("expirationTimestamp")
            until = datetime.fromisoformat(expires) - MARGIN if expires else None
            token = status.get("token", "")
            return Given(
                f"Bearer {token}" if token else "",
                status.get("clientCertificateData", "").encode(),
                status.get("clientKeyData", "").encode(),
                until,
            )
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise TargetDown(f"exec plugin {plugin.command}: its answer is no ExecCredential with a status") from error

    def _spec(self, plugin: Exec) -> dict[str, object]:
        if not plugin.cluster_info:
            return {"interactive": False}
        access = self.access
        cluster = {"server": access.server, "insecure-skip-tls-verify": access.insecure}
        if access.ca:
            cluster["certificate-authority-data"] = base64.b64encode(access.ca).decode()
        return {"interactive": False, "cluster": cluster}


async def _run(plugin: Exec, env: Mapping[str, str]) -> bytes:
    pipe, null = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    try:
        process = await asyncio.create_subprocess_exec(
            plugin.command, *plugin.args, env=dict(env), stdin=null, stdout=pipe, stderr=pipe
        )
    except OSError as error:
        hint = f"; {plugin.hint}" if plugin.hint else ""
        raise TargetDown(f"exec plugin {plugin.command} cannot be run: {error.strerror}{hint}") from error
    try:
        async with asyncio.timeout(EXEC_S):
            out, said = await process.communicate()
    except BaseException as error:
        process.kill()
        await process.wait()
        if isinstance(error, TimeoutError):
            raise TargetDown(f"exec plugin {plugin.command} gave no answer within {EXEC_S:g} s") from error
        raise
    if process.returncode:
        words = " ".join(said.decode(errors="replace").split())[-300:]
        raise TargetDown(f"exec plugin {plugin.command} ended with {process.returncode}: {words}")
    return out


async def _either(data: bytes, file: str) -> bytes:
    if data or not file:
        return data
    try:
        return await asyncio.to_thread(Path(file).read_bytes)
    except OSError as error:
        raise TargetDown(f"{file}, which the kubeconfig names: {error.strerror}") from error


async def tls(access: Access, given: Given) -> ssl.SSLContext | None:
    """How to speak to the server; None for plain http. Raises TargetDown."""
    if access.server.startswith("http://"):
        return None
    ca = await _either(access.ca, access.ca_file)
    try:
        return await asyncio.to_thread(_context, access.insecure, ca, given)
    except (ssl.SSLError, UnicodeDecodeError) as error:
        raise TargetDown(f"context {access.name!r}: its CA or client certificate is not usable: {error}") from error


def _context(insecure: bool, ca: bytes, given: Given) -> ssl.SSLContext:
    made = ssl.create_default_context(cadata=ca.decode() if ca else None)
    if insecure:
        made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    if given.certificate:
        with tempfile.NamedTemporaryFile() as file:  # the ssl module reads files only; 0600, gone at once
            file.write(given.certificate + b"\n" + given.key)
            file.flush()
            os.fsync(file.fileno())
            made.load_cert_chain(file.name)
    return made


def impersonation(user: User) -> list[tuple[str, str]]:
    """Headers of the kubeconfig's own `as`."""
    named = [("Impersonate-User", user.impersonate)] if user.impersonate else []
    return [*named, *(("Impersonate-Group", group) for group in user.impersonate_groups)]
