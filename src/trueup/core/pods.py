"""What a container of a pod is given: its variables, its files, its command. Pure; never writes a file.

Config is a snapshot, "ConfigMap/web" or "Secret/web" → key → base64, so that an old replica keeps what it began with.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from typing import TypeAlias

from msgspec import Struct

from trueup.core.kinds import (
    ConfigMap,
    Container,
    EnvVar,
    FieldRef,
    KeyRef,
    KeyToPath,
    PodSpec,
    PodTemplate,
    Secret,
    Volume,
)

Config: TypeAlias = Mapping[str, Mapping[str, str]]

_REFERENCE = re.compile(r"\$\$|\$\(([-._a-zA-Z0-9]+)\)")
_ENV_NAME = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")


class ConfigMissing(Exception):
    """A ConfigMap, Secret or key that the pod reads is not there: apply it; the pod starts then."""


class Identity(Struct, frozen=True):
    """The pod, as fieldRef shows it."""

    name: str
    namespace: str
    uid: str
    node: str


class File(Struct, frozen=True):
    path: str  # inside the volume
    data: bytes
    mode: int


def content(body: ConfigMap | Secret) -> dict[str, str]:
    """Key → base64 of a ConfigMap or Secret; stringData wins over data."""
    text = body.data if isinstance(body, ConfigMap) else body.string_data
    coded = body.binary_data if isinstance(body, ConfigMap) else body.data
    return {**coded, **{key: base64.b64encode(value.encode()).decode() for key, value in text.items()}}


def environment(container: Container, template: PodTemplate, config: Config, pod: Identity) -> dict[str, str]:
    """The variables of a container, references expanded. Raises ConfigMissing.

    Source: Kubernetes, "Define Dependent Environment Variables"; kubelet makeEnvironmentVariables."""
    out: dict[str, str] = {}
    for origin in container.env_from:
        for kind, ref in (("ConfigMap", origin.config_map_ref), ("Secret", origin.secret_ref)):
            if ref is not None:
                found = _object(kind, ref.name, ref.optional, config)
                names = {origin.prefix + key: value for key, value in (found or {}).items()}
                out |= {name: _text(value) for name, value in names.items() if _ENV_NAME.fullmatch(name)}
    for variable in container.env:
        value = _value(variable, template, config, pod, out)
        if value is not None:
            out[variable.name] = value
    return out


def expand(text: str, known: Mapping[str, str]) -> str:
    """`$(NAME)` → its value when known; `$$` → `$`. Source: third_party/forked/golang/expansion."""

    def replaced(match: re.Match[str]) -> str:
        if match[1] is None:
            return "$"
        return known.get(match[1], match[0])

    return _REFERENCE.sub(replaced, text)


def files(volume: Volume, config: Config) -> tuple[File, ...]:
    """The files of a ConfigMap or Secret volume. Raises ConfigMissing."""
    if volume.config_map is not None:
        wanted = volume.config_map
        found = _object("ConfigMap", wanted.name, wanted.optional, config)
        return tuple(_files(f"ConfigMap {wanted.name}", found, wanted.items, wanted.default_mode, wanted.optional))
    if volume.secret is not None:
        secret = volume.secret
        found = _object("Secret", secret.secret_name, secret.optional, config)
        return tuple(_files(f"Secret {secret.secret_name}", found, secret.items, secret.default_mode, secret.optional))
    return ()


def secrets(pod: PodSpec, config: Config) -> tuple[str, ...]:
    """Every secret value the pod reads, to be masked in what it prints."""
    return tuple(
        _text(value) for key, values in config.items() if key.startswith("Secret/") for value in values.values()
    )


def grace_s(pod: PodSpec) -> float:
    return float(max(pod.termination_grace_period_seconds, 0))


def _files(
    name: str, found: Mapping[str, str] | None, items: tuple[KeyToPath, ...], mode: int, optional: bool
) -> Iterator[File]:
    if found is None:
        return
    if not items:
        yield from (File(key, base64.b64decode(value), mode) for key, value in sorted(found.items()))
        return
    for item in items:
        if item.key in found:
            yield File(item.path, base64.b64decode(found[item.key]), item.mode if item.mode is not None else mode)
        elif not optional:
            raise ConfigMissing(f"{name} has no key {item.key!r}")


def _object(kind: str, name: str, optional: bool, config: Config) -> Mapping[str, str] | None:
    found = config.get(f"{kind}/{name}")
    if found is None and not optional:
        raise ConfigMissing(f"{kind} {name!r} is not there: apply it in the same namespace")
    return found


def _text(value: str) -> str:
    return base64.b64decode(value).decode(errors="replace")


def _value(
    variable: EnvVar, template: PodTemplate, config: Config, pod: Identity, known: Mapping[str, str]
) -> str | None:
    source = variable.value_from
    if source is None:
        return expand(variable.value, known)
    if source.field_ref is not None:
        return _field(source.field_ref, template, pod)
    for kind, ref in (("ConfigMap", source.config_map_key_ref), ("Secret", source.secret_key_ref)):
        if ref is not None:
            return _key(kind, ref, config)
    return ""


def _key(kind: str, ref: KeyRef, config: Config) -> str | None:
    found = _object(kind, ref.name, ref.optional, config)
    if found is not None and ref.key in found:
        return _text(found[ref.key])
    if ref.optional:
        return None
    raise ConfigMissing(f"{kind} {ref.name!r} has no key {ref.key!r}")


def _field(ref: FieldRef, template: PodTemplate, pod: Identity) -> str:
    match = re.fullmatch(r"metadata\.(labels|annotations)\['([^']+)'\]", ref.field_path)
    if match is not None:
        source = template.metadata.labels if match[1] == "labels" else template.metadata.annotations
        return source.get(match[2], "")
    return {
        "metadata.name": pod.name,
        "metadata.namespace": pod.namespace,
        "metadata.uid": pod.uid,
        "spec.nodeName": pod.node,
    }.get(ref.field_path, "")
