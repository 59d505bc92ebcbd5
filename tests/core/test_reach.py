"""Which addresses may be asked for what a repository names."""

from __future__ import annotations

import pytest

from trueup.core.logins import logins
from trueup.core.reach import allowed, blocked, first_blocked

NOTHING = allowed("")


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "127.9.9.9", "0.0.0.0", "169.254.169.254", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1",
     "224.0.0.1", "240.0.0.1", "255.255.255.255", "192.0.2.1", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1",
     "ff02::1", "::ffff:127.0.0.1", "::ffff:10.1.2.3", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::"],
)  # fmt: skip
def test_what_is_within_is_blocked(address: str) -> None:
    assert blocked(address, NOTHING)


@pytest.mark.parametrize("address", ["1.1.1.1", "140.82.121.3", "2606:4700::1111", "::ffff:1.1.1.1"])
def test_the_world_is_not(address: str) -> None:
    assert blocked(address, NOTHING) == ""


def test_what_is_allowed_is_asked() -> None:
    some = allowed("127.0.0.1, 10.0.0.0/8,fc00::/7, Git.Internal")
    assert [blocked(a, some) for a in ("127.0.0.1", "10.9.9.9", "fc00::1", "::ffff:10.1.2.3")] == ["", "", "", ""]
    assert blocked("127.0.0.2", some)
    assert some.host("git.internal") and not some.host("other")
    assert "192.168.0.1 is an address of a private network" in first_blocked(["1.1.1.1", "192.168.0.1"], some)


@pytest.mark.parametrize("text", ["10.0.0.0/33", "http://a"])
def test_what_is_no_network_is_said(text: str) -> None:
    with pytest.raises(ValueError, match="is no host name, address or network"):
        allowed(text)


def test_a_login_is_of_the_longest_path_that_fits() -> None:
    kept = logins("# ours\nGit.Example ann one\ngit.example/team bob two\ngit.example:8443 cat three\n")
    found = [kept.of("git.example", path) for path in ("/x", "/team/y", "/teams")]
    assert [one.username for one in found if one] == ["ann", "bob", "ann"]
    assert (one := kept.of("git.example:8443")) is not None and one.username == "cat"
    assert kept.of("other.example") is None
    assert "two" not in repr(kept)
    with pytest.raises(ValueError, match="line 2 is not HOST USERNAME PASSWORD") as caught:
        logins("a b c\na hunter2\n")
    assert "hunter2" not in str(caught.value)
