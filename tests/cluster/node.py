"""A whole Kubernetes with one node and real pods: the control plane, containerd, kubelet and proxy in a `Space`.

Its API server, its node (logs, exec) and its Services are reached from this machine; it reaches this machine at
`space.host`. No DNS for pods. Images come from registries that `trust` named, or by `load`.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

from cluster.archive import image
from cluster.build import NotBuilt, binary, runtime
from cluster.control import Control, free_port
from cluster.space import open_space

__all__ = ["Cluster", "NotBuilt", "free_port", "ready_to_build"]

NODE = "node-1"
PAUSE = "localhost/pause:1"
CNI = Path("/usr/lib/cni")
NEEDS = ("runc", "catatonit", "iptables", "conntrack", "nsenter", "unshare", "setpriv", "ip")
CONTAINERD = """\
version = 3
root = "{root}/containerd"
state = "/run/containerd"
[grpc]
address = "{root}/containerd.sock"
[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "{pause}"
[plugins."io.containerd.cri.v1.images".registry]
config_path = "{root}/certs.d"
[plugins."io.containerd.cri.v1.runtime"]
restrict_oom_score_adj = true
[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = ["{cni}"]
conf_dir = "{root}/cni"
"""


def ready_to_build() -> tuple[Path, Path]:
    """Both programs. Raises NotBuilt, naming the Debian package when one is missing."""
    missing = [name for name in NEEDS if shutil.which(name) is None]
    if missing or not (CNI / "bridge").exists():
        what = ", ".join(missing) or "containernetworking-plugins"
        raise NotBuilt(f"no Kubernetes with pods to test on: {what} is missing: make testing")
    return binary(), runtime()


class Cluster(Control):
    """`start()` returns when its node is ready; `stop()` leaves no process, mount, rule, interface or cgroup."""

    def __init__(self, program: Path, programs: Path) -> None:
        self.space = open_space()
        self.programs = programs
        self.address, self.service_range = self.space.node, self.space.services
        self.inside = self.space.inside
        super().__init__(program, self.space.root)

    def start(self) -> None:
        super().start()
        self.start_node()
        self._await(self._has_ready_node, "the node")

    def stop(self) -> None:
        super().stop()
        self.space.close()

    def start_node(self) -> None:
        root = self.root
        files = {
            "containerd.toml": CONTAINERD.format(root=root, pause=PAUSE, cni=CNI),
            "kubelet.yaml": yaml.safe_dump(self._kubelet()),
            "cni/10-pods.conflist": json.dumps(self._network()),
            "resolv.conf": "nameserver 127.0.0.1\n",
        }
        for name, text in files.items():
            (root / name).parent.mkdir(exist_ok=True)
            (root / name).write_text(text)
        (root / "certs.d").mkdir(exist_ok=True)
        self._run("containerd", "--config", str(root / "containerd.toml"))
        self._await(self._has_containerd, "containerd")
        self.load(image(PAUSE, {"pause": Path("/usr/bin/catatonit").read_bytes()}, ["/pause", "-P"]))
        self._run(
            "kubelet", "--config", str(root / "kubelet.yaml"), "--kubeconfig", str(self.kubeconfig),
            "--hostname-override", NODE, "--node-ip", self.space.node, "--root-dir", "/var/lib/kubelet",
            "--cert-dir", str(root / "kubelet-certs"),
        )  # fmt: skip
        self._run(
            "proxy", "--kubeconfig", str(self.kubeconfig), "--hostname-override", NODE, "--proxy-mode=iptables",
            "--cluster-cidr", self.space.pods, "--conntrack-max-per-core=0", "--conntrack-tcp-timeout-established=0",
            "--conntrack-tcp-timeout-close-wait=0",
        )  # fmt: skip

    def load(self, archive: bytes) -> None:
        """Give the node an image that it need not pull."""
        self.ctr("images", "import", "-", data=archive)

    def trust(self, registry: str, *, mirror: str = "") -> None:
        """Pull from this registry without TLS; with `mirror` ("host:port/path") what is named so comes from there."""
        folder = self.root / "certs.d" / registry
        folder.mkdir(parents=True, exist_ok=True)
        host, _, path = (mirror or registry).partition("/")
        lines = [f'[host."http://{host}{f"/v2/{path}" if path else ""}"]', 'capabilities = ["pull", "resolve"]']
        (folder / "hosts.toml").write_text("\n".join([*lines, *(["override_path = true"] if path else [])]) + "\n")

    def ctr(self, *words: str, data: bytes | None = None) -> str:
        argv = (str(self.programs / "ctr"), "--address", str(self.root / "containerd.sock"), "-n", "k8s.io", *words)
        return self.space.run(argv, data=data).decode()

    # --- parts

    def command(self, part: str) -> tuple[str, ...]:
        return (str(self.programs / part),) if part == "containerd" else super().command(part)

    def environ(self) -> dict[str, str]:
        given = super().environ()
        return {**given, "PATH": f"{self.programs}:{given.get('PATH', '')}:/usr/sbin:/sbin"}

    def _kubelet(self) -> dict[str, Any]:
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
            "failCgroupV1": False, "failSwapOn": False, "cgroupDriver": "cgroupfs", "cgroupRoot": self.space.cgroup,
            "enforceNodeAllocatable": [], "evictionHard": {}, "localStorageCapacityIsolation": False,
            "imageGCHighThresholdPercent": 100, "imageGCLowThresholdPercent": 99, "oomScoreAdj": 0,
            "containerRuntimeEndpoint": f"unix://{self.root}/containerd.sock", "resolvConf": f"{self.root}/resolv.conf",
            "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
            "authorization": {"mode": "AlwaysAllow"}, "serializeImagePulls": False, "registryPullQPS": 0,
            "clusterDNS": [self.space.services.replace("0/24", "10")], "eventRecordQPS": 0,
            "crashLoopBackOff": {"maxContainerRestartPeriod": "5s"},
            "featureGates": {"KubeletCrashLoopBackOffMax": True},
        }  # fmt: skip

    def _network(self) -> dict[str, Any]:
        local = {"type": "host-local", "ranges": [[{"subnet": self.space.pods}]], "routes": [{"dst": "0.0.0.0/0"}]}
        bridge = {
            "type": "bridge", "bridge": "pods", "isGateway": True, "ipMasq": False, "hairpinMode": True, "ipam": local,
        }  # fmt: skip
        ports = {"type": "portmap", "capabilities": {"portMappings": True}}
        return {"cniVersion": "1.0.0", "name": "pods", "plugins": [bridge, ports]}

    def _has_containerd(self) -> bool:
        try:
            self.ctr("images", "ls", "-q")
        except (AssertionError, subprocess.TimeoutExpired):
            return False
        return True

    def _has_ready_node(self) -> bool:
        body = json.loads(self.get(f"/api/v1/nodes/{NODE}") or b"{}")
        conditions = (body.get("status") or {}).get("conditions") or ()
        return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
