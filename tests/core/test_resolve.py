"""Addresses of one repository, values over values, texts as `helm --set` types them."""

from __future__ import annotations

from typing import Any

import pytest

from trueup.core.resolve import over, same, typed


@pytest.mark.parametrize(
    "url",
    [
        "https://git.example/acme/shop", "https://git.example/acme/shop.git", "https://ann@git.example/acme/shop/",
        "git@git.example:acme/shop.git", "ssh://git@git.example/acme/shop", "ssh://git@git.example:22/acme/shop.git",
        "https://GIT.example:443/acme/shop", "git.example:acme/shop",
    ],
)  # fmt: skip
def test_ways_to_write_one_address(url: str) -> None:
    assert same(url) == "git.example/acme/shop"


@pytest.mark.parametrize("url", ["https://git.example/acme/Shop", "https://git.example:8443/acme/shop", "/acme/shop"])
def test_other_addresses(url: str) -> None:
    assert same(url) != "git.example/acme/shop"


@pytest.mark.parametrize(
    ("text", "value"),
    [("true", True), ("False", False), ("null", None), ("0", 0), ("42", 42), ("-7", -7), ("007", "007"), ("1.5", "1.5"),
     ("9223372036854775807", 9223372036854775807), ("9223372036854775808", "9223372036854775808"), ("", "")],
)  # fmt: skip
def test_typed(text: str, value: Any) -> None:
    assert typed(text) == value and type(typed(text)) is type(value)


def test_values_over_values() -> None:
    below = {"a": {"b": 1, "c": [1]}, "d": 1}
    assert over(below, {"a": {"c": [2], "e": None}}) == {"a": {"b": 1, "c": [2], "e": None}, "d": 1}
    assert over(below, None) == below and over(None, below) == below
