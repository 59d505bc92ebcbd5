"""The host target on the real Podman and HAProxy, by the port's verbs and a person's hands."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import sqlite3
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import yaml

from trueup.core.model import Fault, Health, Judgement, Object, Place
from trueup.core.objects import make_object
from trueup.core.running import NoSuchLog
from trueup.drivers.targets.host import Host
from trueup.ports import Moved, ObjectInvalid, TargetDown

pytestmark = pytest.mark.integration

LIMIT_S = 40.0
MANIFEST = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: NAME}
spec:
  replicas: 3
  progressDeadlineSeconds: 60
  selector: {matchLabels: {app: NAME}}
  template:
    metadata: {labels: {app: NAME}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - name: web
          image: IMAGE
          command: [sh, -c, "mkdir /w; echo $GREETING > /w/index.html; BEFORE exec busybox httpd -f -p 8080 -h /w"]
          env:
            - {name: GREETING, valueFrom: {configMapKeyRef: {name: NAME, key: greeting}}}
            - {name: PASSWORD, valueFrom: {secretKeyRef: {name: NAME, key: password}}}
          ports: [{containerPort: 8080, name: http}]
          readinessProbe: {httpGet: {path: /index.html, port: http}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: NAME}
spec: {selector: {app: NAME}, ports: [{port: 80, targetPort: http, name: http}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: NAME}
data: {greeting: GREETING}
---
apiVersion: v1
kind: Secret
metadata: {name: NAME}
stringData: {password: hunter2-and-more}
"""


class Site:
    """One application of the tests: a web Deployment with its Service."""

    def __init__(self, host: Host, machine: object, name: str) -> None:
        self.host, self.name, self.machine = host, name, machine

    def objects(self, greeting: str = "hello", before: str = "", image: str = "") -> list[Object]:
        text = MANIFEST.replace("data: {greeting: GREETING}", f"data: {{greeting: {greeting}}}")
        text = text.replace("NAME", self.name).replace("BEFORE", before)
        text = text.replace("IMAGE", image or self.machine.image)  # type: ignore[attr-defined]
        return [make_object(body, Place("web.yaml", 1)) for body in yaml.safe_load_all(text)]

    async def apply(self, greeting: str = "hello", before: str = "", image: str = "") -> None:
        await self.host.apply(self.name, "c", self.objects(greeting, before, image))

    async def judged(self) -> Judgement:
        return next(j for j in await self.host.judge(self.name) if j.ref.kind == "Deployment")

    async def until(self, holds: Callable[[Judgement], bool]) -> Judgement:
        judged = None
        try:
            async with asyncio.timeout(LIMIT_S):
                while judged is None or not holds(judged):
                    await asyncio.sleep(0.05)
                    judged = await self.judged()
        except TimeoutError:
            raise AssertionError(f"still {judged}") from None
        return judged

    async def healthy(self) -> None:
        await self.until(lambda j: j.health is Health.HEALTHY)

    def containers(self) -> dict[str, str]:
        return self.machine.containers(self.name)  # type: ignore[attr-defined, no-any-return]

    async def said(self) -> str:
        """What a client of the Service gets."""
        services = (await self.host.overview()).services
        address = next(s.address for s in services if s.name == self.name)
        return await asyncio.to_thread(_get, f"http://{address}/")


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return str(answer.read().decode().strip())


@asynccontextmanager
async def site(host: Host, machine: object, name: str) -> AsyncIterator[Site]:
    made = Site(host, machine, name)
    await made.apply()
    await made.healthy()
    yield made
    await host.delete(name, [o.ref for o in made.objects()])
    await _gone(made)


async def _gone(made: Site) -> None:
    async with asyncio.timeout(LIMIT_S):
        while made.containers():  # noqa: ASYNC110 - Podman is another process
            await asyncio.sleep(0.1)


async def drift(host: Host, after: int, application: str) -> Moved:
    async with asyncio.timeout(LIMIT_S):
        async for move in host.watch(after):
            if move.drift and move.application == application:
                return move
    raise AssertionError("the watch ended")


async def test_three_replicas_serve_and_an_update_loses_no_request(host: Host, machine: object) -> None:
    async with site(host, machine, "serve") as web:
        assert len(web.containers()) == 3
        assert await web.said() == "hello"
        answers: list[str] = []
        ended = asyncio.Event()

        async def ask() -> None:
            while not ended.is_set():
                answers.append(await web.said())

        asking = asyncio.create_task(ask())
        before = set(web.containers())
        await web.apply("bonjour")
        await web.healthy()
        ended.set()
        await asking
        assert set(answers) <= {"hello", "bonjour"}
        assert await web.said() == "bonjour"
        assert not before & set(web.containers())


