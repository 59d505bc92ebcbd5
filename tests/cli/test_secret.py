"""`trueup secret`: values go in, and never come out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from trueup.cli.errors import Away, Stop, Unknown
from trueup.cli.secret import address_of
from trueup.core.layout import Layout
from trueup.drivers.secrets.vault import FileVault
from trueup.store.state import vault_key

Make = Callable[[str], Path]
Trueup = Callable[..., Result]


def test_a_secret_is_set_listed_and_removed_for_the_only_repository(state: Make, trueup: Trueup) -> None:
    folder = str(state("undone"))
    done = trueup("secret", "set", "TOKEN", "--state", folder, input="s3cr3t-value\n")
    assert done.stdout == "TOKEN is set for /srv/shop\n"
    assert trueup("secret", "list", "--state", folder).stdout == "TOKEN\n"
    assert trueup("secret", "list", "--state", folder, "-e", "production").stdout == "no secret is set\n"
    assert trueup("secret", "remove", "TOKEN", "--state", folder).exit_code == 0
    assert isinstance(trueup("secret", "remove", "TOKEN", "--state", folder).exception, Unknown)
    every = b"".join(p.read_bytes() for p in Path(folder).rglob("*") if p.is_file())
    assert b"s3cr3t-value" not in every


def test_a_value_is_never_an_argument(state: Make, trueup: Trueup) -> None:
    assert trueup("secret", "set", "TOKEN", "value", "--state", str(state("undone")), input="x").exit_code == 2


def test_an_empty_value_and_a_bad_name_are_refused(state: Make, trueup: Trueup) -> None:
    folder = str(state("undone"))
    assert isinstance(trueup("secret", "set", "TOKEN", "--state", folder, input="").exception, Stop)
    bad = trueup("secret", "set", "GITHUB_X", "--state", folder, input="long-enough\n").exception
    assert "GITHUB_" in str(bad)


def test_which_repository_is_asked_when_it_is_not_clear(state: Make, trueup: Trueup, tmp_path: Path) -> None:
    assert isinstance(trueup("secret", "list", "--state", str(tmp_path / "new")).exception, Away)
    folder = str(state("split"))
    assert "name one with --repository" in str(trueup("secret", "list", "--state", folder).exception)
    assert trueup("secret", "list", "-r", "code", "--state", folder).exit_code == 0


def test_a_repository_may_be_named_by_path_or_url_before_it_is_watched(tmp_path: Path, trueup: Trueup) -> None:
    folder = str(tmp_path / "state")
    (tmp_path / "shop").mkdir()
    urls = ("https://git.example/acme/shop.git", "git@git.example:acme/shop.git", "ssh://git@git.example:22/Acme/shop")
    for given in urls:
        done = trueup("secret", "set", "TOKEN", "-r", given, "--state", folder, input="long-enough\n")
        assert done.stdout == "TOKEN is set for git.example/acme/shop\n"
    path = str(tmp_path / "shop")
    assert trueup("secret", "list", "-r", path, "--state", folder).stdout == "no secret is set\n"
    done = trueup("secret", "set", "TOKEN", "-r", path, "--state", folder, input="long-enough\n")
    assert done.stdout == f"TOKEN is set for {path}\n"
    assert "give its path or its URL" in str(trueup("secret", "list", "-r", "shop", "--state", folder).exception)


def test_two_repositories_of_one_name_share_no_secret(tmp_path: Path, trueup: Trueup) -> None:
    folder = str(tmp_path / "state")
    one, two = "https://git.example/acme/shop", "https://git.example/rival/shop"
    trueup("secret", "set", "TOKEN", "-r", one, "--state", folder, input="long-enough\n")
    assert trueup("secret", "list", "-r", two, "--state", folder).stdout == "no secret is set\n"
    assert trueup("secret", "list", "-r", one, "--state", folder).stdout == "TOKEN\n"


def test_what_was_kept_by_the_last_part_of_an_address_goes_to_the_one_that_is_watched(
    state: Make, trueup: Trueup
) -> None:
    folder = str(state("undone"))
    layout = Layout(folder)
    asyncio.run(FileVault(layout.secrets, vault_key(layout)).set("shop", "", "OLD", "long-enough"))
    stranger = "https://git.example/rival/shop"
    assert trueup("secret", "list", "-r", stranger, "--state", folder).stdout == "no secret is set\n"
    assert trueup("secret", "list", "--state", folder).stdout == "OLD\n"


def test_a_name_that_two_watched_repositories_have_is_asked_back() -> None:
    watched = ["https://git.example/acme/shop", "https://git.example/rival/shop.git", "/srv/till"]
    assert address_of("till", watched) == "/srv/till"
    assert address_of("rival/shop", watched) == watched[1]
    with pytest.raises(Stop, match=r"git\.example/acme/shop or git\.example/rival/shop"):
        address_of("shop", watched)
