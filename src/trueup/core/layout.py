"""Where things stand in the state folder. Only paths: nothing here touches a disk."""

from __future__ import annotations

import hashlib
from pathlib import PurePath

from msgspec import Struct


class Layout(Struct, frozen=True):
    """The one folder (`--state`) that holds everything `trueup up` keeps."""

    root: str
    apart: str = ""  # a folder outside for the keys that open what is sealed here; "" for none

    def __truediv__(self, name: str) -> str:
        return str(PurePath(self.root) / name)

    @property
    def id(self) -> str:
        """Eight hex digits that mark this folder's containers, networks and images on a shared machine."""
        return hashlib.sha256(self.root.encode()).hexdigest()[:8]

    @property
    def lock(self) -> str:
        return self / "lock"

    @property
    def socket(self) -> str:
        return self / "up.sock"

    @property
    def ledger(self) -> str:
        return self / "ledger.db"

    @property
    def records(self) -> str:
        """Logs, plans and bundles that events refer to: erasable, apart from the ledger."""
        return self / "records.db"

    @property
    def renders(self) -> str:
        """Renders by what they read: a cache, which may be removed at any time."""
        return self / "renders.db"

    @property
    def keys(self) -> str:
        return self / "keys"

    @property
    def secrets(self) -> str:
        return self / "secrets.db"

    @property
    def repositories(self) -> str:
        return self / "git"

    @property
    def remotes(self) -> str:
        """What repositories name elsewhere: clones, contents by digest, and what was pinned for which commit."""
        return self / "remotes"

    @property
    def workspaces(self) -> str:
        return self / "runs"

    @property
    def logs(self) -> str:
        return self / "logs"

    @property
    def registry(self) -> str:
        return self / "registry"

    @property
    def agent(self) -> str:
        """Everything the agent owns: its socket, desired objects, HAProxy's configuration, Podman's socket."""
        return self / "agent"

    @property
    def agent_socket(self) -> str:
        return self / "agent/agent.sock"

    @property
    def podman_socket(self) -> str:
        return self / "agent/podman.sock"

    @property
    def way(self) -> str:
        """Which target this folder rolls out to, and how a cluster is reached: for other commands than `up`."""
        return self / "target.json"

    @property
    def applied(self) -> str:
        """What was applied to a cluster. Without it nothing is deleted there."""
        return self / "cluster/applied.db"

    @property
    def containers_conf(self) -> str:
        """Given to Podman and buildah as CONTAINERS_CONF; the machine's own stays untouched."""
        return self / "containers.conf"


CONTAINERS_CONF = """\
[containers]
default_ulimits = ["nofile=16384:16384", "nproc=4096:4096"]

[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"

[network]
network_backend = "netavark"
"""

LABEL_STATE = "trueup.state"  # Layout.id
LABEL_ROLE = "trueup.role"  # "replica" | "job" | "sandbox"
LABEL_RUN = "trueup.run"
LABEL_APPLICATION = "trueup.application"
