"""Whatever stands in a definition, reading it ends with findings: no shape of values is an error of Trueup's."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from trueup.core.manifests import Manifest
from trueup.core.model import Oid, Place
from trueup.core.objects import Malformed, make_object
from trueup.core.render import Asked, Folders, Made, Output, Texts
from trueup.core.resolve import Repository, resolve
from trueup.core.yamldoc import Doc, Node, documents
from trueup.engine.definitions import Held, collect
from trueup.engine.generating import applications
from trueup.ports import Given, RenderFailed

CASES = Path(__file__).parents[1] / "definitions"
BODIES = [
    doc.body
    for path in sorted(CASES.glob("*/**/*.yaml"))
    if path.name != "expect.yaml" and b"{{" not in path.read_bytes()[:40] and "templates" not in path.parts
    for doc in documents(path.read_bytes(), path.name)
    if isinstance(doc.body, dict) and "/" in str(doc.body.get("apiVersion"))
]
JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 1 << 63), st.floats(allow_nan=False), st.text(max_size=8),
    st.just([]), st.just({}), st.just([None, "x", {"a": []}]), st.just({"": {"": None}}), st.just("../../x"),
)  # fmt: skip
NOTHING = Folders({})


class Echo:
    """A renderer that fills nothing in."""

    async def render(self, asked: Asked, given: Given) -> Output:
        assert isinstance(asked, Texts)
        if not asked.params:
            raise RenderFailed(Place("x"), "nothing to fill in")
        return Output(tuple(Made(asked.body) for _ in asked.params))

    async def versions(self) -> Mapping[str, str]:
        return {}


async def blobs(_: object) -> Mapping[Oid, bytes]:
    return {}


def places(body: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    below = body.items() if isinstance(body, dict) else enumerate(body) if isinstance(body, list) else ()
    return [at, *(path for key, value in below for path in places(value, (*at, key)))]


def put(body: Any, path: tuple[Any, ...], value: Any) -> Any:
    made = copy.deepcopy(body)
    inside = made
    for step in path[:-1]:
        inside = inside[step]
    inside[path[-1]] = value
    return made


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_value_breaks_the_reading(data: st.DataObject) -> None:
    body = data.draw(st.sampled_from(BODIES))
    for _ in range(data.draw(st.integers(1, 3))):
        where = [path for path in places(body) if path]
        body = put(body, data.draw(st.sampled_from(where)), data.draw(JUNK))
    try:
        object = make_object(body, Place("a.yaml", 1))
    except Malformed:
        return
    read = collect([Manifest(object, Doc("a.yaml", b"", Node(body, 1, 1)))])
    resolve(read, Repository(NOTHING, frozenset(), lambda _: True, Held(())))
    for stated in read.generators:
        asyncio.run(applications(stated, Given("", NOTHING, blobs), frozenset(), Echo()))
