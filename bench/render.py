"""What rendering by warm workers costs, as ratios to `helm template` and `kustomize build` processes of the same
library versions in the same run. Needs `make render`. Goals: a chart 10, a small overlay 4, many overlays 3,
5,000 unrelated files 100 ms, no render after a restart, memory 1.1.
"""

from __future__ import annotations

import asyncio
import hashlib
import statistics
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import date
from pathlib import Path

from trueup.app import checker
from trueup.core.model import TreeEntry
from trueup.core.render import Asked, Folders, Helm, Kustomize, Output, still_valid
from trueup.drivers.renderers.kept import Kept
from trueup.drivers.renderers.worker import Given, Limits, Workers
from trueup.drivers.sources.memory import MemoryRemote, MemorySource
from trueup.engine.study import RepositoryStudy
from trueup.store.renders import open_renders

CACHE = Path(__file__).parents[1] / ".cache"
OVERLAYS, BASES, UNRELATED, RENDERS, ROUNDS = 2000, 20, 5000, 10_000, 20
WORKERS = 2  # cores of the machine the goals are about

DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web{0}, labels: {{app: web{0}}}}}
spec:
  replicas: 1
  selector: {{matchLabels: {{app: web{0}}}}}
  template:
    metadata: {{labels: {{app: web{0}}}}}
    spec:
      containers:
        - name: web
          image: ghcr.io/acme/web{0}:1
          ports: [{{containerPort: 8080}}]
          envFrom: [{{configMapRef: {{name: settings}}}}]
"""
SERVICE = """\
apiVersion: v1
kind: Service
metadata: {{name: web{0}}}
spec: {{selector: {{app: web{0}}}, ports: [{{port: 80, targetPort: 8080}}]}}
"""
TEMPLATE = """\
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{{{ .Release.Name }}}}-{0}
  labels: {{{{- include "labels" . | nindent 4 }}}}
data:
  value: {{{{ .Values.value | quote }}}}
  all: {{{{ toJson .Values | quote }}}}
"""


def repository() -> dict[str, str]:
    files: dict[str, str] = {}
    for base in range(BASES):
        at = f"bases/{base}"
        files[f"{at}/kustomization.yaml"] = (
            "resources: [deployment.yaml, service.yaml]\n"
            "configMapGenerator: [{name: settings, literals: [LEVEL=info]}]\n"
        )
        files[f"{at}/deployment.yaml"] = DEPLOYMENT.format(base)
        files[f"{at}/service.yaml"] = SERVICE.format(base)
    for overlay in range(OVERLAYS):
        base = overlay % BASES
        files[f"overlays/{overlay}/kustomization.yaml"] = (
            f"resources: [../../bases/{base}]\nnamespace: team-{overlay}\nnamePrefix: t{overlay}-\n"
            f"images: [{{name: ghcr.io/acme/web{base}, newTag: v{overlay}}}]\n"
            f"replicas: [{{name: web{base}, count: 2}}]\n"
        )
    files["chart/Chart.yaml"] = "apiVersion: v2\nname: shop\nversion: 1.0.0\n"
    files["chart/values.yaml"] = "value: one\nmore: {a: 1, b: [x, y]}\n"
    files["chart/templates/_labels.tpl"] = '{{- define "labels" -}}\napp: {{ .Chart.Name }}\n{{- end -}}\n'
    for template in range(8):
        files[f"chart/templates/{template}.yaml"] = TEMPLATE.format(template)
    return files


def given(files: Mapping[str, str]) -> Given:
    contents = {path: data.encode() for path, data in files.items()}
    ids = {path: hashlib.sha1(data, usedforsecurity=False).hexdigest() for path, data in contents.items()}
    by_id = {ids[path]: data for path, data in contents.items()}

    async def blobs(oids: Sequence[str]) -> Mapping[str, bytes]:
        return {oid: by_id[oid] for oid in oids}

    tree = {path: TreeEntry(0o100644, oid) for path, oid in ids.items()}
    name = hashlib.sha1("".join(sorted(f"{p}{o}" for p, o in ids.items())).encode(), usedforsecurity=False).hexdigest()
    return Given(name, Folders(tree), blobs)


def process_s(*argv: str | Path) -> float:
    begun = time.perf_counter()
    subprocess.run([str(a) for a in argv], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


async def timed(work: Callable[[], Awaitable[object]]) -> float:
    begun = time.perf_counter()
    await work()
    return time.perf_counter() - begun


async def pairs(workers: Workers, asked: Asked, source: Given, argv: Sequence[str | Path]) -> tuple[float, float]:
    """Medians of a worker's render and of a process, taken in turns."""
    await workers.render(asked, source)
    process_s(*argv)
    taken = [
        (await timed(lambda: workers.render(asked, source)), await asyncio.to_thread(process_s, *argv))
        for _ in range(ROUNDS)
    ]
    return statistics.median(t[0] for t in taken), statistics.median(t[1] for t in taken)


async def every(workers: Workers, source: Given) -> list[Output]:
    return await asyncio.gather(*(workers.render(Kustomize(path=f"overlays/{i}"), source) for i in range(OVERLAYS)))


