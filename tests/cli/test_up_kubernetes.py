"""`trueup up --target kubernetes` and the commands beside it, as processes of their own, on real pods."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.archive import APPLETS, BUSYBOX
from cluster.control import TOKEN, free_port
from cluster.node import Cluster
from servers.registry import registry

pytestmark = pytest.mark.integration
DEADLINE_S = 180.0
SERVE = "mkdir /www; echo from $VERSION > /www/index.html; echo serving $GREETING; exec httpd -f -p 8000 -h /www\n"
BROKEN = "echo \"ModuleNotFoundError: No module named 'flask'\" >&2; exit 1\n"
DOCKERFILE = f"""\
FROM scratch
COPY bin /bin
COPY main /main
ENV PATH=/bin
CMD ["/bin/sh", "/main"]
# {" ".join(APPLETS)}
"""
MANIFESTS = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {GREETING: Hello}
---
apiVersion: v1
kind: Secret
metadata: {name: token}
stringData: {TOKEN: hunter2hunter2}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: 8000}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  strategy: {rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - name: web
          image: ghcr.io/acme/web:1
          envFrom: [{configMapRef: {name: settings}}, {secretRef: {name: token}}]
          readinessProbe: {httpGet: {path: /, port: 8000}, periodSeconds: 1}
"""
EXTRA = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: extra}\ndata: {a: b}\n"


class Person:
    """With a clone of a bare remote, and kubectl's rights."""

    def __init__(self, folder: Path, cluster: Cluster, space: str) -> None:
        self.clone, self.remote = folder / "web", folder / "web.git"
        self.cluster, self.space = cluster, space
        self.git("init", "-q", "--bare", "-b", "main", str(self.remote), at=folder)
        self.git("init", "-q", "-b", "main", str(self.clone), at=folder)
        self.git("remote", "add", "origin", str(self.remote))

    def git(self, *words: str, at: Path | None = None) -> str:
        identity = ("-c", "user.name=Ann", "-c", "user.email=ann@example.org")
        argv = ["git", *identity, *words]
        return subprocess.run(
            argv, cwd=at or self.clone, check=True, capture_output=True, text=True, timeout=60
        ).stdout.strip()

    def push(self, files: dict[str, str | None], subject: str) -> str:
        if self.git("ls-remote", "origin"):
            self.git("pull", "-q", "--rebase", "origin", "main")
        for name, text in files.items():
            path = self.clone / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if text is None:
                path.unlink()
            else:
                path.write_text(text)
        self.git("add", "-A")
        self.git("commit", "-q", "-m", subject)
        self.git("push", "-q", "origin", "HEAD:main")
        return self.git("rev-parse", "HEAD")

    def subjects(self) -> list[str]:
        return self.git("log", "--format=%s", "main", at=self.remote).splitlines()

    def on_branch(self, path: str) -> str:
        return self.git("show", f"main:{path}", at=self.remote)

    def live(self, path: str) -> Any:
        return json.loads(self.cluster.get(f"{path}") or b"{}")

    def deployment(self) -> Any:
        return self.live(f"/apis/apps/v1/namespaces/{self.space}/deployments/web")

    def configmap(self, name: str) -> Any:
        return self.live(f"/api/v1/namespaces/{self.space}/configmaps/{name}")

    def kubectl(self, method: str, path: str, body: Any) -> None:
        import ssl
        import urllib.request

        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": kind}
        request = urllib.request.Request(
            self.cluster.url + path, data=json.dumps(body).encode(), headers=headers, method=method
        )
        urllib.request.urlopen(request, context=context, timeout=20).close()


