from __future__ import annotations

from pathlib import Path

import pytest

from trueup.store.keys import KeyUnreadable, checker, load_key, open_keys, read_public


def test_keys_are_made_once_for_their_owner_only(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    first, second = open_keys(str(folder)), open_keys(str(folder))
    assert first.records == second.records
    assert first.signer.public == second.signer.public == read_public(str(folder))
    assert folder.stat().st_mode & 0o777 == 0o700
    modes = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}
    assert modes == {"ledger.key": 0o600, "records.key": 0o600, "ledger.pub": 0o644}


def test_a_signature_is_checked_with_the_public_key(tmp_path: Path) -> None:
    signer = open_keys(str(tmp_path)).signer
    signature = signer.sign(b"payload")
    assert checker(signer.public)(b"payload", signature)
    assert not checker(signer.public)(b"Payload", signature)
    assert not checker(signer.public)(b"payload", signature[:-1])
    assert not checker(open_keys(str(tmp_path / "other")).signer.public)(b"payload", signature)


def test_a_key_open_to_others_is_refused_with_the_command_that_mends_it(tmp_path: Path) -> None:
    path = tmp_path / "vault.key"
    load_key(path, 32)
    path.chmod(0o640)
    with pytest.raises(KeyUnreadable, match=f"chmod 600 {path}"):
        load_key(path, 32)


def test_a_key_cut_short_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "vault.key"
    load_key(path, 32)
    path.write_bytes(b"short")
    with pytest.raises(KeyUnreadable, match="holds 5 bytes instead of 32"):
        load_key(path, 32)


@pytest.mark.parametrize("content", [None, "zz", "00ff"])
def test_a_missing_or_strange_public_key_is_named(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "ledger.pub").write_text(content)
    with pytest.raises(KeyUnreadable, match=r"ledger\.pub"):
        read_public(str(tmp_path))
