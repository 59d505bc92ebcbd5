"""What is left of earlier runs is found among whatever else Podman prints."""

from __future__ import annotations

from trueup.drivers.executors.container import swept

SAID = """\
time="2026-11-23T09:37:51Z" level=warning msg="container 12ab [gone] meanwhile"
job:749f2ef3ae8e run/1c2d
job:ee84cedd564d
[]
"""


def test_a_warning_beside_the_list_is_no_container() -> None:
    assert swept(SAID) == [("749f2ef3ae8e", "run/1c2d"), ("ee84cedd564d", "")]
    assert swept("[]\n") == swept("") == []
