"""Files → objects: lists, defaults, images with their spans, and refusals by name."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import pytest

from trueup.core.manifests import Rendered
from trueup.core.model import Severity, TreeEntry
from trueup.drivers.renderers.plain import render

DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  template:
    spec:
      initContainers:
        - {name: init, image: "acme/init:1"}
      containers:
        - name: web
          image: ghcr.io/acme/app:$BUILD_ID # é
"""


def oid(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()


def rendered(files: Mapping[str, str | bytes], modes: Mapping[str, int] | None = None) -> Rendered:
    data = {path: text.encode() if isinstance(text, str) else text for path, text in files.items()}
    tree = {p: TreeEntry((modes or {}).get(p, 0o100644), oid(d), len(d)) for p, d in data.items()}
    return render(tree, {oid(d): d for d in data.values()}, tuple(files))


def test_an_object_with_its_images() -> None:
    result = rendered({"k8s/web.yaml": "\n" + DEPLOYMENT})
    assert result.valid
    (one,) = result.objects
    assert str(one.ref) == "deployment/web"
    assert (one.ref.group, one.ref.namespace, str(one.place)) == ("apps", "default", "k8s/web.yaml:2")
    init, main = one.images
    assert (init.text, init.path) == ("acme/init:1", "spec.template.spec.initContainers[0].image")
    assert main.text == "ghcr.io/acme/app:$BUILD_ID"
    data = ("\n" + DEPLOYMENT).encode()
    assert [data[use.start : use.end].decode() for use in one.images] == [use.text for use in one.images]


def test_documents_and_lists_are_flattened_and_empty_documents_skipped() -> None:
    text = """\
# only a comment
---
---
apiVersion: v1
kind: List
items:
  - {apiVersion: v1, kind: ConfigMap, metadata: {name: a}}
  - {apiVersion: v1, kind: Namespace, metadata: {name: b}}
---
apiVersion: v1
kind: Secret
metadata: {name: c, namespace: other}
"""
    result = rendered({"a.yaml": text})
    assert [(str(o.ref), o.ref.namespace, o.place.line) for o in result.objects] == [
        ("configmap/a", "default", 7), ("namespace/b", "", 8), ("secret/c", "other", 10),
    ]  # fmt: skip


def test_the_hash_ignores_style_and_order_but_no_value() -> None:
    first, second, third = (
        rendered({"a.yaml": text}).objects[0].hash
        for text in (
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {x: '1', z: w}\n",
            '{"kind": "ConfigMap", "data": {"z": "w", "x": "1"}, "metadata": {"name": "a"}, "apiVersion": "v1"}',
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {x: '2', z: w}\n",
        )
    )
    assert first == second != third


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("kind: ConfigMap\nmetadata: {name: a}\n", 1, "apiVersion is missing"),
        ("apiVersion: v1\nmetadata: {name: a}\n", 1, "kind is missing"),
        ("apiVersion: v1\nkind: ConfigMap\n", 1, "metadata is missing"),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: 12\n", 4, "metadata.name is 12"),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: Big_Name\n", 4, "no valid name"),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: \"a\\nb\"\n", 4, "no valid name"),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: ../x}\n", 3, "no valid name"),
        ("apiVersion: v1\nkind: Job\nmetadata:\n  generateName: a-\n", 4, "generateName"),
        ("- 1\n- 2\n", 1, "no object"),
        ("just text\n", 1, "no object"),
        ("apiVersion: v1\nkind: ConfigMap\nkind: Secret\nmetadata: {name: a}\n", 3, "already given on line 2"),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {x: .nan}\n", 4, "no number in JSON"),
    ],
)  # fmt: skip
def test_what_is_no_object_is_an_error_with_its_line(text: str, line: int, says: str) -> None:
    result = rendered({"config/a.yaml": text})
    assert not result.objects
    assert not result.valid
    (finding,) = result.findings
    assert says in finding.message
    assert (finding.place.file, finding.place.line, finding.severity) == ("config/a.yaml", line, Severity.ERROR)
    assert finding.fix


def test_every_bad_document_of_a_file_is_named() -> None:
    result = rendered({"a.yaml": "kind: A\n---\nkind: B\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: ok}\n"})
    assert [f.place.line for f in result.findings] == [1, 3]
    assert not result.objects  # nothing on the strength of half a file


def test_an_object_stated_twice_names_both_places() -> None:
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"
    (finding,) = rendered({"a.yaml": text, "b.yaml": "\n" + text}).findings
    assert "a.yaml:1 and b.yaml:2" in finding.message


def test_links_submodules_lfs_and_huge_files_are_refused_by_name() -> None:
    link = rendered({"config/a.yaml": "../secret"}, {"config/a.yaml": 0o120000}).findings[0]
    assert "symbolic link" in link.message
    assert "submodule" in rendered({"config/a.yaml": "x"}, {"config/a.yaml": 0o160000}).findings[0].message
    lfs = rendered({"config/a.yaml": "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"})
    assert "LFS pointer" in lfs.findings[0].message
    huge = render({"config/a.yaml": TreeEntry(0o100644, "0" * 40, 100 << 20)}, {}, ["config/a.yaml"])
    assert "100 MiB; a manifest may have 10 MiB" in huge.findings[0].message
    assert "could not be read" in render({"a": TreeEntry(0o100644, "0" * 40, 3)}, {}, ["a"]).findings[0].message


def test_a_file_name_with_a_newline_cannot_forge_a_line() -> None:
    (finding,) = rendered({"config/a\nb.yaml": "kind: A\n"}).findings
    assert finding.place.file == "config/a\nb.yaml"
    assert str(finding.place) == "config/a\\nb.yaml:1"


def test_aliased_containers_share_a_span() -> None:
    text = DEPLOYMENT.replace("image: ghcr.io", "image: &img ghcr.io").replace('"acme/init:1"', "acme/init:1")
    text += "        - {name: side, image: *img}\n"
    (one,) = rendered({"a.yaml": text}).objects
    assert [use.path[-8:] for use in one.images] == ["0].image", "0].image", "1].image"]
    assert one.images[1].start == one.images[2].start > 0


def test_what_was_read_before_is_not_read_again() -> None:
    kept: dict[tuple[str, str], object] = {}
    text = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"
    tree = {"a.yaml": TreeEntry(0o100644, oid(text), len(text))}
    first = render(tree, {oid(text): text}, ["a.yaml"], kept=kept)  # type: ignore[arg-type]
    assert list(kept) == [("a.yaml", oid(text))]
    assert render(tree, {}, ["a.yaml"], kept=kept).objects == first.objects  # type: ignore[arg-type]
    link = {"a.yaml": TreeEntry(0o120000, oid(text), len(text))}
    assert not render(link, {oid(text): text}, ["a.yaml"], kept=kept).valid  # type: ignore[arg-type]
