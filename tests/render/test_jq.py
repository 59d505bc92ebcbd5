"""jq path expressions in the real worker."""

from __future__ import annotations

import pytest

from trueup.drivers.renderers.jq import Jq
from trueup.drivers.renderers.worker import Workers
from trueup.ports import TargetDown

pytestmark = pytest.mark.integration

BODY = {
    "metadata": {"annotations": {"a.b/c": "1"}},
    "spec": {"replicas": 2, "containers": [{"name": "a", "image": "a:1"}, {"name": "b", "image": "b:1"}]},
}


@pytest.mark.parametrize(
    ("program", "paths"),
    [
        (".spec.replicas", (("spec", "replicas"),)),
        (".spec.containers[].image", (("spec", "containers", 0, "image"), ("spec", "containers", 1, "image"))),
        ('.spec.containers[] | select(.name == "b")', (("spec", "containers", 1),)),
        ('.metadata.annotations["a.b/c"]', (("metadata", "annotations", "a.b/c"),)),
        (".spec.missing.deeper", (("spec", "missing", "deeper"),)),
        (
            ".spec.containers[]?, .spec.replicas",
            (("spec", "containers", 0), ("spec", "containers", 1), ("spec", "replicas")),
        ),
        (".spec.missing[]?", ()),
    ],
)
async def test_paths(workers: Workers, program: str, paths: object) -> None:
    assert await Jq(workers).paths([program], BODY) == paths


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (".spec[", r'the jq expression "\.spec\[": unexpected'),
        (".spec.replicas + 1", "the jq expression .*path"),
        ("def f: f; f", "more than 1s and was stopped"),
        ("range(100000) | empty, .", "jq expression"),
        ("env.HOME", "jq expression"),
    ],
)
async def test_what_is_no_path_is_told_and_the_worker_lives(workers: Workers, program: str, words: str) -> None:
    with pytest.raises(TargetDown, match=words):
        await Jq(workers).paths([program], BODY)
    assert await Jq(workers).paths([".spec"], BODY) == (("spec",),)
