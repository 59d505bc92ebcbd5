"""Every form of a Git address that people write."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueup.core.address import Address, Login, parse, same_repository


@pytest.mark.parametrize(
    ("url", "scheme", "host", "port", "user", "slug"),
    [
        ("https://github.com/acme/app.git", "https", "github.com", 0, "", "acme/app"),
        ("https://GitHub.com/acme/app/", "https", "github.com", 0, "", "acme/app"),
        ("http://127.0.0.1:3000/acme/app.git", "http", "127.0.0.1", 3000, "", "acme/app"),
        ("ssh://git@gitlab.example.org:2222/a/b/c.git", "ssh", "gitlab.example.org", 2222, "git", "a/b/c"),
        ("git@github.com:acme/app.git", "ssh", "github.com", 0, "git", "acme/app"),
        ("github.com:acme/app", "ssh", "github.com", 0, "", "acme/app"),
        ("git@[::1]:app.git", "ssh", "::1", 0, "git", "app"),
        ("file:///srv/git/app.git", "file", "", 0, "", "srv/git/app"),
        ("/srv/git/app", "path", "", 0, "", "srv/git/app"),
        ("./a:b", "path", "", 0, "", "./a:b"),
        ("../app", "path", "", 0, "", "../app"),
    ],
)
def test_forms(url: str, scheme: str, host: str, port: int, user: str, slug: str) -> None:
    address, login = parse(url)
    assert (address.scheme, address.host, address.port, address.user, address.slug) == (scheme, host, port, user, slug)
    assert address.url == url
    assert login is None


@pytest.mark.parametrize(
    ("url", "clean", "login"),
    [
        ("https://ann:s%40cret@git.example.org/a.git", "https://git.example.org/a.git", Login("ann", "s@cret")),
        ("https://ghp_token@github.com/a/b", "https://github.com/a/b", Login("x-access-token", "ghp_token")),
        ("https://oauth2:glpat@host:8443/a", "https://host:8443/a", Login("oauth2", "glpat")),
    ],
)
def test_credentials_are_taken_out(url: str, clean: str, login: Login) -> None:
    address, found = parse(url)
    assert (address.url, found) == (clean, login)
    assert login.secret not in repr(address) + repr(found)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "--upload-pack=evil",
        "ext::sh -c id",
        "ftp://host/a",
        "https:///a",
        "https://host:port/a",
        "a\nb",
        "ext://x/y",
        "ssh://-oProxyCommand=id/a",
    ],
)
def test_no_address(url: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse(url)


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ("https://github.com/acme/app.git", "git@github.com:Acme/app", True),
        ("ssh://git@host:2222/acme/app.git", "https://host/acme/app", True),
        ("https://host/acme/app", "https://host/acme/app2", False),
        ("https://host/acme/app", "https://other/acme/app", False),
        ("/srv/app.git", "file:///srv/app", True),
        ("/srv/app", "/srv/App", False),
        ("/srv/acme/app", "/srv/rival/app", False),
        ("", "https://host/a", False),
    ],
)
def test_same_repository(a: str, b: str, same: bool) -> None:
    assert same_repository(a, b) is same
    assert same_repository(b, a) is same


@given(st.text())
def test_any_text_is_an_address_or_a_value_error(text: str) -> None:
    try:
        address, _ = parse(text)
    except ValueError:
        return
    assert isinstance(address, Address)
    assert not address.url.startswith("-")
