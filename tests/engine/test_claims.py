"""Two applications that state one object: both are told, and nothing of the second is touched."""

from __future__ import annotations

from pathlib import Path

from engine.hooked import HookedWorld, config
from trueup.core import events as ev
from trueup.core.bundle import make_bundle
from trueup.core.model import Place
from trueup.core.objects import make_object
from trueup.core.views.chronicle import read
from trueup.core.views.timeline import timeline
from trueup.drivers.sources.memory import MemoryRemote, MemorySource
from trueup.engine.application import application_id
from trueup.engine.claims import Claims
from trueup.engine.loop import Watched, source_id

CODE = {"app/main": "v1\n", "app/Dockerfile": "FROM scratch\n", "pipeline": "pass\n"}


class Two(HookedWorld):
    """Two repositories, each of code and configuration, on one target."""

    def __init__(self, root: Path) -> None:
        self.pair = (MemoryRemote(), MemoryRemote())
        super().__init__(root, (self.pair[0],))
        self.second = source_id("memory:second", "main")
        self.sources[self.second] = MemorySource(self.pair[1])
        self.watched[self.second] = Watched("memory:second", "main", "second", "both")


async def test_both_are_told_before_any_patch(tmp_path: Path) -> None:
    async with Two(tmp_path) as world:
        world.pair[0].push({**CODE, "config/a.yaml": config("shared"), "config/b.yaml": config("first")}, "first")
        await world.settle()
        world.pair[1].push({**CODE, "config/c.yaml": config("shared"), "config/d.yaml": config("other")}, "second")
        await world.settle()
        (condemned,) = await world.facts(ev.SyncCondemned)
        assert isinstance(condemned, ev.SyncCondemned)
        assert condemned.reason == (
            "config/c.yaml:1: configmap/shared in namespace default is stated by web0 too, at config/a.yaml:1; "
            "state it in one of the two applications only"
        )
        assert [call for call in world.calls() if "other" in call] == []
        (contested,) = await world.facts(ev.Contested)
        assert contested == ev.Contested("second", ("configmap/shared",), "config/c.yaml:1")
        events = [e for stream in await world.ledger.heads() for e in await world.ledger.read(stream)]
        told = [m.text for m in timeline(read(events)).moments]
        assert any(text.startswith("second states configmap/shared too (config/c.yaml:1)") for text in told)

        world.pair[0].push({"config/a.yaml": None}, "give it away")  # type: ignore[dict-item]
        await world.settle()
        world.pair[1].push({"config/c.yaml": config("shared", wave="1")}, "take it")
        await world.settle()
        held = world.target.objects[application_id(world.second, "default")]
        assert {ref.name for ref in held} == {"shared", "other"}


def test_what_is_given_up_is_free_and_a_hook_is_a_claim(tmp_path: Path) -> None:
    from core.test_order import bundle_of  # the short form of objects

    claims = Claims()
    one = bundle_of({"ConfigMap/a": None}, {"Job/b": {"hook": "PreSync"}})
    claims.hold("first", "host", "r1", one)
    assert not claims.taken("first", "host", one)
    assert not claims.taken("second", "elsewhere", one)
    taken = claims.taken("second", "host", one)
    assert [(str(c.mine.ref), c.other, c.theirs.place) for c in taken] == [
        ("configmap/a", "first", Place("a.yaml", 1)),
        ("job/b", "first", Place("a.yaml", 1)),
    ]
    claims.hold("first", "host", "r2", bundle_of({"ConfigMap/a": None}))
    assert [str(c.mine.ref) for c in claims.taken("second", "host", one)] == ["configmap/a"]


def test_a_namespace_that_is_made_for_several_is_nobodys_claim() -> None:
    notes = {"trueup.io/shared": "true", "argocd.argoproj.io/hook": "PreSync"}
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "annotations": notes}}
    shared = make_bundle("a", "c", [make_object(body, Place("a.yaml", 1))])
    claims = Claims()
    claims.hold("first", "host", "r", shared)
    assert not claims.taken("second", "host", shared)
