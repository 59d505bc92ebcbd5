"""What a name with variables in it can be: what the file says of them, and what stays open."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueup.core.variables import could_be, filled, of_repository, stated


@pytest.mark.parametrize(
    ("written", "values", "becomes"),
    [
        ("${{ env.REGISTRY }}/app:${{ github.sha }}", {"REGISTRY": "ghcr.io"}, "ghcr.io/app:${{ github.sha }}"),
        ("$IMAGE:$SHA", {"IMAGE": "$CI_REGISTRY_IMAGE", "CI_REGISTRY_IMAGE": "r/app"}, "r/app:$SHA"),
        ("${env.NAME}-${OTHER:-x}", {"NAME": "a"}, "a-${OTHER:-x}"),
        ("ghcr.io/${{github.repository}}", of_repository("app"), "ghcr.io/${{ github.repository_owner }}/app"),
        ("$A", {"A": "$B", "B": "$A"}, "$B"),
    ],
)
def test_what_is_stated_is_filled_in(written: str, values: dict[str, str], becomes: str) -> None:
    assert filled(written, values) == becomes


def test_a_variable_with_two_values_is_open() -> None:
    assert stated([{"A": 1, "B": "x"}, None, {"B": "y", "C": True}, {"A": "1"}]) == {"A": "1"}


@pytest.mark.parametrize(
    ("written", "name", "can"),
    [
        ("ghcr.io/acme/shop-${{ matrix.service }}", "ghcr.io/acme/shop-web", True),
        ("ghcr.io/acme/shop-${{ matrix.service }}", "ghcr.io/acme/till-web", False),
        ("ghcr.io/${{ github.repository_owner }}/app", "ghcr.io/acme/app", True),
        ("ghcr.io/${{ github.repository_owner }}/app", "ghcr.io/acme/app2", False),
        ("$A/mid/$B-end", "x/mid/y-end", True),
        ("$A/mid/$B-end", "x/mid-end", False),
        ("a$X", "a", False),
        ("$IMAGE", "docker.io/library/redis", False),
        ("app", "app", True),
        ("app", "app2", False),
    ],
)
def test_what_a_name_could_be(written: str, name: str, can: bool) -> None:
    assert could_be(written, name) is can


@given(st.lists(st.text("ab/-", max_size=5), min_size=1, max_size=4), st.text("ab/-", min_size=1, max_size=3))
def test_a_name_could_be_what_any_value_makes_of_it(parts: list[str], value: str) -> None:
    if any(character.isalnum() for part in parts for character in part):
        assert could_be("${X}".join(parts), value.join(parts))


@pytest.mark.parametrize("hostile", ["${{" * 100_000, "${{ " + " " * 300_000, "$" * 300_000, "$(" * 100_000])
def test_hostile_names_cost_little(hostile: str) -> None:
    assert filled(hostile, {"A": "b"}) == hostile
    assert not could_be(hostile, "app")
