"""What it costs to read 1,000 Argo CD Applications and 1,000 Flux Kustomizations and to resolve them to what is
rendered, as a ratio to libyaml decoding the same bytes into plain Python. Goals: at most 1.5 and 0.3."""

from __future__ import annotations

import statistics
import time

import yaml

from trueup.core.model import TreeEntry
from trueup.core.render import Folders
from trueup.core.resolve import Repository, resolve, same
from trueup.drivers.renderers import plain
from trueup.engine.definitions import Held, collect

COUNT, ROUNDS = 1000, 5
URL = "https://git.example/acme/fleet.git"
APPLICATION = """apiVersion: argoproj.io/v1alpha1
kind: Application
metadata:
  name: app-{i}
  namespace: argocd
  finalizers:
    - resources-finalizer.argocd.argoproj.io
spec:
  project: default
  source:
    repoURL: {url}
    targetRevision: main
    path: apps/{i}
    kustomize:
      images:
        - acme/app:{i}
  destination:
    server: https://kubernetes.default.svc
    namespace: app-{i}
  syncPolicy:
    automated:
      prune: true
      selfHeal: true
    syncOptions:
      - CreateNamespace=true
"""
KUSTOMIZATION = """apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata:
  name: app-{i}
  namespace: flux-system
spec:
  interval: 10m
  path: ./apps/{i}
  prune: true
  sourceRef:
    kind: GitRepository
    name: fleet
  targetNamespace: app-{i}
  dependsOn:
    - name: app-{before}
  images:
    - name: acme/app
      newTag: "{i}"
  postBuild:
    substitute:
      host: app-{i}.example
"""
SOURCE = f"""apiVersion: source.toolkit.fluxcd.io/v1
kind: GitRepository
metadata: {{name: fleet, namespace: flux-system}}
spec: {{interval: 1m, url: {URL}}}
"""


def repository() -> dict[str, bytes]:
    files = {f"argocd/{i}.yaml": APPLICATION.format(i=i, url=URL) for i in range(COUNT)}
    files |= {f"flux/{i}.yaml": KUSTOMIZATION.format(i=i, before=max(i - 1, 0)) for i in range(COUNT)}
    files |= {f"apps/{i}/kustomization.yaml": "resources: []\n" for i in range(COUNT)}
    return {path: text.encode() for path, text in {**files, "flux/source.yaml": SOURCE}.items()}


def once(files: dict[str, bytes]) -> tuple[float, float, float]:
    stated = [path for path in files if not path.startswith("apps/")]
    tree = {path: TreeEntry(0o100644, path, len(data)) for path, data in files.items()}
    begun = time.perf_counter()
    for path in stated:
        yaml.load(files[path], yaml.CSafeLoader)
    decoded = time.perf_counter()
    definitions = collect(plain.render(tree, files, stated).manifests)
    read = time.perf_counter()
    found = resolve(definitions, Repository(Folders(tree), frozenset({same(URL)}), lambda _: True, Held(())))
    resolved = time.perf_counter()
    assert not definitions.findings and len(found) == 2 * COUNT
    assert all(one.application is not None for one in found)
    return decoded - begun, read - decoded, resolved - read


def main() -> dict[str, float]:
    files = repository()
    once(files)
    libyaml_s, read_s, resolved_s = (
        statistics.median(c) for c in zip(*(once(files) for _ in range(ROUNDS)), strict=True)
    )
    print(f"libyaml    {libyaml_s * 1000:8.1f} ms    1.00")
    print(f"read       {read_s * 1000:8.1f} ms    {read_s / libyaml_s:.2f}  (goal: at most 1.5)")
    print(f"resolved   {resolved_s * 1000:8.1f} ms    {resolved_s / libyaml_s:.2f}  (goal: at most 0.3)")
    return {
        "libyaml s": libyaml_s,
        "read s": read_s,
        "read": read_s / libyaml_s,
        "resolved s": resolved_s,
        "resolved": resolved_s / libyaml_s,
    }


if __name__ == "__main__":
    main()
