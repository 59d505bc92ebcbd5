"""The wiring: what of this machine and of the vault reaches which part."""

from __future__ import annotations

from pathlib import Path

import pytest

from trueup.app import Options, as_seen_here, open_sources, way_out
from trueup.core.layout import Layout
from trueup.drivers.secrets.vault import FileVault
from trueup.store.state import vault_key

KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEA\n-----END OPENSSH PRIVATE KEY-----"


def test_steps_without_a_container_get_paths_that_exist_on_this_machine(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text("certificates")
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels/a.whl").touch()
    environ = {
        "SSL_CERT_FILE": str(tmp_path / "ca.crt"),
        "PIP_FIND_LINKS": str(tmp_path / "wheels"),
        "HTTPS_PROXY": "http://proxy.example.org:3128",
    }
    way, _ = way_out(environ)
    seen = dict(as_seen_here(way))
    assert seen["PIP_CERT"] == seen["SSL_CERT_FILE"] == str(tmp_path / "ca.crt")
    assert seen["PIP_FIND_LINKS"] == str(tmp_path / "wheels")
    assert seen["HTTPS_PROXY"] == "http://proxy.example.org:3128"
    assert dict(way.env)["PIP_CERT"] != seen["PIP_CERT"]


@pytest.mark.parametrize("as_text", [True, False])
async def test_a_key_may_be_kept_as_a_secret_or_named_as_a_file(tmp_path: Path, as_text: bool) -> None:
    layout = Layout(str(tmp_path / "state"))
    Path(layout.root).mkdir()
    hosts = tmp_path / "hosts"
    hosts.write_text("git.example.org ssh-ed25519 AAAA\n")
    vault = FileVault(layout.secrets, vault_key(layout))
    await vault.set("app", "", "TRUEUP_GIT_SSH_KEY", KEY if as_text else "/keys/deploy")
    await vault.set("app", "", "TRUEUP_GIT_KNOWN_HOSTS", hosts.read_text() if as_text else str(hosts))
    url = "ssh://git@git.example.org/acme/app.git"
    sources, _ = await open_sources(Options(layout=layout, repositories=(url,), environ={}, branch="main"), vault)
    (source,) = sources.values()
    if not as_text:
        assert source.known_hosts == str(hosts)
        return
    assert Path(source.known_hosts).read_text() == hosts.read_text()
    (key,) = (path for path in Path(layout.keys).iterdir() if "BEGIN OPENSSH" in path.read_text(errors="replace"))
    assert key.stat().st_mode & 0o777 == 0o600
    assert key.read_text() == KEY + "\n"
