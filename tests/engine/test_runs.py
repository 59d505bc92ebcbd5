"""What a run is told of its repository."""

from __future__ import annotations

import pytest

from trueup.engine.runs import owner_and_name


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://git.example/acme/app.git", "acme/app"),
        ("git@git.example:group/sub/app.git", "group/sub/app"),
        ("/home/ann/work/shop", "work/shop"),
        ("file:///srv/git/acme/shop.git", "acme/shop"),
        ("/shop", "shop"),
    ],
)
def test_a_repository_is_named_by_owner_and_name(url: str, name: str) -> None:
    assert owner_and_name(url) == name
