"""Secrets never leave, however they are written, cut or encoded."""

import base64
import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueup.core.mask import Masker

SECRET = "s3cr3t-Value/with+signs"


def shown(masker: Masker, *pieces: bytes) -> bytes:
    return b"".join([*(masker.feed(piece) for piece in pieces), masker.flush()])


def test_a_printed_secret_becomes_stars() -> None:
    assert shown(Masker([SECRET]), f"token={SECRET}!\n".encode()) == b"token=***!\n"


@given(st.integers(0, len(SECRET)), st.integers(0, len(SECRET)))
def test_a_secret_split_across_writes_is_found(first: int, second: int) -> None:
    low, high = sorted((first, second))
    data = f"a {SECRET} b\n".encode()
    assert shown(Masker([SECRET]), data[: low + 2], data[low + 2 : high + 2], data[high + 2 :]) == b"a *** b\n"


@given(st.binary(max_size=7), st.binary(max_size=7))
def test_base64_of_anything_around_the_secret_is_masked(before: bytes, after: bytes) -> None:
    encoded = base64.b64encode(before + SECRET.encode() + after)
    out = shown(Masker([SECRET]), encoded)
    assert b"***" in out
    assert len(out) < len(encoded)


@pytest.mark.parametrize("secret", ["hunter2-very-secret", "hunter2-very-secre", "hunter2-very-secr"])
def test_nothing_stays_behind_of_the_base64_of_a_secret_by_itself(secret: str) -> None:
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        assert shown(Masker([secret]), encode(secret.encode()) + b"\n") == b"***\n"


def test_other_encodings_are_masked() -> None:
    text = 'with "quotes" & spaces ünd'
    for encoded in (quote(text), json.dumps(text), json.dumps(text, ensure_ascii=False), text.encode().hex()):
        assert shown(Masker([text]), encoded.encode()).strip(b'"') == b"***"


def test_each_line_of_a_key_is_masked_and_its_braces_are_not() -> None:
    key = "-----BEGIN KEY-----\nMIIEvQIBADANBg\nq83vEjRWeJ\n}\n"
    out = shown(Masker([key]), b"x MIIEvQIBADANBg y\n}\nq83vEjRWeJ\n")
    assert out == b"x *** y\n}\n***\n"


def test_a_value_added_later_is_masked_from_then_on() -> None:
    masker = Masker()
    assert masker.feed(b"hunter22\n") == b"hunter22\n"
    masker.add("hunter22")
    assert masker.feed(b"hunter22\n") == b"***\n"


def test_a_line_without_an_end_neither_grows_nor_leaks() -> None:
    masker = Masker([SECRET])
    out = b""
    for _ in range(40):
        out += masker.feed(b"x" * 8191 + SECRET[:9].encode())
        out += masker.feed(SECRET[9:].encode())
    out += masker.flush()
    assert SECRET.encode() not in out
    assert out.count(b"***") == 40


def test_the_longer_of_two_secrets_wins() -> None:
    assert shown(Masker(["abcd", "abcdefgh"]), b"abcdefgh abcd") == b"*** ***"


def test_blank_and_tiny_secrets_mask_nothing() -> None:
    assert shown(Masker(["", " \n", "a", "ab"]), b"a ab b\n") == b"a ab b\n"


def test_an_output_that_holds_a_secret_is_told() -> None:
    assert Masker([SECRET]).holds(f"x{SECRET}")
    assert not Masker([SECRET]).holds("nothing")
