"""SOPS itself and keys of its own for a test. Without what Go builds the tests are skipped, in one line."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from msgspec import Struct

from trueup.drivers.secrets.sops import Sops

CACHE = Path(__file__).parents[2] / ".cache"
# Two pairs of age keys that stand for nothing else
AGE = "AGE-SECRET-KEY-14QQF3HVEGNYKDTMKHW0J5SAFYD3YQR5865JPC5C0H9KGZ0HMJP7QGU76FZ"
AGE_PUBLIC = "age1pye7uwdvhm8yvq7l05pqs0svjp5tmrccldq3sc4ndyat7c0agdgswc8v76"
OTHER = "AGE-SECRET-KEY-1QZL5DM56N55TR0MXZ38WQG0UHTRU2FZCCXNY04XSSEM6JG448DFS0VGCEQ"
OTHER_PUBLIC = "age14vuec0hn783yk6e40e7t9kn5nfjkq0x8ka4tqprq488pscjtryrszsdc26"


class Real(Struct, frozen=True):
    """The program `sops`, with a folder and a home of its own."""

    program: Path
    folder: Path

    def run(self, *argv: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[bytes]:
        given = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "GNUPGHOME": str(self.folder / "gpg")}
        return subprocess.run(
            [str(self.program), *argv], cwd=self.folder, env=given | (env or {}), capture_output=True, check=False,
            timeout=120,
        )  # fmt: skip

    def encrypt(self, name: str, text: str | bytes, *argv: str, rule: str = "") -> bytes:
        """What `sops encrypt` makes of a file of this name; for the first age key, unless told otherwise. `rule`: the
        fields of a creation rule, as YAML."""
        path = self.folder / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        if rule:
            (self.folder / ".sops.yaml").write_text(f"creation_rules: [{{age: {AGE_PUBLIC}, {rule}}}]\n")
        keys = (
            () if rule or {"--age", "--pgp", "--shamir-secret-sharing-threshold"} & {*argv} else ("--age", AGE_PUBLIC)
        )
        done = self.run("encrypt", *keys, *argv, name)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    def decrypt(self, name: str, data: bytes, key: str = AGE) -> bytes | None:
        """What `sops decrypt` says; None when it refuses."""
        (self.folder / name).write_bytes(data)
        done = self.run("decrypt", name, env={"SOPS_AGE_KEY": key})
        return done.stdout if done.returncode == 0 else None


@pytest.fixture
def built() -> Path:
    if not (CACHE / "trueup-sops").exists():
        pytest.skip("no trueup-sops: `make sops` builds it with Go 1.26")
    return CACHE / "trueup-sops"


@pytest.fixture
def real(tmp_path: Path) -> Real:
    if not (CACHE / "sops").exists():
        pytest.skip("no sops to compare with: `scripts/sops tools` builds it with Go 1.26")
    folder = tmp_path / "sops"
    (folder / "gpg").mkdir(parents=True, mode=0o700)
    return Real(CACHE / "sops", folder)


@pytest.fixture
def gpg(real: Real) -> str:
    """The fingerprint of a PGP key in the folder's own keyring."""
    if shutil.which("gpg") is None:
        pytest.skip("no gpg to make a PGP key with")
    home = str(real.folder / "gpg")
    made = ["gpg", "--homedir", home, "--batch", "--passphrase", ""]
    user = "Test <test@example.org>"
    subprocess.run([*made, "--quick-generate-key", user, "future-default"], check=True, capture_output=True)
    listed = subprocess.run([*made, "--list-keys", "--with-colons"], check=True, capture_output=True, text=True)
    subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=False, capture_output=True)
    return next(line.split(":")[9] for line in listed.stdout.splitlines() if line.startswith("fpr:"))


def keyed(program: Path | None, **values: str) -> Sops:
    """Trueup's own, with these secrets of the repository."""

    async def given(_: str) -> dict[str, str]:
        return values

    return Sops(program, given, uid=65534)
