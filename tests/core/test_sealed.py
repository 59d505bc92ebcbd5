"""Which files SOPS encrypted, which of their values would be seen, and what is made of them, opened or not."""

from __future__ import annotations

import pytest

from trueup.core.model import Severity, TreeEntry
from trueup.core.sealed import Fault, is_sealed, sealed_paths
from trueup.core.yamldoc import YamlFault, documents
from trueup.drivers.renderers.plain import read_sealed, render

BOX = "ENC[AES256_GCM,data:aGk=,iv:aa,tag:bb,type:str]"
METADATA = f"sops:\n    lastmodified: x\n    mac: {BOX}\n"
SEALED = f"""\
apiVersion: v1
kind: Secret
metadata:
    name: db
stringData:
    password: {BOX}
    text: {BOX}
{METADATA}"""
CLEAR = """\
apiVersion: v1
kind: Secret
metadata:
    name: db
stringData:
    password: hunter2
    text: |
        two
        lines
"""


@pytest.mark.parametrize(
    ("path", "text", "sealed"),
    [
        ("a.yaml", SEALED, True),
        ("a.json", f'{{"a": "{BOX}", "sops": {{"mac": "{BOX}"}}}}', True),
        ("a.env", f"A={BOX}\nsops_mac={BOX}\n", True),
        ("a.ini", f"[a]\nb = {BOX}\n[sops]\nmac = {BOX}\n", True),
        ("a.pem", f'{{\n\t"data": "{BOX}",\n\t"sops": {{\n\t\t"mac": "{BOX}"}}}}', True),
        ("a.yaml", CLEAR, False),
        ("a.yaml", f"kind: ConfigMap\ndata:\n  a.yaml: |\n    a: {BOX}\n    sops:\n      mac: {BOX}\n", False),
        ("a.yaml", "sops:\n  version: 3\n", False),
    ],
)
def test_a_file_is_sealed_when_sops_says_so_at_its_top(path: str, text: str, sealed: bool) -> None:
    assert is_sealed(path, text.encode()) is sealed


def test_the_metadata_is_no_value() -> None:
    (doc,) = documents(SEALED.encode(), "a.yaml")
    assert list(sealed_paths(doc.body)) == [("stringData", "password"), ("stringData", "text")]


def test_places_are_those_of_the_encrypted_file_and_bodies_those_of_the_clear_one() -> None:
    (one,) = read_sealed("a.yaml", SEALED.encode(), CLEAR.encode())
    assert one.sealed
    assert one.object.body["stringData"] == {"password": "hunter2", "text": "two\nlines\n"}
    assert "sops" not in one.object.body
    assert one.doc.place("stringData", "text").line == 7
    assert b"hunter2" not in one.doc.data


@pytest.mark.parametrize(
    ("sealed", "clear", "told"),
    [
        (SEALED.replace("kind: Secret", "kind: ConfigMap").replace("stringData", "data"),
         CLEAR.replace("kind: Secret", "kind: ConfigMap").replace("stringData", "data"),
         r"a.yaml:6.*data.password would be shown in plans"),
        (SEALED, "a: [", "a.yaml: what SOPS encrypted here is no YAML"),
        (SEALED, CLEAR + "---\na: 1\n", "is no YAML"),
        (SEALED.replace("name: db", f"name: {BOX}"), CLEAR.replace("name: db", "name: Hunter2!"),
         r"a.yaml:4.*metadata.name is not what Kubernetes takes"),
    ],
)  # fmt: skip
def test_what_is_refused_names_the_place_and_no_value(sealed: str, clear: str, told: str) -> None:
    with pytest.raises(YamlFault, match=told) as caught:
        read_sealed("a.yaml", sealed.encode(), clear.encode())
    assert "unter2" not in str(caught.value)
    assert "ENC[" not in str(caught.value)


def test_a_file_sealed_as_a_whole_is_read_too() -> None:
    whole = f"apiVersion: {BOX}\nkind: {BOX}\nmetadata:\n    name: {BOX}\nstringData:\n    a: {BOX}\n{METADATA}"
    (one,) = read_sealed(
        "a.yaml",
        whole.encode(),
        b"apiVersion: v1\nkind: Secret\nmetadata:\n    name: db\nstringData:\n    a: hunter2\n",
    )
    assert str(one.object.ref) == "secret/db"


def test_unopened_is_a_note_and_refused_is_an_error() -> None:
    tree = {"k8s/a.yaml": TreeEntry(0o100644, "a" * 40, len(SEALED))}
    blobs = {"a" * 40: SEALED.encode()}
    for opened, severity in (({}, Severity.NOTE), ({"k8s/a.yaml": Fault("its MAC is wrong", "Fix.")}, Severity.ERROR)):
        rendered = render(tree, blobs, ["k8s/a.yaml"], opened=opened)
        assert [f.severity for f in rendered.findings] == [severity]
        assert not rendered.manifests
    kept: dict[object, object] = {}
    assert render(tree, blobs, ["k8s/a.yaml"], opened={"k8s/a.yaml": CLEAR.encode()}, kept=kept).objects  # type: ignore[arg-type]  # any mapping does
    assert kept, "what was opened is read once"
