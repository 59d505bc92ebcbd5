"""What the deletion breaker holds is told, an approval lets exactly that go, and neither is called drift."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from engine.world import DEPLOYMENT, World
from trueup.app import checker
from trueup.core import events as ev
from trueup.core import requests as rq
from trueup.core.model import Principal
from trueup.core.views.chronicle import read
from trueup.core.views.status import Summary, status
from trueup.core.views.timeline import timeline
from trueup.engine.study import RepositoryStudy
from trueup.engine.verbs import Verbs

ANN = Principal("uid:1000", "socket")
BESIDE = "".join(
    f"---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{a: b}}\n" for name in ("one", "two")
)
WITH = {"config/web.yaml": DEPLOYMENT, "config/beside.yaml": BESIDE, "app/main": "v1\n", "app/Dockerfile": "FROM a\n"}
WITHOUT = {"config/beside.yaml": None}


def world(root: Path) -> World:
    """Planned as `trueup up` plans: with the breaker."""
    made = World(root)
    made.study = RepositoryStudy(  # type: ignore[assignment]  # the real one fills the same roles
        made.sources, {made.source: "web"}, {made.source: "refs/heads/main"}, checker(dt.date(2026, 1, 1))
    )
    return made


async def told(made: World) -> list[str]:
    events = [e for stream in await made.ledger.heads() for e in await made.ledger.read(stream)]
    return [m.text for m in timeline(read(events)).moments]


async def test_held_deletions_are_seen_in_the_status_and_told_once(tmp_path: Path) -> None:
    async with world(tmp_path) as made:
        await made.pushed(WITH)
        await made.pushed(WITHOUT)
        held = (await made.app()).held
        assert held is not None and held.count == 2 and held.objects == ("configmap/one", "configmap/two")
        await made.settle()
        assert len(await made.facts(ev.ChangesHeld)) == 1
        events = [e for stream in await made.ledger.heads() for e in await made.ledger.read(stream)]
        found = status(read(events), made.clock.now())
        assert found.summary is Summary.HELD
        assert found.applications[0].held is not None and found.applications[0].held.approval == held.changes
        assert any(f"trueup approve {held.changes[:12]}" in text for text in await told(made))


async def test_an_approval_deletes_exactly_what_was_held_and_is_not_told_as_drift(tmp_path: Path) -> None:
    async with world(tmp_path) as made:
        await made.pushed(WITH)
        await made.pushed(WITHOUT)
        held = (await made.app()).held
        assert held is not None and made.loop is not None
        reply = await Verbs(made.loop, lambda: None).perform(rq.Approve("", held.changes[:12]), ANN)
        assert reply.ok, reply
        await made.settle()
        assert [r.name for r in made.target.objects[made.application]] == ["web"]
        assert (await made.app()).held is None
        assert [sorted(f.objects) for f in await made.facts(ev.Pruned)] == [["configmap/one", "configmap/two"]]  # type: ignore[attr-defined]
        assert not await made.facts(ev.Drifted)


async def test_what_git_states_again_is_not_held_any_more(tmp_path: Path) -> None:
    async with world(tmp_path) as made:
        await made.pushed(WITH)
        await made.pushed(WITHOUT)
        await made.pushed({"config/beside.yaml": BESIDE})
        assert (await made.app()).held is None
        assert "nothing is held any more" in await told(made)


async def test_an_object_that_is_gone_is_named_when_it_is_put_back(tmp_path: Path) -> None:
    async with world(tmp_path) as made:
        await made.pushed(WITH)
        made.target.objects[made.application] = {
            ref: held for ref, held in made.target.objects[made.application].items() if ref.name != "one"
        }
        assert made.loop is not None
        await Verbs(made.loop, lambda: None).perform(rq.Sync(), ANN)
        await made.settle()
        assert "drift: configmap/one gone; repaired" in await told(made)
