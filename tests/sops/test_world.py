"""The loop with a Secret that SOPS encrypted, over a target in memory: no key, a key, another value, one by hand."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable
from pathlib import Path

import msgspec

from engine.world import DEPLOYMENT, World
from sops.conftest import AGE, CACHE, OTHER, Real
from trueup.app import checker
from trueup.core import events as ev
from trueup.core import requests as rq
from trueup.core.model import Principal
from trueup.core.views.chronicle import read
from trueup.core.views.timeline import timeline
from trueup.drivers.secrets.sops import Sops
from trueup.engine.study import RepositoryStudy
from trueup.engine.verbs import Verbs

ANN = Principal("uid:1000", "socket")
VALUE, LATER = "hunter2-in-the-clear", "swordfish-in-the-clear"
SECRET = "apiVersion: v1\nkind: Secret\nmetadata:\n    name: db\nstringData:\n    password: {value}\n"
REST = {"config/web.yaml": DEPLOYMENT, "app/main": "v1\n", "app/Dockerfile": "FROM a\n"}


class Keys:
    """The secrets of the repository, as a person sets them meanwhile."""

    def __init__(self, **values: str) -> None:
        self.values = values

    async def of(self, _: str) -> dict[str, str]:
        return self.values


def world(root: Path, keys: Keys) -> World:
    made = World(root)
    made.study = RepositoryStudy(  # type: ignore[assignment]  # the real one fills the same roles
        made.sources, {made.source: "web"}, {made.source: "refs/heads/main"}, checker(dt.date(2026, 1, 1)),
        unsealer=Sops(CACHE / "trueup-sops", keys.of, uid=65534),
    )  # fmt: skip
    return made


def running(made: World) -> object:
    held = made.target.objects.get(made.application, {})
    return next((one.body.get("stringData") for ref, one in held.items() if ref.kind == "Secret"), None)


async def seen(ready: Callable[[], bool]) -> None:
    """The loop has no event for a problem that comes or goes."""
    async with asyncio.timeout(20):
        while not ready():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def said(made: World) -> str:
    """All that the ledger holds and tells."""
    events = [e for stream in await made.ledger.heads() for e in await made.ledger.read(stream)]
    told = "\n".join(m.text for m in timeline(read(events)).moments)
    return told + msgspec.json.encode([msgspec.to_builtins(e.fact) for e in events]).decode()


async def test_nothing_is_decided_without_a_key_and_a_change_by_hand_is_red(
    tmp_path: Path, built: Path, real: Real
) -> None:
    def sealed(value: str) -> str:
        text = SECRET.replace("{value}", value)
        return real.encrypt("secret.yaml", text, "--encrypted-regex", "^(data|stringData)$").decode()

    keys = Keys(SOPS_AGE_KEY=OTHER)
    async with world(tmp_path / "world", keys) as made:
        assert made.loop is not None
        loop = made.loop
        first = made.person.push({**REST, "config/secret.yaml": sealed(VALUE)}, "Say hello")
        made.look()
        await seen(lambda: bool(loop.problems))
        problems = dict(loop.problems)
        assert any("trueup secret set SOPS_AGE_KEY" in told for told in problems.values()), problems
        assert running(made) is None

        keys.values["SOPS_AGE_KEY"] = AGE
        for key in problems:
            made.loop.queue.wake(key)
        await seen(lambda: running(made) is not None and not loop.problems)
        await made.settle()
        assert running(made) == {"password": VALUE}
        assert (await made.app()).last_good, first

        later = sealed(LATER)
        await made.pushed({"config/secret.yaml": later}, "Change the password")
        assert running(made) == {"password": LATER}

        await made.pushed({"config/secret.yaml": later.replace("name: db", "name: dc")}, "Rename it by hand")
        assert running(made) == {"password": LATER}, "the last green one stays"
        text = await said(made)
        assert "its MAC does not match" in text
        assert not [secret for secret in (VALUE, LATER, AGE, OTHER) if secret in text]

        reply = await Verbs(made.loop, lambda: None).perform(rq.Retry(), ANN)
        assert not [secret for secret in (VALUE, LATER) if secret in reply.message]
        assert await made.facts(ev.SyncHealthy)
