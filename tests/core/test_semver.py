"""Ranges of versions as Helm reads them (Masterminds/semver v3)."""

from __future__ import annotations

import pytest

from trueup.core.semver import InvalidRange, read_range, version

TABLE = """
^1.2.3 | 1.2.3 1.9.0 | 1.2.2 2.0.0 1.3.0-rc.1
^1.2.3-0 | 1.3.0-rc.1 1.2.3-1 | 2.0.0-rc.1
^0.2.3 | 0.2.9 | 0.3.0 0.2.2
^0.0.3 | 0.0.3 | 0.0.4
^0.0 | 0.0.9 | 0.1.0
^0 | 0.9.9 | 1.0.0
~1.2.3 | 1.2.9 | 1.3.0 1.2.2
~1 | 1.9.9 | 2.0.0
~1.2 | 1.2.0 | 1.3.0
~0.0.0 | 4.5.6 | 1.0.0-a
1.2.x | 1.2.7 | 1.3.0
1.x | 1.9.0 | 2.0.0
1 | 1.9.0 | 2.0.0
* | 0.0.1 9.9.9 | 1.0.0-a
 | 1.2.3 | 1.0.0-a
1.2.3 | 1.2.3 v1.2.3 | 1.2.4
>1.2.3 | 1.2.4 | 1.2.3
>1.2 | 1.3.0 | 1.2.9
>1 | 2.0.0 | 1.9.0
>=1.2, <2 | 1.2.0 1.9.9 | 2.0.0 1.1.9
>=1.2 <2 | 1.9.9 | 2.0.0
<=1.2 | 1.2.9 1.0.0 | 1.3.0
<=1.2.3 | 1.2.3 | 1.2.4
!=1.2.3 | 1.2.4 | 1.2.3
1.2 - 1.4.5 | 1.2.0 1.4.5 | 1.4.6 1.1.0
1.2.3 || ^2.1 | 1.2.3 2.5.0 | 1.2.4 3.0.0
>= 1.0.0-0 | 1.0.0-rc.1 1.0.0 | 0.9.0
"""


@pytest.mark.parametrize("row", [line for line in TABLE.splitlines() if line])
def test_a_range_holds_what_helm_says(row: str) -> None:
    text, within, without = row.split("|") if row.count("|") == 2 else row.rsplit("|", 2)
    wanted = read_range(text.strip())
    for each in within.split():
        found = version(each)
        assert found is not None and wanted.holds(found), each
    for each in without.split():
        found = version(each)
        assert found is not None and not wanted.holds(found), each


def test_versions_are_ordered_as_the_specification_says() -> None:
    rising = "1.0.0-alpha 1.0.0-alpha.1 1.0.0-alpha.beta 1.0.0-beta 1.0.0-beta.2 1.0.0-beta.11 1.0.0-rc.1 1.0.0 2.0.0"
    found = [v for text in rising.split() if (v := version(text))]
    backwards = found[::-1]
    assert found == sorted(backwards)
    assert version("1.0.0+a") == version("1.0.0+b")


@pytest.mark.parametrize("text", ["", "a", "1.2.3.4", "1..2", "01a"])
def test_what_is_no_version(text: str) -> None:
    assert version(text) is None


@pytest.mark.parametrize("text", ["foo", ">=", "1.2 ||", "=>a", "^^1"])
def test_what_is_no_range(text: str) -> None:
    with pytest.raises(InvalidRange):
        read_range(text)
