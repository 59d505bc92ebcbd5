"""Manifests: workloads without probes or limits, images that move, Services that reach nothing, secrets in Git."""

from __future__ import annotations

import re
from collections.abc import Iterator

from trueup.core.admission import Admitted, admit, needs, refusals
from trueup.core.check.rule import Rule, Subject
from trueup.core.hooks import wave_of
from trueup.core.images import repository_of
from trueup.core.keyed import repeated
from trueup.core.kinds import Deployment
from trueup.core.manifests import Manifest
from trueup.core.model import Finding, Json, Severity
from trueup.core.objects import POD_SPECS, containers, dig, dotted, undotted
from trueup.core.reference import split
from trueup.core.sealed import is_cipher
from trueup.core.variables import could_be

NO_PROBES = Rule(
    "container-without-probes", Severity.WARNING,
    "A long-running container has no readiness probe: it gets requests before it can answer, and a bad version "
    "counts as healthy.",
)  # fmt: skip
NO_RESOURCES = Rule(
    "container-without-resources", Severity.WARNING,
    "A container states no memory limit: one leak takes the machine.",
)  # fmt: skip
MOVING_TAG = Rule(
    "image-moving-tag", Severity.WARNING,
    "An image that this repository does not build is named `latest`, or by no tag: what runs changes without a commit.",
)  # fmt: skip
VARIABLE_TAG = Rule(
    "image-tag-variable", Severity.NOTE,
    "An image's tag is a variable such as `$BUILD_ID`. Accepted: an image that the pipeline builds is pinned by digest "
    "whatever its tag says.",
)  # fmt: skip
REFUSED = Rule(
    "host-refuses", Severity.ERROR,
    "The host target cannot hold this object: an unknown or wrong field (the nearest real one is named), a selector "
    "that does not match, a kind that one machine cannot serve.",
)  # fmt: skip
SELECTS_NOTHING = Rule(
    "service-selects-nothing", Severity.WARNING, "No workload here has the labels that a Service selects.",
)  # fmt: skip
PORT_UNKNOWN = Rule(
    "service-port-unknown", Severity.WARNING,
    "A Service's targetPort is none of the ports that the selected containers state.",
)  # fmt: skip
PLAIN_SECRET = Rule(
    "secret-in-plain-text", Severity.WARNING,
    "A Secret's values, or an environment variable named like one, stand readable in Git.",
)  # fmt: skip
NOT_STATED = Rule(
    "reference-not-stated", Severity.WARNING,
    "A pod reads a ConfigMap or Secret that this repository does not state, or states in a later wave: on one host "
    "nobody else makes it, and the pod waits for it.",
)  # fmt: skip
TWICE = Rule(
    "container-key-twice", Severity.WARNING,
    "A container states an environment variable, port or mount twice: the last one counts.",
)  # fmt: skip
RULES = (
    TWICE, NO_PROBES, NO_RESOURCES, MOVING_TAG, VARIABLE_TAG, REFUSED, SELECTS_NOTHING, PORT_UNKNOWN, PLAIN_SECRET,
    NOT_STATED,
)  # fmt: skip

_SERVING = frozenset({"Deployment", "StatefulSet", "DaemonSet"})
_SECRET_NAME = re.compile(r"(PASSWORD|PASSWD|SECRET|TOKEN|API_?KEY|PRIVATE_?KEY|ACCESS_?KEY|CREDENTIALS?)(_|$)", re.I)
_PLACEHOLDER = re.compile(r"^(|<.*>|\$\(.*\)|\$\{.*\}|changeme|xxx+|\*+|none|null|true|false|\d{1,3}|/.*)$", re.I)


def check(subject: Subject) -> Iterator[Finding]:
    built = tuple(_built(subject))
    applied = subject.applied
    for manifest in applied:
        yield from _containers(manifest, built)
        yield from _secrets(manifest)
        yield from _twice(manifest)
        if manifest.object.ref.kind == "Service":
            yield from _service(manifest, applied)
        if subject.target == "host":
            yield from _refused(manifest, subject.accepted)
            yield from _references(manifest, applied, subject.accepted)


def _built(subject: Subject) -> Iterator[str]:
    """The repositories that pipelines build, as far as they say, and the names that Dockerfiles here go by."""
    yield subject.found.name
    for pipeline in subject.found.pipelines:
        for build in pipeline.builds:
            yield from (repository_of(reference) for reference in build.references)
    for dockerfile in subject.found.dockerfiles:
        yield dockerfile.path.rpartition("/")[0]


