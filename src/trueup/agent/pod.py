"""One replica: makes its containers, keeps them running, asks their probes, and ends them with grace.

Decides nothing about how many replicas there are; never touches a container that it did not make or adopt.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from trueup.agent import probes
from trueup.agent.images import Images, NoSuchName, PullError
from trueup.agent.network import NetworkFacts
from trueup.agent.podman import ContainerEvent, EngineDown, EngineError, Listed, Podman
from trueup.agent.spec import LABEL_CONTAINER, LABEL_POD, Place, container_name, container_spec, pod_spec
from trueup.agent.store import PodRow, Template, ref_key
from trueup.agent.volumes import Volumes
from trueup.core.kinds import Container, PodTemplate, Probe
from trueup.core.mask import Masker
from trueup.core.pods import ConfigMissing, Identity, environment, grace_s, secrets
from trueup.core.probing import Record, Role, dead, initial, port_number
from trueup.core.probing import probes as stated_probes
from trueup.core.workload import Replica, Waiting, back_off_s

log = logging.getLogger("trueup.agent")

TAIL = 30  # log lines kept of a container that failed
CALM_S = 600.0  # after running this long, back-off begins anew
HAND_S = 1.0  # how long after an end Podman may still say who did it
QUIET_S = 1.0  # a ready container that ends cleanly after this long was stopped by someone
PROOF_S = 2.0  # how long a container without a readiness probe runs before it counts as ready
PROOF_AGAIN_S = 10.0  # the same after a crash
ENDED_BY_SIGNAL = (0, 137, 143)  # what a server answers to SIGTERM or SIGKILL
ENGINE_LIMIT = 3  # failures of Podman in a row before they are a replica's state
AGAIN_S = 5.0
STARTS_AT_ONCE = 8
NOT_RUNNABLE = ("executable file not found", "no such file or directory", "permission denied", "not a directory")


class Stage(Struct):
    """What every pod of a host needs; one for all."""

    podman: Podman
    images: Images
    volumes: Volumes
    wheel: probes.Wheel
    state: str
    node: str
    network: Callable[[], NetworkFacts]
    now: Callable[[], datetime]
    changed: Callable[[Pod], None]  # readiness, phase or row
    drifted: Callable[[Pod, str], None]  # what was done by hand, once it is repaired
    starts: asyncio.Semaphore
    ours: set[str]  # containers that are being ended by us


class Run:
    """One container of a pod, over its restarts."""

    def __init__(self, container: Container) -> None:
        self.container = container
        self.id = ""
        self.running = False
        self.served = False  # it was ready when it ended
        self.begun_s = 0.0  # loop time of the last start
        self.waiting = Waiting.CREATING
        self.message = ""
        self.lines: tuple[str, ...] = ()
        self.records: dict[Role, Record] = {}
        self.entries: dict[Role, probes.Entry] = {}
        self.ended = asyncio.Event()
        self.exit_code = 0
        self.hand = ""  # what somebody did to it
        self.condemned = ""  # the probe that ended it
        self.last_hand_s = -1e9
        self.removed = asyncio.Event()
        self.proven = True  # without a readiness probe: it has run for a moment

    @property
    def started(self) -> bool:
        startup = self.records.get(Role.STARTUP)
        return self.running and (startup is None or startup.passing)

    @property
    def ready(self) -> bool:
        readiness = self.records.get(Role.READINESS)
        return self.started and (self.proven if readiness is None else readiness.passing)


class Pod:
    """A replica and the task that keeps it. `start`, then any number of `heard`, then `stop`."""

    def __init__(self, stage: Stage, row: PodRow, application: str, frozen: Template, template: PodTemplate) -> None:
        self.row, self.application, self.template = row, application, template
        self._frozen = frozen
        self._stage = stage
        self._task: asyncio.Task[None] | None = None
        self.address = ""
        self.ready_since: datetime | None = None
        self.draining = False
        self.repairs: list[str] = []  # done by hand, not put right yet
        self.pulls = 0
        self.runs = {c.name: Run(c) for c in template.spec.containers}
        self._masker = Masker(secrets(template.spec, frozen.config))
        self._poke = asyncio.Event()
        self._initialised = False
        self._infra = ""  # Podman's container that holds a shared address
        self._sharing = asyncio.Lock()
        self.adopted = asyncio.Event()  # what ran before is taken over, or there was nothing
        self._adopting: set[str] = set()
        self._was_ready = False

    # --- what others see

    @property
    def name(self) -> str:
        return self.row.name

    @property
    def _several(self) -> bool:
        return len(self.template.spec.containers) > 1

    @property
    def ready(self) -> bool:
        return not self.row.stopping and bool(self.address) and all(run.ready for run in self.runs.values())

    @property
    def worst(self) -> Run:
        """The container that explains the pod's state."""
        return max(self.runs.values(), key=lambda r: (r.waiting is not Waiting.NONE, not r.ready, bool(r.message)))

    def replica(self) -> Replica:
        worst = self.worst
        return Replica(
            name=self.name,
            template=self.row.template,
            created=self.row.created,
            ready_since=self.ready_since,
            stopping=self.row.stopping,
            started=all(run.running for run in self.runs.values()),
            restarts=self.row.restarts,
            waiting=worst.waiting,
            message="" if self.ready_since else self._masker.text(worst.message or self._unready(worst)),
            lines=() if self.ready_since else worst.lines,
        )

    def _unready(self, run: Run) -> str:
        failing = (f"{role.value} probe: {r.message}" for role, r in run.records.items() if not r.passing and r.message)
        return next(failing, "")

    # --- life

    def masked(self, line: bytes) -> bytes:
        """A line without the values of the Secrets that the pod reads."""
        return self._masker.mask(line)

    def start(self, adopt: Mapping[str, Listed] | None = None) -> None:
        """Begin to keep the pod; `adopt` holds its containers that run already, by name."""
        self._adopting = {name for name in adopt or {} if name in self.runs}
        self._was_ready = self.row.ready
        if not self._adopting:
            self.adopted.set()
        self._task = asyncio.create_task(self._keep_for_ever(dict(adopt or {})), name=f"pod {self.name}")

    def poke(self) -> None:
        """Try again now what waits for something outside (a ConfigMap, an image)."""
        self._poke.set()

    async def leave(self) -> None:
        """Stop looking after it; its containers go on."""
        self._unprobe_all()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def end(self, drain: Callable[[], Awaitable[None]]) -> None:
        """Drain, run preStop hooks, stop within the grace, remove. Raises EngineError; may be called again."""
        await self.leave()
        grace = grace_s(self.template.spec)
        mine = await self._mine()
        self._stage.ours.update(c.id for c in mine)
        try:
            await drain()
            async with asyncio.TaskGroup() as group:
                for listed in mine:
                    group.create_task(self._end_one(listed, grace))
            for listed in mine:
                await self._stage.podman.remove(listed.id)
            if self.row.pod or self._several:
                await self._stage.podman.remove_pod(f"{self.name}-pod")
        finally:
            self._stage.ours.difference_update(c.id for c in mine)
        await asyncio.to_thread(self._stage.volumes.remove, self.name)

    async def _mine(self) -> tuple[Listed, ...]:
        """Its containers, without the one that holds a shared address."""
        found = await self._stage.podman.containers(f"{LABEL_POD}={self.name}")
        return tuple(c for c in found if LABEL_CONTAINER in c.labels)

    async def _end_one(self, listed: Listed, grace: float) -> None:
        run = self.runs.get(listed.labels.get(LABEL_CONTAINER, ""))
        clock = asyncio.get_running_loop()
        begun = clock.time()
        hook = run.container.lifecycle.pre_stop if run is not None else None
        if hook is not None and listed.state == "running":
            if hook.sleep is not None:
                await asyncio.sleep(min(float(hook.sleep.seconds), grace))
            if hook.exec is not None:
                await self._hook(listed.id, hook.exec.command, grace)
        await self._stage.podman.stop(listed.id, max(grace - (clock.time() - begun), 2.0 if grace else 0.0))

    async def _hook(self, container: str, command: tuple[str, ...], grace: float) -> None:
        try:
            code, said = await self._stage.podman.execute(container, command, grace)
        except EngineError as error:
            code, said = 1, str(error)
        if code:
            log.warning("preStop failed pod=%s exit=%d said=%s", self.name, code, self._masker.text(said)[:200])

    # --- keeping it

    async def _keep_for_ever(self, adopt: dict[str, Listed]) -> None:
        """`_keep_all` ends only by a mistake of ours: told, and begun again with what is there."""
        while True:
            try:
                await self._keep_all(adopt)
            except* Exception as errors:  # one pod's trouble must not leave it alone for ever
                log.error("keeping a pod failed pod=%s", self.name, exc_info=errors)
            await asyncio.sleep(AGAIN_S)
            try:
                adopt = {c.labels[LABEL_CONTAINER]: c for c in await self._mine()}
            except EngineError:
                adopt = {}

    async def _keep_all(self, adopt: dict[str, Listed]) -> None:
        known = bool(self.row.containers) or self._initialised
        self._initialised = known or any(c.state in ("running", "paused") for c in adopt.values())
        await self._attempt_until_done(self._prepare, next(iter(self.runs.values())))
        async with asyncio.TaskGroup() as group:
            for run in self.runs.values():
                group.create_task(self._keep(run, adopt.get(run.container.name)))

    async def _prepare(self, run: Run) -> None:
        """Volumes, then the init containers in their order."""
        await asyncio.to_thread(self._stage.volumes.make, self.name, self.template.spec, self._frozen.config)
        if not self._initialised:
            for container in self.template.spec.init_containers:
                await self._initialise(container)
            self._initialised = True

    async def _share(self) -> None:
        """The address that the containers of one pod share; made anew when it is gone."""
        podman, name = self._stage.podman, f"{self.name}-pod"
        async with self._sharing:
            try:
                self._infra = await podman.start_pod(name)
            except EngineDown:
                raise
            except EngineError:
                await podman.make_pod(pod_spec(self._place(), self.template))
                self._infra = await podman.start_pod(name)
            self.address = (await podman.inspect(self._infra)).address
        if self.row.pod != name:
            self.row = replace(self.row, pod=name)
            self._stage.changed(self)

    async def _initialise(self, container: Container) -> None:
        run = Run(container)
        await self._create(run)
        ended = await self._await_exit(run)
        if ended.exit_code != 0:
            run.lines = await self._stage.podman.tail(run.id, TAIL)
            await self._remove(run.id)
            raise InitFailed(f"init container {container.name}: exit {ended.exit_code}", self._masked(run.lines))
        await self._remove(run.id)

    async def _await_exit(self, run: Run) -> Run:
        self.runs[f"init {run.container.name}"] = run  # so that events find it
        try:
            seen = await self._stage.podman.inspect(run.id)
            if seen.running:
                await run.ended.wait()
                seen = await self._stage.podman.inspect(run.id)
            run.exit_code = seen.exit_code
        finally:
            del self.runs[f"init {run.container.name}"]
        return run

    async def _keep(self, run: Run, adopt: Listed | None) -> None:
        if adopt is not None:
            await self._attempt_until_done(lambda r: self._adopt_or_begin(r, adopt), run)
        else:
            had = self.row.containers.get(run.container.name)
            if had:
                self.repairs.append(f"container {self._name(run)} removed by hand")
            await self._attempt_until_done(self._begin, run)
        while True:
            await run.ended.wait()
            await self._attempt_until_done(self._mourn, run)
            await self._attempt_until_done(self._begin, run)

    async def _attempt_until_done(self, step: Callable[[Run], Awaitable[None]], run: Run) -> None:
        """Repeat a step until it works; what stands in its way is shown, the pause grows."""
        attempt = 0
        while True:
            try:
                await step(run)
                return
            except (ConfigMissing, PullError, NoSuchName, InitFailed, EngineError, OSError) as error:
                attempt += 1
                pause = self._stuck(run, error, attempt)
            self._stage.changed(self)
            self._poke.clear()
            try:
                async with asyncio.timeout(pause):
                    await self._poke.wait()
            except TimeoutError:
                continue

    def _stuck(self, run: Run, error: Exception, attempt: int) -> float:
        """Say why; the seconds until the next attempt."""
        run.message = self._masker.text(str(error))
        match error:
            case ConfigMissing():
                run.waiting = Waiting.CONFIG
                return min(10.0 * attempt, 60.0)
            case PullError():
                run.waiting = Waiting.PULL if attempt == 1 else Waiting.PULL_BACK_OFF
                return min(2.0 if attempt == 1 else 5.0 * 2.0 ** min(attempt - 2, 6), 300.0)
            case InitFailed():
                run.waiting, run.lines = Waiting.CRASH, error.lines
            case NoSuchName():
                run.waiting = Waiting.START
            case EngineError() if any(sign in str(error) for sign in NOT_RUNNABLE) and "runc" in str(error).lower():
                run.waiting = Waiting.START
            case _:
                run.waiting = Waiting.ENGINE if attempt >= ENGINE_LIMIT else run.waiting
                return min(0.1 * 2.0 ** min(attempt, 9), 30.0)
        self._count_crash()
        return back_off_s(self.row.restarts - 1)

    def _count_crash(self) -> None:
        self.row = replace(self.row, restarts=self.row.restarts + 1)

    async def _begin(self, run: Run) -> None:
        run.waiting = Waiting.CREATING if run.waiting is Waiting.NONE else run.waiting
        await self._create(run)
        await self._up(run, ready=False)

    async def _create(self, run: Run) -> None:
        """A fresh container, started. Raises what can stand in its way."""
        stage, container = self._stage, run.container
        if self._several:
            await self._share()
        env = environment(container, self.template, self._frozen.config, self._identity())
        image = await self._image(container)
        mounts = await asyncio.to_thread(stage.volumes.mounts, self.name, self.template.spec, container)
        spec = container_spec(self._place(), self._name(run), container, self.template, image, env, mounts)
        async with stage.starts:
            run.id = await self._create_named(spec)
            run.ended.clear()
            run.removed.clear()
            run.hand = run.condemned = ""
            run.served = False
            try:
                await stage.podman.start(run.id)
            except EngineError:
                await self._remove(run.id)
                run.id = ""
                raise

    async def _create_named(self, spec: Mapping[str, object]) -> str:
        podman, name = self._stage.podman, str(spec["name"])
        try:
            return await podman.create(spec)
        except EngineDown:
            raise
        except EngineError as error:
            if "already in use" not in str(error):
                raise
        for listed in await self._mine():  # left by an agent that was killed here, or renamed
            if listed.name == name:
                await self._remove(listed.id)
        return await podman.create(spec)

    async def _image(self, container: Container) -> str:
        """The image resolved once per template; local ones are never asked for again."""
        known = self._frozen.images.get(container.name)
        found = await self._stage.podman.image(known) if known else None
        if found is None:
            found = await self._stage.images.find(container.image, container.image_pull_policy)
            self._frozen.images[container.name] = found[0]
        self._check_user(container, found[1])
        return found[0]

    def _check_user(self, container: Container, image_user: str) -> None:
        pod, own = self.template.spec.security_context, container.security_context
        user = own.run_as_user if own.run_as_user is not None else pod.run_as_user
        name = str(user) if user is not None else image_user.split(":")[0]
        if (own.run_as_non_root or pod.run_as_non_root) and name in ("", "0", "root"):
            raise ConfigMissing(f"container {container.name} must not run as root, but its image does: set runAsUser")

    async def _up(self, run: Run, *, ready: bool) -> None:
        """It runs: learn its address, begin its probes."""
        seen = await self._stage.podman.inspect(run.id)
        if not self._several:
            self.address = seen.address
        if not seen.running:
            run.exit_code = seen.exit_code
            run.ended.set()
        run.running = not run.ended.is_set()
        run.begun_s = asyncio.get_running_loop().time()
        run.waiting = Waiting.NONE
        self.row = replace(self.row, containers={**self.row.containers, run.container.name: run.id})
        self._probe(run, ready)
        self._settle()
        for text in self.repairs:
            self._stage.drifted(self, text)
        self.repairs.clear()

    async def _adopt_or_begin(self, run: Run, listed: Listed) -> None:
        try:
            running = await self._adopt(run, listed)
        except EngineError as error:
            if error.status != 404:
                raise
            running = False
        self._adopting.discard(run.container.name)
        if not self._adopting:
            self._settle()
            self.adopted.set()
        if not running:
            await self._begin(run)

    async def _adopt(self, run: Run, listed: Listed) -> bool:
        """Take over a container that a former agent started; False when it has ended."""
        run.id = listed.id
        if listed.state == "paused":
            await self._stage.podman.unpause(listed.id)
            self.repairs.append(f"container {self._name(run)} paused by hand")
        elif listed.state != "running":
            run.lines = self._masked(await self._stage.podman.tail(run.id, TAIL))
            await self._remove(run.id)
            return False
        run.ended.clear()
        if self._several:
            await self._share()
        await self._up(run, ready=self._was_ready)
        return True

    # --- what happens to it

    def heard(self, event: ContainerEvent) -> None:
        """Something happened to one of its containers."""
        if event.id == self._infra and event.action in ("died", "remove") and not self.row.stopping:
            self._lost_address()
        run = next((r for r in self.runs.values() if r.id == event.id), None)
        if run is None or event.id in self._stage.ours:
            return
        match event.action:
            case "died":
                run.exit_code = event.exit_code
                self._down(run)
            case "remove":
                run.hand = "removed"
                run.removed.set()
                self._down(run)
            case "stop" | "kill":
                run.hand = run.hand or ("stopped" if event.action == "stop" else "killed")
            case "pause":
                self._aside(self._unpause(run))
            case "rename" if event.name != self._name(run):
                self._aside(self._rename(run))

    def _lost_address(self) -> None:
        for run in tuple(self.runs.values()):
            run.hand = run.hand or "cut off"
            self._down(run)

    @property
    def running(self) -> set[str]:
        """The ids of its containers that run, as far as it knows."""
        return {run.id for run in self.runs.values() if run.running}

    def gone(self, expected: Collection[str], listed: Mapping[str, Listed]) -> None:
        """A full look at what is there, for events that were lost: containers by id. `expected` was known to run
        before the look began: what was started since is not in it."""
        for run in tuple(self.runs.values()):
            if not run.running or run.id not in expected or run.id in self._stage.ours:
                continue
            seen = listed.get(run.id)
            if seen is None:
                run.hand = "removed"
                self._down(run)
            elif seen.state == "paused":
                self._aside(self._unpause(run))
            elif seen.state in ("exited", "stopped", "created"):
                run.exit_code = seen.exit_code
                self._down(run)

    def _down(self, run: Run) -> None:
        run.served = run.served or run.ready
        run.running = False
        self._unprobe(run)
        self._settle()
        run.ended.set()

    def _aside(self, work: Awaitable[None]) -> None:
        async def quiet() -> None:
            try:
                await work
            except EngineError as error:
                log.warning("repair failed pod=%s error=%s", self.name, error)

        task = asyncio.ensure_future(quiet())
        _ASIDE.add(task)
        task.add_done_callback(_ASIDE.discard)

    async def _unpause(self, run: Run) -> None:
        await self._stage.podman.unpause(run.id)
        self._stage.drifted(self, f"container {self._name(run)} paused by hand")

    async def _rename(self, run: Run) -> None:
        await self._stage.podman.rename(run.id, self._name(run))
        self._stage.drifted(self, f"container {self._name(run)} renamed by hand")

    async def _mourn(self, run: Run) -> None:
        """It ended: learn why, keep its last words, take it away, pause if it did so before."""
        self._unprobe(run)
        ran_s = asyncio.get_running_loop().time() - run.begun_s
        oom = await self._out_of_memory(run)
        quiet = run.exit_code in ENDED_BY_SIGNAL and not oom and run.served
        clean = quiet and ran_s >= QUIET_S and not run.condemned
        if run.hand in ("", "stopped") and not run.condemned and run.exit_code in ENDED_BY_SIGNAL:
            await self._listen_for_removal(run)
        lines = self._masked(await self._stage.podman.tail(run.id, TAIL))
        await self._remove(run.id)
        left = {name: container for name, container in self.row.containers.items() if name != run.container.name}
        self.row = replace(self.row, containers=left)
        if run.hand or (clean and asyncio.get_running_loop().time() - run.last_hand_s > 60.0):
            run.last_hand_s = asyncio.get_running_loop().time()
            self.repairs.append(f"container {self._name(run)} {run.hand or 'stopped'} by hand")
            return
        if ran_s >= CALM_S:
            self.row = replace(self.row, restarts=0)
        self._count_crash()
        run.lines = lines
        run.message = run.condemned or (f"out of memory (exit {run.exit_code})" if oom else f"exit {run.exit_code}")
        await self._back_off(run)

    async def _back_off(self, run: Run) -> None:
        pause = back_off_s(self.row.restarts - 1)
        if pause > 0:
            run.waiting = Waiting.CRASH
        self._stage.changed(self)
        await asyncio.sleep(pause)

    async def _listen_for_removal(self, run: Run) -> None:
        """`podman rm -f` is a stop, an end and then a removal: wait a moment to give it its right name."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(HAND_S):
                await run.removed.wait()

    async def _out_of_memory(self, run: Run) -> bool:
        try:
            return (await self._stage.podman.inspect(run.id)).out_of_memory
        except EngineError:
            return False

    async def _remove(self, container: str) -> None:
        self._stage.ours.add(container)
        try:
            await self._stage.podman.remove(container)
        finally:
            self._stage.ours.discard(container)

    # --- probes

    def _probe(self, run: Run, ready: bool) -> None:
        self._unprobe(run)
        wanted = stated_probes(run.container)
        run.records = {role: initial(role, ready) for role in wanted}
        self._prove(run, ready or Role.READINESS in wanted)
        if Role.STARTUP in wanted and not ready:
            self._add_probe(run, Role.STARTUP, wanted[Role.STARTUP])
            return
        for role, probe in wanted.items():
            if role is not Role.STARTUP:
                self._add_probe(run, role, probe)

    def _prove(self, run: Run, proven: bool) -> None:
        """Stricter than Kubernetes: without a readiness probe a container counts as ready once it has run a moment,
        so that one that ends at once never takes an old replica's place."""
        run.proven = proven
        if not proven:
            container = run.id

            def lasted() -> None:
                if run.id == container and run.running:
                    run.proven = True
                    self._settle()

            delay_s = PROOF_S if self.row.restarts == 0 else PROOF_AGAIN_S
            asyncio.get_running_loop().call_later(delay_s, lasted)

    def _add_probe(self, run: Run, role: Role, probe: Probe) -> None:
        def heard(ok: bool, why: str) -> None:
            self._answered(run, role, probe, ok, why)

        run.entries[role] = self._stage.wheel.add(
            probe, lambda: self._ask(run, probe), heard, eager=role is not Role.LIVENESS
        )

    async def _ask(self, run: Run, probe: Probe) -> probes.Answer:
        if probe.exec is not None:
            try:
                code, said = await self._stage.podman.execute(run.id, probe.exec.command, float(probe.timeout_seconds))
            except EngineDown:
                return run.ready, "Podman does not answer"  # its own fault: the container keeps its state
            except EngineError as error:
                code, said = 1, str(error)
            return code == 0, f"exit {code}: {said}".rstrip(": ")
        if probe.http_get is not None:
            port = port_number(run.container, probe.http_get.port)
            return await probes.http(self.address, port, probe.http_get)
        port = port_number(run.container, probe.tcp_socket.port) if probe.tcp_socket is not None else 0
        return await probes.tcp(self.address, port)

    def _answered(self, run: Run, role: Role, probe: Probe, ok: bool, why: str) -> None:
        before = run.records[role]
        record = before.heard(probe, ok, self._masker.text(why))
        run.records[role] = record
        if dead(role, probe, record) and run.running and not run.condemned:
            run.condemned = f"{role.value} probe failed: {record.message}"
            self._aside(self._condemn(run))
        elif role is Role.STARTUP and record.passing:
            self._unprobe(run)
            for other, stated in stated_probes(run.container).items():
                if other is not Role.STARTUP:
                    self._add_probe(run, other, stated)
        if record.passing != before.passing or record.message != before.message:
            self._settle()

    async def _condemn(self, run: Run) -> None:
        """A failed liveness or startup probe ends the container; `_mourn` counts it as a crash."""
        self._unprobe(run)
        container = run.id
        run.lines = self._masked(await self._stage.podman.tail(container, TAIL))
        self._stage.ours.add(container)
        try:
            await self._stage.podman.stop(container, grace_s(self.template.spec))
        finally:
            self._stage.ours.discard(container)
        run.exit_code = 137
        self._down(run)

    def _unprobe(self, run: Run) -> None:
        for entry in run.entries.values():
            entry.stop()
        run.entries.clear()

    def _unprobe_all(self) -> None:
        for run in self.runs.values():
            self._unprobe(run)

    def _settle(self) -> None:
        """Readiness follows from all containers; tell whoever listens. Not before all are taken over."""
        if self._adopting:
            return
        ready = self.ready
        if ready and self.ready_since is None:
            self.ready_since = self._stage.now()
        elif not ready:
            self.ready_since = None
        if ready != self.row.ready:
            self.row = replace(self.row, ready=ready)
        self._stage.changed(self)

    # --- small things

    def _name(self, run: Run) -> str:
        alone = not self._several and run.container == self.template.spec.containers[0]
        return container_name(self.name, run.container.name, alone)

    def _masked(self, lines: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(self._masker.text(line) for line in lines)

    def _identity(self) -> Identity:
        return Identity(self.name, self.row.workload.namespace, self.row.uid, self._stage.node)

    def _place(self) -> Place:
        return Place(
            state=self._stage.state,
            application=self.application,
            namespace=self.row.workload.namespace,
            pod=self.name,
            workload=ref_key(self.row.workload),
            template=self.row.template,
            shared=self.row.pod,
            network=self._stage.network(),
        )


class InitFailed(Exception):
    """An init container ended badly; tried again with back-off."""

    def __init__(self, message: str, lines: tuple[str, ...]) -> None:
        super().__init__(message)
        self.lines = lines


_ASIDE: set[asyncio.Future[None]] = set()  # small repairs under way: a task needs someone to hold it
