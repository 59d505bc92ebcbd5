"""A world whose configuration has three waves and hooks of every phase; the memory target ends them as it is told.

Runs are counted on the target: each time a hook's object is made that was not there as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from engine.world import DEPLOYMENT, World, WorldStudy
from trueup.core import plan as planner
from trueup.core.bundle import make_bundle
from trueup.core.candidate import ApplicationState, CandidateState
from trueup.core.model import Bundle, Fault, Health, Judgement, Live, Object, Plan
from trueup.drivers.sources.memory import MemoryRemote

SETTINGS = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: NAME, annotations: {NOTES}}\ndata: {a: b}\n"
WAVE, HOOK, POLICY = (f"argocd.argoproj.io/{name}" for name in ("sync-wave", "hook", "hook-delete-policy"))


def config(name: str, **notes: str) -> str:
    """A ConfigMap with annotations; `wave`, `hook` and `policy` are Argo CD's."""
    long = {"wave": WAVE, "hook": HOOK, "policy": POLICY}
    text = ", ".join(f'{long[key]}: "{value}"' for key, value in notes.items())
    return SETTINGS.replace("NAME", name).replace("NOTES", text)


def manifests(**changed: str) -> dict[str, str]:
    """Three waves and a hook of each phase, one file each."""
    made = {
        "config/a.yaml": config("settings", wave="-1"),
        "config/web.yaml": DEPLOYMENT,
        "config/z.yaml": config("last", wave="2"),
        "config/before.yaml": config("before", hook="PreSync"),
        "config/between.yaml": config("between", hook="Sync", policy="HookSucceeded"),
        "config/after.yaml": config("after", hook="PostSync", policy="BeforeHookCreation,HookSucceeded"),
        "config/failed.yaml": config("failed", hook="SyncFail"),
    }
    return made | {f"config/{name}.yaml": text for name, text in changed.items()}


class HookedStudy(WorldStudy):
    """Bundles and plans as the real ones are."""

    async def bundle(self, application: ApplicationState, candidate: CandidateState) -> Bundle:
        plain = await super().bundle(application, candidate)
        return make_bundle(application.id, candidate.id, plain.objects)

    def plan(self, desired: Bundle, live: Live, approved: frozenset[str]) -> Plan:
        return planner.release(planner.plan(desired, live), approved)


class HookedWorld(World):
    """`ends[name]`: how objects of that name are; everything else as in World."""

    def __init__(self, root: Path, remotes: tuple[MemoryRemote, ...] = ()) -> None:
        self.ends: dict[str, Judgement | Health] = {}
        super().__init__(root, remotes=remotes)
        self.study = HookedStudy(self.sources, lambda: None)

    def _behave(self, object: Object) -> Judgement:
        end = self.ends.get(object.ref.name)
        if isinstance(end, Health):
            return Judgement(object.ref, end)
        return end or super()._behave(object)

    def fails(self, name: str, why: str, fault: Fault = Fault.CHANGE) -> None:
        ref = next(o for held in self.target.objects.values() for o in held if o.name == name)
        self.ends[name] = Judgement(ref, Health.DEGRADED, why, fault, ("Traceback", why))

    def turn(self, ends: Mapping[str, Health]) -> None:
        """These are so from now on, and the target tells."""
        self.ends |= ends
        for application, held in self.target.objects.items():
            for ref in held:
                if ref.name in ends:
                    self.target.move(application, ref)

    def calls(self) -> list[str]:
        """ "apply configmap/before", "delete configmap/after", hooks and objects alike, in order."""
        return [f"{call.split()[0]} {call.split()[2]}" for call in self.target.calls]

    def hook_runs(self) -> list[str]:
        """The hooks as they were made."""
        return [call.split()[2] for call in self.target.calls if call.startswith("apply") and "/hooks " in call]


FIRST = {**manifests(), "app/main": "v1\n", "app/Dockerfile": 'FROM scratch\nENTRYPOINT ["/main"]\n'}
