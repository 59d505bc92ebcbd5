"""What a state folder must be before anything is started in it."""

from __future__ import annotations

import socket
import tempfile
from pathlib import Path

import pytest

from trueup.app import STATE_BYTES, NotUsable, Options, commit_states, pipeline_secrets, prepare_state, take_webhooks
from trueup.core.layout import Layout
from trueup.drivers.secrets import FileVault
from trueup.engine.loop import Watched


def test_a_folder_with_other_things_in_it_is_left_alone(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "letters").mkdir()
    with pytest.raises(NotUsable, match="no state folder of Trueup: give a folder of its own"):
        prepare_state(Layout(str(tmp_path)))
    assert tmp_path.stat().st_mode & 0o777 == 0o755
    assert [p.name for p in tmp_path.iterdir()] == ["letters"]


def test_a_path_too_long_for_sockets_is_named_before_anything_is_made(tmp_path: Path) -> None:
    root = tmp_path / ("x" * STATE_BYTES)
    with pytest.raises(NotUsable, match="name a shorter one with --state"):
        prepare_state(Layout(str(root)))
    assert not root.exists()


def test_a_new_folder_is_made_and_found_again() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        layout = Layout(f"{short}/state")
        prepare_state(layout)
        prepare_state(layout)
        assert Path(layout.keys).stat().st_mode & 0o777 == 0o700


async def test_what_opens_what_git_holds_sealed_never_reaches_a_pipeline(tmp_path: Path) -> None:
    vault = FileVault(str(tmp_path / "secrets.db"), b"k" * 32)
    for name in ("TOKEN", "SOPS_AGE_KEY", "SOPS_PGP_KEY", "TRUEUP_GIT_TOKEN", "TRUEUP_REMOTE_LOGINS"):
        await vault.set("shop", "", name, "x")
    assert await pipeline_secrets(vault)("shop", "default") == {"TOKEN": "x"}


def test_a_forge_that_cannot_be_told_safely_is_named_with_the_setting() -> None:
    environ = {"TRUEUP_FORGE": "gitea", "TRUEUP_FORGE_URL": "http://git.example.org", "TRUEUP_FORGE_TOKEN": "t0ken"}
    options = Options(layout=Layout("/nowhere"), repositories=(), environ=environ)
    with pytest.raises(NotUsable, match=r"commit states on gitea: .* plain http: use https .*TRUEUP_FORGE_URL") as told:
        commit_states(options, {"s": Watched("/srv/app", "main", "app", "both")}, {})
    assert "t0ken" not in str(told.value)


async def test_a_taken_port_is_named_and_what_fails_later_is_not_laid_to_it() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(NotUsable, match=f"--webhook {where}: .*in use; choose another port"):
            async with take_webhooks(where, ["s"], None):  # type: ignore[arg-type]  # nothing is woken here
                pass
    with pytest.raises(OSError, match="No space left"):
        async with take_webhooks(where, ["s"], None):  # type: ignore[arg-type]  # nor here
            raise OSError(28, "No space left on device")
