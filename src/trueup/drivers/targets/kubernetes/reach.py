"""From what a person said and the environment to the access of one cluster. Reads kubeconfig files, asks nobody.

Source: kubectl's order, "Organizing Cluster Access Using kubeconfig Files": --kubeconfig, then KUBECONFIG, then
~/.kube/config; in a pod without any of them its own service account.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from msgspec.structs import replace

from trueup.core.kubeconfig import SERVICE_ACCOUNT, Access, ConfigFault, in_cluster, resolve


def reach(environ: Mapping[str, str], *, kubeconfig: str = "", context: str = "", namespace: str = "") -> Access:
    """Blocking. `namespace` "" is the context's own. Raises ConfigFault."""
    files = config_files(environ, kubeconfig)
    if files:
        access = resolve([(str(path), _read(path)) for path in files], context)
    elif environ.get("KUBERNETES_SERVICE_HOST"):
        if context:
            raise ConfigFault(f"--context {context}: a pod's own account knows no contexts; give --kubeconfig FILE")
        own = Path(SERVICE_ACCOUNT) / "namespace"
        access = in_cluster(environ, own.read_text() if own.is_file() else "default")
    else:
        home = Path(environ.get("HOME") or "/root") / ".kube/config"
        raise ConfigFault(f"there is no kubeconfig: give --kubeconfig FILE, set KUBECONFIG, or write {home}")
    return replace(access, namespace=namespace) if namespace else access


def config_files(environ: Mapping[str, str], kubeconfig: str = "") -> list[Path]:
    """The files to be merged, in order; of KUBECONFIG's those that are there. Raises ConfigFault."""
    if kubeconfig:
        return [Path(kubeconfig)]
    given = [Path(part) for part in environ.get("KUBECONFIG", "").split(":") if part]
    there = [path for path in given if path.is_file()]
    if given and not there:
        raise ConfigFault(f"KUBECONFIG names {', '.join(map(str, given))}: no such file")
    home = Path(environ.get("HOME") or "/root") / ".kube/config"
    return there or ([home] if home.is_file() else [])


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigFault(f"{path}: {error.strerror}; name the file with --kubeconfig") from error