async def test_a_crashing_version_stops_and_the_old_never_leave(host: Host, machine: object) -> None:
    async with site(host, machine, "crash") as web:
        old = web.containers()
        await web.apply(before="echo No module named flask and $PASSWORD >&2; exit 1;")
        judged = await web.until(lambda j: j.health is Health.DEGRADED)
        assert judged.fault is Fault.CHANGE
        assert "exit 1" in judged.reason
        assert judged.excerpt[-1] == "No module named flask and ***"
        assert old.items() <= web.containers().items()
        assert await web.said() == "hello"
        await web.apply()
        await web.healthy()
        assert web.containers() == old


async def test_an_image_that_nobody_has_is_the_worlds_fault(host: Host, machine: object) -> None:
    async with site(host, machine, "noimage") as web:
        old = web.containers()
        await web.apply(image="127.0.0.1:1/acme/nothing@sha256:" + "0" * 64)
        judged = await web.until(lambda j: j.health is Health.DEGRADED)
        assert judged.fault is Fault.WORLD
        assert "127.0.0.1:1/acme/nothing" in judged.reason
        assert old.items() <= web.containers().items()


async def test_a_command_that_is_not_in_the_image_is_the_changes_fault(host: Host, machine: object) -> None:
    async with site(host, machine, "command") as web:
        objects = web.objects()
        body = objects[0].body
        body["spec"]["template"]["spec"]["containers"][0]["command"] = ["/no/such/program"]
        await host.apply("command", "c", [make_object(body, Place("web.yaml", 1)), *objects[1:]])
        judged = await web.until(lambda j: j.health is Health.DEGRADED)
        assert judged.fault is Fault.CHANGE
        assert "/no/such/program" in judged.reason


HANDS = {
    "removed": ("rm", "-f", "-t", "0"),
    "killed": ("kill",),
    "paused": ("pause",),
    "stopped": ("stop", "-t", "1"),
}


@pytest.mark.parametrize("how", HANDS)
async def test_what_is_done_by_hand_is_repaired_and_told(host: Host, machine: object, how: str) -> None:
    async with site(host, machine, f"hand-{how}") as web:
        victim = sorted(web.containers())[0]
        seen = asyncio.create_task(drift(host, 0, web.name))
        machine.podman(*HANDS[how], victim)  # type: ignore[attr-defined]
        move = await seen
        assert move.repaired
        assert victim in move.drift
        assert how in move.drift or (how == "stopped" and "killed" in move.drift)
        await web.healthy()
        assert len(web.containers()) == 3


async def test_a_changed_config_map_rolls(host: Host, machine: object) -> None:
    async with site(host, machine, "config") as web:
        before = set(web.containers())
        config = [o for o in web.objects("servus") if o.ref.kind == "ConfigMap"]
        await host.apply("config", "c", config)
        assert (await web.judged()).health is Health.PROGRESSING
        await web.healthy()
        assert not before & set(web.containers())
        assert await web.said() == "servus"


async def test_a_killed_agent_takes_its_containers_over(host: Host, machine: object) -> None:
    async with site(host, machine, "adopt") as web:
        before = web.containers()
        hello = await host.hello()
        assert hello is not None
        os.kill(hello.pid, signal.SIGKILL)
        reading, writing = os.pipe()  # somebody waits for the end of all who hold it
        os.set_inheritable(writing, True)
        await web.healthy()
        os.close(writing)
        ended, _, _ = await asyncio.to_thread(select.select, [reading], [], [], 10)
        os.close(reading)
        assert ended, "the agent holds what it inherited"
        assert web.containers() == before
        after = await host.hello()
        assert after is not None and after.pid != hello.pid
        assert [p.restarts for p in (await host.overview()).pods if p.application == "adopt"] == [0, 0, 0]
        assert await web.said() == "hello"


async def test_a_container_removed_while_the_agent_was_away_is_told(host: Host, machine: object) -> None:
    async with site(host, machine, "away") as web:
        hello = await host.hello()
        assert hello is not None
        os.kill(hello.pid, signal.SIGKILL)
        victim = sorted(web.containers())[0]
        machine.podman("rm", "-f", "-t", "0", victim)  # type: ignore[attr-defined]
        await host.ensure()
        move = await drift(host, 0, "away")
        assert move.drift == f"container {victim} removed by hand"
        await web.healthy()


async def test_after_a_reboot_the_last_state_serves(host: Host, machine: object) -> None:
    async with site(host, machine, "reboot") as web:
        before = web.containers()
        hello = await host.hello()
        assert hello is not None
        os.kill(hello.pid, signal.SIGKILL)
        machine.podman("kill", *before)  # type: ignore[attr-defined]
        with sqlite3.connect(f"{host.layout.agent}/agent.db") as database:
            database.execute("UPDATE meta SET value = 'an earlier boot' WHERE key = 'boot'")
        database.close()
        await host.ensure()
        await web.healthy()
        after = web.containers()
        assert set(after) == set(before)
        assert not set(after.values()) & set(before.values())
        assert [p.restarts for p in (await host.overview()).pods if p.application == "reboot"] == [0, 0, 0]


