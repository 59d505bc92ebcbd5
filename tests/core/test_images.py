"""Which built image is which, and splices that touch nothing but tag and digest."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueup.core.images import (
    Bound,
    Splice,
    SpliceMismatch,
    Unmatched,
    bind,
    splice,
    splices_by_file,
    stated,
)
from trueup.core.model import BuiltImage, Object, Place, Severity
from trueup.drivers.renderers.plain import read_file

OLD, NEW = "sha256:" + "0" * 64, "sha256:" + "1" * 64


def built(repository: str, tag: str = "abc123", digest: str = NEW, file: str = "app/Dockerfile") -> BuiltImage:
    return BuiltImage(repository, tag, digest, "key", Place(file, 1))


def deployment(*images: str, quote: str = "") -> bytes:
    lines = [
        "apiVersion: apps/v1",
        "kind: Deployment",
        "metadata: {name: web}",
        "spec: {template: {spec: {containers: [",
    ]
    lines += [f"  {{name: c{i}, image: {quote}{image}{quote}}}," for i, image in enumerate(images)]
    return "\n".join([*lines, "]}}}", ""]).encode()


def objects(data: bytes, file: str = "k8s/web.yaml") -> tuple[Object, ...]:
    return tuple(manifest.object for manifest in read_file(file, data))


def bound(data: bytes, images: Sequence[BuiltImage]) -> Bound:
    result = bind(objects(data), images)
    assert isinstance(result, Bound), result
    return result


@pytest.mark.parametrize(
    ("stated_as", "built_as", "expected"),
    [
        ("ghcr.io/acme/app:1", "ghcr.io/acme/app", f"ghcr.io/acme/app:abc123@{NEW}"),
        ("ghcr.io/acme/app", "ghcr.io/acme/app", f"ghcr.io/acme/app:abc123@{NEW}"),
        ("acme/app:$BUILD_ID", "docker.io/acme/app", f"acme/app:abc123@{NEW}"),
        ("app:1", "docker.io/library/app", f"app:abc123@{NEW}"),
        ("your-repo/app:1", "ghcr.io/acme/app", f"your-repo/app:abc123@{NEW}"),  # a unique last component
        ("$REGISTRY/app:latest", "ghcr.io/acme/app", f"$REGISTRY/app:abc123@{NEW}"),
        ("localhost:5000/app:1", "localhost:5000/app", f"localhost:5000/app:abc123@{NEW}"),
        (f"acme/app:1@{OLD}", "acme/app", f"acme/app:abc123@{NEW}"),
        (f"acme/app:older@{NEW}", "acme/app", f"acme/app:older@{NEW}"),  # the same digest: nothing to say
        (f"acme/app@{NEW}", "acme/app", f"acme/app@{NEW}"),
    ],
)
def test_matching_and_pinning(stated_as: str, built_as: str, expected: str) -> None:
    data = deployment(stated_as, "redis:7", quote='"')
    result = bound(data, [built(built_as)])
    containers = result.objects[0].body["spec"]["template"]["spec"]["containers"]
    assert [c["image"] for c in containers] == [expected, "redis:7"]
    after = splice(data, result.splices)
    assert after == data.replace(stated_as.encode(), expected.encode())
    assert objects(after)[0].hash == result.objects[0].hash  # Git then says what runs
    assert stated(objects(after)) == {NEW}
    assert bound(after, [built(built_as)]).splices == ()


def test_the_given_objects_are_not_changed() -> None:
    given_objects = objects(deployment("acme/app:1"))
    before = given_objects[0].hash
    result = bind(given_objects, [built("acme/app")])
    assert isinstance(result, Bound)
    assert given_objects[0].body["spec"]["template"]["spec"]["containers"][0]["image"] == "acme/app:1"
    assert result.objects[0].hash != before


@pytest.mark.parametrize(
    ("uses", "images", "says"),
    [
        (["one/app:1", "two/app:1"], [built("acme/app")], "which is which"),
        (["acme/app:1"], [built("x/app"), built("y/app", file="other/Dockerfile")], "which is which"),
        (["acme/web:1"], [built("acme/app")], "which no manifest uses"),
        (["acme/app:1"], [built("acme/app", "a", OLD), built("acme/app", "b", NEW)], "2 different images"),
    ],
)
def test_what_cannot_be_told_apart_is_refused_with_both_places(
    uses: list[str], images: list[BuiltImage], says: str
) -> None:
    result = bind(objects(deployment(*uses)), images)
    assert isinstance(result, Unmatched)
    assert says in result.reason
    assert "app/Dockerfile:1" in result.reason
    if "2 different" not in says:
        assert "k8s/web.yaml:5" in result.reason


def test_an_exact_match_leaves_the_other_of_the_same_last_name_alone() -> None:
    result = bound(deployment("one/app:1", "two/app:1"), [built("one/app")])
    assert [use.text for use in result.objects[0].images] == [f"one/app:abc123@{NEW}", "two/app:1"]


def test_an_image_for_the_pipelines_own_use_is_only_noted() -> None:
    result = bound(deployment("acme/app:1"), [built("acme/app"), built("acme/e2e")])
    assert [(f.rule, f.severity) for f in result.findings] == [("image-unmatched", Severity.NOTE)]


def test_of_several_tags_the_one_the_manifest_names_is_taken() -> None:
    result = bound(deployment("acme/app:b"), [built("acme/app", "b", NEW), built("acme/app", "a", OLD)])
    assert stated(result.objects) == {NEW}


def test_nothing_built_binds_nothing() -> None:
    data = deployment("acme/app:1")
    assert bound(data, []).objects == objects(data)


def test_a_variable_tag_is_accepted_and_said() -> None:
    result = bound(deployment("acme/app:$BUILD_ID"), [built("acme/app")])
    (note,) = result.findings
    assert (note.rule, note.severity, note.place.line) == ("image-tag-variable", Severity.NOTE, 5)
    assert NEW[:19] in note.message


def test_an_image_over_lines_runs_pinned_and_is_said_not_to_be_spliced() -> None:
    result = bound(deployment("acme\\u002fapp:1", quote='"'), [built("acme/app")])
    assert stated(result.objects) == {NEW}
    assert result.splices == ()
    assert [f.rule for f in result.findings] == ["image-not-spliceable"]


def test_only_workloads_containers_are_images() -> None:
    data = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {image: 'acme/app:1'}\n"
    assert bound(data, [built("acme/app")]).objects[0].body["data"] == {"image": "acme/app:1"}


def test_an_anchored_image_is_spliced_once() -> None:
    data = (
        b"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {template: {spec: {containers: [\n"
        b"  {name: a, image: &i acme/app:1}, {name: b, image: *i}]}}}\n"
    )
    result = bound(data, [built("acme/app")])
    assert len(result.splices) == 1
    assert objects(splice(data, result.splices))[0].hash == result.objects[0].hash


def test_a_shared_container_is_pinned_in_both_places_without_touching_a_third() -> None:
    data = (
        b"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, annotations: &c {image: 'acme/app:1'}}\n"
        b"spec: {template: {spec: {containers: [*c]}}}\n"
    )
    result = bound(data, [built("acme/app")])
    assert result.objects[0].body["metadata"]["annotations"] == {"image": "acme/app:1"}
    assert result.objects[0].body["spec"]["template"]["spec"]["containers"][0]["image"].endswith(NEW)


def test_a_splice_refuses_a_file_that_moved() -> None:
    with pytest.raises(SpliceMismatch, match="no longer hold 'old'"):
        splice(b"image: new", [Splice("f", 7, 10, "old", "x")])
    with pytest.raises(SpliceMismatch):
        splice(b"aaaa", [Splice("f", 0, 3, "aaa", "x"), Splice("f", 1, 4, "aaa", "x")])


def test_splices_are_grouped_by_file_in_order() -> None:
    a, b, c = Splice("b", 5, 6, "x", "y"), Splice("b", 1, 2, "x", "y"), Splice("a", 1, 2, "x", "y")
    assert splices_by_file([a, b, c, a]) == {"a": (c,), "b": (b, a)}


names = st.sampled_from(["acme/app", "ghcr.io/acme/web", "localhost:5000/x", "déjà/app"])


@given(
    images=st.lists(st.tuples(names, st.sampled_from(["", ":1", ":$BUILD_ID", f":1@{OLD}"])), min_size=1, max_size=4),
    noise=st.text("# é€𝄞x", max_size=10),
    newline=st.sampled_from([b"\n", b"\r\n"]),
    quote=st.sampled_from(["'", '"']),
    chosen=names,
)
def test_splicing_says_what_runs_and_keeps_every_other_byte(
    images: list[tuple[str, str]], noise: str, newline: bytes, quote: str, chosen: str
) -> None:
    data = f"# {noise}\n".encode() + deployment(*(a + b for a, b in images), quote=quote)
    data = data.replace(b"\n", newline)
    result = bind(objects(data), [built(chosen)])
    if isinstance(result, Unmatched):
        assert chosen not in {name for name, _ in images}
        return
    after = splice(data, result.splices)
    assert [o.hash for o in objects(after)] == [o.hash for o in result.objects]
    again = bind(objects(after), [built(chosen)])
    assert isinstance(again, Bound)
    assert again.splices == ()
    kept, at = b"", 0
    for each in result.splices:
        assert each.new.split(":", 1)[0].startswith(each.old.split(":", 1)[0].split("@")[0])
        kept += data[at : each.start]
        at = each.end
    kept += data[at:]
    removed = after
    for each in result.splices:
        removed = removed.replace(each.new.encode(), b"", 1)
    assert removed == kept