def processes_s(folder: Path) -> float:
    names = "".join(f"{folder}/overlays/{i}\n" for i in range(OVERLAYS))
    begun = time.perf_counter()
    argv = ["xargs", "-P", str(WORKERS), "-n", "1", str(CACHE / "kustomize"), "build"]
    subprocess.run(argv, input=names.encode(), check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def concerned(outputs: Sequence[Output], files: Mapping[str, str]) -> tuple[int, float]:
    """How many renders another tree concerns, and the seconds it took to say so, the tree's index included."""
    tree = given(files).folders.tree
    begun = time.perf_counter()
    folders = Folders(tree)
    count = sum(not still_valid(output.trace, folders) for output in outputs)
    return count, time.perf_counter() - begun


class Counting:
    """The workers behind what is kept, and how often they were asked to render."""

    def __init__(self, workers: Workers) -> None:
        self.workers, self.count = workers, 0

    async def render(self, asked: Asked, source: Given) -> Output:
        self.count += 1
        return await self.workers.render(asked, source)

    async def identity(self) -> str:
        return await self.workers.identity()

    async def versions(self) -> Mapping[str, str]:
        return await self.workers.versions()


async def kept(source: Given, path: Path) -> dict[str, float]:
    """All overlays, kept in a file; then again by a process's worth of new memory, as after a restart."""
    found: dict[str, float] = {}
    async with Workers(CACHE / "trueup-render", size=WORKERS) as workers:
        counting = Counting(workers)
        for name in ("kept", "restart"):
            store = await open_renders(str(path), b"k" * 32)
            before, begun = counting.count, time.perf_counter()
            renderer = Kept(counting, store)
            for at in range(OVERLAYS):
                await renderer.render(Kustomize(path=f"overlays/{at}"), source)
            found |= {f"{name} s": time.perf_counter() - begun, f"{name} renders": counting.count - before}
            await store.close()
    return found


async def passes() -> dict[str, float]:
    """A commit that adds unrelated files to one whose overlay is known: reading all of it, findings included."""
    remote = MemoryRemote()
    first = {**repository(), "trueup.yaml": "environments: [{name: production, path: overlays/0}]\n"}
    more = {f"docs/{i % 50}/{i}.md": str(i) for i in range(UNRELATED)}
    commits = [remote.push(dict(files), "a commit") for files in (first, more)]
    async with Workers(CACHE / "trueup-render", size=1) as workers:
        counting = Counting(workers)
        source = MemorySource(remote)
        today = date(2026, 1, 1)
        study = RepositoryStudy({"s": source}, {"s": "shop"}, {"s": "main"}, checker(today), renderer=Kept(counting))
        await study.read(source, commits[0])
        before, begun = counting.count, time.perf_counter()
        await study.read(source, commits[1])
        return {"pass s": time.perf_counter() - begun, "pass renders": counting.count - before}


async def memory(source: Given) -> float:
    """The worker's largest resident memory over the last tenth of its renders, as a ratio to the first tenth."""
    peaks: list[int] = []
    async with Workers(CACHE / "trueup-render", size=1) as workers:
        for i in range(RENDERS):
            asked: Asked = Helm(path="chart", release="r") if i % 5 == 0 else Kustomize(path=f"overlays/{i % OVERLAYS}")
            await workers.render(asked, source)
            (worker,) = workers._idle
            peaks.append(int(Path(f"/proc/{worker.pid}/statm").read_text().split()[1]))
    tenth = RENDERS // 10
    return max(peaks[-tenth:]) / max(peaks[:tenth])


async def measure() -> dict[str, float]:
    files = repository()
    source = given(files)
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path, data in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(data)
        async with Workers(CACHE / "trueup-render", size=1) as workers:
            chart = ("template", "r", folder / "chart")
            ours, theirs = await pairs(workers, Helm(path="chart", release="r"), source, (CACHE / "helm", *chart))
            found |= {"chart s": ours, "helm template s": theirs, "chart ratio": theirs / ours}
            build = (CACHE / "kustomize", "build", folder / "overlays/0")
            ours, theirs = await pairs(workers, Kustomize(path="overlays/0"), source, build)
            found |= {"overlay s": ours, "kustomize build s": theirs, "overlay ratio": theirs / ours}
        async with Workers(CACHE / "trueup-render", size=WORKERS, limits=Limits()) as workers:
            begun = time.perf_counter()
            outputs = await every(workers, source)
            ours = time.perf_counter() - begun
        theirs = await asyncio.to_thread(processes_s, folder)
        found |= {"overlays s": ours, "kustomize builds s": theirs, "overlays ratio": theirs / ours}
    changed = {**files, "bases/0/service.yaml": files["bases/0/service.yaml"] + "# changed\n"}
    found["dependents"], _ = concerned(outputs, changed)
    more = {**files, **{f"docs/{i % 50}/{i}.md": "" for i in range(UNRELATED)}}
    found["unrelated renders"], found["unrelated s"] = concerned(outputs, more)
    with tempfile.TemporaryDirectory() as name:
        found |= await kept(source, Path(name) / "renders.db")
    found |= await passes()
    found["memory ratio"] = await memory(source)
    return found


def main() -> dict[str, float]:
    for name in ("trueup-render", "helm", "kustomize"):
        if not (CACHE / name).exists():
            print(f"no {name}, so nothing is measured: `make render` builds it with Go 1.26")
            return {}
    found = asyncio.run(measure())
    for name, value in found.items():
        print(f"{name:<24}{value:12.4f}")
    return found


if __name__ == "__main__":
    main()