class Trueup:
    """One `up`, and other commands on its state folder."""

    def __init__(self, folder: Path, person: Person, registry: str = "", inside: tuple[str, ...] = ()) -> None:
        clean = {k: v for k, v in os.environ.items() if not k.startswith("TRUEUP_") or k == "TRUEUP_KEYS"}
        self.env = {**clean, "TRUEUP_STATE": str(folder / "state")}
        self.person, self.out = person, folder / "up.log"
        where = ("--kubeconfig", str(person.cluster.kubeconfig), "--namespace", person.space)
        images = ("--image-registry", f"http://{registry}/team") if registry else ()
        self.words = ("--target", "kubernetes", *where, *images, "--poll", "1")
        self.program = (*inside, sys.executable, "-m", "trueup.cli")
        self.process: subprocess.Popen[bytes] | None = None

    def up(self) -> None:
        argv = [*self.program, "up", str(self.person.remote), *self.words]
        with self.out.open("ab") as sink:
            self.process = subprocess.Popen(argv, env=self.env, stdout=sink, stderr=subprocess.STDOUT)

    def end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(60)

    def __call__(self, *args: str, code: int = 0) -> str:
        argv = [*self.program, *args]
        done = subprocess.run(argv, capture_output=True, text=True, env=self.env, timeout=240, cwd=self.person.clone)
        assert done.returncode == code, (args, done.returncode, done.stdout, done.stderr)
        return done.stdout + done.stderr

    def whole_status(self) -> Any:
        return json.loads(self("status", "--output", "json"))

    def status(self) -> Any:
        return self.whole_status()["applications"][0]

    def leave(self) -> None:
        self.end()
        if Path(self.env["TRUEUP_STATE"]).exists():
            self("down", "--cluster", "--data", "--yes")

    def until(self, what: str, ready: Callable[[], Any]) -> Any:
        end_s = time.monotonic() + DEADLINE_S
        while time.monotonic() < end_s:
            if found := ready():
                return found
            assert self.process is None or self.process.poll() is None, self.out.read_text()[-3000:]
            time.sleep(0.2)  # another process's work has no event here
        raise AssertionError(f"{what} did not come within {DEADLINE_S:.0f} s: {self.out.read_text()[-3000:]}")


@pytest.fixture
def space(cluster: Cluster) -> str:
    return f"shop-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def person(tmp_path: Path, cluster: Cluster, space: str) -> Person:
    made = Person(tmp_path, cluster, space)
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": space}}
    made.kubectl("POST", "/api/v1/namespaces", body)
    (made.clone / "bin").mkdir()
    shutil.copy(BUSYBOX, made.clone / "bin/busybox")
    for applet in APPLETS:
        (made.clone / "bin" / applet).symlink_to("busybox")
    return made


@pytest.fixture
def trueup(tmp_path: Path, person: Person) -> Iterator[Trueup]:
    address = f"{person.cluster.space.host}:{free_port()}"
    with registry(tmp_path / "registry", address):
        person.cluster.trust(address)
        made = Trueup(tmp_path, person, address)
        try:
            yield made
        finally:
            made.leave()


def test_push_rollout_drift_broken_push_undo_rollback_prune_and_leave(trueup: Trueup, person: Person) -> None:
    first = {"Dockerfile": DOCKERFILE, "main": f"VERSION=1\n{SERVE}", "config/web.yaml": MANIFESTS}
    person.push({**first, "config/extra.yaml": EXTRA}, "Serve version 1")
    trueup.up()

    # push → image in the registry → pods → healthy → stated in Git
    trueup.until("the write-back", lambda: person.subjects()[0].startswith("Record what runs"))
    live = person.deployment()
    (image,) = [c["image"] for c in live["spec"]["template"]["spec"]["containers"]]
    name, _, digest = image.partition("@")
    assert "/team/acme/web:" in name and digest.startswith("sha256:"), image
    stated = person.on_branch("config/web.yaml")
    assert f"@{digest}" in stated and "ghcr.io/acme/web:" in stated and "/team/" not in stated
    assert live["status"]["readyReplicas"] == 2
    found = trueup.status()
    assert (found["health"], found["target"]) == ("healthy", "kubernetes"), found

    # what a person asks
    why = trueup("why", "deployment/web")
    assert "Serve version 1" in why and "Ann" in why, why
    logs = trueup("logs", "deployment/web")
    assert logs.count(" | serving Hello\n") == 2, logs
    doctor = trueup("doctor", "--output", "json", code=0)
    checks = {c["name"]: c for c in json.loads(doctor)["checks"]}
    assert (
        checks["cluster"]["state"]
        == checks["cluster rights"]["state"]
        == checks["images for the nodes"]["state"]
        == "ok"
    )

    # drift: named, put back
    path = f"/api/v1/namespaces/{person.space}/configmaps/settings"
    person.kubectl("PATCH", f"{path}?fieldManager=ann", {"data": {"GREETING": "Goodbye"}})
    trueup.until("the repair", lambda: person.configmap("settings").get("data") == {"GREETING": "Hello"})
    trueup.until("its record", lambda: "ann" in (trueup.status()["drift"] or ""))

    # killed and started again: nothing is applied anew
    assert trueup.process is not None
    trueup.process.kill()
    trueup.process.wait(20)
    before = person.deployment()["metadata"]
    trueup.up()
    trueup.until("the loop", lambda: trueup.whole_status()["running"] and trueup.status()["objects"])
    after = person.deployment()["metadata"]
    assert (after["uid"], after["generation"]) == (before["uid"], before["generation"])

    # a broken push is told with the pod's words and undone by a commit
    bad = person.push({"main": BROKEN}, "Use flask")
    undo = f'Undo {bad[:10]} "Use flask"'
    trueup.until("the undo", lambda: person.subjects()[0].startswith(undo))
    told = trueup("history")
    assert "ModuleNotFoundError: No module named 'flask'" in trueup("why", bad[:10]) + told, told
    trueup.until("health", lambda: trueup.status()["health"] == "healthy" and not trueup.status()["sync"])
    assert digest in json.dumps(person.deployment()["spec"])

    # plan: tried on the server, nothing changed
    (person.clone / "config/extra.yaml").write_text(EXTRA.replace("a: b", "a: c"))
    person.git("pull", "-q", "--rebase", "--autostash", "origin", "main")
    planned = trueup("plan")
    assert "update configmap/extra" in planned and '+ data.a: "c"' in planned, planned
    assert "deployment/web" not in planned and "secret/token" not in planned, planned
    (person.clone / "config/extra.yaml").write_text(EXTRA + "immutable: perhaps\n")
    refused = trueup("plan", code=1)
    assert "the cluster refuses it" in refused and "immutable" in refused, refused
    assert person.configmap("extra")["data"] == {"a": "b"}
    person.git("checkout", "-q", "--", ".")

    # what leaves Git leaves the cluster; a rollback brings it back
    person.push({"config/extra.yaml": None, "main": f"VERSION=2\n{SERVE}"}, "Serve version 2")
    trueup.until("version 2", lambda: trueup.status()["running"]["subject"] == "Serve version 2")
    trueup.until("the pruning", lambda: not person.configmap("extra"))
    trueup("rollback", "--why", "slow")
    trueup.until("version 1 again", lambda: digest in json.dumps(person.deployment()["spec"]))
    trueup.until("its extra", lambda: person.configmap("extra").get("data") == {"a": "b"})

    # leaving: what runs goes on, until the cluster is to be cleared, too
    said = trueup("down")
    assert f"the cluster at {person.cluster.url} goes on" in said, said
    assert person.deployment()["status"]["readyReplicas"] == 2
    waits = trueup("down", "--cluster", code=4)
    assert "delete deployment/web" in waits and "say --yes" in waits, waits
    assert "5 objects are deleted" in trueup("down", "--cluster", "--yes")
    assert not person.deployment() and not person.configmap("settings")


