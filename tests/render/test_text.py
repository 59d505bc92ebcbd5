"""Texts that definitions have filled in: templates of ApplicationSets, variables of Flux, edits of kustomizations.

Source: Argo CD v3.5.7, docs/operator-manual/applicationset/GoTemplate.md and Template.md; fluxcd/pkg/envsubst v1.8.0.
"""

from __future__ import annotations

from typing import Any

import pytest

from render.parts import Repository
from trueup.core.render import Edit, Folders, Image, Kustomize, Texts
from trueup.drivers.renderers.worker import Workers
from trueup.ports import Given, RenderFailed


async def nothing(_: object) -> dict[str, bytes]:
    return {}


async def filled(workers: Workers, body: Any, params: Any, **more: Any) -> Any:
    asked = Texts(path="set.yaml", body=body, params=(params,), **more)
    output = await workers.render(asked, Given("", Folders({}), nothing))
    return output.objects[0].body


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("{{name}}-{{ name }}", "eu-eu"),
        ("{{unknown}} {{ }}", "{{unknown}} {{ }}"),
        ("{{metadata.labels.tier}}", "1"),
        ("{{number}}", "{{number}}"),  # only texts are put in
        ("plain", "plain"),
    ],
)
async def test_by_name(workers: Workers, text: str, made: str) -> None:
    params = {"name": "eu", "metadata.labels.tier": "1", "number": 1}
    assert await filled(workers, {"a": [text]}, params) == {"a": [made]}


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("{{ .name | upper }}", "EU"),
        ("{{ .path.basename }}", "shop"),
        ("{{ index .path.segments 0 }}", "apps"),
        ("{{ .missing }}", "<no value>"),
        ('{{ default "x" .missing }}', "x"),
        ('{{ normalize "My_App" }}', "my-app"),
        ("{{ slugify 23 .long }}", "feat-areally-long-pull"),
        ("{{ slugify 50 false .long }}", "feat-areally-long-pull-request-name-to-test-argo-s"),
        ("{{ toYaml .path.segments }}", "- apps\n- shop"),
        ("{{ (fromYaml .yaml).a }}", "1"),
        ("{{ index (fromYamlArray .list) 1 }}", "q"),
    ],
)
async def test_by_go_template(workers: Workers, text: str, made: str) -> None:
    params = {
        "name": "eu", "path": {"basename": "shop", "segments": ["apps", "shop"]}, "yaml": "a: 1", "list": "[p, q]",
        "long": "feat/areally+long_pull_request_name_to_test_argo_slugification_and_branch_name_shortening_feature",
    }  # fmt: skip
    assert await filled(workers, text, params, go_template=True) == made


async def test_keys_are_filled_in_too(workers: Workers) -> None:
    assert await filled(workers, {"a/{{x}}": {"n": 1}}, {"x": "b"}) == {"a/b": {"n": 1}}


@pytest.mark.parametrize("text", ['{{ env "HOME" }}', '{{ expandenv "$HOME" }}', '{{ getHostByName "x" }}', "{{ .a"])
async def test_what_tells_of_the_machine_is_not_there(workers: Workers, text: str) -> None:
    with pytest.raises(RenderFailed):
        await filled(workers, text, {}, go_template=True)


async def test_missing_keys_and_wrong_options_are_errors(workers: Workers) -> None:
    with pytest.raises(RenderFailed, match="no entry for key"):
        await filled(workers, "{{ .missing }}", {"x": "y"}, go_template=True, options=("missingkey=error",))
    with pytest.raises(RenderFailed, match="unrecognized option"):
        await filled(workers, "a", {"x": "y"}, go_template=True, options=("nonsense=1",))


# --- Flux's variables ------------------------------------------------------------------------------

CONFIG = "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c}}\ndata:\n  a: '{0}'\n"


