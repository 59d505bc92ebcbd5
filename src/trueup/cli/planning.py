"""Reads what `trueup plan` compares: a commit or a folder on one side, what the target holds on the other."""

from __future__ import annotations

import asyncio
import os
import secrets
from pathlib import Path

from msgspec import Struct

from trueup.app import looking
from trueup.cli import exits, reading
from trueup.cli.errors import Stop, Unknown
from trueup.cli.revision import open_revision
from trueup.core import plan as planner
from trueup.core.candidate import ApplicationState, CandidateState
from trueup.core.layout import Layout
from trueup.core.model import Live
from trueup.core.views.chronicle import Chronicle
from trueup.drivers.targets.host import Host
from trueup.engine.cluster import kept, open_cluster
from trueup.engine.preview import PlanView, plan_bundle, plan_view, try_plan, unbuilt


class Asked(Struct, frozen=True):
    repository: str
    commit: str = ""  # "" the folder as it stands, or the branch's head of a URL
    application: str = ""


async def plan(where: Layout, asked: Asked) -> PlanView:
    """Raises NotUsable, SourceError, NoKey, TargetDown, Unknown."""
    known = await reading.chronicle(where) if Path(where.ledger).exists() else Chronicle()
    way = await asyncio.to_thread(kept, where)
    async with open_revision(where, asked.repository, asked.commit, keys=True) as wanted:
        state = _application(known, asked.application, wanted.reading.found.name)
        candidate = _candidate(known, state, wanted.commit)
        name = state.name if state else wanted.reading.found.name
        bundle = await plan_bundle(wanted.reading, name, candidate, wanted.rendering)
    images, key = unbuilt(wanted.reading, bundle, candidate), secrets.token_bytes(32)
    if way.target == "kubernetes":
        id = state.id if state else ""
        async with open_cluster(where, way, os.environ, looking(where, way, os.environ)) as cluster:
            named = await cluster.named(bundle)
            live = await cluster.read(id)
            planned = planner.plan(named, live)
            trials = await try_plan(planned, named, id, cluster)
            return plan_view(planned, named, live, key, wanted.commit, images, trials)
    live = await _live(where, state)
    return plan_view(planner.plan(bundle, live), bundle, live, key, wanted.commit, images, {})


def _application(known: Chronicle, asked: str, name: str) -> ApplicationState | None:
    """The application that the repository is, as far as the ledger knows it."""
    found = [a for a in known.applications.values() if (asked or name) == a.name]
    if asked and not found:
        there = ", ".join(a.name for a in known.applications.values()) or "none yet"
        raise Unknown(f"no application {asked!r}; there is: {there}")
    if not found and len(known.applications) == 1:
        found = list(known.applications.values())
    if len(found) > 1:
        raise Stop(f"more than one application is called {found[0].name}: name its id", exits.USAGE)
    return found[0] if found else None


async def _live(where: Layout, state: ApplicationState | None) -> Live:
    """What the target holds; nothing when nothing was ever rolled out from this state folder."""
    if state is None or state.current is None:
        return Live(())
    host = Host(where)
    try:
        if await host.hello() is None:
            raise Stop(f"the agent of {where.root} does not answer: start it with `trueup up`", exits.AWAY)
        return await host.read(state.id)
    finally:
        await host.close()


def _candidate(known: Chronicle, state: ApplicationState | None, commit: str) -> CandidateState | None:
    """Whose images are bound: that commit's own, else those of what runs (a plan of manifests alone)."""
    own = next((c for c in known.candidates.values() if commit and c.commit == commit and c.images), None)
    if own is not None or state is None:
        return own
    return next((c for c in (known.candidates.get(g) for g in reversed(state.good)) if c and c.images), None)