TWO = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: two}
spec:
  selector: {matchLabels: {app: two}}
  template:
    metadata: {labels: {app: two}}
    spec:
      terminationGracePeriodSeconds: 1
      volumes: [{name: data, emptyDir: {}}, {name: bye, hostPath: {path: BYE}}]
      initContainers:
        - name: init
          image: IMAGE
          command: [sh, -c, "echo from init > /data/index.html"]
          volumeMounts: [{name: data, mountPath: /data}]
      containers:
        - name: web
          image: IMAGE
          command: [busybox, httpd, -f, -p, "8080", -h, /data]
          securityContext: {runAsUser: 1000, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
          resources: {limits: {memory: 32Mi, cpu: 500m}}
          volumeMounts: [{name: data, mountPath: /data}]
          livenessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1}
        - name: side
          image: IMAGE
          command: [sh, -c, "while true; do busybox wget -qO- http://127.0.0.1:8080/; busybox sleep 0.2; done"]
          volumeMounts: [{name: bye, mountPath: /bye}]
          lifecycle: {preStop: {exec: {command: [sh, -c, "echo bye > /bye/said"]}}}
          readinessProbe: {exec: {command: [busybox, wget, -qO-, "http://127.0.0.1:8080/"]}, periodSeconds: 1}
"""


async def test_containers_of_one_pod_share_an_address(machine: object, tmp_path: Path) -> None:
    image = machine.image  # type: ignore[attr-defined]
    body = yaml.safe_load(TWO.replace("IMAGE", image).replace("BYE", str(tmp_path)))
    web = make_object(body, Place("two.yaml", 1))
    host = Host(machine.layout, accepted=("hostPath",))  # type: ignore[attr-defined]
    two = Site(host, machine, "two")
    await host.apply("two", "c", [web])
    await two.healthy()
    names = {name.rsplit("-", 1)[1] for name in two.containers()}
    assert names == {"web", "side", "infra"}
    name = next(n for n in two.containers() if n.endswith("-web"))
    assert "uid=1000" in machine.podman("exec", name, "busybox", "id")  # type: ignore[attr-defined]
    before = two.containers()
    machine.podman("kill", name.replace("-web", "-infra"))  # type: ignore[attr-defined]
    assert "cut off" in (await drift(host, 0, "two")).drift
    await two.healthy()
    assert not set(two.containers().values()) & (set(before.values()) - {before[name.replace("-web", "-infra")]})
    await host.delete("two", [web.ref])
    await _gone(two)
    assert (tmp_path / "said").read_text() == "bye\n"
    await host.close()


async def test_podmans_service_may_die(host: Host, machine: object) -> None:
    async with site(host, machine, "service") as web:
        before = web.containers()
        starts = (await host.overview()).podman_starts
        pid = int(Path(host.layout.agent, "podman.pid").read_text())
        os.kill(pid, signal.SIGKILL)
        async with asyncio.timeout(LIMIT_S):
            while (await host.overview()).podman_starts == starts:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.05)
        assert web.containers() == before
        victim = sorted(before)[0]
        machine.podman("rm", "-f", "-t", "0", victim)  # type: ignore[attr-defined]
        assert (await drift(host, 0, "service")).drift == f"container {victim} removed by hand"


async def test_what_a_pod_prints_can_be_read(host: Host, machine: object) -> None:
    async with site(host, machine, "prints") as web:
        await web.apply(before="echo begun with $PASSWORD;")
        await web.healthy()
        lines = [line async for line in host.logs("prints", "deployment/prints", tail=5)]
        with pytest.raises(NoSuchLog, match=r"nothing called 'nope' runs here; there is: deployment/prints"):
            [line async for line in host.logs("prints", "nope")]
        assert len(lines) == 3
        assert all(line.endswith(b"begun with ***\n") for line in lines)


async def test_invalid_objects_change_nothing(host: Host, machine: object) -> None:
    async with site(host, machine, "invalid") as web:
        before = await host.read("invalid")
        bad = web.objects()[0].body
        bad["spec"]["replica"] = 2
        with pytest.raises(
            ObjectInvalid, match=r"web\.yaml:7: deployment/invalid: spec\.replica.*did you mean replicas"
        ):
            await host.apply("invalid", "c", [make_object(bad, Place("web.yaml", 7)), *web.objects("other")[1:]])
        assert await host.read("invalid") == before


async def test_an_agent_that_cannot_start_says_why(tmp_path: Path) -> None:
    from trueup.core.layout import Layout

    layout = Layout(str(tmp_path))
    Path(layout.agent).mkdir()
    Path(layout.agent, "agent.db").mkdir()
    host = Host(layout)
    with pytest.raises(TargetDown, match=r"the agent did not start: .*agent\.db"):
        await host.ensure()
    await host.close()
