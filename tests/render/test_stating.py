"""Where the digest of a built image is stated: one splice, every other byte kept, proven by rendering again."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from render.test_study import CHART, DOCKERFILE, IMAGE, JSONNET, OVERLAY, WEB, Read
from trueup.core.model import Severity
from trueup.core.reference import split
from trueup.core.unspliced import unspliced
from trueup.drivers.renderers.worker import Workers

pytestmark = pytest.mark.integration

DIGEST = IMAGE.digest
PINNED = f"example.org/acme/web:abc@{DIGEST}"
ROOT = "k8s/prod/kustomization.yaml"
BASES = "resources:\n- ../base\n"
DEV = {
    "k8s/dev/kustomization.yaml": "resources: [../base]\n",
    "trueup.yaml": "environments: [{name: p, path: k8s/prod}]\n",
}
VALUES = "chart/values.yaml"


def template(image: str, **more: str) -> dict[str, str]:
    """A chart whose template writes the image like this."""
    return {**CHART, "chart/templates/web.yaml": WEB.replace("example.org/acme/web:latest", image), **more}


def own(text: str) -> dict[str, str]:
    return {**OVERLAY, ROOT: BASES + text}


@pytest.mark.parametrize(
    ("files", "path", "before", "after"),
    [
        # the entry of the environment's own kustomization, in the ways that people write it
        (own("images:\n- name: example.org/acme/web\n  newTag: v1 # ours\n"), ROOT,
         "newTag: v1 # ours\n", f"newTag: abc # ours\n  digest: {DIGEST}\n"),
        (own("images:\n  - {name: example.org/acme/web, newTag: 'v1'}\n"), ROOT,
         "newTag: 'v1'}", f"newTag: 'abc', digest: \"{DIGEST}\"}}"),
        (own(f"images:\n- digest: sha256:{'0' * 64}\n  name: example.org/acme/web\n"), ROOT,
         f"digest: sha256:{'0' * 64}\n", f"digest: {DIGEST}\n"),
        (own("images:\n- name: example.org/acme/web\n"), ROOT,
         "- name: example.org/acme/web\n", f"- name: example.org/acme/web\n  newTag: abc\n  digest: {DIGEST}\n"),
        (own("images:\n- name: example.org/acme/web\n  newName: mirror.example.org/web\n  newTag: '1.10'\n"), ROOT,
         "newTag: '1.10'\n", f"newTag: 'abc'\n  digest: {DIGEST}\n"),
        # the manifest of a base that no other environment reads
        (own(""), "k8s/base/web.yaml", "example.org/acme/web:latest", PINNED),
        # a base that another environment reads too: an entry more in this one's kustomization
        (own("namePrefix: a-\n") | DEV, ROOT, "namePrefix: a-\n",
         f"namePrefix: a-\nimages:\n- name: example.org/acme/web\n  newTag: abc\n  digest: {DIGEST}\n"),
        (own("images:\n  - name: other\n    newTag: x\nnamePrefix: a-") | DEV, ROOT, "newTag: x\n",
         f"newTag: x\n  - name: example.org/acme/web\n    newTag: abc\n    digest: {DIGEST}\n"),
        # an entry of a component of its own
        (own("components: [../part]\n") | DEV | {"k8s/part/kustomization.yaml":
         "kind: Component\nimages: [{name: example.org/acme/web, newTag: v1}]\n"}, "k8s/part/kustomization.yaml",
         "newTag: v1}", f"newTag: abc, digest: \"{DIGEST}\"}}"),
        # a patch that sets it
        (own("patches:\n- patch: |-\n    - {op: replace, path: /spec/template/spec/containers/0/image, "
             "value: example.org/acme/web:v7}\n  target: {kind: Deployment}\n") | DEV,
         ROOT, "example.org/acme/web:v7", PINNED),
        # values of a chart
        (CHART, VALUES, "tag: latest", f"tag: abc@{DIGEST}"),
        (CHART | {VALUES: 'image:\n  repository: example.org/acme/web\n  tag: "" # the chart\'s\n'}, VALUES,
         'tag: ""', f'tag: "abc@{DIGEST}"'),
        (CHART | {VALUES: "replicas: 1\nimage:\n  tag: 1.10\n  repository: example.org/acme/web\n"}, VALUES,
         "tag: 1.10", f"tag: abc@{DIGEST}"),
        (template('"{{ .Values.image }}"', **{VALUES: "image: example.org/acme/web:v1\n"}), VALUES,
         "example.org/acme/web:v1", PINNED),
        (template('"{{ .Values.web.repository }}:{{ .Values.web.tag }}@{{ .Values.web.digest }}"', **{
            VALUES: f"web:\n  repository: example.org/acme/web\n  tag: v1\n  digest: sha256:{'0' * 64}\n"}), VALUES,
         f"tag: v1\n  digest: sha256:{'0' * 64}", f"tag: abc\n  digest: {DIGEST}"),
        (template('"{{ .Values.i.registry }}/{{ .Values.i.repository }}:{{ .Values.i.tag | default .Chart.Version }}"',
         **{VALUES: "i:\n  registry: example.org\n  repository: acme/web\n  tag:\n"}), VALUES,
         "tag:\n", f"tag: abc@{DIGEST}\n"),
        # a values file of the environment, which says no more than the tag, or nothing yet
        (CHART | {"prod.yaml": "image: {tag: v1}\n", "trueup.yaml":
         "environments: [{name: prod, path: chart, values: [prod.yaml]}]\n"}, "prod.yaml",
         "tag: v1", f"tag: abc@{DIGEST}"),
        (CHART | {"prod.yaml": "replicas: 9\n", "trueup.yaml":
         "environments: [{name: prod, path: chart, values: [prod.yaml]}]\n"}, "prod.yaml",
         "replicas: 9\n", f"replicas: 9\nimage:\n  tag: abc@{DIGEST}\n"),
        # where it stands as it is
        (template("example.org/acme/web:v1"), "chart/templates/web.yaml", "example.org/acme/web:v1", PINNED),
        (JSONNET, "main.jsonnet", "example.org/acme/web:latest", PINNED),
    ],
)  # fmt: skip
async def test_the_digest_is_stated_by_one_splice(
    workers: Workers, files: Mapping[str, str], path: str, before: str, after: str
) -> None:
    read = Read(files, workers)
    assert await read.errors() == []
    reading = await read.reading()
    assert [f for f in reading.findings if f.rule == "image-not-spliceable"] == []
    (use,) = (use for one in reading.rendered.objects for use in one.images)
    image = type(IMAGE)(split(use.text)[0], "abc", DIGEST, "k", IMAGE.place)
    edits = await read.study.edits(read.source, read.commit, (image,))
    assert {one: data.decode() for one, data in edits.items()} == {path: files[path].replace(before, after)}
    if path != "prod.yaml" and "v7" not in before:  # values without a repository, a patch in a text: see docs/images.md
        own = (image.repository.rpartition("/")[2],)
        assert unspliced(path, files[path].encode(), own) == unspliced(path, edits[path], own)
    running = await read.bundle(image)
    assert running["image"].endswith("@" + DIGEST)
    stated = Read({**files, path: edits[path].decode()}, workers)
    assert await stated.bundle(image) == running, "what Git says afterwards is what runs"
    assert await stated.study.edits(stated.source, stated.commit, (image,)) == {}
    assert await stated.study.stated(stated.source, stated.commit) == {image.repository: DIGEST}


@pytest.mark.parametrize(
    ("files", "fix"),
    [
        (template('"example.org/acme/web:{{ .Chart.AppVersion | default .Release.Revision }}"'), "State `image: {"),
        (
            template('"{{ .Values.image.repository }}:{{ .Values.image.tag }}"', **{
                "chart/templates/note.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"
                "data: {tag: '{{ .Values.image.tag }}'}\n"}),
            "State `image: {",
        ),
        (
            {**CHART, "chart/templates/chance.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: b}\n"
             "stringData: {a: '{{ randAlphaNum 20 }}'}\n"},
            "Let chart/templates/chance.yaml give the same each time.",
        ),
        (
            {**JSONNET, "main.jsonnet": "[(import 'web.libsonnet')('example.org/acme/' + 'web:latest')]\n"},
            "Write 'example.org/acme/web:latest' once",
        ),
    ],
)  # fmt: skip
async def test_what_cannot_be_stated_runs_pinned_and_is_told_with_what_to_do(
    workers: Workers, files: Mapping[str, str], fix: str
) -> None:
    read = Read(files, workers)
    (warned,) = (f for f in (await read.reading()).findings if f.rule == "image-not-spliceable")
    assert warned.severity is Severity.WARNING and warned.fix.startswith(fix)
    assert await read.study.edits(read.source, read.commit, (IMAGE,)) == {}
    assert (await read.bundle())["image"].endswith("@" + DIGEST)


async def test_one_repository_written_in_two_ways_is_stated_in_both(workers: Workers) -> None:
    second = WEB.replace("name: web\nspec", "name: two\nspec").replace("example.org/acme/web", "docker.io/acme/web")
    first = WEB.replace("example.org/acme/web", "acme/web")
    files = {"k8s/kustomization.yaml": "resources: [a.yaml, b.yaml]\nimages:\n- {name: acme/web, newTag: v1}\n",
             "k8s/a.yaml": first, "k8s/b.yaml": second}  # fmt: skip
    image = type(IMAGE)("acme/web", "abc", DIGEST, "k", IMAGE.place)
    read = Read(files, workers)
    edits = await read.study.edits(read.source, read.commit, (image,))
    stated = Read({**files, **{path: data.decode() for path, data in edits.items()}}, workers)
    (now,) = {split(use.text)[2] for one in (await stated.reading()).rendered.objects for use in one.images}
    assert now == DIGEST


async def test_several_images_and_plain_bytes_around_them_are_kept(workers: Workers) -> None:
    """Line ends, a byte order mark, comments and a missing last newline stay as they are."""
    lines = (
        "\ufeff# größe",
        "resources:",
        "- ../base",
        "- two.yaml",
        "images:",
        "- name: example.org/acme/web",
        "  newTag: v1",
    )
    text = "\r\n".join(lines)
    two = WEB.replace("web", "two")
    read = Read({**OVERLAY, ROOT: text, "k8s/prod/two.yaml": two, **DOCKERFILE}, workers)
    second = type(IMAGE)("example.org/acme/two", "xyz", f"sha256:{'b' * 64}", "k", IMAGE.place)
    edits = await read.study.edits(read.source, read.commit, (IMAGE, second))
    assert edits[ROOT].decode() == text.replace("newTag: v1", f"newTag: abc\r\n  digest: {DIGEST}")
    assert edits["k8s/prod/two.yaml"].decode() == two.replace("two:latest", f"two:xyz@sha256:{'b' * 64}")
