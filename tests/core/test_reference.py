from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueup.core.reference import ReferenceInvalid, mirror_name, mirror_path, parse, same_repository, split, tagged

D = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "complete", "familiar"),
    [
        ("python", "docker.io/library/python", "python"),
        ("python:3.12-slim", "docker.io/library/python:3.12-slim", "python"),
        ("docker.io/python", "docker.io/library/python", "python"),
        ("index.docker.io/python", "docker.io/library/python", "python"),
        ("acme/app:v1", "docker.io/acme/app:v1", "acme/app"),
        ("ghcr.io/acme/app@" + D, "ghcr.io/acme/app@" + D, "ghcr.io/acme/app"),
        ("localhost/app", "localhost/app", "localhost/app"),
        ("localhost:5000/app:1", "localhost:5000/app:1", "localhost:5000/app"),
        ("registry.example.com:5000/a/b/c:x@" + D, "registry.example.com:5000/a/b/c:x@" + D, None),
        ("Registry/app", "Registry/app", None),
        ("a__b/c---d", "docker.io/a__b/c---d", "a__b/c---d"),
    ],
)
def test_parse(text: str, complete: str, familiar: str | None) -> None:
    assert str(parse(text)) == complete
    if familiar is not None:
        assert parse(text).familiar == familiar


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "repository"),
        ("acme/App", "lower case"),
        ("acme//app", "repository"),
        ("acme/app:", "not a tag"),
        ("acme/app:-x", "not a tag"),
        ("acme/app:" + "x" * 129, "not a tag"),
        ("acme/app@sha256:abc", "not a digest"),
        ("acme/app@", "not a digest"),
        ("a" * 64, "image id"),
        ("acme/" + "b" * 260, "255"),
        ("ghcr.io/acme/app:$BUILD_ID", "not a tag"),
        ("../../etc", "host name"),
        ("ghcr.io/../etc", "repository"),
        ("app\n", "repository"),
    ],
)
def test_refused(text: str, says: str) -> None:
    with pytest.raises(ReferenceInvalid, match=says):
        parse(text)


def test_split_keeps_what_is_written() -> None:
    assert split("localhost:5000/app") == ("localhost:5000/app", "", "")
    assert split("localhost:5000/app:1@" + D) == ("localhost:5000/app", "1", D)


def test_tagged_adds_latest_only_where_nothing_stands() -> None:
    assert tagged("app").tag == "latest"
    assert tagged("app@" + D).tag == ""
    assert tagged("app:1").tag == "1"


def test_mirror() -> None:
    assert mirror_name("app:1", "127.0.0.1:5001") == "127.0.0.1:5001/docker.io/library/app:1"
    assert mirror_name("ghcr.io/a/b:x@" + D, "127.0.0.1:1") == "127.0.0.1:1/ghcr.io/a/b@" + D
    assert mirror_path("localhost:5000/app") == "localhost_5000/app"
    assert same_repository("python:3", "docker.io/library/python")


@given(st.from_regex(r"[a-z0-9]{1,5}(\.[a-z]{2,4})?(:[0-9]{1,4})?/[a-z0-9]{1,5}(/[a-z0-9]{1,5})?", fullmatch=True))
def test_parse_is_stable_and_mirrors_stay_apart(text: str) -> None:
    once = parse(text)
    assert parse(str(once)) == once
    assert parse(mirror_name(text, "127.0.0.1:5000")).path == mirror_path(text)
