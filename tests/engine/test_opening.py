"""Ciphertexts that a render moved about become what they stand for, in Secrets only."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from trueup.core.model import Json, Severity
from trueup.core.sealed import Fault, Opened
from trueup.engine.opening import Left, clear, placed


def box(n: int) -> str:
    return f"ENC[AES256_GCM,data:{n},iv:aa,tag:bb,type:str]"


SEALED = f"""\
apiVersion: v1
kind: Secret
metadata: {{name: db}}
stringData:
  password: {box(1)}
  port: {box(2)}
sops:
  mac: {box(9)}
"""
CLEAR = b"apiVersion: v1\nkind: Secret\nmetadata: {name: db}\nstringData: {password: hunter2, port: '5432'}\n"


def opener(found: bytes | Fault) -> object:
    async def open_(files: Mapping[str, bytes]) -> Opened:
        return dict.fromkeys(files, found)

    return open_


async def test_values_are_known_by_their_ciphertext() -> None:
    found = await clear({"a.yaml": SEALED.encode(), "b.yaml": b"a: 1\n"}, opener(CLEAR))  # type: ignore[arg-type]  # is one
    assert found.findings == ()
    assert found.values == {box(1): "hunter2", box(2): "5432"}


@pytest.mark.parametrize(
    ("path", "data", "opened", "rule", "severity"),
    [
        ("a.yaml", SEALED, Fault("its MAC does not match", "Fix."), "sops-not-opened", Severity.ERROR),
        ("a.yaml", SEALED, b"other: 1\n", "sops-not-opened", Severity.ERROR),
        ("a.yaml", SEALED, None, "encrypted-not-read", Severity.NOTE),
        ("a.env", f"A={box(1)}\nsops_mac={box(9)}\n", b"A=hunter2\n", "sops-not-opened", Severity.ERROR),
        ("values.yaml", f"a: {box(1)}\nsops:\n  mac: {box(9)}\n", b"a: hunter2\n", "sops-not-opened", Severity.ERROR),
    ],
)
async def test_what_is_not_opened_is_named(
    path: str, data: str, opened: bytes | Fault | None, rule: str, severity: Severity
) -> None:
    found = await clear({path: data.encode()}, None if opened is None else opener(opened))  # type: ignore[arg-type]
    assert [(f.rule, f.severity, f.place.file) for f in found.findings] == [(rule, severity, path)]
    assert found.values == {}
    assert "hunter2" not in str(found)


VALUES: dict[str, Json] = {box(1): "hunter2", box(2): "5432"}
SECRET = {"kind": "Secret", "metadata": {"name": "pre-db"}, "stringData": {"password": box(1), "open": "x"}}


def test_a_rendered_secret_is_opened_without_its_metadata() -> None:
    made = placed({**SECRET, "sops": {"mac": box(9)}}, VALUES)
    assert made == {**SECRET, "stringData": {"password": "hunter2", "open": "x"}}


def test_an_object_without_ciphertext_is_left_as_it_is() -> None:
    body = {"kind": "ConfigMap", "sops": {"a": 1}, "data": {"a": "b"}}
    assert placed(body, VALUES) is body


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"kind": "ConfigMap", "data": {"a": box(1)}}, r"data\.a would be shown in plans"),
        ({"kind": "Secret", "stringData": {"a": box(3)}}, r"stringData\.a comes from no file"),
        ({"kind": "Secret", "stringData": {"a": box(1)}, "spec": [box(1)]}, r"spec\[0\] would be shown"),
    ],
)
def test_what_would_be_seen_or_is_not_known_is_refused(body: Json, told: str) -> None:
    with pytest.raises(Left, match=told) as caught:
        placed(body, VALUES)
    assert "ENC[" not in str(caught.value)
