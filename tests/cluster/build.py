"""Builds the test cluster's programs from the Go modules beside this file, once, into ~/.cache/trueup/cluster.

A program is kept under a hash of what it is made of (its go.mod, go.sum and source): the next machine-wide use is free.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

MODULE = Path(__file__).parent
RUNTIME = MODULE / "runtime"
VERSION = "v1.36.3"
BUILD_S = 1500
CONTAINERD = "github.com/containerd/containerd/v2"
CONTAINERD_PROGRAMS = ("containerd", "containerd-shim-runc-v2", "ctr")


class NotBuilt(Exception):
    """The cluster cannot be had on this machine; one line says why and what to do."""


def binary() -> Path:
    """The program with every part of Kubernetes and etcd, built if it is not in the cache. Raises NotBuilt."""
    path = _cache(MODULE, ("main.go", "go.mod", "go.sum"))
    with _alone(path):
        if path.exists():
            return path
        version = "k8s.io/component-base/version"
        major, minor = VERSION[1:].split(".")[:2]
        flags = f"-X {version}.gitVersion={VERSION} -X {version}.gitMajor={major} -X {version}.gitMinor={minor}"
        made = path.with_suffix(f".{os.getpid()}")
        _go(MODULE, ("-ldflags", f"-s -w {flags}", "-o", str(made), "."))
        made.rename(path)
    return path


def runtime() -> Path:
    """The folder with containerd, its shim for runc, and ctr. Raises NotBuilt."""
    path = _cache(RUNTIME, ("go.mod", "go.sum"))
    with _alone(path):
        if path.exists():
            return path
        made = path.with_suffix(f".{os.getpid()}")
        made.mkdir(parents=True)
        programs = [f"{CONTAINERD}/cmd/{name}" for name in CONTAINERD_PROGRAMS]
        version = f"-s -w -X {CONTAINERD}/version.Version=2.2.1+trueup"
        _go(RUNTIME, ("-tags", "no_btrfs,no_devmapper,no_zfs", "-ldflags", version, "-o", f"{made}/", *programs))
        made.rename(path)
    return path


def _cache(module: Path, names: Sequence[str]) -> Path:
    key = hashlib.sha256()
    for name in names:
        key.update((module / name).read_bytes())
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "trueup/cluster"
    cache.mkdir(parents=True, exist_ok=True)
    return cache / key.hexdigest()[:16]


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Two tests at once build it once."""
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _go(module: Path, words: Sequence[str]) -> None:
    go = shutil.which("go") or shutil.which("/usr/local/go/bin/go")
    if go is None:
        raise NotBuilt("no Kubernetes to test on: install Go 1.26 or newer, it is built once from tests/cluster")
    argv = ["nice", go, "build", "-trimpath", *words]
    done = subprocess.run(argv, cwd=module, capture_output=True, text=True, timeout=BUILD_S, check=False)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise NotBuilt(f"no Kubernetes to test on: `go build` in {module} failed: {said[:200]}")


if __name__ == "__main__":
    try:
        print(f"the Kubernetes that tests run on: {binary()}, {runtime()}")
    except NotBuilt as error:  # its tests say so, too
        print(error, file=sys.stderr)