def _is_built(repository: str, built: tuple[str, ...]) -> bool:
    return any(could_be(_last(each), _last(repository)) for each in built)


def _last(repository: str) -> str:
    return repository.rpartition("/")[2]


# --- containers ------------------------------------------------------------------------------------


def _containers(manifest: Manifest, built: tuple[str, ...]) -> Iterator[Finding]:
    kind, doc = manifest.object.ref.kind, manifest.doc
    for path, container in containers(manifest.object.body):
        name = container.get("name", "?")
        place = doc.place(*path)
        serving = kind in _SERVING and path[-2] == "containers"
        if serving and container.get("ports") and not container.get("readinessProbe"):
            yield NO_PROBES.at(
                place, f"container {name!r} has no readinessProbe",
                "Add e.g. `readinessProbe: {httpGet: {path: /, port: …}}`, and a livenessProbe against hanging.",
            )  # fmt: skip
        if not dig(container, ("resources", "limits", "memory")):
            yield NO_RESOURCES.at(
                place, f"container {name!r} states no memory limit",
                "Add `resources: {requests: {cpu: 50m, memory: 64Mi}, limits: {memory: 256Mi}}`, with your numbers.",
            )  # fmt: skip
        if isinstance(container.get("image"), str):
            yield from _image(manifest, (*path, "image"), container["image"], built)


def _image(manifest: Manifest, path: tuple[str | int, ...], text: str, built: tuple[str, ...]) -> Iterator[Finding]:
    place = manifest.doc.place(*path)
    _, tag, digest = split(text)
    if "$" in tag:
        yield VARIABLE_TAG.at(
            place, f"nobody fills in the tag of {text!r}",
            "Nothing, if a pipeline here builds it: it is pinned by digest whatever the tag says.",
        )  # fmt: skip
    elif not digest and tag in ("", "latest") and not _is_built(repository_of(text), built):
        yield MOVING_TAG.at(
            place, f"{text!r} changes without a commit", "Name a version, or a digest (`repository:tag@sha256:…`).",
        )  # fmt: skip


# --- Services --------------------------------------------------------------------------------------


def _service(manifest: Manifest, all_manifests: tuple[Manifest, ...]) -> Iterator[Finding]:
    body, doc = manifest.object.body, manifest.doc
    selector = dig(body, ("spec", "selector"))
    if not isinstance(selector, dict) or not selector:
        return
    pods = [spec for each in all_manifests if (spec := _selected(each, manifest, selector)) is not None]
    if not pods:
        wanted = ", ".join(f"{key}: {value}" for key, value in selector.items())
        yield SELECTS_NOTHING.at(
            doc.key_place("spec", "selector"), f"no workload here has the labels {wanted}",
            "Give the workload's `spec.template.metadata.labels` these labels, or correct the selector.",
        )  # fmt: skip
        return
    names, numbers = _ports(pods)
    ports = dig(body, ("spec", "ports"))
    for index, port in enumerate(ports if isinstance(ports, list) else ()):
        target = port.get("targetPort", port.get("port")) if isinstance(port, dict) else None
        if isinstance(target, str) and not target.isdigit() and target not in names:
            known = f"there are {', '.join(sorted(names))}" if names else "none has a name"
            yield PORT_UNKNOWN.at(
                doc.place("spec", "ports", index, "targetPort"),
                f"targetPort {target!r} is no port of the selected containers; {known}",
                f"Name it: `ports: [{{name: {target}, containerPort: …}}]`, or correct targetPort.",
            )
        elif isinstance(target, int) and numbers and target not in numbers:
            yield PORT_UNKNOWN.at(
                doc.place("spec", "ports", index, "targetPort" if "targetPort" in port else "port"),
                f"port {target} is none that the selected containers state ({_list(numbers)})",
                "Correct targetPort, or state the port in the container.",
            )


def _list(numbers: set[int]) -> str:
    return ", ".join(str(number) for number in sorted(numbers))


