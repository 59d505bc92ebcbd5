"""A Kubernetes control plane of one's own for tests: real etcd, API server, controller manager and scheduler.

Ready in seconds, gone at the end. It has no nodes (`node.py` adds one with real pods): tests that need ready pods
here write their status as a kubelet would.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cluster.build import NotBuilt, binary

__all__ = ["TOKEN", "Control", "NotBuilt", "binary", "encoded", "free_port"]

READY_S = 90
TOKEN = "tests-only-admin"
PEM, PKCS8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8


def free_port() -> int:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        return int(made.getsockname()[1])


class Control:
    """`start()` returns when it is ready; `stop()` leaves nothing. `url`, `ca`, `kubeconfig` lead to it."""

    service_range = "10.96.0.0/16"
    address = "127.0.0.1"  # where the API server is reached
    inside: tuple[str, ...] = ()  # the words before a part's own that start it in a namespace

    def __init__(self, program: Path, root: Path | None = None) -> None:
        self.program = program
        self.root = root or Path(tempfile.mkdtemp(prefix="tu-k8s-", dir="/tmp"))
        self.ports = {name: free_port() for name in ("etcd", "peer", "api")}
        self.parts: dict[str, subprocess.Popen[bytes]] = {}
        self.url = f"https://{self.address}:{self.ports['api']}"
        self.kubeconfig = self.root / "admin.kubeconfig"
        self.ca = self.root / "certs/apiserver.crt"
        self._authority = ec.generate_private_key(ec.SECP256R1())

    def start(self) -> None:
        self._write_keys()
        self.start_etcd()
        self.start_apiserver()
        self.kubeconfig.write_text(json.dumps(self.config({"token": TOKEN})))
        config, account = str(self.kubeconfig), str(self.root / "account.key")
        self._run(
            "controllers", "--kubeconfig", config, "--service-account-private-key-file", account,
            "--use-service-account-credentials", "--leader-elect=false", "--secure-port=0",
            "--horizontal-pod-autoscaler-sync-period=1s",
        )  # fmt: skip
        self._run("scheduler", "--kubeconfig", config, "--leader-elect=false", "--secure-port=0")
        self._await(self._has_default_account, "the controller manager")

    def start_etcd(self) -> None:
        peer, client = (f"http://127.0.0.1:{self.ports[p]}" for p in ("peer", "etcd"))
        self._run(
            "etcd", "--data-dir", str(self.root / "etcd"), "--unsafe-no-fsync", "--log-level=error",
            "--listen-client-urls", client, "--advertise-client-urls", client,
            "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}",
        )  # fmt: skip

    def start_apiserver(self) -> None:
        self.run_apiserver()
        self.await_apiserver()

    def run_apiserver(self) -> None:
        """From the thread that outlives it: when that one ends, so does the server."""
        at = self.root
        self._run(
            "apiserver", "--etcd-servers", f"http://127.0.0.1:{self.ports['etcd']}", "--bind-address", self.address,
            "--secure-port", str(self.ports["api"]), "--cert-dir", str(at / "certs"),
            "--token-auth-file", str(at / "tokens.csv"), "--client-ca-file", str(at / "ca.crt"),
            "--service-account-key-file", str(at / "account.pub"), "--authorization-mode=RBAC",
            "--service-account-signing-key-file", str(at / "account.key"), "--anonymous-auth=true",
            "--service-account-issuer=https://kubernetes.default.svc", "--service-cluster-ip-range", self.service_range,
            "--kubelet-preferred-address-types=InternalIP",
        )  # fmt: skip

    def await_apiserver(self) -> None:
        self._await(lambda: self.get("/readyz") == b"ok", "the API server")

    def kill(self, part: str) -> None:
        """SIGKILL to one part, and its end."""
        process = self.parts.pop(part)
        process.kill()
        process.wait(20)

    def stop(self) -> None:
        for part in list(self.parts):
            self.kill(part)
        shutil.rmtree(self.root, ignore_errors=True)

    # --- ways in

    def config(self, user: dict[str, Any], *, namespace: str = "default") -> dict[str, Any]:
        """A kubeconfig as a mapping."""
        cluster = {"server": self.url, "certificate-authority": str(self.ca)}
        context = {"cluster": "test", "user": "test", "namespace": namespace}
        return {
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": cluster}], "users": [{"name": "test", "user": user}],
            "contexts": [{"name": "test", "context": context}],
        }  # fmt: skip

    def certificate(self, user: str, groups: tuple[str, ...] = (), valid_s: int = 3600) -> tuple[bytes, bytes]:
        """A client certificate and its key, PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = [
            x509.NameAttribute(NameOID.COMMON_NAME, user),
            *(x509.NameAttribute(NameOID.ORGANIZATION_NAME, g) for g in groups),
        ]
        usage = x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.CLIENT_AUTH])
        made = _certificate(names, key.public_key(), valid_s).add_extension(usage, critical=False)
        signed = made.sign(self._authority, hashes.SHA256())
        return signed.public_bytes(PEM), key.private_bytes(PEM, PKCS8, serialization.NoEncryption())

    def get(self, path: str) -> bytes:
        """A bare GET as admin; b"" when it is not answered with 200."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        request = urllib.request.Request(self.url + path, headers={"Authorization": f"Bearer {TOKEN}"})
        try:
            with urllib.request.urlopen(request, timeout=5, context=context) as response:
                return bytes(response.read())
        except (OSError, urllib.error.URLError):
            return b""

    # --- parts

    def _run(self, part: str, *flags: str) -> None:
        with open(self.root / f"{part}.log", "ab") as log:
            dying = ("setpriv", "--pdeathsig", "KILL")
            argv = [*dying, *self.inside, *(dying if self.inside else ()), *self.command(part), *flags]
            self.parts[part] = subprocess.Popen(argv, stdout=log, stderr=log, env=self.environ(), cwd=self.root)

    def command(self, part: str) -> tuple[str, ...]:
        return (str(self.program), part)

    def environ(self) -> dict[str, str]:
        return {**os.environ, "GOMAXPROCS": "2"}

    def _await(self, ready: Any, what: str) -> None:
        deadline = time.monotonic() + READY_S
        while not ready():
            dead = next((p for p, process in self.parts.items() if process.poll() is not None), "")
            if dead or time.monotonic() > deadline:
                words = (self.root / f"{dead or 'apiserver'}.log").read_text(errors="replace")[-1500:]
                raise RuntimeError(f"{what} is not ready: {words}")
            time.sleep(0.05)  # another process's readiness has no event

    def _has_default_account(self) -> bool:
        return b'"kind"' in self.get("/api/v1/namespaces/default/serviceaccounts/default")

    def _write_keys(self) -> None:
        names = [x509.NameAttribute(NameOID.COMMON_NAME, "tests")]
        basic = x509.BasicConstraints(ca=True, path_length=None)
        made = _certificate(names, self._authority.public_key(), 86400).add_extension(basic, critical=True)
        (self.root / "ca.crt").write_bytes(made.sign(self._authority, hashes.SHA256()).public_bytes(PEM))
        account = ec.generate_private_key(ec.SECP256R1())
        key = account.private_bytes(PEM, PKCS8, serialization.NoEncryption())
        (self.root / "account.key").write_bytes(key)
        shown = account.public_key().public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        (self.root / "account.pub").write_bytes(shown)
        (self.root / "tokens.csv").write_text(f'{TOKEN},admin,admin,"system:masters"\n')


def _certificate(names: list[x509.NameAttribute[str]], key: Any, valid_s: int) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name(names))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")]))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(seconds=valid_s))
    )


def encoded(data: bytes) -> str:
    """As it stands in a kubeconfig's `…-data` fields."""
    return base64.b64encode(data).decode()
