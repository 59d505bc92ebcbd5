"""Flux's image policies: the cases of its documentation. Source: docs/spec/v1/imagepolicies.md."""

from __future__ import annotations

import pytest

from trueup.core.imagepolicy import By, Policy, Unselected, select

VERSIONS = [
    "0.9.0",
    "1.0.0",
    "1.0.1",
    "v1.1.0",
    "1.2.0-rc.1",
    "1.2.0-rc.10",
    "2.0.0",
    "5.2.9",
    "5.3.0",
    "latest",
    "1.3",
]


@pytest.mark.parametrize(
    ("wanted", "tag"),
    [
        (">=1.0.0", "5.3.0"),
        ("5.2.x", "5.2.9"),
        (">=1.0.0 <2.0.0", "v1.1.0"),
        (">=1.0.0, <2.0.0", "v1.1.0"),
        ("^1.x-0", "1.2.0-rc.10"),
        (">=1.0.0-0 <2.0.0-0", "1.2.0-rc.10"),
        ("~1.0", "1.0.1"),
        ("1.0.0 - 1.1", "v1.1.0"),
        ("<1 || 2.x", "2.0.0"),
        ("=1.0.0", "1.0.0"),
        ("*", "5.3.0"),
        ("!=5.3.0", "5.2.9"),
        (">5.2", "5.3.0"),
        ("^0.9", "0.9.0"),
    ],
)
def test_semver(wanted: str, tag: str) -> None:
    assert select(Policy(by=By.SEMVER, range=wanted), VERSIONS) == tag


def test_release_candidates_by_a_filter() -> None:
    policy = Policy(by=By.SEMVER, range="^1.x-0", pattern=".*-rc.*")
    assert select(policy, VERSIONS) == "1.2.0-rc.10"


def test_versions_within_tags() -> None:
    policy = Policy(by=By.SEMVER, range="^1.0.x", pattern=r"^(?P<semver>\d+\.\d+\.\d+)-alpine$", extract="$semver")
    assert select(policy, ["1.0.0-alpine", "1.4.0-alpine", "1.9.0", "2.0.0-alpine"]) == "1.4.0-alpine"


TIMED = ["main-a1b2c3d-1611906956", "main-0c7f2d1-1611906960", "dev-0c7f2d1-9999999999", "main-ffffff-99"]


def test_numerical_with_extract() -> None:
    policy = Policy(by=By.NUMERICAL, pattern="^main-[a-fA-F0-9]+-(?P<ts>[1-9][0-9]*)", extract="$ts")
    assert select(policy, TIMED) == "main-0c7f2d1-1611906960"
    down = Policy(by=By.NUMERICAL, descending=True, pattern="^main-[a-f0-9]+-(?<ts>[0-9]*)", extract="${ts}")
    assert select(down, TIMED) == "main-ffffff-99"


def test_numerical_refuses_what_is_no_number() -> None:
    with pytest.raises(Unselected, match="'main' is no number"):
        select(Policy(by=By.NUMERICAL), ["1", "main"])


def test_alphabetical() -> None:
    tags = ["RELEASE.2020-12-05T05-45-01Z", "RELEASE.2021-01-30T00-20-58Z", "edge"]
    policy = Policy(by=By.ALPHABETICAL, pattern=r"^RELEASE\.(?P<timestamp>.*)Z$", extract="$timestamp")
    assert select(policy, tags) == tags[1]
    assert select(Policy(by=By.ALPHABETICAL), tags) == "edge"
    assert select(Policy(by=By.ALPHABETICAL, descending=True), tags) == tags[0]


def test_nothing_to_select() -> None:
    for policy, tags in (
        (Policy(by=By.SEMVER, range=">=9"), VERSIONS),
        (Policy(by=By.SEMVER, range="nine"), VERSIONS),
        (Policy(by=By.ALPHABETICAL, pattern="^x"), VERSIONS),
        (Policy(by=By.ALPHABETICAL), []),
        (Policy(by=By.ALPHABETICAL, pattern="("), VERSIONS),
    ):
        with pytest.raises(Unselected):
            select(policy, tags)