def _selected(each: Manifest, service: Manifest, selector: dict[str, Json]) -> Json:
    """The pod spec of a workload that the Service selects, else None."""
    path = POD_SPECS.get(each.object.ref.kind)
    if path is None or each.object.ref.namespace != service.object.ref.namespace:
        return None
    labels = dig(each.object.body, (*path[:-1], "metadata", "labels"))
    if not isinstance(labels, dict) or not selector.items() <= labels.items():
        return None
    spec = dig(each.object.body, path)
    return spec if isinstance(spec, dict) else None


def _ports(pods: list[Json]) -> tuple[set[str], set[int]]:
    listed = [
        port
        for spec in pods
        for container in spec.get("containers") or ()
        if isinstance(container, dict)
        for port in container.get("ports") or ()
        if isinstance(port, dict)
    ]
    names = {port["name"] for port in listed if isinstance(port.get("name"), str)}
    return names, {port["containerPort"] for port in listed if isinstance(port.get("containerPort"), int)}


def _twice(manifest: Manifest) -> Iterator[Finding]:
    for path, key in repeated(manifest.object.body):
        yield TWICE.at(
            manifest.doc.place(*path), f"{dotted(path[:-1])}: {key} is stated again below, and that one counts",
            "Remove one of them.",
        )  # fmt: skip


# --- secrets and the host --------------------------------------------------------------------------


def _secrets(manifest: Manifest) -> Iterator[Finding]:
    body, doc = manifest.object.body, manifest.doc
    if manifest.object.ref.kind == "Secret":
        written = doc.body if manifest.sealed else body  # of a sealed file: what Git holds
        for field in ("data", "stringData"):
            values = written.get(field)
            if isinstance(values, dict) and any(_readable(v) for v in values.values()):
                yield PLAIN_SECRET.at(
                    doc.key_place(field), f"the values of secret/{manifest.object.ref.name} stand readable in Git",
                    "Take it out of Git and change the values (base64 hides nothing); encrypt it with SOPS "
                    "(`sops encrypt`), or state a SealedSecret or ExternalSecret.",
                )  # fmt: skip
    for path, container in containers(body):
        variables = container.get("env")
        for index, variable in enumerate(variables if isinstance(variables, list) else ()):
            name, value = (variable.get("name"), variable.get("value")) if isinstance(variable, dict) else (None, None)
            if not isinstance(name, str) or not isinstance(value, str):
                continue
            if _SECRET_NAME.search(name) and not _PLACEHOLDER.match(value):
                yield PLAIN_SECRET.at(
                    doc.place(*path, "env", index, "value"), f"the value of {name} stands readable in Git",
                    "Change the value, put it into a Secret, and name it by `valueFrom: {secretKeyRef: …}`.",
                )  # fmt: skip


def _readable(value: Json) -> bool:
    return not is_cipher(value) and not _PLACEHOLDER.match(str(value or ""))


def _refused(manifest: Manifest, accepted: frozenset[str]) -> Iterator[Finding]:
    for refusal in refusals(manifest.object.body, accepted):
        path = undotted(refusal.at.replace("[...]", ""))
        whole = refusal.at == "kind"
        yield REFUSED.at(
            manifest.doc.key_place(*path) if path else manifest.doc.place(),
            f"{manifest.object.ref}: {refusal.message if whole else refusal}",
            f"{'Replace or remove it' if whole else 'Correct it here'}; nothing of this commit is deployed until then.",
        )


def _references(manifest: Manifest, all_manifests: tuple[Manifest, ...], accepted: frozenset[str]) -> Iterator[Finding]:
    answer = admit(manifest.object.body, None, accepted)
    if not isinstance(answer, Admitted) or not isinstance(answer.served, Deployment):
        return
    ref = manifest.object.ref
    waves = {
        (m.object.ref.kind, m.object.ref.name): wave_of(m.object.body)
        for m in all_manifests
        if m.object.ref.namespace == ref.namespace
    }
    own = wave_of(manifest.object.body)
    wrong: list[str] = []
    for kind, name in needs(answer.served.spec.template.spec):
        wave = waves.get((kind, name))
        if wave is None:
            wrong.append(f"{kind} {name!r}, which is not stated in namespace {ref.namespace}")
        elif wave > own:
            wrong.append(f"{kind} {name!r}, which comes in wave {wave}, after its own wave {own}")
    if wrong:
        yield NOT_STATED.at(
            manifest.doc.place(), f"{ref} reads {'; '.join(wrong)}",
            "State it in this repository and in no later wave, correct the name, or mark it `optional: true`.",
        )  # fmt: skip