async def substituted(workers: Workers, text: str, **variables: str) -> Any:
    files = Repository({"k/c.yaml": CONFIG.format(text)})
    edit = Edit(generate=True, variables=variables)
    output = await workers.render(Kustomize(path="k", restrict=False, edit=edit), files.given)
    return output.objects[0].body["data"]["a"]


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("${v}", "Value"),
        ("$v", "$v"),
        ("$${v}", "${v}"),
        ("${missing}", ""),
        ("${missing:=default}", "default"),
        ("${missing:-default}", "default"),
        ("${empty:-default}", "default"),
        ("${v:-default}", "Value"),
        ("${#v}", "5"),
        ("${v^}", "Value"),
        ("${v^^}", "VALUE"),
        ("${v,,}", "value"),
        ("${v:1}", "alue"),
        ("${v:1:2}", "al"),
        ("${v/a/o}", "Volue"),
        ("${path##*/}", "c"),
        ("${path%/*}", "a/b"),
    ],
)
async def test_the_dialect_of_flux(workers: Workers, text: str, made: str) -> None:
    assert (await substituted(workers, f"x{text}", v="Value", empty="", path="a/b/c")) == f"x{made}"


async def test_a_name_that_is_none_and_a_variable_that_never_ends(workers: Workers) -> None:
    with pytest.raises(RenderFailed, match="is no name of a variable"):
        await substituted(workers, "x", **{"a-b": "1"})
    with pytest.raises(RenderFailed, match="variables cannot be put into ConfigMap/c"):
        await substituted(workers, "${v", v="1")


async def test_values_are_read_again_as_yaml(workers: Workers) -> None:
    files = Repository({"k/c.yaml": "apiVersion: v1\nkind: X\nmetadata: {name: c}\nspec:\n  n: ${n}\n  s: '${n}'\n"})
    edit = Edit(generate=True, variables={"n": "7"})
    output = await workers.render(Kustomize(path="k", restrict=False, edit=edit), files.given)
    assert output.objects[0].body["spec"] == {"n": 7, "s": 7}  # quotes that YAML does not need are gone by then


# --- what is said over a kustomization -------------------------------------------------------------

BASE = {
    "k/kustomization.yaml": "resources: [d.yaml]\nimages: [{name: app, newTag: '1', digest: 'sha256:ab'}]\n",
    "k/d.yaml": (
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec:\n  template:\n    spec:\n"
        "      containers: [{name: c, image: app}]\n"
    ),
}


async def edited(workers: Workers, edit: Edit) -> Any:
    output = await workers.render(Kustomize(path="k", edit=edit), Repository(BASE).given)
    return output.objects[0].body


async def test_a_tag_takes_the_place_of_a_digest(workers: Workers) -> None:
    body = await edited(workers, Edit(images=(Image("app", new_name="other", new_tag="2"),), namespace="ns"))
    assert body["spec"]["template"]["spec"]["containers"][0]["image"] == "other:2"
    assert body["metadata"] == {"name": "d", "namespace": "ns"}


async def test_commands_are_those_of_kustomize_edit(workers: Workers) -> None:
    body = await edited(workers, Edit(commands=(("set", "image", "app=new:3"), ("add", "annotation", "a:b"))))
    assert body["spec"]["template"]["spec"]["containers"][0]["image"] == "new:3"
    assert body["metadata"]["annotations"] == {"a": "b"}
    with pytest.raises(RenderFailed, match="kustomize edit set image"):
        await edited(workers, Edit(commands=(("set", "image"),)))


async def test_a_component_that_is_not_there(workers: Workers) -> None:
    assert (await edited(workers, Edit(components=("../gone",), ignore_missing=True)))["kind"] == "Deployment"
    with pytest.raises(RenderFailed):
        await edited(workers, Edit(components=("../gone",)))


async def test_a_folder_without_a_kustomization_is_an_error_unless_one_is_made(workers: Workers) -> None:
    files = Repository({"k/a/b.yaml": CONFIG.format("x"), "k/a/notes.md": "", "k/.github/w.yaml": "on: push\n"})
    with pytest.raises(RenderFailed, match="no kustomization"):
        await workers.render(Kustomize(path="k", edit=Edit(commands=(("set", "nameprefix", "--", "x"),))), files.given)
    made = await workers.render(Kustomize(path="k", edit=Edit(generate=True, labels={"l": "v"})), files.given)
    assert [one.body["metadata"] for one in made.objects] == [{"name": "c", "labels": {"l": "v"}}]


async def test_a_sourceignore_is_refused_rather_than_overlooked(workers: Workers) -> None:
    files = Repository({"k/b.yaml": CONFIG.format("x"), ".sourceignore": "/k\n"})
    with pytest.raises(RenderFailed, match="sourceignore is not read"):
        await workers.render(Kustomize(path="k", edit=Edit(generate=True)), files.given)
