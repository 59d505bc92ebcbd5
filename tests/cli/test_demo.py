"""`trueup demo` for somebody who is not root."""

from __future__ import annotations

import sys

import pytest

from trueup.cli.demo import under_sudo
from trueup.cli.errors import Stop


def test_it_starts_again_under_sudo_with_what_was_set_for_it() -> None:
    environ = {
        "CI": "true",
        "HTTPS_PROXY": "http://u:topaz@proxy:1",
        "TRUEUP_STATE": "/s",
        "LD_PRELOAD": "x",
        "HOME": "/h",
    }
    words = under_sudo("/usr/bin/sudo", environ, ["demo", "--end"], ask=False)
    assert words[:4] == ["/usr/bin/sudo", "-n", "--preserve-env=CI,HTTPS_PROXY,TRUEUP_STATE", "--"]
    assert words[4:] == [sys.executable, "-P", "-m", "trueup.cli", "demo", "--end"]
    assert not any("topaz" in word for word in words)
    assert under_sudo("/usr/bin/sudo", {}, ["demo"], ask=True)[:2] == ["/usr/bin/sudo", "--"]


def test_without_sudo_it_says_who_must_run_it() -> None:
    with pytest.raises(Stop, match="run it as root"):
        under_sudo(None, {}, ["demo"], ask=True)