def test_nodes_that_cannot_pull_what_was_built_are_named_with_what_to_do(tmp_path: Path, person: Person) -> None:
    trueup = Trueup(tmp_path, person)
    person.push({"Dockerfile": DOCKERFILE, "main": SERVE, "config/web.yaml": MANIFESTS}, "Serve")
    trueup.up()
    try:
        trueup.until("the ledger", lambda: Path(trueup.env["TRUEUP_STATE"], "ledger.db").exists())
        told = trueup.until("the refusal", lambda: "; ".join(trueup.whole_status()["problems"].values()))
        assert "nodes cannot pull what was built here for ghcr.io" in told and "node-1 is elsewhere" in told, told
        assert "podman login ghcr.io" in told and "--image-registry HOST/PREFIX" in told, told
        assert not person.deployment()
        checks = json.loads(trueup("doctor", "--output", "json"))["checks"]
        (images,) = [check for check in checks if check["name"] == "images for the nodes"]
        assert images["state"] == "warning" and "node-1 is elsewhere" in images["message"], images
    finally:
        trueup.leave()


def test_a_node_that_is_this_machine_pulls_from_the_embedded_registry(tmp_path: Path, person: Person) -> None:
    """As on a single-node k3s: Trueup runs where the node does."""
    trueup = Trueup(tmp_path, person, inside=person.cluster.space.inside)
    person.push({"Dockerfile": DOCKERFILE, "main": SERVE, "config/web.yaml": MANIFESTS}, "Serve")
    trueup.up()
    try:
        trueup.until("the write-back", lambda: person.subjects()[0].startswith("Record what runs"))
        image = person.deployment()["spec"]["template"]["spec"]["containers"][0]["image"]
        assert image.startswith("127.0.0.1:") and "/ghcr.io/acme/web:" in image and "@sha256:" in image, image
        assert "image: ghcr.io/acme/web:" in person.on_branch("config/web.yaml")
        tree = trueup("tree")
        assert "deployment/web" in tree and tree.count("pod/web-") == 2, tree
        assert "GREETING: Hello" in trueup("get", "configmap/settings")
        hidden = trueup("get", "secret/token")
        assert "(hidden)" in hidden and "hunter2" not in hidden, hidden
        assert "Scheduled" in trueup("events", "deployment/web")
        assert trueup("diff") == "nothing differs\n"
        assert "web is healthy" in trueup("wait", "--timeout", "30s")
        assert "cannot pull again what deployment/web runs until the next trueup up" in trueup("down")
    finally:
        trueup.leave()
